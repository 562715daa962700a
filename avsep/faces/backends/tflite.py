"""Read a TFLite model: its operators in order, with their options and constants.

Only the operators of MediaPipe's face models are known. The schema comes with LiteRT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avsep.errors import CheckError

_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64}
_SAME = 0  # the padding that keeps the size (divided by the stride); the other one pads nothing
_ACTIVATIONS = {0: "", 1: "relu", 3: "relu6"}


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator of a model.

    Attributes:
        kind: name in the TFLite schema, e.g. `CONV_2D`.
        inputs: numbers of the tensors that it reads; constants included, absent ones left out.
        output: number of the tensor that it writes.
        stride: vertical and horizontal stride.
        window: height and width of the pooling window.
        pads: rows and columns of padding: top, bottom, left, right.
        activation: `relu`, `relu6` or empty.
        axis: axis of a concatenation.
        shape: shape of the output, batch first and channels last.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    stride: tuple[int, int] = (1, 1)
    window: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    activation: str = ""
    axis: int = 0
    shape: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Model:
    """A model with one input.

    Attributes:
        input: number of the input tensor.
        outputs: number of each output tensor, by name.
        operators: in the order of execution.
        constants: arrays by the number of their tensor, float32 or int32, channels last.
    """

    input: int
    outputs: dict[str, int]
    operators: list[Operator] = field(default_factory=list)
    constants: dict[int, np.ndarray] = field(default_factory=dict)


def read_model(content: bytes) -> Model:
    """Read a model.

    Args:
        content: bytes of the file, which must be trusted (see `task_file.read_models`).

    Raises:
        CheckError: the model has an operator or option that is not known here.
    """
    from ai_edge_litert import schema_py_generated as schema

    file = schema.Model.GetRootAs(content, 0)
    graph = file.Subgraphs(0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    model = Model(
        input=int(graph.Inputs(0)),
        outputs={
            graph.Tensors(int(number)).Name().decode(): int(number)
            for number in graph.OutputsAsNumpy()
        },
    )
    for number in range(graph.TensorsLength()):
        tensor = graph.Tensors(number)
        buffer = file.Buffers(tensor.Buffer())
        if buffer.DataLength():
            values = buffer.DataAsNumpy().view(_DTYPES[tensor.Type()]).reshape(_shape(tensor))
            wide = np.float32 if values.dtype == np.float16 else values.dtype
            model.constants[number] = values.astype(wide)
    for place in range(graph.OperatorsLength()):
        raw = graph.Operators(place)
        code = file.OperatorCodes(raw.OpcodeIndex())
        kind = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        inputs = tuple(int(number) for number in raw.InputsAsNumpy() if number >= 0)
        output = int(raw.Outputs(0))
        if kind == "DEQUANTIZE" and inputs[0] in model.constants:
            model.constants[output] = model.constants[inputs[0]]
            continue
        if kind not in _OPTIONS:
            raise CheckError(f"the model has the operator {kind}, which avsep does not know.")
        read = _OPTIONS[kind]
        shapes = [_shape(graph.Tensors(number)) for number in inputs]
        options = read(schema, raw, shapes) if read else {}
        shape = _shape(graph.Tensors(output))
        model.operators.append(Operator(kind, inputs, output, shape=shape, **options))
    return model


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()


def _table(raw: Any, kind: Any) -> Any:
    """The options of an operator as a table of the schema."""
    options, table = raw.BuiltinOptions(), kind()
    table.Init(options.Bytes, options.Pos)
    return table


def _activation(table: Any) -> str:
    number = table.FusedActivationFunction()
    if number not in _ACTIVATIONS:
        raise CheckError(f"the model has the activation {number}, which avsep does not know.")
    return _ACTIVATIONS[number]


def _sliding(table: Any, size: tuple[int, ...], window: tuple[int, int]) -> dict[str, Any]:
    """Options of what slides a window over a picture of shape (N, H, W, C)."""
    stride = table.StrideH(), table.StrideW()
    pads: list[int] = []
    for length, step, reach in zip(size[1:3], stride, window, strict=True):
        # As in TensorFlow: the odd one of an uneven padding goes to the end.
        missing = max((-(-length // step) - 1) * step + reach - length, 0)
        missing *= table.Padding() == _SAME
        pads += [missing // 2, missing - missing // 2]
    return {"stride": stride, "pads": tuple(pads), "activation": _activation(table)}


def _convolution(schema: Any, raw: Any, shapes: list[tuple[int, ...]]) -> dict[str, Any]:
    table = _table(raw, schema.Conv2DOptions)
    return _checked_dilation(table, _sliding(table, shapes[0], shapes[1][1:3]))  # type: ignore[arg-type]


def _depthwise(schema: Any, raw: Any, shapes: list[tuple[int, ...]]) -> dict[str, Any]:
    table = _table(raw, schema.DepthwiseConv2DOptions)
    return _checked_dilation(table, _sliding(table, shapes[0], shapes[1][1:3]))  # type: ignore[arg-type]


def _checked_dilation(table: Any, options: dict[str, Any]) -> dict[str, Any]:
    if (table.DilationHFactor(), table.DilationWFactor()) != (1, 1):
        raise CheckError("the model has a dilated convolution, which avsep does not know.")
    return options


def _max_pool(schema: Any, raw: Any, shapes: list[tuple[int, ...]]) -> dict[str, Any]:
    table = _table(raw, schema.Pool2DOptions)
    window = table.FilterHeight(), table.FilterWidth()
    return {"window": window} | _sliding(table, shapes[0], window)


def _add(schema: Any, raw: Any, _: list[tuple[int, ...]]) -> dict[str, Any]:
    return {"activation": _activation(_table(raw, schema.AddOptions))}


def _concatenation(schema: Any, raw: Any, _: list[tuple[int, ...]]) -> dict[str, Any]:
    table = _table(raw, schema.ConcatenationOptions)
    return {"axis": table.Axis(), "activation": _activation(table)}


_Read = Callable[[Any, Any, list[tuple[int, ...]]], dict[str, Any]]
_OPTIONS: dict[str, _Read | None] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "MAX_POOL_2D": _max_pool,
    "ADD": _add,
    "CONCATENATION": _concatenation,
    "PAD": None,
    "PRELU": None,
    "RELU": None,
    "RESHAPE": None,
    "LOGISTIC": None,
}
