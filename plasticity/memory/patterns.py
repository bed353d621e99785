"""Patterns to store: random signs, some of them 0, and corrupted examples of them.

    P(xi = +-1) = (1 - d)/2,  P(xi = 0) = d              dilution d
    eta^{mu,a} = xi^mu chi^{mu,a},  P(chi = +-1) = (1 +- r)/2     examples of quality r
"""

from __future__ import annotations

import torch
from torch import Tensor

from spiking.plasticity.arguments import whole


def patterns(count: int, neurons: int, dilution: float = 0.0, seed: int = 0) -> Tensor:
    """(count, neurons) random entries -1, 0, 1 in 64 bits.

    Arguments:
        count: K.
        neurons: N.
        dilution: d, the share of zeros.
        seed: of the draw.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    whole("count", count, 1)
    whole("neurons", neurons, 1)
    share("dilution", dilution)
    generator = torch.Generator().manual_seed(whole("seed", seed))
    sign = 2.0 * torch.randint(2, (count, neurons), generator=generator).double() - 1
    if not dilution:
        return sign
    return sign * (torch.rand(count, neurons, generator=generator, dtype=torch.float64) >= dilution)


def examples(archetypes: Tensor, count: int, quality: float, seed: int = 0) -> Tensor:
    """(K, count, N) corrupted copies of archetypes (K, N), each entry's sign kept with probability (1 + r)/2.

    Arguments:
        archetypes: (K, N).
        count: M, examples of each.
        quality: r, 0 to 1.
        seed: of the draw.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    whole("count", count, 1)
    share("quality", quality)
    K, N = archetypes.shape
    generator = torch.Generator().manual_seed(whole("seed", seed))
    kept = torch.rand(K, count, N, generator=generator, dtype=torch.float64) < (1 + quality) / 2
    return archetypes[:, None].double() * (2.0 * kept.double() - 1)


def share(name: str, value: float) -> None:
    """Refuse what does not lie between 0 and 1.

    Raises:
        ValueError: naming it.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: expected 0 to 1, got {value!r}")
