"""What HLOP adds to a step of training: `python benchmarks/hlop.py`.

784-800-800-10 spiking neurons, T = 6, batches of 64, with as many rows as the paper uses for permuted MNIST in the
first, fourth and last task. In turn, a step each of

    plain       the network of `spiking continual permuted-mnist` under gradient descent
    ours        the same with `HLOP`, the improved preset: project() and learn() beside it
    bare        the network as the published script runs it: the image goes in at each of the six steps
    literal     that with the published scheme in plain PyTorch: a layer projects every step's activity for its
                gradient, and its rows learn from every step, in five iterations with momentum and clamp

so that (ours - plain) / plain is what HLOP adds, and (literal - bare) / (ours - plain) how many times more the
published scheme does. Before, gradients of both with the same rows must agree to 1e-4, or the exit status is 1.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spiking.kernels.oja import oja
from spiking.plasticity import HLOP
from spiking.plasticity.continual.models import CurrentMLP
from spiking.plasticity.projection.hlop import published_rows

SIZES, BATCH, LAYERS, TASKS, AGREE = (784, 800, 800, 10), 64, ("layers.0", "layers.1", "readout"), 10, 1e-4


class Outside(torch.autograd.Function):
    """x W^T, whose gradient for W is that of x - x H^T H."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, H: Tensor) -> Tensor:
        ctx.save_for_backward(torch.addmm(x, x @ H.t(), H, alpha=-1), weight)
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (grad,), (outside, weight) = grads, ctx.saved_tensors
        return grad @ weight, grad.t() @ outside, None


class Published(nn.Linear):
    """A layer without bias that projects and learns as the published script does."""

    def begin(self, H: Tensor, old: int) -> None:
        """Rows H, the first of them old."""
        self.H, self.V, self.old = H, torch.zeros_like(H), old

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)
        out: Tensor = Outside.apply(rows, self.weight, self.H[: self.old])
        self.H, self.V = oja(rows.detach(), self.H, self.V, lr=1e-3, frozen=self.old, backend="reference")
        return out.view(*x.shape[:2], -1)


class Literal(CurrentMLP):
    """The network that sees its image at each step, with `Published` layers or plain ones."""

    def __init__(self, like: CurrentMLP, hlop: HLOP | None) -> None:
        super().__init__(SIZES)
        if hlop:
            *hidden, self.readout = (Published(n, m, bias=False) for n, m in pairwise(SIZES))
            self.layers = nn.ModuleList(hidden)
            for name, H in hlop.weight.items():
                self.get_submodule(name).begin(H, len(hlop.basis[name]))
        self.load_state_dict(like.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        x = x.expand(self.steps, *x.shape).contiguous()
        for layer, neurons in zip(self.layers, self.neurons, strict=True):
            x, _ = neurons(layer(x))
        out: Tensor = self.readout(x)
        return out


def step(net: nn.Module, hlop: HLOP | None, x: Tensor, y: Tensor, lr: float = 0.1) -> None:
    """One step of gradient descent."""
    net.zero_grad()
    if hlop:
        hlop.observe(x, y)
    cross_entropy(net(x).mean(0), y).backward()
    if hlop:
        hlop.project()
    with torch.no_grad():
        for p in net.parameters():
            p -= lr * p.grad
    if hlop:
        hlop.learn()


def state(task: int, x: Tensor) -> tuple[CurrentMLP, HLOP]:
    """A network and its HLOP with the rows that it has in a task (0 to 9)."""
    torch.manual_seed(0)
    net = CurrentMLP(SIZES)
    hlop = HLOP(net, published_rows(LAYERS, 0))
    for k in range(task):
        net(x)
        hlop.learn()
        hlop.next_task(rows=published_rows(LAYERS, k + 1))
    return net, hlop


def disagreement(task: int, x: Tensor, y: Tensor) -> float:
    """The largest relative difference of the projected gradients."""
    net, hlop = state(task, x)
    literal = Literal(net, hlop)
    step(net, hlop, x, y, lr=0.0)
    step(literal, None, x, y, lr=0.0)
    pairs = zip(net.parameters(), literal.parameters(), strict=True)
    return max(float((a.grad - b.grad).norm() / a.grad.norm()) for a, b in pairs)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="timed steps, in turn with those of the others")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(BATCH, SIZES[0], generator=g), torch.randint(SIZES[-1], (BATCH,), generator=g)
    print(f"torch {torch.__version__}, {given.threads} threads, float32, median ms of {given.rounds} steps")
    print("| task | old rows | plain | ours | bare | literal | ours adds | literal adds / ours adds |")
    print("|---|---|---|---|---|---|---|---|")
    for task in (0, 3, TASKS - 1):
        apart = disagreement(task, x, y)
        if not apart < AGREE:
            print(f"task {task + 1}: gradients disagree by {apart:.2g}")
            return 1
        net, hlop = state(task, x)
        plain, _ = state(0, x)
        runs = ((plain, None), (net, hlop), (Literal(net, None), None), (Literal(net, hlop), None))
        times: list[list[float]] = [[] for _ in runs]
        for turn in range(given.rounds + 3):
            for (model, method), found in zip(runs, times, strict=True):
                start = time.perf_counter()
                step(model, method, x, y)
                if turn >= 3:
                    found.append((time.perf_counter() - start) * 1000)
        a, b, c, d = (statistics.median(found) for found in times)
        old = ", ".join(str(len(hlop.basis[name])) for name in LAYERS)
        cells = " | ".join(f"{ms:.1f}" for ms in (a, b, c, d))
        print(f"| {task + 1} | {old} | {cells} | {100 * (b / a - 1):.0f} % | {(d - c) / (b - a):.1f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
