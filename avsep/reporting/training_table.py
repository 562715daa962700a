"""The table of how each model was trained: settings, seed, number format, steps and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avsep.progress import duration
from avsep.reporting.numbers import DASH, scaled
from avsep.reporting.training import Training


def training_rows(trainings: Sequence[Training]) -> list[tuple[str, list[str]]]:
    """The settings and facts of each training that has a card: a heading and one text each."""
    known = [training for training in trainings if training.card is not None]
    rows = [(heading, [of(training) for training in known]) for heading, of in _ROWS]
    return [(heading, texts) for heading, texts in rows if any(text != DASH for text in texts)]


def _card(training: Training, *path: str) -> Any:
    """A value of the card; None where it has none."""
    value: Any = training.card
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _text(training: Training, *path: str) -> str:
    value = _card(training, *path)
    return DASH if value in (None, "") else str(value)


def _parameters(training: Training) -> str:
    count = _card(training, "parameters")
    return scaled(count, 1e6, 2, "M") if isinstance(count, (int, float)) else DASH


def _steps(training: Training) -> str:
    best = _card(training, "metrics", "step")
    if not training.steps:
        return DASH
    return f"{training.steps:,}" + (f", best at {best:,.0f}" if best else "")


def _batch(training: Training) -> str:
    fit = _card(training, "training", "fit")
    if not isinstance(fit, Mapping) or not {"batch", "accumulate", "seconds"} <= fit.keys():
        return DASH
    devices = (training.times or {}).get("devices")
    processes = f", {devices} processes" if devices and devices > 1 else ""
    parts = f" × {fit['accumulate']}" if fit["accumulate"] > 1 else ""
    return f"{fit['batch']}{parts} of {fit['seconds']:g} s{processes}"


def _optimiser(training: Training) -> str:
    fit = _card(training, "training", "fit")
    if not isinstance(fit, Mapping) or not {"optimizer", "lr", "schedule"} <= fit.keys():
        return DASH
    extras = [
        f"{words} {fit[name]:g}"
        for name, words in (
            ("warmup", "warm-up"),
            ("weight_decay", "weight decay"),
            ("clip", "clipped at"),
            ("ema", "averaged with"),
        )
        if fit.get(name)
    ]
    return ", ".join([f"{fit['optimizer']}, {fit['schedule']} from {fit['lr']:g}", *extras])


def _augmentation(training: Training) -> str:
    changes = _card(training, "training", "augment")
    if not isinstance(changes, Mapping):
        return DASH
    return _settings({name: value for name, value in changes.items() if value}) or "none"


def _further(training: Training) -> str:
    settings = _card(training, "training")
    if not isinstance(settings, Mapping):
        return DASH
    left_out = ("size", "fit", "augment", "overrides", "init")
    further = {name: value for name, value in settings.items() if name not in left_out}
    if start := settings.get("init"):
        further["init"] = start
    return _settings({**further, **(settings.get("overrides") or {})}) or DASH


def _settings(values: Mapping[str, Any]) -> str:
    told = []
    for name, value in values.items():
        if isinstance(value, bool):
            told.append(name if value else f"no {name}")
        elif isinstance(value, Mapping):
            told.append(f"{name} ({_settings(value)})")
        else:
            told.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(told)


def _time(training: Training) -> str:
    each = (training.times or {}).get("seconds_per_step")
    if not isinstance(each, (int, float)) or not training.steps:
        return DASH
    return f"{duration(each * training.steps)}, {each:.2g} s per step"


def _machine(training: Training) -> str:
    machine, device = _text(training, "machine"), _text(training, "device")
    return machine if device in ("cpu", DASH) else f"{device}, {machine}"


_ROWS = (
    ("Size", lambda t: _text(t, "training", "size")),
    ("Parameters", _parameters),
    ("Steps", _steps),
    ("Items at once", _batch),
    ("Optimiser", _optimiser),
    ("Changes to items", _augmentation),
    ("Further settings", _further),
    ("Seed", lambda t: _text(t, "seed")),
    ("Number format", lambda t: _text(t, "precision")),
    ("Training time", _time),
    ("Machine", _machine),
)
