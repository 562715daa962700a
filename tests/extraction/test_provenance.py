"""What a sample says about how it was made."""

from avsep.extraction.config import ExtractionConfig
from avsep.extraction.provenance import faces_facts
from avsep.files import dump_json


def test_shards_do_not_reveal_the_machine():
    settings = ExtractionConfig(
        backend="face_alignment", backend_options={"device": "cuda:1", "weights": "/home/me"}
    )
    text = dump_json(faces_facts(settings))
    assert "cuda" not in text
    assert "/home" not in text
    assert "3DFAN4-7835d9f11d" in text
