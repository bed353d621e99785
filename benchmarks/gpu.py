"""The Triton kernels on a real GPU: `python benchmarks/gpu.py` prints tables for docs/gpu.md.

1. Leaky neurons fed with currents, forward and backward: bytes that must move (forward reads the currents and writes
   the spikes; backward reads currents and gradients and writes gradients) over the time, as a share of the card's own
   copy rate, measured first.
2. The same neurons in SpikingJelly's `LIFNode` on its Triton kernels, T = 32, where it is installed: hard reset in the
   graph, arctan surrogate. Spikes and gradients are compared first; where they differ there is no ratio.
3. A layer of events, 700 channels into 256 neurons: `lif` with its weights inside next to a dense product and `lif`.

Times are medians of `triton.testing.do_bench`, on an otherwise idle card.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor
from triton.testing import do_bench

from spiking import Events
from spiking.kernels import Rule, lif
from spiking.kernels.surrogate import arctan
from spiking.neurons import LIF, like

SHAPES = [(100, 256, 256), (32, 4096, 1024), (100, 2048, 1024), (1000, 256, 1024)]
FLIPS, ERROR = 1e-6, 1e-3


def milliseconds(work: Callable[[], object]) -> float:
    """The median time of a call, a first one apart."""
    work()
    return float(do_bench(work, warmup=25, rep=150, return_mode="median"))


def passes(layer: Callable[[Tensor], Tensor], leaf: Tensor, grad: Tensor) -> tuple[float, float]:
    """Milliseconds forward and backward."""
    forward = milliseconds(lambda: layer(leaf))
    output = layer(leaf)
    backward = milliseconds(lambda: torch.autograd.grad(output, leaf, grad, retain_graph=True))
    return forward, backward


def copy_rate() -> float:
    """Bytes a second, read and written, of a copy of 2 GiB."""
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / milliseconds(lambda: target.copy_(source)) * 1e3


def plain(x: Tensor) -> Tensor:
    """Leaky neurons fed with currents."""
    spikes, _ = lif(x, tau_mem=20.0, threshold=1.0, rule=Rule(input_scale="one"), surrogate=arctan(), dt=1.0)
    assert isinstance(spikes, Tensor)
    return spikes


def bandwidth(rate: float) -> None:
    """Table 1."""
    print(f"\ncopy rate {rate / 1e12:.2f} TB/s (2 GiB, bytes read and written)\n")
    print("| T, B, N | dtype | forward ms | of copy rate | backward ms | of copy rate |")
    print("|---|---|---|---|---|---|")
    for T, B, N in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            x = (torch.randn(T, B, N, device="cuda") * 0.5).to(dtype).requires_grad_()
            grad = torch.randn(T, B, N, device="cuda").to(dtype)
            forward, backward = passes(plain, x, grad)
            shares = [n * x.nbytes / ms * 1e3 / rate for n, ms in ((2, forward), (3, backward))]
            print(
                f"| {T}, {B}, {N} | {str(dtype)[6:]} | {forward:.3f} | {shares[0]:.0%} | {backward:.3f} | "
                f"{shares[1]:.0%} |",
                flush=True,
            )


def against_spikingjelly() -> bool:
    """Table 2; whether the two agree."""
    os.environ.setdefault("SJ_LIF_CUDA_IMPLEMENTATION", "triton")
    try:
        from spikingjelly.activation_based import functional, neuron, surrogate
    except ImportError as error:
        print(f"\nno comparison with SpikingJelly: {error}")
        return True
    node = neuron.LIFNode(surrogate_function=surrogate.ATan(alpha=2.0), step_mode="m").cuda()

    def theirs(x: Tensor) -> Tensor:
        functional.reset_net(node)
        spikes: Tensor = node(x)
        return spikes

    chosen = os.environ["SJ_LIF_CUDA_IMPLEMENTATION"]
    print(f"\nSpikingJelly {version('spikingjelly')}, LIFNode, implementation {chosen}")
    print("\n| T, B, N | flips | gradient | theirs fwd, bwd ms | ours fwd, bwd ms | ratio of sums |")
    print("|---|---|---|---|---|---|")
    agreed = True
    for T, B, N in ((32, 256, 256), (32, 4096, 1024)):
        layer = LIF(N, surrogate=arctan(2.0), device="cuda", **like("spikingjelly"))

        def mine(x: Tensor, layer: LIF = layer) -> Tensor:
            spikes: Tensor = layer(x)[0]
            return spikes

        x = (torch.randn(T, B, N, device="cuda") * 2).requires_grad_()
        grad = torch.randn(T, B, N, device="cuda")
        results = []
        for run in (theirs, mine):
            spikes = run(x)
            results.append((spikes.detach(), torch.autograd.grad(spikes, x, grad)[0]))
        flips = float((results[0][0] != results[1][0]).float().mean())
        error = float((results[0][1] - results[1][1]).norm() / results[0][1].norm())
        if flips > FLIPS or error > ERROR:
            print(f"| {T}, {B}, {N} | {flips:.1e} | {error:.1e} | they disagree: no ratio | | |")
            agreed = False
            continue
        slow, fast = passes(theirs, x, grad), passes(mine, x, grad)
        print(
            f"| {T}, {B}, {N} | {flips:.1e} | {error:.1e} | {slow[0]:.3f}, {slow[1]:.3f} | {fast[0]:.3f}, "
            f"{fast[1]:.3f} | {sum(slow) / sum(fast):.2f} |",
            flush=True,
        )
    return agreed


def layer_of_events() -> None:
    """Table 3."""
    print("\n| T=100, 700 -> 256, 1.5 % events, forward and backward | B | ms |")
    print("|---|---|---|")
    for B in (256, 2048):
        dense = (torch.rand(100, B, 700, device="cuda") < 0.015).float()
        events = Events.from_dense(dense.cpu(), dt=1.0).to("cuda")
        weight = (torch.randn(700, 256, device="cuda") * 0.2).requires_grad_()
        grad = torch.randn(100, B, 256, device="cuda")

        def inside(w: Tensor, events: Events = events) -> Tensor:
            spikes, _ = lif(events, weight=w, tau_mem=20.0, rule=Rule(input_scale="one"), surrogate=arctan())
            assert isinstance(spikes, Tensor)
            return spikes

        def apart(w: Tensor, dense: Tensor = dense) -> Tensor:
            return plain(dense @ w)

        for name, layer in (("events, weights inside", inside), ("dense product, then lif", apart)):
            forward, backward = passes(layer, weight, grad)
            print(f"| {name} | {B} | {forward:.3f} + {backward:.3f} |", flush=True)


def main() -> int:
    """Print the tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if not torch.cuda.is_available():
        print("no GPU here")
        return 1
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "triton", "numpy"))
    print(f"{torch.cuda.get_device_name()}, python {platform.python_version()}, {packages}")
    torch.manual_seed(0)
    bandwidth(copy_rate())
    agreed = against_spikingjelly()
    layer_of_events()
    return 0 if agreed else 1


if __name__ == "__main__":
    raise SystemExit(main())
