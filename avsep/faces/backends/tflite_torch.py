"""A TFLite model as a PyTorch module that takes batches, on any device, in any float format."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from avsep.faces.backends.tflite import Model, Operator

Tensors = dict[int, torch.Tensor]


class TfliteNetwork(torch.nn.Module):
    """Runs the operators that lead to the wanted outputs.

    Pictures are kept as (N, C, H, W), as PyTorch wants them; weights are turned when loaded.

    Args:
        model: the model.
        outputs: names of the outputs that `forward` returns, in order.
    """

    def __init__(self, model: Model, outputs: Sequence[str]) -> None:
        super().__init__()
        self._input = model.input
        self._outputs = [model.outputs[name] for name in outputs]
        self._operators = _needed(model.operators, self._outputs)
        self._pads = {
            operator.output: model.constants[operator.inputs[1]]
            for operator in self._operators
            if operator.kind == "PAD"
        }
        self._weights: dict[int, list[str]] = {}  # names of the buffers, by output
        for operator in self._operators:
            names = self._weights[operator.output] = []
            for number in operator.inputs[1:]:
                if number in model.constants and model.constants[number].dtype == np.float32:
                    names.append(f"weight_{number}")
                    self.register_buffer(names[-1], _turned(operator, model.constants[number]))

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """The wanted outputs, each (N, ...) in the order and layout of the TFLite model.

        Args:
            pictures: (N, C, H, W), in the format of the weights.
        """
        values: Tensors = {self._input: pictures}
        for operator in self._operators:
            values[operator.output] = _RUN[operator.kind](self, operator, values)
        return [_channels_last(values[number]) for number in self._outputs]

    def weights(self, operator: Operator) -> list[torch.Tensor]:
        """The weights that an operator reads."""
        return [self.get_buffer(name) for name in self._weights[operator.output]]

    def pads(self, operator: Operator) -> list[int]:
        """The paddings of an operator `PAD` as PyTorch wants them, last axis first."""
        (_, rows, columns, channels) = self._pads[operator.output].tolist()
        return [*columns, *rows, *channels]


def _needed(operators: Sequence[Operator], outputs: Sequence[int]) -> list[Operator]:
    wanted, kept = set(outputs), []
    for operator in reversed(operators):
        if operator.output in wanted:
            wanted |= set(operator.inputs)
            kept.append(operator)
    return kept[::-1]


def _turned(operator: Operator, weight: np.ndarray) -> torch.Tensor:
    """A weight in PyTorch's layout: (out, in, H, W), and one number per channel otherwise."""
    if weight.ndim == 4 and operator.kind == "CONV_2D":
        weight = weight.transpose(0, 3, 1, 2)
    elif weight.ndim == 4 and operator.kind == "DEPTHWISE_CONV_2D":
        weight = weight.transpose(3, 0, 1, 2)
    else:
        weight = weight.reshape(-1)
    turned = torch.from_numpy(np.ascontiguousarray(weight))
    return turned.to(memory_format=torch.channels_last) if turned.ndim == 4 else turned


def _channels_last(value: torch.Tensor) -> torch.Tensor:
    return value.permute(0, 2, 3, 1) if value.ndim == 4 else value


def _activated(value: torch.Tensor, activation: str) -> torch.Tensor:
    if activation == "relu6":
        return F.relu6(value)
    return F.relu(value) if activation else value


def _padded(operator: Operator, value: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
    top, bottom, left, right = operator.pads
    return F.pad(value, [left, right, top, bottom], value=fill) if any(operator.pads) else value


def _convolve(network: TfliteNetwork, operator: Operator, values: Tensors) -> torch.Tensor:
    weight, *bias = network.weights(operator)
    groups = len(weight) if operator.kind == "DEPTHWISE_CONV_2D" else 1
    picture = _padded(operator, values[operator.inputs[0]])
    result = F.conv2d(
        picture, weight, bias[0] if bias else None, stride=operator.stride, groups=groups
    )
    return _activated(result, operator.activation)


def _max_pool(_: TfliteNetwork, operator: Operator, values: Tensors) -> torch.Tensor:
    picture = _padded(operator, values[operator.inputs[0]], float("-inf"))
    return F.max_pool2d(picture, operator.window, operator.stride)


def _add(_: TfliteNetwork, operator: Operator, values: Tensors) -> torch.Tensor:
    one, other = (values[number] for number in operator.inputs)
    return _activated(one + other, operator.activation)


def _concatenate(_: TfliteNetwork, operator: Operator, values: Tensors) -> torch.Tensor:
    # Only rows without a height and a width are joined in these models: no axis has moved.
    return torch.cat([values[number] for number in operator.inputs], dim=operator.axis)


def _pad(network: TfliteNetwork, operator: Operator, values: Tensors) -> torch.Tensor:
    return F.pad(values[operator.inputs[0]], network.pads(operator))


def _prelu(network: TfliteNetwork, operator: Operator, values: Tensors) -> torch.Tensor:
    return F.prelu(values[operator.inputs[0]], network.weights(operator)[0])


def _relu(_: TfliteNetwork, operator: Operator, values: Tensors) -> torch.Tensor:
    return F.relu(values[operator.inputs[0]])


def _logistic(_: TfliteNetwork, operator: Operator, values: Tensors) -> torch.Tensor:
    return torch.sigmoid(values[operator.inputs[0]])


def _reshape(_: TfliteNetwork, operator: Operator, values: Tensors) -> torch.Tensor:
    value = _channels_last(values[operator.inputs[0]])
    return value.reshape(len(value), *operator.shape[1:])


_Run = Callable[[TfliteNetwork, Operator, Tensors], torch.Tensor]
_RUN: dict[str, _Run] = {
    "CONV_2D": _convolve,
    "DEPTHWISE_CONV_2D": _convolve,
    "MAX_POOL_2D": _max_pool,
    "ADD": _add,
    "CONCATENATION": _concatenate,
    "PAD": _pad,
    "PRELU": _prelu,
    "RELU": _relu,
    "LOGISTIC": _logistic,
    "RESHAPE": _reshape,
}
