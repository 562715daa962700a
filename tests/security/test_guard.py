"""The guards of the tests refuse what is not this machine, and writing elsewhere."""

import os
import socket
from pathlib import Path

import pytest

from tests.support.guards import ROOT, writes_in


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "far.invalid"])
def test_a_test_that_reaches_for_another_machine_fails(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe, pytest.raises(pytest.fail.Exception, match="reaches for"):
        probe.connect((address, 9))


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
