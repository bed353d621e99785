"""What noise does to codes: overlap with the stored code, in closed form and drawn; sequences under noise.

One item is stored. Of a new one with as many active features a share v is the stored one's, so that the stored winner
of every module has V = v^lambda, all other units 0, and G = v^lambda. Drawn as in learning, the codes share on average

    E = Q rho,    rho = psi(V; G) / (psi(V; G) + (K - 1) psi(0; G))

winners. Similar items have overlapping codes without anything in the mac that would compare them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from spiking.kernels.csa import Draw, Evidence, Rule, Wiring, csa, pack
from spiking.plasticity.arguments import real, whole
from spiking.plasticity.sparsey.network import Sparsey
from spiking.plasticity.sparsey.study.sequences import moved, sequences

RINKUS_2010 = Rule(floor=0.0, gamma=7.0, sigma=(1.0, 26.0, 0.5, 1.0))  # chi K = 10,000, by the module's size
# name -> rule, exponent, Q, K: where on the way from new to known an item's code begins to be reused
SETTINGS = {
    "2014": (Rule(), 1.0, 24, 8), "2014, U^10": (Rule(), 10.0, 24, 8),
    "2010": (RINKUS_2010._replace(chi=10_000 / 8), 1.0, 24, 8),
    "2010, K=3": (RINKUS_2010._replace(chi=10_000 / 3), 1.0, 4, 3), "2014, K=3": (Rule(), 1.0, 4, 3),
}  # fmt: skip


def share(v: float, units: int, rule: Rule, exponent: float = 1.0) -> float:
    """rho, the chance that a module's stored winner wins again.

    Arguments:
        v: share of the active features that are the stored item's.
        units: K.
        rule, exponent: of the choice.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    real("v", v, 0, 1, "a share from 0 to 1")
    whole("units", units, 1)
    V = v**exponent
    s1, s2, s3, s4 = rule.sigma
    gained = rule.expansivity(V, units) - 1

    def psi(V: float) -> float:
        return gained / (1 + (s1 * math.exp(-s2 * (V - s3))) ** s4) + 1

    return psi(V) / (psi(V) + (units - 1) * psi(0.0))


def overlaps(
    values: Sequence[int], draws: int, rule: Rule, exponent: float = 1.0, modules: int = 24, units: int = 8,
    active: int = 12, inputs: int = 144, seed: int = 0, backend: str | None = None,
) -> list[tuple[float, float, float]]:
    """Overlap of codes with a stored one, drawn and in closed form.

    Arguments:
        values: how many active features are shared, each up to `active`.
        draws: codes of each.
        rule, exponent, modules, units: of the mac.
        active, inputs: features of an item, and in all.
        seed: of the codes.
        backend: of the kernel.

    Returns:
        for each value the mean overlap, its standard error, and E.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    whole("draws", draws, 2)
    for value in values:
        whole("values", value, 0, active, "active")
    item = torch.zeros(1, 1, inputs, dtype=torch.bool)
    item[..., :active] = True
    weight = torch.zeros(1, pack(item).shape[2], modules * units, dtype=torch.int32)
    wiring, evidence = Wiring(modules), Evidence([[exponent]])
    used = torch.zeros(1, 1, dtype=torch.int32)
    kept = csa(pack(item), weight, wiring, evidence, rule, Draw(seed), learn=True, used=used, backend=backend).winners
    rows = []
    for k, value in enumerate(values):
        x = torch.zeros(draws, 1, inputs, dtype=torch.bool)
        x[..., active - value : 2 * active - value] = True
        draw = Draw(seed, 1 + k * draws)
        found = csa(pack(x), weight, wiring, evidence, rule, draw, backend=backend).winners
        same = (found == kept).sum(2).double()
        error = float(same.std() / math.sqrt(draws))
        rows.append((float(same.mean()), error, modules * share(value / active, units, rule, exponent)))
    return rows


def noise(
    features: Sequence[int], *, count: int = 10, normalise: str = "active",
    exponents: tuple[float, float] = (4.0, 4.0), modules: int = 9, units: int = 16, seed: int = 0,
) -> list[dict[str, float]]:
    """Recall of stored sequences, every frame of which is noisy.

    Arguments:
        features: how many active features of every frame move, for each measurement.
        count: sequences that are stored.
        normalise, exponents, modules, units: of the mac.
        seed: of sequences, memory and noise.

    Returns:
        for each number of features, "recall" (share of right winners), "familiarity" and "changed", the share of a
        frame's active features that moved.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    memory = Sparsey.from_preset(
        "capacity", seed, modules=modules, units=units, exponents=exponents, normalise=normalise
    )
    items = sequences(count, seed=seed)
    codes = memory.learn(items).winners[0]
    rows = []
    for k in features:
        trace = memory.recognise(moved(items, k, seed + 1))
        rows.append(
            {
                "moved": float(k), "changed": k / float(items.sum(2).double().mean()),
                "recall": float((trace.winners[0] == codes).double().mean()),
                "familiarity": float(trace.familiarity[0].mean()),
            }
        )  # fmt: skip
    return rows
