"""LSTM: a long short-term memory (Hochreiter & Schmidhuber 1997) beside which neurons are measured.

    e_t = x_t W_e;  h_t, c_t = lstm(e_t, h_{t-1}, c_{t-1});  out_t = h_t W_o + b_o

The linear map W_e in front, without which most parameters of a small LSTM would be the gates' input weights, takes
events as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spiking.events import Events
from spiking.kernels import event_linear

State = tuple[Tensor, Tensor]


class LSTM(nn.Module):
    """A control with PyTorch's LSTM.

    Arguments:
        inputs: channels.
        classes: numbers read out in each step.
        hidden: units of a layer.
        layers: how many.
        embed: numbers that the input is mapped to first; `None` leaves it as it is.

    Raises:
        ValueError: naming the argument that is below 1.
    """

    def __init__(self, inputs: int, classes: int, hidden: int = 64, layers: int = 1, embed: int | None = None) -> None:
        super().__init__()
        for name, number in (("hidden", hidden), ("layers", layers), ("embed", embed)):
            if number is not None and number < 1:
                raise ValueError(f"{name}: expected at least 1, got {number}")
        self.embed = None if embed is None else nn.Parameter(torch.randn(inputs, embed) * inputs**-0.5)
        self.lstm = nn.LSTM(embed or inputs, hidden, layers)
        self.readout = nn.Linear(hidden, classes)

    def forward(
        self, x: Events | Tensor, state: State | None = None, *, trace: bool = False
    ) -> tuple[Any, State]:
        """Run over a batch; a recording's padding only moves the state, not its outputs.

        Arguments:
            x: Events or a dense (T, B, inputs).
            state: (h, c) to go on from.
            trace: return `(out, [])`, as there are no spikes.

        Returns:
            outputs (T, B, classes) and (h, c).
        """
        hidden, after = self.lstm(embedded(x, self.embed), state)
        out = self.readout(hidden)
        return ((out, []) if trace else out), after


def embedded(x: Events | Tensor, weight: Tensor | None) -> Tensor:
    """The input times a matrix, or without one as it is, dense."""
    if weight is not None:
        return event_linear(x, weight)
    return x.to_dense() if isinstance(x, Events) else x
