"""Several iterations of the plain subspace rule on one batch, folded into three products with the n inputs.

With X' what the frozen rows leave of X, e = eta / R and R_i = X' - Y_i H_i,

    H_{i+1} = H_i + e Y_i^T R_i,     Y_{i+1} = (I + e (K - Y_i Y_i^T)) Y_i,     K = X X'^T,

so that Y_i = A_i Y_0 with A_i (R, R), and the sum of A_j^T R_j over j < i is S_i X' + U_i (Y_0 H_0). With
G = Y_0 Y_0^T

    A_{i+1} = A_i + e (K - A_i G A_i^T) A_i
    S_{i+1} = S_i + A_i^T (I - e A_i G S_i)
    U_{i+1} = U_i - A_i^T A_i (I + e G U_i)
    H_i     = H_0 + e Y_0^T (S_i X' + U_i Y_0 H_0)
"""

from __future__ import annotations

import torch
from torch import Tensor


def pays(rows: int, inputs: int, neurons: int, iterations: int) -> bool:
    """Whether folding multiplies less than walking through the iterations."""
    walked = 3 * rows * inputs * neurons * iterations
    folded = 3 * rows * inputs * neurons + 3 * rows**2 * inputs + rows**2 * neurons + 8 * rows**3 * iterations
    return folded < walked


def fold(x: Tensor, rest: Tensor, H: Tensor, lr: float, iterations: int) -> Tensor:
    """H (k, n) after so many iterations on rows x (R, n), of which the frozen rows leave `rest`."""
    R = x.shape[0]
    e = lr / R
    Y = x @ H.t()
    K, G, I = x @ rest.t(), Y @ Y.t(), torch.eye(R, dtype=x.dtype, device=x.device)
    A, S, U = I, torch.zeros_like(I), torch.zeros_like(I)
    for _ in range(iterations):
        AG = A @ G
        S, U = (
            S + A.t() @ torch.addmm(I, AG, S, alpha=-e),
            U - (A.t() @ A) @ torch.addmm(I, G, U, alpha=e),
        )
        A = A + e * ((K - AG @ A.t()) @ A)
    return torch.addmm(H, Y.t(), torch.addmm(S @ rest, U, Y @ H), alpha=e)
