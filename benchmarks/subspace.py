"""How long a layer's subspace takes to learn from a batch: `python benchmarks/subspace.py`.

The layer has 784 inputs and as many rows as HLOP's paper uses for permuted MNIST in the first, third and last task, the
batch 64 samples of T = 6 steps. "literal" is the published rule in plain PyTorch (kernels/oja/reference.py): every row,
old ones too, five iterations, on all 384 rows of activity, as the published surrogate-gradient script does it. Then our
implementation of that rule on the same rows, which must agree to 1e-4 or no ratio is printed (exit status 1), on the 64
rates, and the rule of the improved preset on these. The last two are other, smaller computations: rates instead of
every step.

`--images PATH` also says how much of the energy of MNIST's training images, normalised and permuted, is left outside
the rows after one pass for each of three tasks, beside the least that as many rows, by eigenvectors, would leave.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from spiking.datasets.sources.saccades import MNIST, read
from spiking.kernels.oja import oja
from spiking.plasticity import HLOP

TASKS = {"1": (0, 80), "3": (150, 70), "10": (460, 10)}
AGREE = 1e-4


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25, help="timed calls, in turn with those of the others")
    parser.add_argument("--inputs", type=int, default=784)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=Path, help="folder with MNIST's idx files")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    print("| task | old rows | new rows | literal ms | same rule | rates | improved, rates | ratios |")
    print("|---|---|---|---|---|---|---|---|")
    for task, (old, new) in TASKS.items():
        g = torch.Generator().manual_seed(0)
        x = torch.randn(384, given.inputs, generator=g)
        rates = x.view(6, 64, -1).mean(0)
        H = torch.linalg.qr(torch.randn(given.inputs, old + new, generator=g))[0].t().contiguous()
        V = torch.zeros_like(H)
        runs: list[Callable[[], tuple[torch.Tensor, torch.Tensor | None]]] = [
            lambda H=H, V=V, x=x, old=old: oja(x, H, V, lr=0.01, frozen=old, backend="reference"),
            lambda H=H, V=V, x=x, old=old: oja(x, H, V, lr=0.01, frozen=old),
            lambda H=H, V=V, x=rates, old=old: oja(x, H, V, lr=0.01, frozen=old),
            lambda H=H, x=rates, old=old: oja(x, H, lr=0.01, frozen=old, decay=0.0, clamp=None),
        ]  # fmt: skip
        (a, _), (b, _) = runs[0](), runs[1]()
        error = float((a - b).norm() / (a - H).norm())
        if not error < AGREE:
            print(f"task {task}: disagree by {error:.2g}")
            return 1
        times: list[list[float]] = [[] for _ in runs]
        for _ in range(given.rounds):
            for run, found in zip(runs, times, strict=True):
                run()
                start = time.perf_counter()
                run()
                found.append((time.perf_counter() - start) * 1000)
        literal, *ours = (statistics.median(found) for found in times)
        ratios = ", ".join(f"{literal / t:.1f}" for t in ours)
        cells = " | ".join(f"{t:.2f}" for t in (literal, *ours))
        print(f"| {task} | {old} | {new} | {cells} | {ratios} |")
    if given.images:
        quality(given.images)
    return 0


def quality(root: Path) -> None:
    """Print what the rows of both presets leave of three tasks."""
    images, _ = read(MNIST, root, "train")
    x = (torch.tensor(images).flatten(1).float() / 255 - 0.1307) / 0.3081
    print("| preset | task | rows | energy left | least | seconds |")
    print("|---|---|---|---|---|---|")
    for preset in ("published", "improved"):
        g = torch.Generator().manual_seed(0)
        layer = torch.nn.Linear(x.shape[1], 1, bias=False)
        hlop = HLOP(layer, {"": 80}, preset=preset)
        for task in range(3):
            y = x[:, torch.randperm(x.shape[1], generator=g)]
            old, start = hlop.basis[""], time.perf_counter()
            for batch in y.split(64):
                layer(batch)
                hlop.learn()
            seconds = time.perf_counter() - start
            hlop.next_task(rows={"": 70})
            energy, H = y.square().sum(), hlop.basis[""]
            rest = y - (y @ old.t()) @ old
            spectrum = torch.linalg.eigvalsh(rest.t() @ rest)
            least = float(spectrum[: len(spectrum) - len(H) + len(old)].sum() / energy)
            left = float((y - (y @ H.t()) @ H).square().sum() / energy)
            print(f"| {preset} | {task + 1} | {len(H)} | {left:.4f} | {least:.4f} | {seconds:.1f} |")


if __name__ == "__main__":
    raise SystemExit(main())
