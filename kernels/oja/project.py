"""The part of a gradient, or of activity, that lies outside a subspace:  G - G H^T H,  H (k, n) with orthonormal rows.

The change of a weight matrix by the gradient of projected activity, g^T (X - X H^T H), is the projected gradient
(g^T X) - (g^T X) H^T H: the same for lateral neurons that are linear, at 4 out n k operations instead of 4 R n k for R
rows of activity. `cheaper` says which. Where k is above n / 2, what is left has fewer rows than H, and x Q^T Q with
these rows Q is cheaper.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def project(x: Tensor, weight: Tensor, left: Tensor | None = None, axis: int = -1) -> Tensor:
    """What lies outside a subspace.

    Arguments:
        x: (m, n) gradient (out, in) or rows of activity; (n, m) with axis=0, such as a gradient (in, out).
        weight: H, (k, n).
        left: Q (n - k, n), orthonormal rows of all that H, then orthonormal, leaves, if they are at hand.
        axis: which axis of x the n inputs are, -1 or 0.

    Returns:
        x - x H^T H, or x - H^T H x with axis=0.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if axis not in (0, -1):
        raise ValueError(f"axis: expected 0 or -1, got {axis}")
    if x.ndim != 2 or weight.ndim != 2 or x.shape[axis] != weight.shape[1]:
        raise ValueError(
            f"x: expected {weight.shape[-1]} inputs on axis {axis}, got {tuple(x.shape)} for H {tuple(weight.shape)}"
        )
    if not weight.shape[0]:
        return x.clone()
    if left is not None:
        Q = left.to(x.dtype)
        return Q.t() @ (Q @ x) if axis == 0 else (x @ Q.t()) @ Q
    H = weight.to(x.dtype)
    return torch.addmm(x, H.t(), H @ x, alpha=-1) if axis == 0 else torch.addmm(x, x @ H.t(), H, alpha=-1)


def remaining(weight: Tensor) -> Tensor:
    """Orthonormal rows (n - k, n) of all that the orthonormal rows H (k, n) leave."""
    return torch.linalg.qr(weight.t(), mode="complete")[0][:, len(weight) :].t().contiguous()


def cheaper(rows: int, out: int) -> str:
    """The cheaper of two equal forms: to project "activity" of that many rows, or the "gradient" of `out` outputs."""
    return "activity" if rows < out else "gradient"
