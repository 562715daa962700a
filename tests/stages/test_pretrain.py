"""The stage `pretrain`: the lip encoder, from shards alone, that Dolphin starts from."""

from avsep.models import checkpoint
from tests.stages.test_train_stage import no_child, workspace  # noqa: F401
from tests.support.stage_run import run_stage


def test_it_publishes_a_lip_encoder_and_trains_it_once(workspace, no_child):  # noqa: F811
    report = run_stage("pretrain", workspace)
    assert report.counts.done == 1
    card = checkpoint.read_card(workspace.lipcoder, family="lipcoder")
    assert checkpoint.load(workspace.lipcoder).card == card
    weights = workspace.lipcoder / card["weights"]
    written = weights.stat().st_mtime_ns
    assert run_stage("pretrain", workspace).facts == report.facts  # its marker stands
    assert weights.stat().st_mtime_ns == written
