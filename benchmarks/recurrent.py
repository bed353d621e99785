"""How long a layer of recurrent spiking neurons takes, forward and backward: `python benchmarks/recurrent.py`.

Events (T, B, inputs) into N neurons that feel each other's spikes a step later. LIF is u = beta u + W x + V z' -
threshold z' with the reset detached; ALIF adds an adaptive threshold, threshold + STRENGTH w, w = RHO w + (1 - RHO) z,
reset by that threshold a step later. The same surrogate is plugged into all sides: a bounded one, the triangle, and one
with tails, the arctan.

Peers, each with one Linear over all steps and a loop over `unbind`: snnTorch's `RLeaky` for LIF, and for both a lean
loop written by hand in PyTorch, since no peer has this ALIF; the ratio is to the faster one. All run in one process, in
turn, on the same threads, each timed call after one of the same layer that is not timed. First they must agree: spikes
on all but 1e-6 of neuron-steps, gradients of both matrices to a relative RMS of 1e-3. V is small, 0.02, so that the
network is no chaos in which roundings grow. Where they do not agree, no ratio is printed and the exit status is 1. On a
loaded machine the ratio means little: many short parallel regions, as in the loops, suffer most.
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
from spiking.kernels import Adaptation, Rule, Surrogate, lif
from spiking.kernels.surrogate import arctan, derivative, triangle

BETA, THRESHOLD, RHO, STRENGTH = 0.9, 1.0, 0.98, 1.0
TAU, TAU_ADAPT = -1.0 / math.log(BETA), -1.0 / math.log(RHO)
FLIPS, ERROR = 1e-6, 1e-3
SURROGATES = {"triangle": triangle(1.0), "arctan": arctan(2.0)}

Run = Callable[[], Tensor]


def threshold_with(surrogate: Surrogate) -> Callable[[Tensor], Tensor]:
    """H(x) with the derivative of a surrogate, as snnTorch and a loop in PyTorch take it."""

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
            ctx.save_for_backward(x)
            return (x > 0).to(x.dtype)

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
            (x,) = ctx.saved_tensors
            return grad * derivative(surrogate, x)

    return Spike.apply


def snntorch_rleaky(dense: Tensor, weight: Tensor, recurrent: Tensor, spike: Callable[[Tensor], Tensor]) -> Run:
    """snnTorch's layer; its own recurrent Linear is replaced by one that reads the same matrix."""
    import snntorch

    N = weight.shape[1]
    neuron = snntorch.RLeaky(
        beta=BETA, threshold=THRESHOLD, linear_features=N, spike_grad=spike, reset_mechanism="subtract",
        learn_recurrent=False,
    )

    class Fan(torch.nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z @ recurrent

    neuron.recurrent = Fan()

    def run() -> Tensor:
        z = membrane = dense.new_zeros(dense.shape[1], N)
        spikes = []
        for current in (dense @ weight).unbind(0):
            z, membrane = neuron(current, z, membrane)
            spikes.append(z)
        return torch.stack(spikes)

    return run


def loop(dense: Tensor, weight: Tensor, recurrent: Tensor, spike: Callable[[Tensor], Tensor], adaptive: bool) -> Run:
    """The same layer as a lean loop over time in PyTorch."""

    def run() -> Tensor:
        z = dense.new_zeros(dense.shape[1], weight.shape[1])
        u, w = z, z
        spikes = []
        for current in (dense @ weight).unbind(0):
            level = THRESHOLD + STRENGTH * w if adaptive else THRESHOLD
            u = torch.addmm(current, z, recurrent) + BETA * u - level * z.detach()
            z = spike(u - level)
            if adaptive:
                w = RHO * w + (1 - RHO) * z
            spikes.append(z)
        return torch.stack(spikes)

    return run


def fused(events: Events, weight: Tensor, recurrent: Tensor, surrogate: Surrogate, adaptive: bool) -> Run:
    """The layer of this toolkit."""
    rule = Rule(input_scale="one", reset_time="next")
    adaptation = Adaptation("threshold", tau=TAU_ADAPT, strength=STRENGTH) if adaptive else None

    def run() -> Tensor:
        spikes, _ = lif(
            events, weight=weight, recurrent=recurrent, tau_mem=TAU, threshold=THRESHOLD, adaptation=adaptation,
            rule=rule, surrogate=surrogate,
        )
        assert isinstance(spikes, Tensor)
        return spikes

    return run


def agree(layers: dict[str, Run], leaves: tuple[Tensor, Tensor], grad: Tensor) -> bool:
    """Whether all layers have the spikes and gradients of the first one; prints by how much they differ."""
    agreed = True
    wanted: tuple[Tensor, ...] = ()
    for name, layer in layers.items():
        spikes = layer()
        found = (spikes.detach(), *torch.autograd.grad(spikes, leaves, grad))
        if not wanted:
            wanted = found
            print(f"firing {float(found[0].mean()):.4f}")
            continue
        flips = float((found[0] != wanted[0]).float().mean())
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(found[1:], wanted[1:], strict=True)]
        agreed &= flips <= FLIPS and max(errors) <= ERROR
        off = " and ".join(f"{error:.1e}" for error in errors)
        print(f"{name}: {flips:.1e} of neuron-steps differ, gradients of W and V off by {off}")
    return agreed


def timed(layers: dict[str, Run], leaves: tuple[Tensor, Tensor], grad: Tensor, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of forward and backward, the layers in turn, each after a call that is not timed."""
    taken: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(rounds):
        for name, layer in layers.items():
            torch.autograd.grad(layer(), leaves, grad)
            start = time.perf_counter()
            torch.autograd.grad(layer(), leaves, grad)
            taken[name].append((time.perf_counter() - start) * 1e3)
    return taken


def main() -> int:
    """Compare, then print a table for each neuron and surrogate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small layer, for the tests")
    parser.add_argument("--rounds", type=int, default=None, help="repetitions (15, or 2 with --quick)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--gain", type=float, default=0.2, help="standard deviation of W")
    parser.add_argument("--recurrent-gain", type=float, default=0.02, help="standard deviation of V")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    T, B, inputs, N = (20, 8, 70, 40) if options.quick else (100, 256, 700, 256)
    rounds = options.rounds or (2 if options.quick else 15)

    g = torch.Generator().manual_seed(0)
    dense = (torch.rand(T, B, inputs, generator=g) < 0.015).float()
    weight = (torch.randn(inputs, N, generator=g) * options.gain).requires_grad_()
    recurrent = (torch.randn(N, N, generator=g) * options.recurrent_gain).requires_grad_()
    grad = torch.randn(T, B, N, generator=g)
    events, leaves = Events.from_dense(dense, dt=1.0), (weight, recurrent)
    print(f"T={T} B={B} inputs={inputs} N={N} density={events.density:.4f} float32, {options.threads} threads")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numba", "snntorch"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}, {packages}")

    status = 0
    for neuron in ("LIF", "ALIF"):
        for name, surrogate in SURROGATES.items():
            adaptive, spike = neuron == "ALIF", threshold_with(surrogate)
            peers = {"loop in PyTorch": loop(dense, weight, recurrent, spike, adaptive)}
            if not adaptive:
                peers["snntorch RLeaky"] = snntorch_rleaky(dense, weight, recurrent, spike)
            layers = {**peers, "lif": fused(events, weight, recurrent, surrogate, adaptive)}
            print(f"\n{neuron}, {name}")
            if not agree(layers, leaves, grad):
                print(f"the layers disagree (allowed: {FLIPS:.0e} and {ERROR:.0e}): no ratio")
                status = 1
                continue
            taken = timed(layers, leaves, grad, rounds)
            slow = taken[min(peers, key=lambda peer: statistics.median(taken[peer]))]
            print(f"load average {os.getloadavg()[0]:.2f}\n")
            print(f"| {neuron}, {name}, forward and backward | min ms | median ms | ratio (median of pairs) |")
            print("|---|---|---|---|")
            for layer, ms in taken.items():
                ratio = statistics.median(a / b for a, b in zip(slow, ms, strict=True))
                print(f"| {layer} | {min(ms):.2f} | {statistics.median(ms):.2f} | {ratio:.1f} |")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
