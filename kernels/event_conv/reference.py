"""The convolution of dense frames in plain PyTorch: the specification."""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.event_conv.layout import Geometry, to_torch


def event_conv(x: Events, weight: Tensor, shape: Geometry) -> Tensor:
    """The convolution of a batch of camera recordings.

    Arguments:
        x: Events (T, B, planes * height * width).
        weight: (in, kh, kw, out / groups).
        shape: of the convolution.

    Returns:
        (T * B, out, H', W').
    """
    rows, columns, planes, groups = shape
    frames = x.to_dense(weight.dtype).view(-1, planes, rows.size, columns.size)
    stride, padding, dilation = zip(rows[2:], columns[2:], strict=True)
    return torch.nn.functional.conv2d(frames, to_torch(weight, groups), None, stride, padding, dilation, groups)
