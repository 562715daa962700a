"""The bar of the Prefect page says how far a stage is, how long it takes and how it goes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

engine: Any = pytest.importorskip("flows.engine")


def test_the_page_says_how_many_how_long_and_how_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[float, str]] = []
    now = [50.0]
    monkeypatch.setattr(engine.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(engine, "create_progress_artifact", lambda **_: UUID(int=1))
    monkeypatch.setattr(
        engine,
        "update_progress_artifact",
        lambda artifact_id, progress, description: shown.append((progress, description)),
    )
    artifact = engine._ProgressArtifact("extract", 1000)
    now[0] += 120
    artifact.how = "312 frames/s: landmark 58 %, decode 21 %"
    artifact(250)
    artifact(1)  # too soon after the last
    now[0] += 380
    artifact(749)
    assert shown == [
        (25.0, "250 of 1,000 in 2 min, 6 min left. 312 frames/s: landmark 58 %, decode 21 %"),
        (100.0, "1,000 of 1,000 in 8 min. 312 frames/s: landmark 58 %, decode 21 %"),
    ]
