"""Spike-timing-dependent plasticity of pairs and of triplets of spikes.

Pairs (Song, Miller & Abbott 2000), Dt the time from the presynaptic spike to the postsynaptic one at the synapse:

    dw = A+ q^mu exp(-Dt / tau_plus)     where Dt > 0          dw = -A- p^mu exp(Dt / tau_minus)     where Dt < 0

in units of w_max - w_min, with p the place of w between the bounds, 0 to 1, and q = 1 - p. mu = 0 is additive, with
which strengths become bimodal; mu = 1 for depression alone is the rule of van Rossum, Bi & Turrigiano 2000, with
which they do not; anything between interpolates (Guetig et al. 2003). All pairs count, or each spike with its nearest
neighbour on the other side (`pairing="nearest"`). Pairs of one step (Dt = 0) change nothing, as in NEST.

Triplets (Pfister & Gerstner 2006, eq. 3 and 4): with slower traces r2 and o2 besides,

    dw = r1 (A2+ + A3+ o2)  at a postsynaptic spike,        dw = -o1 (A2- + A3- r2)  at a presynaptic one

which makes potentiation grow with the frequency of the pairs. Their parameters fit slices of visual cortex (Sjoestroem
et al. 2001) and cultures of hippocampus (Wang et al. 2005), for strengths in units of the one before the experiment.
"""

from __future__ import annotations

from typing import Any

from spiking.kernels.stdp import Rule
from spiking.plasticity.hebbian.synaptic import Synaptic

Exponent = float | tuple[float, float]

# Tables 3 and 4 of Pfister & Gerstner 2006: A2+, A2-, A3+, A3-, tau_x, tau_y; tau_plus 16.8 and tau_minus 33.7 ms.
PFISTER = {
    "visual": (5e-10, 7e-3, 6.2e-3, 2.3e-4, 101.0, 125.0),
    "visual minimal": (0.0, 7.1e-3, 6.5e-3, 0.0, 101.0, 114.0),
    "visual nearest": (8.8e-11, 6.6e-3, 5.3e-2, 3.1e-3, 714.0, 40.0),
    "visual nearest minimal": (0.0, 8e-3, 5e-2, 0.0, 714.0, 40.0),
    "hippocampus": (6.1e-3, 1.6e-3, 6.7e-3, 1.4e-3, 946.0, 27.0),
    "hippocampus minimal": (5.3e-3, 3.5e-3, 8e-3, 0.0, 946.0, 40.0),
    "hippocampus nearest": (4.6e-3, 3e-3, 9.1e-3, 7.5e-9, 575.0, 47.0),
    "hippocampus nearest minimal": (4.6e-3, 3e-3, 9.1e-3, 0.0, 575.0, 48.0),
}  # fmt: skip


class STDP(Synaptic):
    """Pair-based STDP; the defaults are those of Song, Miller & Abbott 2000 but for `w_max`.

    Arguments:
        a_plus, a_minus: A+ and A-, shares of w_max - w_min.
        tau_plus, tau_minus: ms.
        mu: exponent of soft bounds, or one for potentiation and one for depression.
        pairing: "all" or "nearest".
        w_min, w_max, inhibitory: as in `Synaptic`.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self, a_plus: float = 0.005, a_minus: float = 0.00525, tau_plus: float = 20.0, tau_minus: float = 20.0,
        mu: Exponent = 0.0, pairing: str = "all", w_min: float = 0.0, w_max: float = 3.0, inhibitory: bool = False,
        **more: Any,
    ) -> None:  # fmt: skip
        plus, minus = exponents(mu)
        rule = Rule(
            a_plus, a_minus, tau_plus, tau_minus, mu_plus=plus, mu_minus=minus, nearest=nearest(pairing), **more
        )
        super().__init__(rule, w_min, w_max, inhibitory)


class TripletSTDP(Synaptic):
    """STDP of triplets.

    Arguments:
        a_plus, a_minus, a3_plus, a3_minus: A2+, A2-, A3+ and A3-, shares of w_max - w_min.
        tau_plus, tau_minus, tau_x, tau_y: ms, of r1, o1, r2 and o2.
        mu, pairing: as in `STDP`; "nearest" lets all four traces return to 1.
        w_min, w_max, inhibitory: as in `Synaptic`.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self, a_plus: float, a_minus: float, a3_plus: float, a3_minus: float, tau_x: float = 101.0,
        tau_y: float = 125.0, tau_plus: float = 16.8, tau_minus: float = 33.7, mu: Exponent = 0.0,
        pairing: str = "all", w_min: float = 0.0, w_max: float = 3.0, inhibitory: bool = False,
    ) -> None:  # fmt: skip
        rule = Rule(
            a_plus, a_minus, tau_plus, tau_minus, a3_plus, a3_minus, tau_x, tau_y, *exponents(mu), nearest(pairing)
        )
        super().__init__(rule, w_min, w_max, inhibitory)

    @classmethod
    def from_preset(
        cls, name: str, w_min: float = 0.0, w_max: float = 3.0, mu: Exponent = 0.0, inhibitory: bool = False
    ) -> TripletSTDP:
        """The published parameters by name, one of `PFISTER`; amplitudes there are in units of a synapse.

        Raises:
            ValueError: if there is no such set, or bounds do not fit.
        """
        if name not in PFISTER:
            raise ValueError(f"preset: expected one of {', '.join(PFISTER)}, got {name!r}")
        *amplitudes, tau_x, tau_y = PFISTER[name]
        pairing, span = "nearest" if "nearest" in name else "all", w_max - w_min
        if not span > 0:
            raise ValueError(f"w_max: expected it above w_min, {w_min:g}, got {w_max!r}")
        a_plus, a_minus, a3_plus, a3_minus = (a / span for a in amplitudes)
        return cls(
            a_plus, a_minus, a3_plus, a3_minus, tau_x, tau_y, mu=mu, pairing=pairing, w_min=w_min, w_max=w_max,
            inhibitory=inhibitory,
        )  # fmt: skip


def nearest(pairing: str) -> bool:
    """Whether a pairing is that of nearest neighbours.

    Raises:
        ValueError: if there is no such pairing.
    """
    if pairing not in ("all", "nearest"):
        raise ValueError(f"pairing: expected all or nearest, got {pairing!r}")
    return pairing == "nearest"


def exponents(mu: Exponent) -> tuple[float, float]:
    """mu_plus and mu_minus of one exponent or a pair.

    Raises:
        ValueError: if it is more or fewer than a pair.
    """
    pair = tuple(mu) if isinstance(mu, (tuple, list)) else (mu, mu)
    if len(pair) != 2:
        raise ValueError(f"mu: expected an exponent, or one for potentiation and one for depression, got {mu!r}")
    return pair
