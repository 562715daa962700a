"""Histograms of scores in the report."""

import math

from avsep.reporting.scores import gather_scores, histograms
from avsep.schema import Clip
from avsep.tables import write_rows
from avsep.workspace import Workspace
from tests.support.clip_maker import raw_clip


def test_each_score_has_a_histogram_that_separates_dropped_clips(tmp_path):
    workspace = Workspace(tmp_path)
    (tmp_path / "x.mp4").write_bytes(b"x")
    clips = [
        Clip(
            **vars(
                raw_clip(
                    tmp_path / "x.mp4", f"x-{n}",
                    annotation={"asd_conf": n / 10, "crop_scale": 1.0 + n},
                )
            ),
            kept=n >= 20,
            reason="" if n >= 20 else "not_selected" if n >= 5 else "silent",
            end_s=3.0,
            snr_db=math.nan if n == 30 else float(n),
        )
        for n in range(50)
    ]  # fmt: skip
    write_rows(workspace.clips / "clips.parquet", clips, Clip)
    scores = gather_scores(workspace)
    assert len(scores["asd_conf"].kept) == 30
    assert len(scores["asd_conf"].dropped) == 15
    assert len(scores["snr_db"].kept) == 29
    assert "duration_s" not in scores  # the same for all clips: nothing to show
    assert "crop_scale" not in scores
    picture = histograms(scores)
    assert picture.startswith("data:image/svg+xml")


def test_without_clips_there_is_no_picture(tmp_path):
    assert histograms(gather_scores(Workspace(tmp_path))) is None
