"""One expressive leaky memory (ELM) neuron learns to add two marked numbers out of 32, then out of 64 and of 128.

    python examples/elm_neuron.py [--out FOLDER]

Its 20 memory units forget within 1 to 2,560 ms. A memory that is to keep a number writes 1 - exp(-lambda / tau) of it
in the step that marks it, so lambda is larger here than the published 5. elm_neuron.png shows a sequence, the memory,
and what is read from it at every step: it is asked for at the last one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from spiking.datasets.tasks import AddingProblem
from spiking.neurons import ELM

STEPS, SHARES = (32, 64, 128), (0.6, 0.2, 0.2)  # the lengths, and their shares of the training


def error(neuron: ELM, steps: int) -> float:
    """Mean squared error on 300 sequences; always saying 1 has 0.167."""
    events, target = AddingProblem(steps, samples=300, seed=1).batch(range(300))
    with torch.no_grad():
        return float((neuron(events)[0][-1, :, 0] - target).square().mean())


def main(updates: int = 1500) -> tuple[float, float]:
    """Train, print, draw; returns the errors at the shortest and the longest length."""
    words = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    words.add_argument("--out", type=Path, default=Path("runs"))
    out = words.parse_args().out
    torch.manual_seed(0)
    neuron = ELM(2, 1, memory=20, tau_memory=(1.0, 2560.0), tau_branch=1.0, scale=32.0)
    optimizer = torch.optim.Adam(neuron.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(updates, 1))
    for steps, share in zip(STEPS, SHARES, strict=True):
        task = AddingProblem(steps, samples=1 << 40)
        for k in range(round(share * updates)):
            events, target = task.batch(range(32 * k, 32 * k + 32))
            loss = (neuron(events)[0][-1, :, 0] - target).square().mean()
            optimizer.zero_grad(), loss.backward(), optimizer.step(), schedule.step()
        print(f"trained on {steps} steps: mean squared error {error(neuron, steps):.4f} (0.167 is chance)")
    errors = error(neuron, STEPS[0]), error(neuron, STEPS[-1])

    events, target = AddingProblem(STEPS[-1], samples=1, seed=2).batch([0])
    with torch.no_grad():
        (said, memory), _ = neuron(events, trace=True)
    numbers = events.to_dense()[:, 0].numpy()
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(8, 6), sharex=True)
    top.bar(range(STEPS[-1]), numbers[:, 0], color=["#b2182b" if mark else "#bbbbbb" for mark in numbers[:, 1]])
    top.set_ylabel("number, marked red")
    middle.plot(memory[:, 0], linewidth=0.8)
    middle.set_ylabel("memory units")
    bottom.plot(said[:, 0, 0], color="#2166ac")
    bottom.axhline(target.item(), color="#707070", linestyle="--")
    bottom.set(xlabel="step", ylabel="read, and the sum")
    figure.tight_layout()
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "elm_neuron.png", dpi=90)
    print(out / "elm_neuron.png")
    return errors


if __name__ == "__main__":
    main()
