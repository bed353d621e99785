"""How long recurrent neurons take on a GPU, next to a loop in PyTorch: `python benchmarks/gpu_recurrent.py`.

Currents (T, B, N) into N leaky neurons with recurrent weights, u = beta u + I + z' V - threshold z, the reset detached.
The loop is plain PyTorch, one step after the other, with the spike as one autograd function. Both sides are captured
in a CUDA graph, forward alone and forward with backward, so that launches cost neither of them anything; "as called" is
ours without a graph. The loop's time does not depend on how many neurons fire.

First they must agree, in float64 and on fewer samples: the same spikes and gradients to 1e-9 of the largest. Where they
do not, nothing is timed and the exit status is 1. `--tune` then times cuts of the kernels other than the one built in.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterator
from importlib.metadata import version

import torch
from torch import Tensor

from spiking.kernels import Rule, lif
from spiking.kernels.surrogate import Surrogate, resolve
from spiking.kernels.surrogate.reference import derivative

BETA, GAIN = 0.9, 0.3  # GAIN: standard deviation of the recurrent weights times the root of N; small, so not chaotic
TAU = -1.0 / math.log(BETA)
SURROGATES = ("triangle", "fast_sigmoid")


class Spike(torch.autograd.Function):
    """H(x) with the derivative of a surrogate, for the loop."""

    @staticmethod
    def forward(ctx, x: Tensor, surrogate: Surrogate) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return grad * derivative(ctx.surrogate, x), None


def loop(current: Tensor, recurrent: Tensor, surrogate: Surrogate) -> Tensor:
    """The recurrence step by step."""
    u = z = torch.zeros_like(current[0])
    spikes = []
    for I in current.unbind(0):
        u = BETA * u + (I + z @ recurrent)
        z = Spike.apply(u - 1.0, surrogate)
        u = u - z.detach()
        spikes.append(z)
    return torch.stack(spikes)


def ours(current: Tensor, recurrent: Tensor, surrogate: Surrogate) -> Tensor:
    """The same as one call."""
    rule = Rule(input_scale="one")
    spikes, _ = lif(current, recurrent=recurrent, tau_mem=TAU, rule=rule, surrogate=surrogate, dt=1.0)
    assert isinstance(spikes, Tensor)
    return spikes


def problem(T: int, B: int, N: int, firing: float, device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Currents that let this share of neuron-steps fire, recurrent weights, and a gradient of the spikes."""
    g = torch.Generator(device).manual_seed(0)
    noise, grad = (torch.randn(T, B, N, generator=g, device=device, dtype=dtype) for _ in range(2))
    recurrent = torch.randn(N, N, generator=g, device=device, dtype=dtype) * (GAIN / N**0.5)
    low, high = 0.0, 4.0
    with torch.no_grad():
        for _ in range(12):
            middle = (low + high) / 2
            rate = float(ours(middle * noise, recurrent, resolve("never")).mean())
            low, high = (low, middle) if rate > firing else (middle, high)
    return (high * noise).requires_grad_(), recurrent.requires_grad_(), grad


def agree(T: int, B: int, N: int, surrogate: Surrogate, device: str) -> bool:
    """Whether both sides return the same spikes and gradients in float64."""
    current, recurrent, grad = problem(T, B, N, 0.05, device, torch.float64)
    results = []
    for side in (ours, loop):
        spikes = side(current, recurrent, surrogate)
        results.append((spikes.detach(), *torch.autograd.grad(spikes, (current, recurrent), grad)))
    (spikes, *found), (expected, *wanted) = results
    flips = float((spikes != expected).double().mean())
    error = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, wanted, strict=True))
    print(f"N={N}, {surrogate.name}: {flips:.1e} of neuron-steps differ, gradients off by {error:.1e}")
    return flips == 0 and error <= 1e-9


def captured(call: Callable[[], object]) -> Callable[[], None]:
    """The call as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def milliseconds(call: Callable[[], object], rounds: int = 10) -> float:
    """The median time of a call on the GPU."""
    call()
    taken = []
    for _ in range(rounds):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        taken.append(start.elapsed_time(stop))
    return statistics.median(taken)


def calls(
    side: Callable[..., Tensor], current: Tensor, recurrent: Tensor, grad: Tensor, surrogate: Surrogate
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Forward, and forward with backward."""

    def forward() -> object:
        return side(current, recurrent, surrogate)

    def both() -> object:
        return torch.autograd.grad(side(current, recurrent, surrogate), (current, recurrent), grad)

    return forward, both


def shares(current: Tensor, recurrent: Tensor, surrogate: Surrogate) -> tuple[float, float]:
    """Of all neuron-steps those that fire, and those whose surrogate is not 0."""
    with torch.no_grad():
        (spikes, membrane), _ = lif(
            current, recurrent=recurrent, tau_mem=TAU, rule=Rule(input_scale="one"), dt=1.0, trace=True
        )
    return float(spikes.mean()), float((derivative(surrogate, membrane - 1.0) != 0).double().mean())


def cuts() -> Iterator[str]:
    """Set the kernels' cut to one after the other, and say which it is; the built-in one is set again at the end."""
    from spiking.kernels.lif import gpu

    built_in = gpu.SHARE, gpu.TOGETHER
    for share in (32, 64, 128):
        for together in (8, 16, 32):
            gpu.SHARE, gpu.TOGETHER = share, together
            yield f"{share} neurons a warp, {together} rows at once"
    gpu.SHARE, gpu.TOGETHER = built_in


def main() -> int:
    """Compare, then print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--firing", type=float, nargs="+", default=[0.02, 0.05, 0.1, 0.2])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--tune", action="store_true", help="time other cuts of the kernels too")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here")
        return 1
    T, B = options.steps, options.batch
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "triton"))
    print(f"{torch.cuda.get_device_name()}, {packages}, T={T} B={B}, float32")
    chosen = [surrogate for surrogate in map(resolve, SURROGATES) if isinstance(surrogate, Surrogate)]
    if not all([agree(T, 16, N, surrogate, "cuda") for N in options.neurons for surrogate in chosen]):
        print("the two sides disagree: nothing is timed")
        return 1

    print("\n| N | surrogate | firing | not 0 | loop forward, both | ours forward, both | as called | ratio, both |")
    print("|---|---|---|---|---|---|---|---|")
    for N in options.neurons:
        for surrogate in chosen:
            theirs: list[float] = []
            for firing in options.firing:
                x, recurrent, grad = problem(T, B, N, firing, "cuda", torch.float32)
                theirs = theirs or [milliseconds(captured(c)) for c in calls(loop, x, recurrent, grad, surrogate)]
                mine = calls(ours, x, recurrent, grad, surrogate)
                forward, both = (milliseconds(captured(c)) for c in mine)
                fired, active = shares(x, recurrent, surrogate)
                print(
                    f"| {N} | {surrogate.name} | {fired:.3f} | {active:.2f} | {theirs[0]:.2f}, {theirs[1]:.2f} "
                    f"| {forward:.2f}, {both:.2f} | {milliseconds(mine[1]):.2f} | {theirs[1] / both:.1f} |",
                    flush=True,
                )
    for N in options.neurons if options.tune else ():
        given = *problem(T, B, N, 0.05, "cuda", torch.float32), chosen[0]
        for cut in cuts():
            try:
                forward, both = (milliseconds(captured(c)) for c in calls(ours, *given))
                print(f"N={N}, {cut}: {forward:.2f} ms forward, {both:.2f} ms both", flush=True)
            except Exception as error:
                print(f"N={N}, {cut}: {error}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
