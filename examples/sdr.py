"""How many patterns one dendrite may hold before it takes noise for them: theory, and segments that are simulated.

    python examples/sdr.py [--out FOLDER]

A neuron has 20 synapses for each of its patterns, all on one segment, and fires when 10 of them are active. The more
patterns share the segment, the more often a random pattern passes for one of them; the sparser patterns are, the more
of them fit. Prints the table and draws sdr.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from spiking.plasticity import sdr

CELLS, SYNAPSES, THRESHOLD = 2000, 20, 10
LIMIT = 1e-4


def main(pairs: int = 10**6) -> dict[int, int]:
    """Print, draw, and return for each number of active cells how many patterns stay below the limit."""
    words = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    words.add_argument("--out", type=Path, default=Path("runs"))
    out = words.parse_args().out

    fit = {}
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    print("active  patterns     theory  simulated")
    for active, colour in ((20, "#1b7837"), (40, "#2166ac"), (80, "#e08214")):
        patterns = list(range(1, 17))
        theory = [sdr.mixed(CELLS, active, SYNAPSES, THRESHOLD, m) for m in patterns]
        fit[active] = sum(error < LIMIT for error in theory)
        axes.semilogy(patterns, theory, color=colour, label=f"{active} of {CELLS} cells active")
        for m in (4, 8, 12, 16):
            found = sdr.simulate.random_matches(CELLS, active, m * SYNAPSES, pairs, seed=m)
            print(f"{active:6d}{m:10d}{theory[m - 1]:11.2e}{found.rate(THRESHOLD):11.2e}")
            axes.semilogy([m], [found.rate(THRESHOLD) or float("nan")], "o", color=colour, markersize=4)
        print(f"{active} active: {fit[active]} patterns below {LIMIT:g}")
    axes.axhline(LIMIT, color="#707070", linestyle="--", linewidth=0.8)
    axes.set(xlabel="patterns on one segment", ylabel="false matches", ylim=(1e-8, 2))
    axes.legend(frameon=False, loc="lower right")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "sdr.png", dpi=120)
    print(f"picture: {out / 'sdr.png'}")
    return fit


if __name__ == "__main__":
    main()
