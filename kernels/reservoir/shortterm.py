"""Short-term plasticity of the recurrent synapses (Tsodyks & Markram 1997, in the form of Maass et al. 2002).

The n-th spike of a neuron, an interval after its last one, arrives with its weight times u R:

    u_n = U + u_{n-1} (1 - U) exp(-interval / F)                            u_1 = U
    R_n = 1 + (R_{n-1} - u_{n-1} R_{n-1} - 1) exp(-interval / D)            R_1 = 1

Only spikes touch u and R. All synapses of a neuron onto one group of targets share them, for they see the same spikes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Number = float | Tensor


class ShortTerm(NamedTuple):
    """Use, recovery from depression and facilitation of synapses.

    Arguments:
        use: U, 0 to 1; like the others a number, (N,) of the spiking neuron, or (N, groups).
        depression: D in ms.
        facilitation: F in ms; 0 is none.
        group: (N,) integers, the group of each target; `None` is one group.
    """

    use: Number
    depression: Number
    facilitation: Number = 0.0
    group: Tensor | None = None


def resolve(
    given: ShortTerm | None, N: int, dt: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The table (3, N, groups) of U, dt/D and dt/F, and the group of each target (N,) uint8; no groups without.

    Raises:
        ValueError, TypeError: naming the argument.
    """
    if given is None:
        return torch.zeros(3, N, 0, dtype=dtype, device=device), torch.zeros(N, dtype=torch.uint8, device=device)
    if not isinstance(given, ShortTerm):
        raise TypeError(f"short_term: expected ShortTerm, got {type(given).__name__}")
    fields = [torch.as_tensor(v, dtype=torch.float64).cpu() for v in given[:3]]
    groups = max([f.shape[1] for f in fields if f.ndim == 2], default=1)
    rows = []
    for name, field in zip(ShortTerm._fields, fields, strict=False):
        wanted = field.reshape(-1, 1) if field.ndim < 2 else field
        if field.ndim > 2 or wanted.shape[0] not in (1, N) or wanted.shape[1] not in (1, groups):
            raise ValueError(
                f"short_term.{name}: expected a number, ({N},) or ({N}, {groups}), got {tuple(field.shape)}"
            )
        if not bool(field.isfinite().all()):
            raise ValueError(f"short_term.{name}: expected finite numbers")
        rows.append(wanted.expand(N, groups))
    use, depression, facilitation = rows
    if N and not 0 <= float(use.min()) <= float(use.max()) <= 1:
        raise ValueError(f"short_term.use: expected 0 to 1, got {float(use.min())} to {float(use.max())}")
    if N and not float(depression.min()) > 0:
        raise ValueError(f"short_term.depression: expected a time above 0 ms, got {float(depression.min())}")
    if N and float(facilitation.min()) < 0:
        raise ValueError(f"short_term.facilitation: expected 0 ms or more, got {float(facilitation.min())}")
    group = torch.zeros(N, dtype=torch.uint8)
    if given.group is not None:
        if given.group.shape != (N,) or given.group.is_floating_point():
            raise ValueError(f"short_term.group: expected ({N},) integers, got {tuple(given.group.shape)}")
        if N and not 0 <= int(given.group.min()) <= int(given.group.max()) < groups:
            raise ValueError(f"short_term.group: expected 0 to {groups - 1}, got up to {int(given.group.max())}")
        group = given.group.to(torch.uint8).cpu()
    table = torch.stack([use, dt / depression, dt / facilitation])  # of no facilitation infinite: exp(-inf) = 0
    return table.to(device, dtype).contiguous(), group.to(device).contiguous()
