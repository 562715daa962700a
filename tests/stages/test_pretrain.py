"""The stage `pretrain`: the lip encoder, from shards alone, that Dolphin starts from."""

from dataclasses import replace

import pytest

from avsep.errors import CheckError
from avsep.models import checkpoint
from pipeline.config import load_config
from pipeline.stages import pretrain
from tests.stages.test_train_stage import no_child, workspace  # noqa: F401
from tests.support.stage_run import run_stage


@pytest.mark.slow
def test_it_publishes_a_lip_encoder_and_trains_it_once(workspace, no_child):  # noqa: F811
    report = run_stage("pretrain", workspace)
    assert report.counts.done == 1
    card = checkpoint.read_card(workspace.lipcoder, family="lipcoder")
    assert checkpoint.load(workspace.lipcoder).card == card
    weights = workspace.lipcoder / card["weights"]
    written = weights.stat().st_mtime_ns
    assert run_stage("pretrain", workspace).facts == report.facts  # its marker stands
    assert weights.stat().st_mtime_ns == written


def test_shards_without_a_clip_that_is_long_enough_stop_before_the_training(workspace):  # noqa: F811
    config = load_config(workspace.root / "params.yaml", "pretrain")
    fit = replace(config.lipcoder.fit, seconds=400.0)
    config = replace(config, lipcoder=replace(config.lipcoder, fit=fit))
    with pytest.raises(CheckError, match="no train clip of one voice with 10000 frames"):
        pretrain.plan(config, workspace)
