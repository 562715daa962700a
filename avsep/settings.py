"""Turn plain values into frozen dataclasses and back; refuse unknown keys and invalid values."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from avsep.errors import UsageError
from avsep.files import read_bounded

MAX_PARAMS_BYTES = 1 << 20
MAX_VALUES = 100_000
MAX_SHOWN = 200  # characters of a wrong value
# YAML can spell what no file, path or database can hold: NUL, and half of a surrogate pair.
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


T = TypeVar("T")


def read_settings(path: Path, wanted: str = "settings by name") -> dict[str, Any]:
    """Read a YAML file as plain values.

    Args:
        path: path of the file.
        wanted: what the file must hold, for the error message.

    Raises:
        UsageError: the file cannot be read, is too large, or is not YAML of that kind.
    """
    try:
        content = read_bounded(path, MAX_PARAMS_BYTES)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is not a settings file: {error}.") from error
    try:
        values = _parse(content.decode("utf-8"))
    except RecursionError as error:
        raise UsageError(f"{path} is not valid YAML: it is too deep.") from error
    # Its own errors are not all: the 31st of February, a bool that is none, too many digits.
    except Exception as error:
        raise UsageError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold {wanted}, not {type(values).__name__}.")
    return values


def _parse(text: str) -> Any:
    """The values of YAML, which are made only if they are not too many.

    Raises:
        ValueError: aliases repeat values over and over, or a value is inside itself.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MAX_VALUES:
            raise ValueError(f"it holds more than {MAX_VALUES} values.")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for; those of an alias count wherever it stands."""
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # if it is inside itself
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def build(cls: type[T], values: Any, where: str) -> T:
    """A frozen dataclass from plain values, checked key by key and type by type.

    A class with a method `defaults(values)` has defaults that depend on the values, for example on
    a size; the values are merged over them key by key, nested sections too.

    Args:
        cls: the dataclass; its fields may be dataclasses, tuples, dicts, Literals, enums and
            unions with None.
        values: a mapping from YAML.
        where: position in the file as a dotted name, for the error message.

    Raises:
        UsageError: a key is unknown or missing, a value has the wrong type, or `cls` refuses it.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"{where} must be a section of keys, not {values!r}.")
    # `vovit-s1` is a model's name everywhere; as a field it is `vovit_s1`.
    values = {str(key).replace("-", "_"): value for key, value in values.items()}
    if (defaults := getattr(cls, "defaults", None)) is not None:
        values = _merged(defaults(values), values)
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    if unknown := sorted(key for key in values if key not in fields):
        raise UsageError(
            f"{where} has the unknown key(s) {', '.join(unknown)};"
            f" known are {', '.join(sorted(fields))}."
        )
    missing = [
        name
        for name, f in fields.items()
        if name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(f"{where} lacks the key(s) {', '.join(missing)}.")
    arguments = {
        name: convert(hints[name], value, f"{where}.{name}") for name, value in values.items()
    }
    try:
        return cls(**arguments)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def convert(hint: Any, value: Any, where: str) -> Any:
    """A value converted to the type `hint`; a UsageError names its position otherwise."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _plain(value, where)
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value not in arguments:
            raise UsageError(
                f"{where} is {_shown(value)}; it may be {', '.join(map(repr, arguments))}."
            )
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"{where} must be a list, not {_shown(value)}.")
        kinds = (
            [arguments[0]] * len(value)
            if len(arguments) == 2 and arguments[1] is Ellipsis
            else list(arguments)
        )
        if len(kinds) != len(value):
            raise UsageError(f"{where} must have {len(kinds)} entries, not {len(value)}.")
        return tuple(
            convert(kind, item, f"{where}[{i}]")
            for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is dict or origin is Mapping:
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} must be a section of keys, not {_shown(value)}.")
        return {
            convert(arguments[0], key, f"a key of {where}"): convert(
                arguments[1], item, f"{where}.{key}"
            )
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError as error:
            names = ", ".join(repr(member.value) for member in hint)
            raise UsageError(f"{where} is {_shown(value)}; it may be {names}.") from error
    return _convert_scalar(hint, value, where)


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    kinds = [kind for kind in arguments if kind is not type(None)]
    for kind in kinds[:-1]:
        try:
            return convert(kind, value, where)
        except UsageError:
            continue
    return convert(kinds[-1], value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError as error:
            raise UsageError(f"{where} is {_shown(value)}, too large a number.") from error
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads `1e-3` (no dot) as text.
        with contextlib.suppress(ValueError):
            value = float(value)
    # bool is a subclass of int: `steps: true` must not become 1.
    if (isinstance(value, bool) and hint is not bool) or not isinstance(value, hint):
        raise UsageError(f"{where} must be of type {hint.__name__}, not {_shown(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where} is {value}; it must be a finite number.")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise UsageError(f"{where} is {_shown(value)}; whole numbers have at most 64 bits.")
    if isinstance(value, str) and (found := _NOT_TEXT.search(value)):
        raise UsageError(
            f"{where} is {_shown(value)}; {found[0]!r} in it is not a character of a text."
        )
    return value


def _plain(value: Any, where: str) -> Any:
    """A value of any of the kinds that JSON has too; YAML also has dates, bytes and sets."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return convert(dict[str, Any], value, where)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    kind = next((kind for kind in (bool, int, float) if isinstance(value, kind)), str)
    return _convert_scalar(kind, value, where)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # a number of thousands of digits
        return "a number of very many digits"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def as_values(config: Any) -> Any:
    """A config as plain values that JSON can store, for hashes, cards and logs."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: as_values(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): as_values(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [as_values(value) for value in config]
    if isinstance(config, Enum):
        return config.value
    return config


def with_overrides(config: T, overrides: Mapping[str, Any], where: str) -> T:
    """A copy of a config with some values changed.

    Args:
        config: a frozen dataclass.
        overrides: the changes, nested as the config is.
        where: the place in the settings file, for the error message.

    Raises:
        UsageError: an unknown key or a value that the config refuses.
    """
    return build(type(config), _merged(as_values(config), overrides), where)


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(change, Mapping):
            result[key] = _merged(old, change)
        else:
            result[key] = change
    return result
