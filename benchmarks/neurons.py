"""How long a layer of spiking neurons takes, forward and backward, next to snnTorch: `python benchmarks/neurons.py`.

Events (T, B, inputs) into N leaky neurons, u = beta u + W x - threshold z' with the reset detached and a triangle
surrogate plugged into both. snnTorch runs in its faster form: one Linear over all steps, then `Leaky` step by step over
`unbind`. Both sides run in one process, in turn, on the same threads, each timed call after one of the same layer that
is not timed. First they must agree: spikes on all but 1e-6 of
neuron-steps, weight gradients to a relative RMS of 1e-3. Where they do not, no ratio is printed and the exit status is
1. On a loaded machine the ratio means little: many short parallel regions, as in snnTorch, suffer most.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor

from spiking import Events
from spiking.kernels import Rule, event_linear, lif
from spiking.kernels.surrogate import triangle

BETA, THRESHOLD, WIDTH = 0.9, 1.0, 1.0
TAU = -1.0 / math.log(BETA)
FLIPS, ERROR = 1e-6, 1e-3


class Triangle(torch.autograd.Function):
    """H(x) with the derivative max(0, 1 - |x| / WIDTH), for snnTorch."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return grad * (1 - x.abs() / WIDTH).clamp(min=0)


def peer(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """snnTorch's layer as a function of dense spikes (T, B, inputs)."""
    import snntorch

    neuron = snntorch.Leaky(beta=BETA, threshold=THRESHOLD, spike_grad=Triangle.apply, reset_mechanism="subtract")

    def run(dense: Tensor) -> Tensor:
        membrane = neuron.init_leaky()
        spikes = []
        for current in (dense @ weight).unbind(0):
            z, membrane = neuron(current, membrane)
            spikes.append(z)
        return torch.stack(spikes)

    return run


def timed(layers: dict[str, Callable[[], Tensor]], weight: Tensor, grad: Tensor, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of forward and backward, the layers in turn, each after a call that is not timed.

    So no layer pays for the memory that the one before it gave back to the system; in training it follows itself.
    """
    taken: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(rounds):
        for name, layer in layers.items():
            torch.autograd.grad(layer(), weight, grad)
            start = time.perf_counter()
            torch.autograd.grad(layer(), weight, grad)
            taken[name].append((time.perf_counter() - start) * 1e3)
    return taken


def main() -> int:
    """Compare, then print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small layer, for the tests")
    parser.add_argument("--rounds", type=int, default=None, help="repetitions (15, or 2 with --quick)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--gain", type=float, default=0.2, help="standard deviation of the weights")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    T, B, inputs, N = (20, 8, 70, 40) if options.quick else (100, 256, 700, 256)
    rounds = options.rounds or (2 if options.quick else 15)

    g = torch.Generator().manual_seed(0)
    dense = (torch.rand(T, B, inputs, generator=g) < 0.015).float()
    weight = (torch.randn(inputs, N, generator=g) * options.gain).requires_grad_()
    grad = torch.randn(T, B, N, generator=g)
    events = Events.from_dense(dense, dt=1.0)
    theirs = peer(weight)
    rule = Rule(input_scale="one", reset_time="next")

    def neurons(x: Events | Tensor, matrix: Tensor | None = None) -> Tensor:
        spikes, _ = lif(
            x, weight=matrix, tau_mem=TAU, threshold=THRESHOLD, rule=rule, surrogate=triangle(WIDTH), dt=1.0
        )
        assert isinstance(spikes, Tensor)
        return spikes

    layers: dict[str, Callable[[], Tensor]] = {
        "snntorch Leaky": lambda: theirs(dense),
        "lif, weights inside": lambda: neurons(events, weight),
        "event_linear + lif": lambda: neurons(event_linear(events, weight)),
        "event_linear (dense) + lif": lambda: neurons(event_linear(dense, weight)),
    }
    print(f"T={T} B={B} inputs={inputs} N={N} density={events.density:.4f} float32, {options.threads} threads")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numba", "snntorch"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}, {packages}")

    agreed = True
    wanted: tuple[Tensor, Tensor] | None = None
    for name, layer in layers.items():
        spikes = layer()
        gradient = torch.autograd.grad(spikes, weight, grad)[0]
        if wanted is None:
            wanted = spikes, gradient
            print(f"firing {float(spikes.detach().mean()):.4f}")
            continue
        flips = float((spikes != wanted[0]).float().mean())
        error = float((gradient - wanted[1]).norm() / wanted[1].norm())
        agreed &= flips <= FLIPS and error <= ERROR
        print(f"{name}: {flips:.1e} of neuron-steps differ, gradient off by {error:.1e}")
    if not agreed:
        print(f"the layers disagree (allowed: {FLIPS:.0e} and {ERROR:.0e}): no ratio")
        return 1

    taken = timed(layers, weight, grad, rounds)
    slow = taken["snntorch Leaky"]
    print(f"load average {os.getloadavg()[0]:.2f}\n")
    print("| forward and backward | min ms | median ms | ratio (median of pairs) |")
    print("|---|---|---|---|")
    for name, ms in taken.items():
        ratio = statistics.median(a / b for a, b in zip(slow, ms, strict=True))
        print(f"| {name} | {min(ms):.2f} | {statistics.median(ms):.2f} | {ratio:.1f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
