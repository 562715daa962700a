"""No key, token or password is in a file that git tracks."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PATTERNS = {
    "a private key": rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "an AWS key": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": rb"\bgh[pousr]_\w{36}|\bgithub_pat_\w{22}",
    "a GitLab token": rb"\bglpat-[\w-]{20}",
    "a Slack token": rb"\bxox[abeprs]-[\w-]{10}",
    "a Google key": rb"\bAIza[\w-]{35}\b",
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30}",
    "a key of a model service": rb"\bsk-[\w-]{32}",
    "a token of a package index": rb"\bpypi-AgE[\w-]{40}|\bnpm_[A-Za-z0-9]{36}",
    "a signed token": rb"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10}",
    "cookies of a browser": rb"\.(?:youtube|google)\.com\tTRUE\t",
    # Both are long and mixed: the words of tests and documents are neither.
    "a password in an address": rb"\w://[^\s/:@'\"]+:(?=[^\s/@]*\d)(?=[^\s/@]*[a-zA-Z])[\w.+~-]{12,}@",
    "an assigned secret": rb"(?i)(?:passw(?:or)?d|secret|token|api_?key)\w*[\"']?\s*[:=]\s*[\"']"
    rb"(?=[^\"'\s]*\d)(?=[^\"'\s]*[a-z])[\w+/=.~-]{20,}[\"']",
}
NAMES = re.compile(
    r"(?:^|/)(?:\.env(?:\..*)?|\.netrc|\.pypirc|id_(?:rsa|dsa|ecdsa|ed25519)|cookies\.txt|credentials(?:\.json)?"
    r"|.*\.(?:pem|key|p12|pfx|kdbx|jks)|config\.local)$"
)


def secrets_in(content: bytes) -> list[str]:
    return [name for name, pattern in PATTERNS.items() if re.search(pattern, content)]


def read(name: str) -> bytes:
    return (ROOT / name).read_bytes()


@pytest.mark.slow
def test_no_tracked_file_holds_a_secret():
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    tracked = [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    assert len(tracked) > 500
    texts = {name: content for name in tracked if b"\0" not in (content := read(name))}
    found = {name: secrets_in(content) for name, content in texts.items()}
    assert {name: what for name, what in found.items() if what} == {}
    assert [name for name in tracked if NAMES.search(name)] == []


# In two parts, so that this file has none of them.
PLANTED = [
    ("-----BEGIN OPENSSH ", "PRIVATE KEY-----"),
    ("-----BEGIN ", "PRIVATE KEY-----"),
    ("-----BEGIN PGP ", "PRIVATE KEY BLOCK-----"),
    ("AKIA", "Q3EGRTUVX2YZ7ABC"),
    ("ghp", "_" + "a1B2" * 9),
    ("github_pat", "_11ABCDEFG0abcdefghijkl_mnop"),
    ("glpat", "-a1b2c3d4e5f6g7h8i9j0"),
    ("xoxb", "-123456789012-abcdef"),
    ("AIza", "SyA1234567890abcdefghijklmnopqrstuv"),
    ("hf", "_abcdefghijklmnopqrstuvwxyzABCDEF"),
    ("sk", "-proj-0123456789abcdefghijklmnopqrstuv"),
    ("pypi", "-AgEIcHlwaS5vcmcCJGE1YjZjN2Q4LWUxZjItNGEzYi05YzRk"),
    ("npm", "_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("eyJ", "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.dozjgNryP4J3jVmNHl0w5N"),
    (".youtube.com", "\tTRUE\t/\tTRUE\t1799999999\tSID\tg.a000"),
    ("https://deploy:", "x9Kq2mV7pLw4Rt@git.example/lab.git"),
    ("WANDB_API_KEY = ", "'0123456789abcdef0123456789abcdef01234567'"),
    ('"client_secret": ', '"q8Zt-4mVx_7LpR2wK9sN0"'),
]


@pytest.mark.parametrize("parts", PLANTED, ids=lambda parts: parts[0].strip())
def test_a_planted_secret_is_found(parts):
    around = b"\xff\x00 before\n" + "".join(parts).encode() + b"\nafter"
    assert secrets_in(around)


@pytest.mark.parametrize(
    "text",
    [
        "token = secrets.token_urlsafe(32)",
        "http://user:secret@127.0.0.1/x",
        "https://user:${TOKEN}@host/x",
        "password: <the one you were given by e-mail>",
        "sha256 = '" + "0a" * 32 + "'",
        "AVSEP_TOKEN_FILE = '/run/secrets/avsep-token'",
    ],
)
def test_what_is_no_secret_is_not(text):
    assert secrets_in(text.encode()) == []


@pytest.mark.parametrize(
    "name", ["a/.env", ".env.local", "id_ed25519", "x/server.key", ".dvc/config.local"]
)
def test_files_that_hold_secrets_are_known_by_their_names(name):
    assert NAMES.search(name)
    assert not NAMES.search("avsep/web/token.py")
