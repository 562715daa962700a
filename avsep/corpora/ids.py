"""Ids and splits from names, always the same for the same name."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata

from avsep.files import sha256_text

SLUG_LIMIT = 60  # characters


def slug(name: str) -> str:
    """A name in the characters that ids may have; different names may give the same slug."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-")[:SLUG_LIMIT] or "x"


def one_spelling(name: str) -> str:
    """A name without what the eye does not see, so that one speaker is not taken for two.

    Composed characters (NFC), no marks such as right-to-left or zero-width ones, and no spaces
    around; a name of nothing else stays.
    """
    seen = (c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c) != "Cf")
    return "".join(seen).strip() or name


def short_hash(name: str) -> str:
    """Eight hexadecimal digits of a name.

    In file names they keep names apart that differ only in case, where the disk ignores case.
    """
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]


def split_of(group: str, seed: int, val_share: float, test_share: float = 0.0) -> str:
    """The split of a group, from a hash of its name; other groups do not matter."""
    fraction = hash_fraction(group, seed)
    if fraction < test_share:
        return "test"
    return "val" if fraction < test_share + val_share else "train"


def hash_fraction(name: str, seed: int) -> float:
    """A number from 0 to 1 for a name, from its hash."""
    key = f"{seed}:{name}".encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return int(sha256_text(key)[:13], 16) / 16**13
