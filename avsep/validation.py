"""Checks for config classes; each raises a ValueError that names the field, the value and the rule.

A field that is None passes: it means "not set". NaN and infinities never pass.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any


def check_at_least(config: Any, least: float, *names: str) -> None:
    """Raise ValueError if a field is below `least`."""
    for name, value in _values(config, names):
        if not (math.isfinite(value) and value >= least):
            raise ValueError(f"{name} is {value}; it must be at least {least:g}.")


def check_positive(config: Any, *names: str) -> None:
    """Raise ValueError if a field is not above 0."""
    for name, value in _values(config, names):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be above 0.")


def check_share(config: Any, *names: str) -> None:
    """Raise ValueError if a field is not in 0 to 1."""
    for name, value in _values(config, names):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must be between 0 and 1.")


def check_not_empty(config: Any, *names: str) -> None:
    """Raise ValueError where a list is empty."""
    for name, value in _values(config, names):
        if not value:
            raise ValueError(f"{name} is empty; name at least one.")


def check_range(config: Any, least: float, most: float, *names: str) -> None:
    """Raise ValueError where a field is not in `least` to `most`."""
    for name, value in _values(config, names):
        if not least <= value <= most:
            raise ValueError(f"{name} is {value}; it must be between {least:g} and {most:g}.")


def check_choice(config: Any, choices: Collection[Any], *names: str) -> None:
    """Raise ValueError if a field is not one of `choices`."""
    for name, value in _values(config, names):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; it may be {', '.join(map(repr, choices))}.")


def check_odd(config: Any, *names: str) -> None:
    """Raise ValueError where a field is not a positive odd number, such as a kernel size."""
    for name, value in _values(config, names):
        if value < 1 or value % 2 == 0:
            raise ValueError(f"{name} is {value}; it must be positive and odd.")


def check_below(config: Any, limit: float, *names: str) -> None:
    """Raise ValueError where a field is not at least 0 and below `limit`."""
    for name, value in _values(config, names):
        if not 0 <= value < limit:
            raise ValueError(f"{name} is {value}; it must be at least 0 and below {limit:g}.")


def _values(config: Any, names: tuple[str, ...]) -> list[tuple[str, Any]]:
    pairs = [(name, getattr(config, name)) for name in names]
    return [(name, value) for name, value in pairs if value is not None]
