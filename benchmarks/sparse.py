"""What sparse synapses cost, forward and backward, and what a second thread saves: `python benchmarks/sparse.py`.

Events (T, B, in) through in -> N connections of a fixed fan-out, with the gradient of each synapse. The peers get the
same synapses: dense `event_linear` with a matrix in which the others are 0, and `torch.sparse.mm` in its two forms, the
synapses as a CSR tensor times dense spikes, and the spikes as a CSR tensor times a dense matrix. First all must agree:
the currents and the gradients at the synapses to a relative RMS of 1e-5. Where they do not, no time is printed and the
exit status is 1. A shape whose matrix would take more than 1 GiB runs alone; its results are compared between threads,
bit for bit, as are all.

Then the recurrent layer: `lif` with sparse recurrent weights, and with the dense matrix where that fits. Both must have
the same spikes (up to 1e-6 of neuron-steps) and gradients (relative RMS 1e-3).

All run in one process, in turn, each timed call after one that is not timed. On a loaded machine times mean little.
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

from spiking import Events
from spiking.kernels import SparseWeight, event_linear, lif
from spiking.neurons import Connectome

MATRIX = 1 << 30  # bytes of a dense matrix that peers may take
ERROR, FLIPS, CHAOS = 1e-5, 1e-6, 1e-3
RATE = 0.015  # events per input and step

Run = Callable[[], tuple[Tensor, Tensor]]  # the output (T, B, N) and the gradient of each synapse (nnz,)
LINEAR = ((100, 256, 700, 256, 50), (100, 256, 700, 256, 10), (100, 16, 4096, 4096, 64), (20, 1, 100_000, 100_000, 100))
LAYERS = ((100, 256, 256, 25), (100, 16, 4096, 64), (20, 1, 100_000, 100))


def problem(inputs: int, N: int, fan_out: int, scale: float) -> SparseWeight:
    """A connectome with strengths that take a gradient."""
    wiring = Connectome(inputs, N, fan_out)
    values = torch.randn(wiring.index.shape, generator=torch.Generator().manual_seed(1)) * scale
    return wiring.weight(values.requires_grad_())


def trains(T: int, B: int, inputs: int) -> Events:
    """Independent events at RATE, drawn row by row: a dense tensor of a large population would not fit."""
    g = torch.Generator().manual_seed(2)
    rows = [(torch.rand(inputs, generator=g) < RATE).nonzero()[:, 0] for _ in range(T * B)]
    indptr = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    return Events(indptr, torch.cat(rows), (T, B, inputs), dt=1.0)


def products(x: Events, weight: SparseWeight, grad: Tensor) -> dict[str, Run]:
    """The product and its gradient, by this op and, where a matrix fits, by its peers."""

    def ours() -> tuple[Tensor, Tensor]:
        out = event_linear(x, weight)
        return out.detach(), torch.autograd.grad(out, weight.values, grad)[0]

    runs: dict[str, Run] = {"event_linear, sparse": ours}
    T, B, _ = x.shape
    inputs, N = weight.shape
    if 4 * inputs * N > MATRIX:
        return runs
    matrix = weight.to_dense().detach().requires_grad_()
    at = (weight.rows(), weight.index.long())
    spikes = x.to_dense().view(T * B, inputs)
    events = torch.sparse_csr_tensor(x.indptr, x.index.long(), torch.ones(x.nnz), (T * B, inputs))
    turned = weight.to_dense().detach().t().to_sparse_csr()
    number = SparseWeight.from_dense(_numbered(weight).t().contiguous()).values.long() - 1  # of ours, in their order
    values, senders = turned.values().detach().requires_grad_(), spikes.t().contiguous()
    back, flat = grad.view(T * B, N).t().contiguous(), grad.view(T * B, N)

    def dense() -> tuple[Tensor, Tensor]:
        out = event_linear(x, matrix)
        return out.detach(), torch.autograd.grad(out, matrix, grad)[0]

    def torch_synapses() -> tuple[Tensor, Tensor]:
        synapses = torch.sparse_csr_tensor(turned.crow_indices(), turned.col_indices(), values, turned.shape)
        out = torch.sparse.mm(synapses, senders)
        return out.detach(), torch.autograd.grad(out, values, back)[0]

    def torch_events() -> tuple[Tensor, Tensor]:
        out = torch.sparse.mm(events, matrix)
        return out.detach(), torch.autograd.grad(out, matrix, flat)[0]

    runs["event_linear, dense"] = dense
    runs["torch.sparse.mm, sparse synapses"] = torch_synapses
    runs["torch.sparse.mm, sparse events"] = torch_events
    wanted, slope = ours()
    for name, run in list(runs.items())[1:]:
        out, found = run()
        if name.endswith("synapses"):
            out, found = out.t(), torch.empty_like(found).index_put((number,), found)
        else:
            found = found[at]
        errors = [_off(out.reshape(wanted.shape), wanted), _off(found, slope)]
        print(f"{name}: currents and gradients off by {errors[0]:.1e} and {errors[1]:.1e}")
        if not all(error <= ERROR for error in errors):
            raise ArithmeticError(name)
    return runs


def layers(current: Tensor, weight: SparseWeight, grad: Tensor) -> dict[str, Run]:
    """Recurrent LIF on given currents, with sparse weights and, where it fits, with the matrix."""

    def run(recurrent: Tensor | SparseWeight, leaf: Tensor) -> tuple[Tensor, Tensor]:
        spikes, _ = lif(current, recurrent=recurrent, tau_mem=10.0, dt=1.0, surrogate="triangle")
        assert isinstance(spikes, Tensor)
        return spikes.detach(), torch.autograd.grad(spikes, leaf, grad)[0]

    runs: dict[str, Run] = {"lif, sparse": lambda: run(weight, weight.values)}
    if 4 * weight.shape[0] * weight.shape[1] <= MATRIX:
        matrix = weight.to_dense().detach().requires_grad_()
        runs["lif, dense"] = lambda: run(matrix, matrix)
        (spikes, slope), (other, found) = (each() for each in runs.values())
        flips, error = float((spikes != other).float().mean()), _off(found[weight.rows(), weight.index.long()], slope)
        print(f"firing {float(spikes.mean()):.3f}; {flips:.1e} of neuron-steps differ, gradients off by {error:.1e}")
        if not (flips <= FLIPS and error <= CHAOS):
            raise ArithmeticError("lif, dense")
    return runs


def _numbered(weight: SparseWeight) -> Tensor:
    """The matrix with the number of each synapse, from 1, in place of its strength."""
    return weight.with_values(torch.arange(1.0, weight.nnz + 1, dtype=torch.float64)).to_dense()


def _off(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def timed(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median milliseconds of forward and backward."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            start = time.perf_counter()
            run()
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(ms) for name, ms in taken.items()}


def report(title: str, runs: dict[str, Run], rounds: int) -> bool:
    """Print times at one thread and at two; whether the first run had the same bits at both."""
    results, times = [], []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(next(iter(runs.values()))())
        times.append(timed(runs, rounds))
    if not all(torch.equal(a, b) for a, b in zip(*results, strict=True)):
        print("a second thread changes the result: no time")
        return False
    print(f"load average {os.getloadavg()[0]:.2f}\n\n| {title} | 1 thread, ms | 2 threads, ms | ratio |")
    print("|---|---|---|---|")
    for name in runs:
        print(f"| {name} | {times[0][name]:.1f} | {times[1][name]:.1f} | {times[0][name] / times[1][name]:.2f} |")
    return True


def main() -> int:
    """Compare, then print a table for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes, for the tests")
    parser.add_argument("--only", default="", help="shapes whose title has this in it, such as '100000 ->'")
    parser.add_argument("--rounds", type=int, default=None, help="repetitions (5, or 2 with --quick)")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "Sparse CSR tensor support|Sparse invariant checks")
    rounds = options.rounds or (2 if options.quick else 5)
    linear = ((5, 4, 60, 40, 6), (1, 1, 50, 3000, 20)) if options.quick else LINEAR
    populations = ((10, 9, 50, 6), (5, 1, 3000, 10)) if options.quick else LAYERS
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numba"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, python {platform.python_version()}, {packages}, float32")
    g, threads, alike = torch.Generator().manual_seed(0), torch.get_num_threads(), True
    try:
        for T, B, inputs, N, fan_out in linear:
            title = f"{inputs} -> {N}, fan-out {fan_out}"
            if options.only not in title:
                continue
            print(f"\n{title}, T={T} B={B}, {100 * RATE} % events")
            runs = products(trains(T, B, inputs), problem(inputs, N, fan_out, 1.0), torch.randn(T, B, N, generator=g))
            alike &= report(title, runs, rounds)
        for T, B, N, fan_out in populations:
            title = f"{N} recurrent, fan-out {fan_out}"
            if options.only not in title:
                continue
            print(f"\n{title}, T={T} B={B}")
            current = torch.randn(T, B, N, generator=g) * 3 + 0.4
            runs = layers(current, problem(N, N, fan_out, 0.1 / fan_out**0.5), torch.randn(T, B, N, generator=g))
            alike &= report(title, runs, rounds)
    except ArithmeticError as error:
        print(f"{error} disagrees (allowed: {ERROR:.0e}, and of a layer {FLIPS:.0e} and {CHAOS:.0e}): no time")
        return 1
    finally:
        torch.set_num_threads(threads)
    return 0 if alike else 1


if __name__ == "__main__":
    raise SystemExit(main())
