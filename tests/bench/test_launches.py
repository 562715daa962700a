"""What the models ask of a GPU, held without one."""

import json

import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from avsep.bench.models.launch_counter import counted_launches
from avsep.bench.models.launches import count_launches
from avsep.cli.app import app


def meta(*shape):
    return torch.empty(shape, device="meta")


def last(*shape):
    return torch.empty(shape, device="meta", memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("work", "launches"),
    [
        (lambda: meta(2, 3).transpose(0, 1)[:1].view(2), 0),
        (lambda: meta(2, 3) + 1, 1),
        (lambda: meta(2, 3) @ meta(3, 4), 1),
        (lambda: torch.cat([meta(2), meta(3), meta(4)]), 1),
        (lambda: F.pad(meta(2, 3), (1, 1)), 2),
        (lambda: F.conv1d(meta(1, 4, 9), meta(4, 1, 3), meta(4), groups=4), 1),
        (lambda: F.conv1d(meta(1, 9, 4).transpose(1, 2), meta(4, 1, 3), groups=4), 2),
        (lambda: F.conv2d(meta(1, 4, 9, 9), meta(2, 4, 3, 3), meta(2)), 2),
        (lambda: F.conv2d(last(1, 4, 9, 9), last(2, 4, 3, 3)).permute(0, 2, 3, 1).contiguous(), 1),
        (lambda: F.conv2d(last(1, 4, 9, 9), meta(2, 4, 3, 3)), 2),
        (lambda: F.conv2d(meta(1, 4, 9, 9).mT, meta(2, 4, 3, 3)), 2),
        (lambda: torch._foreach_mul([meta(2)] * 111, 2.0), 2),
        (lambda: F.scaled_dot_product_attention(*[meta(1, 2, 8, 16)] * 3), 1),
    ],
)
def test_the_rule_of_counting(work, launches):
    assert counted_launches(work).total == launches
    with torch.inference_mode():
        assert counted_launches(work).total == launches


def test_bytes_are_those_of_what_is_read_and_written():
    assert counted_launches(lambda: meta(10, 3) + meta(3)).bytes_moved == 4 * (30 + 3 + 30)
    assert counted_launches(lambda: meta(3).expand(10, 3) * 2).bytes_moved == 4 * (3 + 30)


def test_a_question_to_the_device_is_a_wait():
    assert counted_launches(lambda: torch.equal(meta(2), meta(2))).host_waits == 1
    assert counted_launches(lambda: meta(2) + 1).host_waits == 0


@pytest.mark.slow
def test_dolphin_stays_within_its_launches():
    forward, step = count_launches("dolphin", seconds=2.0, batch=8)
    assert 900 < forward["launches"] <= 1300
    assert forward["host_waits"] == 0
    assert forward["launches"] < step["launches"] <= 5000
    assert step["gigabytes"] <= 200


@pytest.mark.slow
def test_vovit_stays_within_its_launches():
    """At most half of what they once were."""
    forward, step = count_launches("vovit", batch=8)
    assert 200 < forward["launches"] <= 297
    assert forward["host_waits"] == step["host_waits"] == 0
    assert forward["launches"] < step["launches"] <= 961


def test_the_command_refuses_other_models():
    result = CliRunner().invoke(app, ["bench", "launches", "--model", "other"])
    assert result.exit_code != 0


@pytest.mark.slow
def test_the_command_prints_json():
    result = CliRunner().invoke(app, ["bench", "launches", "--model", "vovit", "--json"])
    rows = json.loads(result.output)
    assert [row["pass"] for row in rows] == ["forward", "training step"]
    assert all(row["launches"] == sum(row["kernels"].values()) for row in rows)
