"""How long spike counts times int8 weights take, next to float32 and int8: `python benchmarks/spike_linear.py`.

One token, as in decoding: `spike_linear` encodes the activations and multiplies them, and is compared with
`torch.nn.functional.linear` in float32 and with PyTorch's dynamic int8 linear, which quantises them as well. The share
of silent channels is set exactly: activations have no other zeros. Then prompts of several tokens, in mode "int". All
run in one process, in turn, on the same threads, each timed call after one of the same layer that is not timed.

First they must agree: `spike_linear` with its specification to the last bit, and with float32 to a relative RMS of 0.1
(0.04 for dynamic int8, whose weight has one scale). Where they do not, no ratio is printed and the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor
from torch.nn.functional import linear

from spiking.kernels import spike_linear
from spiking.kernels.spike_linear import encode, pack

WEIGHTS = ((4096, 11008), (11008, 4096), (2048, 2048))  # in, out
SHARES = (0.0, 0.15, 0.3, 0.5, 0.7, 0.9)
PROMPTS = (64, 512)
ERRORS = {"spike_linear": 0.1, "dynamic int8": 0.04}


def dynamic_int8(weight: Tensor) -> Callable[[Tensor], Tensor]:
    """PyTorch's linear layer with int8 weights and activations quantised as they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = torch.ao.nn.quantized.dynamic.Linear(weight.shape[1], weight.shape[0], bias_=False)
        scale = float(weight.abs().max()) / 127
        layer.set_weight_bias(torch.quantize_per_tensor(weight, scale, 0, torch.qint8), None)
    return layer


def activations(tokens: int, inputs: int, silent: float, g: torch.Generator) -> Tensor:
    """Numbers of random sign and size 1 + an exponential one; a share of them 0, in any order, in each token."""
    size = 1 - torch.rand(tokens, inputs, generator=g).clamp_min(1e-6).log()
    order = torch.rand(tokens, inputs, generator=g).argsort(1)
    sign = torch.where(torch.rand(tokens, inputs, generator=g) < 0.5, -1.0, 1.0)
    return torch.where(order < round(silent * inputs), 0.0, sign * size)


def timed(layers: dict[str, Callable[[Tensor], Tensor]], x: Tensor, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of a call, the layers in turn, each after a call that is not timed."""
    taken: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(rounds):
        for name, layer in layers.items():
            layer(x)
            start = time.perf_counter()
            layer(x)
            taken[name].append((time.perf_counter() - start) * 1e3)
    return taken


def errors(layers: dict[str, Callable[[Tensor], Tensor]], x: Tensor) -> dict[str, float]:
    """Relative RMS of what each layer that rounds is off by."""
    wanted = layers["float32"](x)
    return {name: float((layers[name](x) - wanted).norm() / wanted.norm()) for name in ERRORS}


def main() -> int:
    """Compare, then print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small weights, for the tests")
    parser.add_argument("--rounds", type=int, default=None, help="repetitions of one token (60, or 2 with --quick)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", type=int, nargs=2, metavar=("IN", "OUT"), help="one weight instead of three")
    parser.add_argument("--k", type=float, default=3.0, help="spikes a channel on average")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    rounds = options.rounds or (2 if options.quick else 60)
    g = torch.Generator().manual_seed(0)
    print(f"float32 activations, k = {options.k}, groups of 128, {options.threads} threads")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numba"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}, {packages}, ", end="")
    print(f"quantized engine {torch.backends.quantized.engine}, load average {os.getloadavg()[0]:.2f}")

    weights = (options.size,) if options.size else ((256, 300),) if options.quick else WEIGHTS
    for inputs, out in weights:
        weight = torch.randn(out, inputs, generator=g) * inputs**-0.5
        packed = pack(weight)
        layers: dict[str, Callable[[Tensor], Tensor]] = {
            "float32": lambda x, w=weight: linear(x, w),
            "dynamic int8": dynamic_int8(weight),
            "spike_linear": lambda x, p=packed: spike_linear(x, p, options.k),
        }
        print(f"\n{inputs} -> {out}, weights at {packed.nbytes / weight.nbytes:.1%} of float32; median ms (least)\n")
        print("| tokens | silent | float32 | dynamic int8 | spike_linear | x float32 | x int8 | off by, int8 by |")
        print("|---|---|---|---|---|---|---|---|")
        cases = [(1, share) for share in SHARES] + [(tokens, 0.15) for tokens in ((8,) if options.quick else PROMPTS)]
        for tokens, share in cases:
            x = activations(tokens, inputs, share, g)
            silent = float((encode(x, options.k)[0] == 0).float().mean())
            off = errors(layers, x)
            specified = spike_linear(x, packed, options.k, backend="reference")
            exact = torch.equal(layers["spike_linear"](x), specified)
            if not exact or any(off[name] > most for name, most in ERRORS.items()):
                print(f"the layers disagree, with the specification {not exact}, with float32 by {off}: no ratio")
                return 1
            taken = timed(layers, x, rounds if tokens == 1 else max(2, rounds // 12))
            row = " | ".join(f"{statistics.median(ms):.3f} ({min(ms):.3f})" for ms in taken.values())
            ratios = [
                statistics.median(a / b for a, b in zip(taken[peer], taken["spike_linear"], strict=True))
                for peer in ("float32", "dynamic int8")
            ]
            apart = f"{off['spike_linear']:.3f}, {off['dynamic int8']:.3f}"
            print(f"| {tokens} | {silent:.0%} | {row} | {ratios[0]:.1f} | {ratios[1]:.2f} | {apart} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
