"""Fuzz parsers guided by coverage, with atheris, which is not installed with the project.

    pip install atheris
    python -m tests.scenarios.guided_fuzz shard|annotation|list|landmarks|expression [seconds]

Begins with a whole file of the kind. Ends with an error that the parser does not promise, whose
input libFuzzer then writes to `crash-*`, or with the number of inputs after some seconds.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["avsep"]):
    from avsep.corpora.annotation_file import parse_annotation
    from avsep.errors import AvsepError, ItemError
    from avsep.expression import Expression
    from avsep.faces.landmark_files import read_landmarks
    from avsep.mixing.external_lists import read_external_list
    from avsep.shards import tar
    from avsep.shards.codecs import decode_json
    from avsep.shards.index import rows_of_shard
    from avsep.shards.landmarks import decode_npz

from tests.support.seed_files import seed_files


def _in_shard(path: Path) -> None:
    for member in tar.scan(path):
        content = tar.read(path, member)
        with contextlib.suppress(ValueError):
            if member.suffix == "json":
                decode_json(content)
            elif member.suffix == "lmk.npz":
                decode_npz(content)
    rows_of_shard(path)


READERS = {
    "shard": ("train-000000.tar", _in_shard),
    "annotation": ("annotation.txt", lambda path: parse_annotation(path.read_bytes(), "x")),
    "list": ("list.scp", read_external_list),
    "landmarks": ("landmarks.pkl", read_landmarks),
    "expression": (
        "expression.txt",
        lambda path: Expression(path.read_bytes().decode("utf-8", "replace")),
    ),
}


def main() -> None:
    """Fuzz one reader."""
    kind, seconds = sys.argv[1], (sys.argv[2:] or ["60"])[0]
    name, read = READERS[kind]
    folder = Path(tempfile.mkdtemp(prefix="avsep-fuzz-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    whole = seed_files(folder) / name
    if kind == "shard":  # a small one: a sample's JSON alone
        member = next(member for member in tar.scan(whole) if member.suffix == "json")
        tar.write(corpus / name, [(f"{member.key}.json", tar.read(whole, member))])
    else:
        (corpus / name).write_bytes(whole.read_bytes())
    path = folder / f"tried{Path(name).suffix}"

    def one(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(AvsepError, ItemError, ValueError):
            read(path)

    limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=16384"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
