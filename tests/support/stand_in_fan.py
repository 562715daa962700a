"""Weights for face-alignment's own networks that read a place from colours, in sharp heatmaps.

Red and green of a drawn face tell the place in it, from 0 to 1, and its blue is full. The colours
are handed from layer to layer; other weights are small and drawn, so that every layer has a say.
"""

from __future__ import annotations

import torch
from torch import nn

NOISE = 1e-3
REACH = 0.1  # of a peak, in units of the colours
COLUMNS, ROWS = 17, 4  # of the points; those on the axis of symmetry are in the middle column
COLOURS = 3


def landmark_network() -> nn.Module:
    """FAN with a heatmap per point that is highest where the colours are the point's.

    In a mirrored face the colours are elsewhere. So one point of each pair has higher peaks, which
    decide the sum of both passes.
    """
    from face_alignment.models import FAN
    from face_alignment.utils import shuffle_lr

    mirrored = shuffle_lr(torch.arange(COLUMNS * ROWS)[None, :, None, None]).flatten().tolist()

    net = _drawn(FAN(1), seed=1)
    _hand_on(net.conv1, 0, 0, middle=3)
    for name in ("conv2", "conv3", "conv4"):
        block = getattr(net, name)
        if block.downsample is not None:
            _hand_on(block.downsample[2], 0, 0)
    with torch.no_grad():  # the pictures that the hourglass makes of smaller ones cancel out
        for channel in range(COLOURS):
            net.m0.b3_4.conv1.weight[channel, channel, 1, 1] = -1
        net.conv_last0.weight[:, :COLOURS] = 0
        net.conv_last0.bias.zero_()
        net.l0.weight.normal_(0, NOISE)
        net.l0.bias.zero_()
        steps = [(0, (k + 0.5) / COLUMNS) for k in range(COLUMNS)]
        steps += [(1, (k + 0.5) / ROWS) for k in range(ROWS)]
        for number, (colour, value) in enumerate(steps):
            for part, away in enumerate((-REACH, 0, REACH)):  # a triangle, of three ramps
                net.conv_last0.weight[3 * number + part, colour, 0, 0] = 1
                net.conv_last0.bias[3 * number + part] = -value - away
        dark = 3 * len(steps)
        net.conv_last0.weight[dark, 2, 0, 0] = -1
        net.conv_last0.bias[dark] = 0.98
        for point in range(COLUMNS * ROWS):
            on_axis = mirrored[point] == point
            column = COLUMNS // 2 if on_axis else point % COLUMNS
            row = COLUMNS + point // COLUMNS
            height = 1.0 if point <= mirrored[point] else 0.8
            for first in (3 * column, 3 * row):
                ramps = torch.tensor([1.0, -2.0, 1.0]) * (height / 2 / REACH)
                net.l0.weight[point, first : first + 3, 0, 0] = ramps
            net.l0.weight[point, dark, 0, 0] = -9
    return net.eval()


def depth_network() -> nn.Module:
    """ResNetDepth as drawn."""
    from face_alignment.models import ResNetDepth

    torch.manual_seed(2)
    net = ResNetDepth()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(4)
    return net.eval()


def detection_network() -> nn.Module:
    """S3FD that finds the drawn face at stride 32, best in its middle."""
    from face_alignment.detection.sfd.net_s3fd import s3fd

    net = _drawn(s3fd(), seed=3)
    stages = ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3))
    names = [f"conv{stage}_{layer}" for stage, layers in stages for layer in range(1, layers + 1)]
    with torch.no_grad():
        for name in names:
            _hand_on(getattr(net, name), 0, 0)
        net.conv1_1.bias[:COLOURS] = torch.tensor([104.0, 117.0, 123.0])  # the mean is taken off
        _hand_on(net.fc6, 0, 0, middle=1)
        for unit, (colour, sign) in enumerate([(1, 1), (1, -1), (2, 1), (2, -1)]):  # input is BGR
            net.fc7.weight[unit].zero_()
            net.fc7.weight[unit, colour] = sign / 255
            net.fc7.bias[unit] = -sign * 0.6
        net.fc7.weight[4].zero_()
        net.fc7.weight[4, 0] = 1 / 255
        for level, name in enumerate(
            ("conv3_3_norm", "conv4_3_norm", "conv5_3_norm", "fc7", "conv6_2", "conv7_2")
        ):
            scores = getattr(net, f"{name}_mbox_conf")
            scores.bias.zero_()
            scores.bias[0] = 4 if level != 3 else 6
        scores, offsets = net.fc7_mbox_conf, net.fc7_mbox_loc
        scores.weight[1, :4, 1, 1] = -6
        scores.weight[1, 4, 1, 1] = 8
        offsets.bias[:] = torch.tensor([-5.0, -5.0, -1.0, -2.0])
        offsets.weight[0, :2, 1, 1] = torch.tensor([-6.0, 6.0])
        offsets.weight[1, 2:4, 1, 1] = torch.tensor([-6.0, 6.0])
    return net.eval()


def _drawn(net: nn.Module, seed: int) -> nn.Module:
    """Give all convolutions small weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                share = NOISE / module.weight[0].numel() ** 0.5
                module.weight.normal_(0, share, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
    return net


def _hand_on(layer: nn.Conv2d, into: int, out_of: int, middle: int | None = None) -> None:
    """Copy the colours from channel `out_of` on to channel `into` on."""
    at = layer.kernel_size[0] // 2 if middle is None else middle
    with torch.no_grad():
        for channel in range(COLOURS):
            layer.weight[into + channel].zero_()
            layer.weight[into + channel, out_of + channel, at, at] = 1
