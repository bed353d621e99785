"""Choose k for each weight: as few spikes as a perplexity budget allows.

Rounding the inputs of weight l to spikes costs about c_l e_l(k) nats a token, with e_l(k) = |x - x^|^2 / |x|^2 measured
at every k in one pass, and c_l from one probe: the Kullback-Leibler divergence of the model's predictions when l alone
spikes, coarsely. (It is what the loss of a well-calibrated model rises by, without the noise of which tokens the text
happens to have.) For a price p each weight takes the k of its grid with the least

    synapses_l k + p c_l e_l(k)

and p is found by bisection on the whole model's perplexity, on another text than the probes'. Errors add nearly, so
one price for all weights is the optimum of the sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spiking.datasets.progress import progress_bar
from spiking.kernels.spike_linear import encode
from spiking.llm.control import exchanged, plain, spikes, weights_of
from spiking.llm.perplexity import perplexity
from spiking.llm.weight import Matrices, scaled, watching

GRID = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
PROBE = 1.5


@dataclass(frozen=True)
class Calibration:
    """The k of each weight.

    Attributes:
        k: by the names of the weights.
        perplexity: of the text it was chosen by, with these k.
        limit: what was allowed.
        tried: (mean k, perplexity) of everything that was tried, to be drawn.
        cost: by name, divergence in nats a token when it alone spikes at the probe's k.
    """

    k: dict[str, float]
    perplexity: float
    limit: float
    tried: list[tuple[float, float]]
    cost: dict[str, float]

    @property
    def met(self) -> bool:
        """Whether the budget was kept."""
        return self.perplexity <= self.limit


def mean_k(model: torch.nn.Module, k: dict[str, float]) -> float:
    """The mean of k over synapses, so that a large weight counts more."""
    size = {name: weight.matrices.shape[-1] * weight.matrices.shape[-2] for name, weight in weights_of(model).items()}
    return sum(size[name] * value for name, value in k.items()) / max(sum(size[name] for name in k), 1)


@torch.no_grad()
def calibrate(
    model: Any, probe: Tensor, choose: Tensor, before: float, budget: float = 0.01, grid: Sequence[float] = GRID,
    context: int = 256, batch: int = 8, rounds: int = 8, progress: str | None = None,
) -> Calibration:  # fmt: skip
    """Choose k for each spike weight of a model; the model itself is not changed.

    Arguments:
        model: after `spike_`.
        probe: (n,) tokens to measure errors and costs on.
        choose: (m,) tokens to hold the budget on; neither may be the text that is reported.
        before: perplexity of the float model on `choose`.
        budget: relative rise of perplexity that is allowed.
        grid: values of k, rising.
        context, batch: windows of the two texts.
        rounds: steps of the bisection.
        progress: name of the bar on a terminal.

    Returns:
        the choice; `met` is False if even the largest k of the grid breaks the budget.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    if not budget > 0:
        raise ValueError(f"budget: expected more than 0, got {budget}")
    if not before >= 1:
        raise ValueError(f"before: expected a perplexity of at least 1, got {before}")
    if list(grid) != sorted(set(grid)) or not grid or grid[0] <= 0:
        raise ValueError(f"grid: expected rising positive numbers, got {list(grid)}")
    if not weights_of(model):
        raise ValueError("model: no weight spikes; call spike_ first")
    error = _errors(model, probe, grid, context, batch)
    cost = _costs(model, probe, list(error), context, batch, progress)
    sensitivity = {name: cost[name] / max(error[name][PROBE], 1e-12) for name in error}
    size = {name: math.prod(weights_of(model)[name].matrices.shape[-2:]) for name in error}
    limit, tried = before * (1 + budget), list[tuple[float, float]]()

    def measure(price: float) -> tuple[float, dict[str, float]]:
        k = {
            name: min(grid, key=lambda one: size[name] * one + price * sensitivity[name] * error[name][one])
            for name in error
        }
        with exchanged(model, spikes({**_now(model), **k})):
            found = perplexity(model, choose, context, batch, progress=progress).perplexity
        tried.append((mean_k(model, k), found))
        return found, k

    # prices at which the first weight leaves the smallest k, and at which all have the largest
    low, high = sum(size.values()) * 1e-2, sum(size.values()) * 1e12
    reached, best = measure(high)
    if reached <= limit:
        for _ in range(rounds):
            price = math.sqrt(low * high)
            found, k = measure(price)
            if found <= limit:
                high, best, reached = price, k, found
            else:
                low = price
    return Calibration(best, reached, limit, tried, cost)


def _now(model: Any) -> dict[str, float]:
    return {name: weight.matrices.config.k for name, weight in weights_of(model).items()}


def _only(name: str, k: float) -> Any:
    """For `exchanged`: one weight spikes, the others multiply activations as they are."""
    alone, others = spikes(k), plain(0)
    return lambda other, matrices: (alone if other == name else others)(other, matrices)


def _costs(
    model: Any, tokens: Tensor, names: list[str], context: int, batch: int, progress: str | None
) -> dict[str, float]:
    """By name, the divergence in nats a token of predictions when that weight alone spikes at the probe's k."""
    windows = tokens[: len(tokens) // context * context].view(-1, context) if len(tokens) >= context else tokens[None]
    total, device = dict.fromkeys(names, 0.0), next(model.parameters()).device

    def predictions(ids: Tensor) -> Tensor:
        return model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)

    for ids in progress_bar(windows.split(batch), progress or "", shown=progress is not None):
        with exchanged(model, plain(0)):
            plainly = predictions(ids.to(device))
        for name in names:
            with exchanged(model, _only(name, PROBE)):
                spiking = predictions(ids.to(device))
            total[name] += float((plainly.exp() * (plainly - spiking)).sum())
    return {name: max(value / windows.numel(), 1e-12) for name, value in total.items()}


def _errors(
    model: Any, tokens: Tensor, grid: Sequence[float], context: int, batch: int
) -> dict[str, dict[float, float]]:
    """|x - x^|^2 / |x|^2 of each weight's input at each k, in one pass without spikes."""
    wrong: dict[str, dict[float, float]] = {}
    power: dict[str, float] = {}

    def watch(matrices: Matrices, operator: str, x: Tensor | None) -> None:
        if x is None:
            return
        flat = scaled(x.reshape(-1, x.shape[-1]).float(), matrices.config, -1)
        power[matrices.name] = power.get(matrices.name, 0.0) + float(flat.square().sum())
        sums = wrong.setdefault(matrices.name, dict.fromkeys((*grid, PROBE), 0.0))
        for k in sums:
            counts, threshold = encode(flat, k)
            sums[k] += float((counts * threshold - flat).square().sum())

    with exchanged(model, plain(0)), watching(watch):
        perplexity(model, tokens, context, batch)
    return {name: {k: e / max(power[name], 1e-30) for k, e in sums.items()} for name, sums in wrong.items()}
