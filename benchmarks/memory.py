"""Peak memory of a training step next to snnTorch's: `python benchmarks/memory.py`.

The step of `benchmarks/epoch.py`: two layers of 128 recurrent neurons, 700 channels, 100 steps, a batch of 128,
forward, backward and Adam. Each side runs in a fresh process, which loads everything, takes one step on two recordings,
makes the batch (events for ours, a dense float tensor for snnTorch), gives free memory back and has Linux forget the
largest resident size so far (`spiking.bench.memory`). What the step then adds at most to the resident size counts:
parameters, Adam's averages and the data are there before.

Each side is measured twice: with pages of its own for every tensor, given back when it goes, and as the C library's
malloc comes, which is what a user sees (`spiking.bench.memory` says more).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from epoch import BATCH, DT, ERROR, RATE, SIZES, STEPS, SnnTorch, agree, ours, step_of

from spiking import Events
from spiking.bench import environment
from spiking.bench.memory import MALLOC, in_fresh_process, peak

SIDES = ("snntorch", "lif", "alif")


def batch(recordings: int, dense: bool) -> tuple[Events | torch.Tensor, torch.Tensor]:
    """Poisson events at the rate of SHD, and labels."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(STEPS, recordings, SIZES[0], generator=g) < RATE * DT / 1000
    return x.float() if dense else Events.from_dense(x, dt=DT), torch.arange(recordings) % SIZES[-1]


def added(side: str, recordings: int) -> int:
    """Bytes that a step adds at most, in this process."""
    net = ours("lif" if side == "snntorch" else side)
    if side == "snntorch":
        other = SnnTorch(net)
        step = step_of(other, other)
    else:
        step = step_of(net, lambda x: net(x)[0])
    dense = side == "snntorch"
    step(*batch(2, dense))
    given = batch(recordings, dense)
    return peak(lambda: step(*given))


def main() -> int:
    """Print a table, and with --out write metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=SIDES, help="print this side's bytes only; the script calls itself so")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.side:
        print(added(given.side, given.batch))
        return 0
    print(", ".join(f"{name} {value}" for name, value in environment(["snntorch"], "cpu").items()))
    error = agree(*batch(4, False))
    print(f"output and gradients of recurrent LIF off by {error:.1e}")
    if not error <= ERROR:
        print(f"the sides disagree (allowed: {ERROR:.0e}): no ratio")
        return 1
    found = {}
    print(f"\n| peak memory of a step, batch {given.batch} | malloc | MB | snnTorch takes |\n|---|---|---|---|")
    for mode in MALLOC:
        words = [__file__, "--batch", str(given.batch), "--side"]
        found[mode] = {side: in_fresh_process([*words, side], mode) for side in SIDES}
        for side, taken in found[mode].items():
            name = "snnTorch, RLeaky" if side == "snntorch" else f"ours, recurrent {side}"
            print(f"| {name} | {mode} | {taken / 1e6:.1f} | {found[mode]['snntorch'] / max(taken, 1):.1f} x |")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "metrics.json").write_text(json.dumps(found, indent=1))
        print(given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
