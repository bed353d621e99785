"""Reward-modulated STDP: pairs of spikes mark a synapse, and a later reward changes those that are marked.

    tau_eligibility dc/dt = -c + changes by pairs (stdp.py),        dw/dt = c g,        tau_reward dg/dt = -g + R

Izhikevich 2007, "Solving the distal reward problem through linkage of STDP and dopamine signaling", with g the
dopamine; without `tau_reward` g = R, as in MSTDPET (Florian 2007). R is a number for each step: its sum is spread over
time and neither grows nor shrinks, so that a reward of 1 adds c in all if c were held. Negative ones undo.
"""

from __future__ import annotations

from typing import Any

from spiking.plasticity.hebbian.stdp import STDP


class RewardSTDP(STDP):
    """STDP that waits for a reward, which is given beside the spikes.

    Arguments:
        tau_eligibility: ms, for which a synapse stays marked.
        tau_reward: ms, over which a reward is spread; `None`: it acts in its step.
        others: as in `STDP`.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self, tau_eligibility: float = 1000.0, tau_reward: float | None = 200.0, a_plus: float = 0.01,
        a_minus: float = 0.015, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(a_plus, a_minus, tau_eligibility=tau_eligibility, tau_reward=tau_reward, **more)
