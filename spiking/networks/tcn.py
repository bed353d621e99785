"""TCN: causal convolutions with growing dilation (Bai, Kolter & Koltun 2018), beside which neurons are measured.

    z_0 = x W_e;  z_{k+1} = z_k + relu(conv_k(z_k)), dilation 2^k;  out = z_K W_o + b_o

An output sees the last 1 + (kernel - 1) (2^layers - 1) steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from spiking.events import Events
from spiking.networks.lstm import embedded


class TCN(nn.Module):
    """A control of temporal convolutions.

    Arguments:
        inputs: channels.
        classes: numbers read out in each step.
        hidden: channels of each convolution.
        layers: how many.
        kernel: steps of a convolution.

    Raises:
        ValueError: naming the argument that is below 1.
    """

    def __init__(self, inputs: int, classes: int, hidden: int = 32, layers: int = 6, kernel: int = 5) -> None:
        super().__init__()
        for name, number in (("hidden", hidden), ("layers", layers), ("kernel", kernel)):
            if number < 1:
                raise ValueError(f"{name}: expected at least 1, got {number}")
        self.embed = nn.Parameter(torch.randn(inputs, hidden) * inputs**-0.5)
        self.layers = nn.ModuleList(nn.Conv1d(hidden, hidden, kernel, dilation=2**k) for k in range(layers))
        self.past = [(kernel - 1) * 2**k for k in range(layers)]  # steps that each looks back
        self.readout = nn.Linear(hidden, classes)

    @property
    def field(self) -> int:
        """Steps that an output sees."""
        return 1 + sum(self.past)

    def forward(self, x: Events | Tensor, state: None = None, *, trace: bool = False) -> tuple[Any, None]:
        """Run over whole recordings.

        Arguments:
            x: Events or a dense (T, B, inputs).
            state: there is none.
            trace: return `(out, [])`, as there are no spikes.

        Returns:
            outputs (T, B, classes) and `None`.
        """
        z = embedded(x, self.embed).permute(1, 2, 0)
        for conv, past in zip(self.layers, self.past, strict=True):
            z = z + relu(conv(pad(z, (past, 0))))
        out = self.readout(z.permute(2, 0, 1))
        return ((out, []) if trace else out), None
