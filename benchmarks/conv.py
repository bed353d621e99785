"""How long the convolution of camera events takes, forward and backward, next to torch's conv2d of dense frames.

    python benchmarks/conv.py [--root PATH] [--rounds 15] [--threads 2]
    python benchmarks/conv.py --crossover

N-MNIST recordings (of PATH, or $SPIKING_DATA/nmnist_small; simulated digits where neither is there), some 500 frames of
them binned at several steps, into layers as `spiking train nmnist` and others have them. Three ways in turn, on the
same threads: `event_conv`; conv2d of frames that lie there; and conv2d with making the frames, which is what a network
that is given events must do. Each timed call follows one of the same way that isn't timed. Outputs and weight gradients
are compared first, and where they disagree no ratio is printed and the exit status is 1. Milliseconds are of the clock,
and beside them of processors: what other programs take of a busy machine is in the former only.

`--crossover` takes random frames of rising density, and says where dense frames begin to cost less.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from spiking import Events
from spiking.datasets import load
from spiking.kernels import event_conv
from spiking.kernels.event_conv import from_torch

LAYERS = ((8, 5, 2), (16, 5, 2), (32, 3, 1))  # output channels, kernel, stride
STEPS = (1.0, 5.0, 20.0)  # ms
DENSITIES = (0.005, 0.02, 0.05, 0.08, 0.12, 0.2)
SENSOR = (34, 34, 2)
WAYS = ("conv2d", "frames and conv2d", "event_conv")
ERROR = 1e-4

Taken = dict[str, list[tuple[float, float]]]


def ways(x: Events, weight: Tensor, stride: int) -> dict[str, Callable[[], Tensor]]:
    """The three, as functions that return (frames, out, H', W')."""
    assert x.sensor is not None
    W, H, P = x.sensor
    pad = weight.shape[2] // 2
    frames = x.to_dense().view(-1, P, H, W)
    return {
        WAYS[0]: lambda: conv2d(frames, weight, None, stride, pad),
        WAYS[1]: lambda: conv2d(x.to_dense().view(-1, P, H, W), weight, None, stride, pad),
        WAYS[2]: lambda: event_conv(x, from_torch(weight), None, stride, pad).flatten(0, 1),
    }


def off(found: Tensor, wanted: Tensor) -> float:
    """The relative error of one tensor against another."""
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-30))


def measure(x: Events, layer: tuple[int, int, int], rounds: int) -> Taken | None:
    """Wall and processor milliseconds of forward and backward, or `None` if results differ."""
    out, kernel, stride = layer
    g = torch.Generator().manual_seed(0)
    assert x.sensor is not None
    weight = torch.randn(out, x.sensor[2], kernel, kernel, generator=g).requires_grad_()
    made = ways(x, weight, stride)
    wanted = made[WAYS[0]]()
    grad = torch.randn(wanted.shape, generator=g)
    slope = torch.autograd.grad(wanted, weight, grad)[0]
    for name in WAYS[1:]:
        y = made[name]()
        errors = off(y.detach(), wanted.detach()), off(torch.autograd.grad(y, weight, grad)[0], slope)
        if not all(error <= ERROR for error in errors):  # which NaN is not
            print(f"{name}: off by {max(errors):.1e} (allowed: {ERROR:.0e}): no ratio")
            return None
    del wanted, y
    taken: Taken = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in made.items():
            torch.autograd.grad(way(), weight, grad)
            wall, work = time.perf_counter(), time.process_time()
            torch.autograd.grad(way(), weight, grad)
            taken[name].append(((time.perf_counter() - wall) * 1e3, (time.process_time() - work) * 1e3))
    return taken


def row(label: str, taken: Taken) -> str:
    """A line of the table: medians of both clocks for each way, and the ratio of the median pair."""
    cells = [
        " / ".join(f"{statistics.median(pair[k] for pair in taken[name]):.1f}" for k in (0, 1)) for name in WAYS
    ]
    ratio = [
        statistics.median(a[k] / max(b[k], 1e-9) for a, b in zip(taken[WAYS[1]], taken[WAYS[2]], strict=True))
        for k in (0, 1)
    ]
    return f"| {label} | {' | '.join(cells)} | {ratio[0]:.1f} / {ratio[1]:.1f} |"


def recordings(root: Path | None, dt: float, batch: int) -> tuple[str, Events]:
    """A batch of real recordings, or of the embedded simulated ones."""
    if root is None:
        return "simulated digits", next(iter(load("digits").loader(batch, dt=dt, shuffle=True, seed=0)))[0]
    return "N-MNIST", next(iter(load("nmnist", "all", root=root).loader(batch, dt=dt, shuffle=True, seed=0)))[0]


def noise(density: float, batch: int) -> Events:
    """Frames whose pixels fire at random."""
    W, H, P = SENSOR
    g = torch.Generator().manual_seed(0)
    return Events.from_dense(torch.rand(16, batch, W * H * P, generator=g) < density, 20.0, sensor=SENSOR)


def main() -> int:
    """Compare, then print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=None, help="folder of N-MNIST recordings")
    parser.add_argument("--crossover", action="store_true", help="random frames of rising density")
    parser.add_argument("--quick", action="store_true", help="few small ones, for the tests")
    parser.add_argument("--rounds", type=int, default=None, help="repetitions (15, or 2 with --quick)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    batch, rounds = (2 if options.quick else 32), options.rounds or (2 if options.quick else 15)  # of 20 ms
    root = options.root
    if root is None:
        beside = Path(os.environ.get("SPIKING_DATA", Path(__file__).parents[2] / "shared" / "data")) / "nmnist_small"
        root = beside if beside.is_dir() else None
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads, torch {version('torch')}, float32")
    print(f"forward and backward, median ms of the clock / of processors; load average {os.getloadavg()[0]:.2f}\n")
    print(f"| input, layer | {' | '.join(WAYS)} | ratio of the last two |")
    print("|---|---|---|---|---|")
    for given in (DENSITIES if options.crossover else STEPS)[: 1 if options.quick else None]:
        if options.crossover:
            name, x = "random", noise(given, batch)
        else:
            dt = 20.0 if options.quick else given
            name, x = recordings(root, dt, max(2, round(batch * dt / 20)))
            name = f"{name}, {x.dt:g} ms"
        for layer in LAYERS[: 1 if options.quick else None]:
            taken = measure(x, layer, rounds)
            if taken is None:
                return 1
            label = f"{layer[0]} channels, {layer[1]} x {layer[1]}, stride {layer[2]}"
            print(row(f"{name}, {100 * x.density:.1f} % of {x.shape[0] * x.shape[1]} frames; {label}", taken))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
