"""What an ELM neuron takes next to a plain loop in PyTorch: `python benchmarks/elm.py`.

One neuron (d = 100, 200 hidden, 700 inputs at 1.5 % events, 20 outputs), forward and backward. The loop does all of a
step inside, as the published code does: filter of 700 branches, input weights, hidden layer, update, readout. Beside it
a lean loop, from which all that is linear has been taken out by hand. Both get the events as a dense tensor, made
before. First the outputs and every gradient must agree; where they do not, no ratio is printed and the exit status is
1. Memory is what a step adds at most to a fresh process, with T = 1000 (`spiking.bench.memory`).

Then, of `solver="newton"`, how many iterations it took on recordings of growing length, for a neuron as it is drawn.
On a GPU (`--device cuda`) it also times both solvers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import linear

from spiking import Events
from spiking.bench import environment
from spiking.bench.memory import MALLOC, in_fresh_process, peak
from spiking.kernels.elm import newton
from spiking.neurons import ELM, BranchELM

INPUTS, MEMORY, OUT, DENSITY, DT = 700, 100, 20, 0.015, 1.0
ERROR = 1e-4  # relative, of every output and gradient
SIDES = ("loop", "ours")


def loop(neuron: ELM, x: Tensor, lean: bool = False) -> Tensor:
    """y (T, B, out) of a dense x, step by step; `lean` does what is linear before and after the steps."""
    kappa_b, kappa = torch.exp(-DT / neuron.tau_branch), torch.exp(-DT / neuron.tau_memory)
    gamma = 1 - torch.exp(-DT * neuron.scale / neuron.tau_memory)
    synapses, w_update = neuron.weight.relu(), neuron.w_update.t()
    whole, w_memory = torch.cat([neuron.w_branch, neuron.w_memory]).t(), neuron.w_memory.t()
    b = x.new_zeros(x.shape[1], neuron.hidden if lean else neuron.branches)
    m, out = x.new_zeros(x.shape[1], neuron.memory), []
    if lean:
        x = x @ (synapses[:, None] * neuron.w_branch)
    for step in x.unbind(0):
        kept = kappa * m
        if lean:
            b = kappa_b * b + step
            hidden = torch.relu(b + linear(kept, w_memory, neuron.b_hidden))
        else:
            b = kappa_b * b + synapses * step
            hidden = torch.relu(linear(torch.cat([b, kept], -1), whole, neuron.b_hidden))
        m = kept + gamma * 1.7159 * torch.tanh(linear(hidden, w_update, neuron.b_update) * (2 / 3))
        out.append(m if lean else linear(m, neuron.w_out.t(), neuron.b_out))
    y = torch.stack(out)
    return y @ neuron.w_out + neuron.b_out if lean else y


def batch(steps: int, samples: int, device: str = "cpu") -> tuple[Events, Tensor, Tensor]:
    """Events, the same as a dense tensor, and a gradient of the output."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(steps, samples, INPUTS, generator=g) < DENSITY
    events = Events.from_dense(x, dt=DT).to(device)
    return events, x.float().to(device), torch.randn(steps, samples, OUT, generator=g).to(device)


def made(device: str = "cpu") -> ELM:
    """The neuron, the same each time."""
    torch.manual_seed(0)
    return ELM(INPUTS, OUT, memory=MEMORY, dt=DT).to(device)


def sides(neuron: ELM, events: Events, dense: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Each side's forward pass."""
    return {
        "loop": lambda: loop(neuron, dense), "lean": lambda: loop(neuron, dense, lean=True),
        "ours": lambda: neuron(events)[0],
    }


def disagreement(neuron: ELM, runs: dict[str, Callable[[], Tensor]], grad: Tensor) -> float:
    """The largest relative difference of outputs and gradients from the loop's."""
    found = {}
    for name, run in runs.items():
        y = run()
        found[name] = [y.detach(), *torch.autograd.grad(y, list(neuron.parameters()), grad)]
    errors = [
        float((a - b).norm() / b.norm()) for name in runs for a, b in zip(found[name], found["loop"], strict=True)
    ]
    return max(errors) if all(error == error for error in errors) else float("nan")


def timed(neuron: ELM, runs: dict[str, Callable[[], Tensor]], grad: Tensor, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of forward and backward, the sides in turn, each after a pass that is not timed."""
    leaves, taken = list(neuron.parameters()), {name: list[float]() for name in runs}

    def wait() -> None:
        if grad.is_cuda:
            torch.cuda.synchronize()

    for _ in range(rounds):
        for name, run in runs.items():
            torch.autograd.grad(run(), leaves, grad)
            wait()
            start = time.perf_counter()
            torch.autograd.grad(run(), leaves, grad)
            wait()
            taken[name].append((time.perf_counter() - start) * 1e3)
    return taken


def added(side: str, steps: int, samples: int) -> int:
    """Bytes that forward and backward add at most, in this process."""
    neuron = made()

    def work(x: Events | Tensor, grad: Tensor) -> None:
        out = neuron(x)[0] if side == "ours" else loop(neuron, x)
        torch.autograd.grad(out, list(neuron.parameters()), grad)

    for T in (5, steps):  # the first compiles
        events, dense, grad = batch(T, samples)
        x = events if side == "ours" else dense
        del events, dense
        if T == steps:
            return peak(partial(work, x, grad))
        work(x, grad)
    return 0


def iterations(neuron: ELM, events: Events) -> int:
    """How many of Newton's iterations a batch takes."""
    with torch.no_grad():
        kept = torch.exp(-DT / neuron.tau_memory)
        synapses = neuron.synapses()
        weight = synapses @ neuron.w_branch if synapses.ndim == 2 else synapses[:, None] * neuron.w_branch
        none = weight.new_zeros(events.shape[1], neuron.hidden)
        current = newton.filtered(events.to_dense() @ weight, none, torch.exp(-DT / neuron.tau_branch))
        first = weight.new_zeros(events.shape[1], neuron.memory)
        weights = neuron.w_memory, neuron.b_hidden, neuron.w_update, neuron.b_update
        gain = 1 - torch.exp(-DT * neuron.scale / neuron.tau_memory)
        return int(newton.solve(current, first, *weights, kept, gain, 0)[1])


def main() -> int:
    """Compare, then print tables, and with --out write metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", choices=SIDES, help="print this side's bytes only; the script calls itself so")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--long", type=int, default=1000, help="steps of the measurement of memory")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--newton", type=int, nargs="*", default=[100, 1000, 4000], help="steps for the iterations")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.side:
        print(added(given.side, given.long, given.batch[0]))
        return 0
    print(", ".join(f"{name} {value}" for name, value in environment([], given.device).items()))
    found: dict[str, float] = {}
    neuron = made(given.device)
    rows = []
    for samples in given.batch:
        events, dense, grad = batch(given.steps, samples, given.device)
        runs = sides(neuron, events, dense)
        error = disagreement(neuron, runs, grad)
        print(f"batch {samples}: outputs and gradients off by {error:.1e}")
        if not error <= ERROR:
            print(f"the sides disagree (allowed: {ERROR:.0e}): no ratio")
            return 1
        taken = timed(neuron, runs, grad, given.rounds)
        middle = {name: statistics.median(times) for name, times in taken.items()}
        for name in ("loop", "lean"):
            found[f"batch{samples}.{name}.ratio"] = middle[name] / middle["ours"]
        low, high = min(taken["ours"]), max(taken["ours"])
        rows.append(
            f"| {samples} | {middle['loop']:.1f} | {middle['lean']:.1f} | {middle['ours']:.1f} "
            f"({low:.1f} to {high:.1f}) | {middle['loop'] / middle['ours']:.1f} "
            f"| {middle['lean'] / middle['ours']:.1f} |"
        )
    head = f"| batch, T={given.steps} | loop ms | lean loop ms | ours ms (least to most) | loop / ours | lean / ours |"
    print(f"\n{head}")
    print("|---|---|---|---|---|---|", *rows, sep="\n")
    if given.device == "cpu":
        print(f"\n| peak of {given.long} steps | malloc | loop MB | ours MB | loop / ours |\n|---|---|---|---|---|")
        for samples, malloc in product(given.batch, MALLOC):
            words = [__file__, "--long", str(given.long), "--batch", str(samples), "--side"]
            took = {side: in_fresh_process([*words, side], malloc) for side in SIDES}
            found[f"batch{samples}.{malloc}"] = ratio = took["loop"] / max(took["ours"], 1)
            print(f"| batch {samples} | {malloc} | {took['loop'] / 1e6:.1f} | {took['ours'] / 1e6:.1f} | {ratio:.1f} |")
        print()
    torch.manual_seed(0)
    small = BranchELM(INPUTS, OUT, 20, branches=35, dt=DT).to(given.device)
    for steps in given.newton:
        events, _, grad = batch(steps, 2, given.device)
        found[f"newton.{steps}.iterations"] = count = iterations(small, events)
        said = f"Newton's method, d = 20, {steps} steps: {count} iterations"
        if given.device != "cpu":
            times = {}
            for solver in ("serial", "newton"):
                small.solver = solver
                run = {solver: lambda e=events: small(e)[0]}
                times[solver] = statistics.median(timed(small, run, grad, given.rounds)[solver])
            said += f", {times['newton']:.1f} ms, serial {times['serial']:.1f} ms"
        print(said)
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "metrics.json").write_text(json.dumps(found, indent=1))
        print(given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
