"""The numbers of a learning rule; op.py gives the equations, plasticity/hebbian the named rules with their sources."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spiking.kernels.arguments import number


class Sliding(NamedTuple):
    """A depression that slides with the neuron's own activity, theta = E[(y / rate)^2].

    Arguments:
        rate: Hz, at which theta is 1.
        tau_rate: ms, of the filter that makes a rate y of spikes.
        tau_theta: ms, of the mean; above tau_rate / 2, or theta would be faster than y^2.
    """

    rate: float = 10.0
    tau_rate: float = 1000.0
    tau_theta: float = 10_000.0


class Rule(NamedTuple):
    """How pairs and triplets of spikes change a synapse; amplitudes are shares of the way from bound to bound.

    Arguments:
        a_plus, a_minus: A2+ and A2-, of pairs.
        tau_plus, tau_minus: ms, of r1 and o1.
        a3_plus, a3_minus: A3+ and A3-, of triplets.
        tau_x, tau_y: ms, of r2 and o2.
        mu_plus, mu_minus: exponents of the distance to the bound: 0 additive, 1 multiplicative.
        nearest: a trace remembers the last spike only.
        tau_eligibility: ms; changes wait for a reward. `None`: they come at once.
        tau_reward: ms, over which a reward is spread; `None`: all of it comes in its step.
        sliding: a sliding threshold between depression and potentiation; `None`: none.
    """

    a_plus: float = 0.005
    a_minus: float = 0.00525
    tau_plus: float = 20.0
    tau_minus: float = 20.0
    a3_plus: float = 0.0
    a3_minus: float = 0.0
    tau_x: float = 100.0
    tau_y: float = 100.0
    mu_plus: float = 0.0
    mu_minus: float = 0.0
    nearest: bool = False
    tau_eligibility: float | None = None
    tau_reward: float | None = None
    sliding: Sliding | None = None


class Homeostasis(NamedTuple):
    """Thresholds that keep neurons at a rate, theta_t = theta_{t-1} + lr (z_t - rate dt) within bounds.

    Arguments:
        rate: Hz; like all of these a number or (N,).
        lr: rise of the threshold with a spike.
        low, high: bounds of the threshold; `low` above the neuron's reset.
    """

    rate: float | Tensor
    lr: float | Tensor
    low: float | Tensor = -math.inf
    high: float | Tensor = math.inf


def check_rule(rule: Any) -> None:
    """Refuse a rule that can't be.

    Raises:
        ValueError, TypeError: naming the field.
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: expected a Rule, got {type(rule).__name__}")
    times = {name: getattr(rule, name) for name in ("tau_plus", "tau_minus", "tau_x", "tau_y")}
    for name in ("tau_eligibility", "tau_reward"):
        if getattr(rule, name) is not None:
            times[name] = getattr(rule, name)
    if rule.tau_reward is not None and rule.tau_eligibility is None:
        raise ValueError("rule.tau_reward: expected None where there is no eligibility, got a time constant")
    if rule.sliding is not None:
        if not isinstance(rule.sliding, Sliding):
            raise TypeError(f"rule.sliding: expected Sliding, got {type(rule.sliding).__name__}")
        times |= {"sliding.tau_rate": rule.sliding.tau_rate, "sliding.tau_theta": rule.sliding.tau_theta}
    for name, value in times.items():
        if not _number(value) or not 0 < value < math.inf:
            raise ValueError(f"rule.{name}: expected a time constant above 0 ms, got {value!r}")
    for name in ("a_plus", "a_minus", "a3_plus", "a3_minus", "mu_plus", "mu_minus"):
        value = getattr(rule, name)
        if not _number(value) or not 0 <= value < math.inf:
            raise ValueError(f"rule.{name}: expected a number of 0 or more, got {value!r}")
    if not isinstance(rule.nearest, bool):
        raise ValueError(f"rule.nearest: expected True or False, got {rule.nearest!r}")
    if rule.sliding is not None:
        if not _number(rule.sliding.rate) or not 0 < rule.sliding.rate < math.inf:
            raise ValueError(f"rule.sliding.rate: expected a rate above 0 Hz, got {rule.sliding.rate!r}")
        if not rule.sliding.tau_theta > rule.sliding.tau_rate / 2:
            raise ValueError(
                f"rule.sliding.tau_theta: expected it above tau_rate / 2, {rule.sliding.tau_rate / 2:g} ms, "
                f"got {rule.sliding.tau_theta!r}"
            )


def numbers(rule: Rule | None, dt: float) -> Tensor:
    """(13,) float64, what kernels need; none without a rule.

    A2+, A2-, A3+, A3-, mu+, mu-, dt / tau_x, dt / tau_y, nearest; then dt / tau_rate, dt / tau_theta, the jump of
    y / rate with a spike, and the factor of y^2 in theta, or zeros.
    """
    if rule is None:
        return torch.zeros(0, dtype=torch.float64)
    given = [rule.a_plus, rule.a_minus, rule.a3_plus, rule.a3_minus, rule.mu_plus, rule.mu_minus]
    given += [dt / rule.tau_x, dt / rule.tau_y, float(rule.nearest)]
    if rule.sliding is None:
        return torch.tensor([*given, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    rate, fast, slow = rule.sliding
    more = [dt / fast, dt / slow, 1e3 / (fast * rate), fast / (2 * slow - fast)]
    return torch.tensor(given + more, dtype=torch.float64)


def brought(y: Tensor, theta: Tensor, interval: Tensor, how: Sliding) -> tuple[Tensor, Tensor]:
    """y / rate and theta after so many ms without a spike, by the solution of their equations."""
    fast, slow = torch.exp(-interval / how.tau_rate), torch.exp(-interval / how.tau_theta)
    factor = how.tau_rate / (2 * how.tau_theta - how.tau_rate)
    return y * fast, theta * slow + y**2 * (slow - fast**2) * factor


def homeostasis_rows(given: Homeostasis | None, N: int, dt: float, reset: Tensor, dtype: torch.dtype) -> Tensor:
    """(4, N) what a spike and a step add to thresholds, and their bounds; (4, 0) without.

    Raises:
        ValueError, TypeError: naming the field.
    """
    if given is None:
        return torch.zeros(4, 0, dtype=dtype)
    if not isinstance(given, Homeostasis):
        raise TypeError(f"homeostasis: expected Homeostasis, got {type(given).__name__}")
    rows = []
    for name, value in zip(Homeostasis._fields, given, strict=True):
        number(f"homeostasis.{name}", value, N, reset.device)
        row = torch.as_tensor(value, dtype=torch.float64).expand(N)
        if bool(row.isnan().any()):
            raise ValueError(f"homeostasis.{name}: expected numbers, got NaN")
        rows.append(row)
    rate, lr, low, high = rows
    for name, row in (("rate", rate), ("lr", lr)):
        if not 0 <= float(row.min()) <= float(row.max()) < math.inf:
            raise ValueError(f"homeostasis.{name}: expected 0 or more, got {float(row.min())} to {float(row.max())}")
    if not bool((low <= high).all()):
        raise ValueError("homeostasis.high: expected it at or above low")
    if not bool((low > reset).all()):
        raise ValueError("homeostasis.low: expected it above the reset, or a neuron would fire without end")
    return torch.stack([lr, -lr * rate * dt * 1e-3, low, high]).to(dtype)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
