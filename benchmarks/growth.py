"""How time and memory grow with events and with steps: `python benchmarks/growth.py --out docs/pictures`.

Forward and backward of a layer of 128 leaky neurons fed by 700 channels, weights inside, from 10^4 to 10^7 events:

    recordings   more recordings of 100 steps at 3.6 % events a step and channel (2,500 events each)
    steps        32 recordings of more steps at the same density
    density      128 recordings of 100 steps, ever more of whose cells are events: the steps themselves stay the same

An exponent is the slope of a straight line through the logarithms; 1 is linear growth. It is fitted to the points of
3 x 10^5 events and more: below, what does not grow counts, calling the op and the parts of W's gradient. A straight
line with a constant is fitted to all points, relative errors counting; of `density`, where the steps are a constant, it
is the only fit. Memory is the most that forward and backward add to what the process has (`spiking.bench.memory.peak`),
the events apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spiking import Events
from spiking.bench import environment, threads
from spiking.bench.memory import TRIES, peak
from spiking.kernels import lif
from spiking.kernels.surrogate import triangle
from spiking.plots import growth

INPUTS, N, DENSITY, STEPS, RECORDINGS, MANY = 700, 128, 0.0357, 100, 32, 128
FROM = 3e5  # events


def events_of(T: int, B: int, density: float) -> Events:
    """Random events, drawn without the dense tensor, no two in one place."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(T * B), rng.poisson(density * INPUTS, T * B))
    places = np.unique(rows * INPUTS + rng.integers(0, INPUTS, len(rows)))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(places // INPUTS, minlength=T * B))])
    index = torch.from_numpy((places % INPUTS).astype(np.int32))
    return Events(torch.from_numpy(indptr.astype(np.int64)), index, (T, B, INPUTS), 1.0)


def shapes(series: str, least: float, most: float, points: int) -> Iterator[tuple[int, int, float]]:
    """Steps, recordings and density of each point of a series."""
    for wanted in np.geomspace(least, most, points):
        rows = wanted / (DENSITY * INPUTS)
        if series == "recordings":
            yield STEPS, max(1, round(rows / STEPS)), DENSITY
        elif series == "steps":
            yield max(1, round(rows / RECORDINGS)), RECORDINGS, DENSITY
        else:
            # two events drawn in one place are one: draw as many more as leave this many
            share = min(wanted / (STEPS * MANY * INPUTS), 0.95)
            yield STEPS, MANY, -float(np.log1p(-share))


def measured(x: Events, rounds: int) -> tuple[float, int]:
    """Median seconds of forward and backward, and the bytes they add at most."""
    g = torch.Generator().manual_seed(0)
    weight = (torch.randn(INPUTS, N, generator=g) * 0.1).requires_grad_()
    grad = torch.randn(x.shape[0], x.shape[1], N, generator=g)

    def both() -> None:
        spikes, _ = lif(x, weight=weight, surrogate=triangle(1.0))
        assert isinstance(spikes, Tensor)
        torch.autograd.grad(spikes, weight, grad)

    both()
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        both()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken), peak(both, tries=TRIES)


def fitted(series: str, rows: list[dict[str, float]]) -> dict[str, float]:
    """Straight lines of time and memory, and their exponents where everything grows with the events."""
    n, seconds, size = (np.array([row[key] for row in rows]) for key in ("events", "seconds", "bytes"))
    slope, constant = np.polyfit(n, seconds, 1, w=1 / seconds)
    each, fixed = np.polyfit(n, size, 1, w=1 / size)
    found = {"ns_an_event": 1e9 * slope, "ms_fixed": 1e3 * constant, "bytes_an_event": each, "MB_fixed": fixed / 1e6}
    if series == "density":
        return found
    kept = n >= FROM if (n >= FROM).sum() > 1 else n > 0
    x = np.log(n[kept])
    return found | {
        f"{name}_exponent": float(np.polyfit(x, np.log(values[kept]), 1)[0])
        for name, values in (("time", seconds), ("memory", size))
    }


def main() -> int:
    """Print a table, and with --out write growth.json and growth.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--least", type=float, default=1e4, help="events")
    parser.add_argument("--most", type=float, default=1e7, help="events")
    parser.add_argument("--points", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    about = environment([], "cpu")
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    found: dict[str, list[dict[str, float]]] = {}
    fits: dict[str, dict[str, float]] = {}
    with threads(given.threads):
        for series in ("recordings", "steps", "density"):
            print(f"\n| {series} | T, B | events | ms | MB |\n|---|---|---|---|---|")
            found[series] = []
            for T, B, density in shapes(series, given.least, given.most, given.points):
                x = events_of(T, B, density)
                seconds, size = measured(x, given.rounds)
                found[series].append({"T": T, "B": B, "events": x.nnz, "seconds": seconds, "bytes": size})
                print(f"| | {T}, {B} | {x.nnz:,} | {1e3 * seconds:.2f} | {size / 1e6:.1f} |", flush=True)
            fits[series] = fitted(series, found[series])
            print("\n" + ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in fits[series].items()))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        metrics = {f"{series}.{name}": value for series, fit in fits.items() for name, value in fit.items()}
        (given.out / "growth.json").write_text(json.dumps({"environment": about, "fits": metrics, "points": found}))
        growth(found, fits).savefig(given.out / "growth.png", dpi=90)
        print(given.out / "growth.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
