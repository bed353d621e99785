"""Closed forms of the memories as curves, beside what simulated memories do."""

from __future__ import annotations

import math

import numpy as np

from spiking.plasticity.curve import Curve
from spiking.plasticity.memory import simulate
from spiking.plasticity.memory.dense import bit_error
from spiking.plasticity.memory.hopfield import capacity, retrieval
from spiking.plasticity.memory.multitasking import hierarchical, kink, magnetisations
from spiking.plasticity.memory.pavlovian import delta_response, hebbian_response

LAW = {2: 1000, 3: 150, 4: 60}  # neurons for each order
NETWORKS, STORED = 3, 3


def dense(scale: float, seed: int) -> list[Curve]:
    """Errors of a first sweep against K (2P-3)!! / N^(P-1), on which the law alone depends, for orders 2 to 4."""
    curves = []
    for shift, (order, largest) in enumerate(LAW.items()):  # so that no dot hides another
        neurons = max(8, round(largest * scale ** (1 / order)))
        per_load = neurons ** (order - 1) / math.prod(range(1, 2 * order - 2, 2))
        stored = sorted({max(1, round(load * per_load)) for load in 1.13**shift * np.geomspace(0.1, 2, 9)})
        theory = [bit_error(neurons, order, K) for K in stored]
        found = [simulate.bit_error(neurons, order, K, 100, NETWORKS, seed) for K in stored]
        error = [math.sqrt(p * (1 - p) / looked) for p, (_, looked) in zip(theory, found, strict=True)]
        loads = [K / per_load for K in stored]
        curves.append(Curve(f"P = {order}, N = {neurons}", loads, theory, [rate for rate, _ in found], error))
    return curves


def hopfield(scale: float, seed: int) -> list[Curve]:
    """The overlap at which Hopfield's network settles, against patterns a neuron."""
    neurons = max(50, round(1000 * scale**0.5))
    loads = [k / 100 for k in range(2, 21, 2)]
    found = {load: simulate.settled_overlap(neurons, max(1, round(load * neurons)), seed=seed) for load in loads}
    fine = sorted({*loads, *np.linspace(0.001, capacity(), 60).tolist()})
    theory = [retrieval(x) or math.nan for x in fine]  # nothing is recalled above the capacity
    return [Curve(f"N = {neurons}", fine, theory, [found.get(x, math.nan) for x in fine], [math.nan] * len(fine))]


def multitasking(scale: float, seed: int) -> list[Curve]:
    """Overlaps with three patterns against their dilution."""
    neurons = max(200, round(200_000 * scale))
    shown = [round(0.04 * k - 0.02, 2) for k in range(1, 26)]
    grid = sorted({*np.linspace(0.02, 0.98, 49).round(2).tolist(), kink(STORED) - 1e-6, kink(STORED) + 1e-6})
    found = {d: simulate.multitasking(neurons, STORED, d, seed) for d in shown}
    predicted = {d: magnetisations(d, STORED) for d in grid}
    nothing = [math.nan] * len(grid)
    return [
        Curve(
            f"m{mu + 1}", grid, [predicted[d][mu] for d in grid],
            [found[d][mu] if d in found else math.nan for d in grid], nothing,
            [hierarchical(d, STORED)[mu] for d in grid],
        )
        for mu in range(STORED)
    ]  # fmt: skip


def pavlovian(scale: float, seed: int) -> list[Curve]:
    """The cosine of the response with what followed a stimulus, against the stimuli that were learned."""
    d = max(16, round(128 * scale**0.5))
    sizes = sorted({max(1, round(d * k / 8)) for k in range(1, 17)})
    nothing, loads = [math.nan] * len(sizes), [n / d for n in sizes]

    def mean(n: int, beta: float) -> float:
        return sum(delta_response(n, d, age, beta)[1] for age in range(n)) / n

    def seen(rule: str, beta: float) -> list[float]:
        found = (simulate.pavlovian(n, d, rule, beta, animals=4, seed=seed)[1] for n in sizes)
        return [sum(cosine) / len(cosine) for cosine in found]

    curves = [
        Curve("Hebbian", loads, [hebbian_response(n, d)[1] for n in sizes], seen("hebbian", 1.0), nothing)
    ]
    for beta in (1.0, 0.3):
        name = f"delta, beta = {beta:g}"
        curves.append(Curve(name, loads, [mean(n, beta) for n in sizes], seen("delta", beta), nothing))
    return curves


FIGURES = {"dense": dense, "hopfield": hopfield, "multitasking": multitasking, "pavlovian": pavlovian}
