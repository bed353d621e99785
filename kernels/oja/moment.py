"""(X^T X / R) U, the uncentred second moment of R rows of activity times a few columns, without building it."""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.event_linear import event_linear


@torch.no_grad()
def moment(x: Tensor | Events, columns: Tensor) -> Tensor:
    """The second moment of a batch times columns.

    Arguments:
        x: (R, n), or Events (T, B, n), each valid step of a sample a row.
        columns: (n, m).

    Returns:
        (n, m).
    """
    if isinstance(x, Tensor):
        return x.t() @ (x @ columns) / max(x.shape[0], 1)
    with torch.enable_grad():  # the gradient of y^2 / 2 in U is X^T X U
        U = columns.detach().requires_grad_()
        y = event_linear(x, U)
        (product,) = torch.autograd.grad(y, U, y.detach())
    return product / max(int(x.lengths.sum()), 1)
