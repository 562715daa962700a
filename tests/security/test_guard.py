"""The guards of the tests refuse what is not this machine, and writing elsewhere."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.guards import ROOT, children_in, only_loopback, writes_in


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1"])
def test_a_test_that_reaches_for_another_machine_fails(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        pytest.raises(pytest.fail.Exception, match="reaches for"),
        only_loopback(),
        socket.socket(family) as probe,
        contextlib.suppress(OSError),  # as programs do that report to their makers
    ):
        probe.connect((address, 9))


@pytest.mark.parametrize("name", ["far.invalid", "www.example.com", b"example.org"])
def test_a_test_that_looks_for_another_machine_fails_in_a_thread_too(name):
    def look():
        with contextlib.suppress(OSError):
            socket.getaddrinfo(name, 443)

    with pytest.raises(pytest.fail.Exception, match="reaches for"), only_loopback():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()


def test_this_machine_is_reached():
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("x"),
        lambda path: path.open("ab").close(),
        lambda path: os.close(os.open(path, os.O_WRONLY | os.O_CREAT)),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("x"),
    ],
    ids=range(5),
)
def test_a_test_that_writes_elsewhere_fails(write):
    path = ROOT / "build-of-a-test"
    with pytest.raises(pytest.fail.Exception, match="writes to"), writes_in():
        try:
            write(path)
        finally:
            path.rmdir() if path.is_dir() else path.unlink()


def test_reading_and_temporary_files_are_fine(tmp_path):
    with writes_in():
        (tmp_path / "x").write_text("x")
        Path(__file__).read_text()


IN_A_CHILD = "open('/x', 'w')"


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("import socket; socket.create_connection(('192.0.2.1', 9), 1)", "reaches for 192.0.2.1"),
        ("import socket; socket.gethostbyname('www.example.com')", "reaches for www.example.com"),
        (f"open({str(ROOT / 'build-of-a-child')!r}, 'w')", "writes to"),
        (f"import os; os.mkdir({str(ROOT / 'build-of-a-child')!r})", "writes to"),
        (
            "import subprocess, sys; subprocess.run([sys.executable, '-c', 'open(\"/x\", \"w\")'])",
            "writes",
        ),
    ],
    ids=range(5),
)
def test_a_child_that_reaches_or_writes_elsewhere_is_refused(tmp_path, program, sentence):
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(pytest.fail.Exception, match=sentence),
        children_in(patch, tmp_path / "refused", tmp_path),
    ):
        subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert not (ROOT / "build-of-a-child").exists()
    assert not Path("/x").exists()


def test_a_child_may_read_reach_this_machine_and_write_temporary_files(tmp_path):
    program = (
        "import socket; server = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(server.getsockname());"
        f"open({str(tmp_path / 'x')!r}, 'w').close(); print(open('/etc/hostname').read())"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
