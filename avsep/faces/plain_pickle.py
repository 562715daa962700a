"""Pickles of plain values and numeric arrays, read without the pickle machine.

Python's own unpickler can call anything, and even with a list of allowed names it builds objects
of C whose state comes from the file: a numpy type with a damaged state ends the process. Here a
short interpreter knows the opcodes that such files need. It makes only Python's own numbers, texts,
lists, tuples and dicts; an array stays its bytes, a type and a shape until all of it is checked.

Sizes in the file are compared with what the file holds before anything is reserved, and the number
of values is limited, so that a small file cannot fill the memory.

Source: the comments of `pickletools` in Python's library.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_STEPS = 20_000_000  # opcodes; four hours of video at 25 frames per second have about 15 million
MAX_VALUES = 6_000_000  # lists, tuples, dicts, arrays and memo entries
MAX_AXES = 4
MAX_ARGUMENTS = 4  # they are copied at each call, and a file may share them
_NUMBER = re.compile(r"[<>|=]?([biuf][1248])")


class PlainPickleError(ValueError):
    """The content is damaged, too large, or holds something other than plain values."""


class NumberType:
    """The type of an array: `<f4` and the like. Its byte order is set by a later opcode."""

    def __init__(self, code: Any) -> None:
        match = _NUMBER.fullmatch(code) if isinstance(code, str) else None
        if match is None or match[1] in ("f1", "b2", "b4", "b8"):
            raise PlainPickleError("an array in it is not numeric")
        self.order, self.code = (code[0] if code[0] in "<>" else "<"), match[1]

    def set_state(self, state: Any) -> None:
        """Take the byte order; everything else in a state belongs to types that are not numbers."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise PlainPickleError("the type of an array in it is damaged")
        self.order = ">" if state[1] == ">" else "<"

    @property
    def size(self) -> int:
        """Bytes per number."""
        return int(self.code[1])

    def numpy(self) -> np.dtype[Any]:
        """As numpy's own type."""
        return np.dtype(self.order + self.code)


class Numbers:
    """An array that has not been made yet."""

    def __init__(self) -> None:
        self._content: tuple[bytes, NumberType, tuple[int, ...], bool] | None = None

    def fill(self, raw: Any, kind: Any, shape: Any, by_columns: Any) -> None:
        """Take bytes, type and shape.

        Raises:
            PlainPickleError: they do not fit each other.
        """
        if not isinstance(kind, NumberType):
            raise PlainPickleError("an array in it is not numeric")
        if not isinstance(raw, bytes) or not isinstance(shape, tuple) or len(shape) > MAX_AXES:
            raise PlainPickleError("an array in it has no bytes or no shape")
        if any(type(n) is not int or not 0 <= n < 1 << 40 for n in shape):
            raise PlainPickleError("an array in it has no shape")
        if math.prod(shape) * kind.size != len(raw):
            raise PlainPickleError("the size of an array in it does not match its bytes")
        self._content = (raw, kind, shape, bool(by_columns))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array.

        Raises:
            PlainPickleError: its content never came.
        """
        return self._filled()[2]

    def array(self) -> NDArray[Any]:
        """The array, read-only.

        Raises:
            PlainPickleError: its content never came.
        """
        raw, kind, shape, by_columns = self._filled()
        return np.frombuffer(raw, kind.numpy()).reshape(shape, order="F" if by_columns else "C")

    def _filled(self) -> tuple[bytes, NumberType, tuple[int, ...], bool]:
        if self._content is None:
            raise PlainPickleError("an array in it has no content")
        return self._content


def load_plain(content: bytes) -> Any:
    """The value in a pickle of lists, tuples, dicts, numbers, texts and numeric arrays.

    Returns:
        The value; arrays in it are `Numbers`, numpy's single numbers are arrays without axes.

    Raises:
        PlainPickleError: the content is damaged or too large, or names anything else.
    """
    try:
        return _Machine(content).run()
    except PlainPickleError:
        raise
    except (
        ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        raise PlainPickleError(f"it is damaged ({type(error).__name__})") from error


class _Name:
    """A callable that the file names: one of `_CALLS`."""

    def __init__(self, module: Any, name: Any) -> None:
        # The hash or the text of anything else, e.g. a deep tuple, could end the process.
        if not (isinstance(module, str) and isinstance(name, str)):
            raise PlainPickleError("it is damaged (a name that is not a text)")
        known = (module.replace("numpy._core", "numpy.core"), name)
        if known not in _CALLS:
            named = ascii(f"{module[:100]}.{name[:100]}")
            raise PlainPickleError(f"it names {named}, which is not allowed")
        self.call = _CALLS[known]


class _Machine:
    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}
        self.values = 0
        self.copied = 0  # bytes of texts that were turned into bytes

    def run(self) -> Any:
        content = self.content
        for _ in range(MAX_STEPS):
            if self.at >= len(content):
                raise PlainPickleError("it is cut")
            code = content[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                if len(self.stack) != 1:
                    raise PlainPickleError("it is damaged (values are left over)")
                return self.stack[0]
            step = _STEPS.get(code)
            if step is None:
                raise PlainPickleError(f"it has the opcode {code:#04x}, which is not allowed")
            step(self)
        raise PlainPickleError(f"it has more than {MAX_STEPS} opcodes")

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.content) - self.at:
            raise PlainPickleError("it is cut")
        self.at += size
        return self.content[self.at - size : self.at]

    def sized(self, width: int) -> bytes:
        return self.take(int.from_bytes(self.take(width), "little"))

    def line(self) -> bytes:
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise PlainPickleError("it is cut")
        return self.take(end + 1 - self.at)[:-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def made(self, value: Any) -> None:
        """Push a value that takes memory beyond its bytes in the file."""
        self.count()
        self.stack.append(value)

    def count(self) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            raise PlainPickleError(f"it has more than {MAX_VALUES} values")

    def pop(self) -> Any:
        return self.stack.pop()

    def drop(self) -> None:
        """Forget the last mark or value."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def popped(self, count: int) -> tuple[Any, ...]:
        return tuple(self.pop() for _ in range(count))[::-1]

    def to_mark(self) -> list[Any]:
        if not self.marks:
            raise PlainPickleError("it is damaged (no mark)")
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise PlainPickleError(f"it is damaged (no {kind.__name__})")
        return value

    def append(self) -> None:
        value = self.pop()
        self.top(list).append(value)

    def extend(self) -> None:
        items = self.to_mark()
        self.top(list).extend(items)

    def make_dict(self, items: list[Any]) -> None:
        self.made({})
        self.set_items(items)

    def set_items(self, items: list[Any]) -> None:
        into = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                raise PlainPickleError("a dict in it has a key that is not a text")
            self.count()
            into[key] = value

    def remember(self, place: int) -> None:
        self.count()
        self.memo[place] = self.stack[-1]

    def reduce(self) -> None:
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, _Name) or type(arguments) is not tuple:
            raise PlainPickleError("it calls something that is not a name")
        if len(arguments) > MAX_ARGUMENTS:
            raise PlainPickleError(f"it calls a name with {len(arguments)} arguments")
        self.made(name.call(self, *arguments))

    def build(self) -> None:
        state, value = self.pop(), self.stack[-1]
        if isinstance(value, NumberType):
            value.set_state(state)
        elif isinstance(value, Numbers):
            _version, shape, kind, by_columns, raw = state
            value.fill(self.as_bytes(raw), kind, shape, by_columns)
        else:
            raise PlainPickleError("it gives a state to something that has none")

    def as_bytes(self, raw: Any) -> Any:
        """Bytes that Python 2 and protocol 2 keep as a text; a text may be named many times."""
        if not isinstance(raw, str):
            return raw
        self.copied += len(raw)
        if self.copied > 2 * len(self.content):
            raise PlainPickleError("it unpacks to more than it holds")
        return codecs.latin_1_encode(raw)[0]


def _encode(machine: _Machine, text: Any = "", encoding: Any = "") -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise PlainPickleError("it has bytes in an unknown encoding")
    return bytes(machine.as_bytes(text))


def _scalar(machine: _Machine, kind: Any, raw: Any = b"") -> Numbers:
    numbers = Numbers()
    numbers.fill(machine.as_bytes(raw), kind, (), False)
    return numbers


def _from_buffer(_machine: _Machine, raw: Any, kind: Any, shape: Any, order: Any) -> Numbers:
    numbers = Numbers()
    numbers.fill(raw, kind, shape, order == "F")
    return numbers


def _not_called(_machine: _Machine, *_arguments: Any) -> Any:
    raise PlainPickleError("it calls numpy.ndarray, which is not allowed")


# What numpy's arrays and numbers are made by. None of it is numpy's own.
_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda _machine, *_: Numbers(),
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "dtype"): lambda _machine, code, *_: NumberType(code),
    ("numpy", "ndarray"): _not_called,
    ("_codecs", "encode"): _encode,
}


def _int_line(machine: _Machine) -> None:
    text = machine.line()
    machine.push({b"00": False, b"01": True}[text] if text in (b"00", b"01") else int(text))


def _string_line(machine: _Machine) -> None:
    text = machine.line()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise PlainPickleError("it is damaged (a text without quotes)")
    machine.push(codecs.escape_decode(text[1:-1])[0].decode("latin1"))


def _global_line(machine: _Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.made(_Name(module.decode("ascii", "replace"), name.decode("ascii", "replace")))


def _protocol(machine: _Machine) -> None:
    if machine.take(1)[0] > 5:
        raise PlainPickleError("it has an unknown protocol")


def _integer(width: int, *, signed: bool = False) -> Callable[[_Machine], None]:
    return lambda m: m.push(int.from_bytes(m.take(width), "little", signed=signed))


def _long(width: int) -> Callable[[_Machine], None]:
    def step(machine: _Machine) -> None:
        raw = machine.sized(width)
        if len(raw) > 64:
            raise PlainPickleError("it has a number of more than 64 bytes")
        machine.push(int.from_bytes(raw, "little", signed=True))

    return step


def _text(width: int, encoding: str = "utf-8") -> Callable[[_Machine], None]:
    errors = "surrogatepass" if encoding == "utf-8" else "strict"
    return lambda m: m.push(m.sized(width).decode(encoding, errors))


_STEPS: dict[int, Callable[[_Machine], object]] = {
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("0"): lambda m: m.drop(),
    ord("1"): lambda m: m.to_mark(),
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("I"): _int_line,
    ord("L"): lambda m: m.push(int(m.line().rstrip(b"L"))),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("J"): _integer(4, signed=True),
    ord("K"): _integer(1),
    ord("M"): _integer(2),
    0x8A: _long(1),
    0x8B: _long(4),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    ord("S"): _string_line,
    ord("T"): _text(4, "latin1"),
    ord("U"): _text(1, "latin1"),
    ord("V"): lambda m: m.push(m.line().decode("raw-unicode-escape")),
    ord("X"): _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("B"): lambda m: m.push(m.sized(4)),
    ord("C"): lambda m: m.push(m.sized(1)),
    0x8E: lambda m: m.push(m.sized(8)),
    0x96: lambda m: m.push(m.sized(8)),  # a bytearray, which nobody changes here
    ord("]"): lambda m: m.made([]),
    ord("}"): lambda m: m.made({}),
    ord(")"): lambda m: m.push(()),
    ord("l"): lambda m: m.made(m.to_mark()),
    ord("t"): lambda m: m.made(tuple(m.to_mark())),
    ord("d"): lambda m: m.make_dict(m.to_mark()),
    0x85: lambda m: m.made(m.popped(1)),
    0x86: lambda m: m.made(m.popped(2)),
    0x87: lambda m: m.made(m.popped(3)),
    ord("a"): lambda m: m.append(),
    ord("e"): lambda m: m.extend(),
    ord("s"): lambda m: m.set_items(list(m.popped(2))),
    ord("u"): lambda m: m.set_items(m.to_mark()),
    ord("p"): lambda m: m.remember(int(m.line())),
    ord("q"): lambda m: m.remember(m.take(1)[0]),
    ord("r"): lambda m: m.remember(int.from_bytes(m.take(4), "little")),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.push(m.memo[int(m.line())]),
    ord("h"): lambda m: m.push(m.memo[m.take(1)[0]]),
    ord("j"): lambda m: m.push(m.memo[int.from_bytes(m.take(4), "little")]),
    ord("c"): _global_line,
    0x93: lambda m: m.made(_Name(*m.popped(2))),
    ord("R"): lambda m: m.reduce(),
    ord("b"): lambda m: m.build(),
    0x80: _protocol,
    0x95: lambda m: m.take(8),  # a frame: only says how much follows
}
