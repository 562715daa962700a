"""`avsep plan`: what the settings cost on this machine, before anything starts."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from avsep.cli.options import AsJson, Root
from avsep.terminal import echo
from avsep.workspace import PARAMS, find_project
from pipeline.config import load_configs
from pipeline.disk import IGNORE, MARGIN, size_text
from pipeline.plan import Cost, ProjectPlan, plan_project, total

UNKNOWN, NOTHING, GPU = "unknown", "-", "GPU-h"
MAX_WIDTH = 100
GBIT_BYTES = 1e9 / 8  # per second, at 1 Gbit/s
_HEADER = ("stage", "work", "video", "core-h", "time here", GPU, "disk", "rate")


def plan(
    profile: Annotated[str, typer.Option(help="A profile's name; params.yaml if left out.")] = "",
    as_json: AsJson = False,
    root: Root = None,
) -> None:
    """Say what each stage takes on this machine: hours, days of training, disk. Starts nothing."""
    workspace = find_project(root)
    path = workspace.root / (f"profiles/{profile}.yaml" if profile else PARAMS)
    found = plan_project(load_configs(path), workspace)
    if as_json:
        echo(json.dumps(as_plain(found), indent=2))
        return
    width = min(MAX_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 24)).columns)
    for line in table(found, width):
        echo(line)
    for paragraph in sentences(found):
        echo()
        echo("\n".join(textwrap.wrap(paragraph, width, subsequent_indent="  ")))


def as_plain(found: ProjectPlan) -> dict[str, Any]:
    """The plan as JSON values; null is unknown."""
    return {
        "cores": found.cores,
        "gpus": found.gpus,
        "free_bytes": found.free_bytes,
        "needed_bytes": round(found.needed_bytes),
        "network": {
            "read_bytes": _scaled(found.raw_bytes, 1, digits=0),
            "written_bytes": _scaled(_shard_bytes(found), 1, digits=0),
            "youtube_videos": found.videos,
        },
        "stages": [_plain_cost(cost) for cost in found.costs],
        "notes": list(found.notes),
    }


def _shard_bytes(found: ProjectPlan) -> float | None:
    return next(cost.disk_bytes for cost in found.costs if cost.stage == "extract")


def _plain_cost(cost: Cost) -> dict[str, Any]:
    return {
        "stage": cost.stage,
        "model": cost.model,
        "items": cost.items,
        "unit": cost.unit,
        "video_hours": _scaled(cost.video_s, 3600),
        "core_hours": _scaled(cost.core_s, 3600),
        "wall_hours": _scaled(cost.wall_s, 3600),
        "uses_gpu": cost.on_gpu,
        "gpu_hours": _scaled(cost.gpu_s, 3600),
        **(_plain_training(cost) if cost.is_training else {}),
        "disk_bytes": _scaled(cost.disk_bytes, 1, digits=0),
        "rate": cost.rate,
    }


def _plain_training(cost: Cost) -> dict[str, Any]:
    return {
        "training_days": _scaled(cost.wall_s, 86400),
        "may_end_early": cost.may_end_early,
    }


def _scaled(value: float | None, unit: float, digits: int = 4) -> float | None:
    return None if value is None else round(value / unit, digits)


def table(found: ProjectPlan, width: int = MAX_WIDTH) -> list[str]:
    """The lines of the table; the numbers in its last column name the rates.

    Args:
        found: the plan.
        width: columns of the terminal; the table is closer set where it would be wider.
    """
    sources = rate_sources(found)
    rows: list[Sequence[str]] = [_HEADER]
    rows += [_row(cost, sources) for cost in found.costs]
    rows.append(_total_row(found))
    if not any(cost.on_gpu for cost in found.costs):
        rows = [
            [cell for cell, name in zip(row, _HEADER, strict=True) if name != GPU] for row in rows
        ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) - 2 <= width else " "
    lines = [gap.join(_aligned(row, widths)).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if i else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _row(cost: Cost, sources: Sequence[str]) -> tuple[str, ...]:
    works_on_video = cost.unit in ("clips", "samples")
    trains_on_gpu = cost.is_training and cost.on_gpu
    return (
        f"{cost.stage} {cost.model}".strip(),
        f"{UNKNOWN if cost.items is None else format(cost.items, ',')} {cost.unit}",
        _time(cost.video_s, days=False) if works_on_video else NOTHING,
        NOTHING if trains_on_gpu else _hours(cost.core_s),
        _time(cost.wall_s),
        _hours(cost.gpu_s) if cost.on_gpu else NOTHING,
        UNKNOWN if cost.disk_bytes is None else size_text(cost.disk_bytes),
        str(sources.index(cost.rate) + 1) if cost.rate else NOTHING,
    )


def _total_row(found: ProjectPlan) -> tuple[str, ...]:
    by_cores = [cost for cost in found.costs if not (cost.is_training and cost.on_gpu)]
    core_s, cores_known = total(cost.core_s for cost in by_cores)
    wall_s, wall_known = total(cost.wall_s for cost in found.costs)
    gpu_s, gpu_known = total(cost.gpu_s for cost in found.costs if cost.on_gpu)
    uses_gpu = any(cost.on_gpu for cost in found.costs)
    return (
        "all",
        "",
        "",
        _at_least(_hours(core_s), cores_known),
        _at_least(_time(wall_s), wall_known),
        _at_least(_hours(gpu_s or None), gpu_known) if uses_gpu else NOTHING,
        _at_least(size_text(found.disk_bytes), not found.unsized),
        "",
    )


def _at_least(text: str, everything_known: bool) -> str:
    return text if everything_known or text == UNKNOWN else f">{text}"


def _hours(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    hours = seconds / 3600
    if hours < 0.005:
        return "<0.01"
    return (
        f"{hours:,.0f}" if hours >= 9.95 else f"{hours:.1f}" if hours >= 0.095 else f"{hours:.2f}"
    )


def _time(seconds: float | None, *, days: bool = True) -> str:
    if seconds is None:
        return UNKNOWN
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    if hours < 72 or not days:
        return f"{hours:.1f} h" if hours < 9.95 else f"{hours:,.0f} h"
    return f"{seconds / 86400:,.1f} days"


def rate_sources(found: ProjectPlan) -> list[str]:
    """The sources of the rates, each once, in the order of the stages."""
    return list(dict.fromkeys(cost.rate for cost in found.costs if cost.rate))


def sentences(found: ProjectPlan) -> list[str]:
    """What the table cannot say, one paragraph each."""
    training_s, known = total(cost.wall_s for cost in found.costs if cost.is_training)
    days = f"{training_s / 86400:,.1f} days" if training_s >= 86400 else _time(training_s)
    training = f"Training takes {'' if known else 'at least '}{days}, one model after the other."
    if not training_s and not known:
        training = "How long training takes is unknown."
    if not known:
        training += " A training that nobody has timed is unknown; once it has run here for a"
        training += " minute, `avsep plan` knows."
    if any(cost.may_end_early for cost in found.costs):
        training += " One with fit.patience may end earlier."
    gpus = f"{found.gpus} GPU{'s' if found.gpus > 1 else ''}" if found.gpus else "no GPU"
    machine = f"This machine: {found.cores} cores, {gpus}, {size_text(found.free_bytes)} free."
    if found.needed_bytes > found.free_bytes:
        machine += (
            f" THE DISK IS TOO SMALL: {size_text(found.needed_bytes)} more are needed, with a"
            f" margin of {MARGIN - 1:.0%}. Stages refuse to start without the space for their"
            f" result ({IGNORE}=1 overrides)."
        )
    rates = " ".join(f"[{i}] {source}." for i, source in enumerate(rate_sources(found), 1))
    paragraphs = [training, machine, _network(found), " ".join(found.notes), f"Rates: {rates}"]
    return [paragraph for paragraph in paragraphs if paragraph]


def _network(found: ProjectPlan) -> str:
    """What goes over the network: videos, and clips and shards where these lie elsewhere."""
    parts = []
    if found.videos:
        parts.append(f"{found.videos:,} videos come from YouTube.")
    shards = _shard_bytes(found)
    if found.raw_bytes and shards:
        seconds = (found.raw_bytes + shards) / GBIT_BYTES
        parts.append(
            f"extract reads {size_text(found.raw_bytes)} and writes {size_text(shards)}, in a"
            f" folder on another machine {_time(seconds)} at 1 Gbit/s."
        )
    return " ".join(["Network:", *parts]) if parts else ""
