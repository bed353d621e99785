"""100,000 neurons, ten million synapses: a recurrent network too large for a matrix learns the rate at which it fires.

    python examples/sparse_synapses.py [--neurons N] [--fan-out K] [--out FOLDER]

Each neuron reaches K others, drawn at random once; a dense matrix of 100,000 neurons would take 40 GB. Recurrent
strengths start at zero. Only they train, each synapse by itself, until the neurons fire at TARGET Hz.
sparse_synapses.png shows the rates before and after, and the strengths that did it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from spiking.init import fluctuation_driven_, poisson
from spiking.neurons import LIF

INPUTS, STEPS, DT, TARGET = 1000, 50, 2.0, 15.0  # the last in Hz


def main(neurons: int = 100_000, fan_out: int = 100, epochs: int = 12) -> float:
    """Train, draw, and return the mean rate of the last epoch in Hz."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--neurons", type=int, default=neurons)
    parser.add_argument("--fan-out", type=int, default=fan_out)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    options = parser.parse_args()
    torch.manual_seed(0)
    layer = LIF(
        INPUTS, options.neurons, recurrent=True, fan_out=max(options.neurons // 20, 1),
        recurrent_fan_out=options.fan_out, dt=DT, surrogate="triangle",
    )  # fmt: skip
    fluctuation_driven_(layer, rate=20.0, xi=1.5)
    layer.weight.requires_grad_(False)
    layer.recurrent.data.zero_()
    optimiser = torch.optim.Adam([layer.recurrent], lr=6 / options.fan_out)
    print(f"{options.neurons} neurons, {layer.recurrent.numel()} synapses and {layer.weight.numel()} from inputs")

    x, rates = poisson(20.0, DT, STEPS, 1, INPUTS), []
    for epoch in range(epochs):
        start = time.perf_counter()
        spikes, _ = layer(x)
        rates.append(spikes.detach().mean((0, 1)) * 1000 / DT)
        loss = ((spikes.mean((0, 1)) * 1000 / DT - TARGET) ** 2).sum()
        optimiser.zero_grad(), loss.backward(), optimiser.step()
        taken = time.perf_counter() - start
        print(f"epoch {epoch + 1}: {float(rates[-1].mean()):.1f} Hz, {taken:.2f} s for {STEPS} steps there and back")

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    left.hist([rates[0].numpy(), rates[-1].numpy()], bins=25, label=["before", "after"], color=["#bbbbbb", "#2166ac"])
    left.axvline(TARGET, color="black", lw=0.8)
    left.set(xlabel="rate (Hz)", ylabel="neurons")
    left.legend()
    right.hist(layer.recurrent.detach().numpy(), bins=60, color="#e08214", log=True)
    right.set(xlabel="strength", ylabel="recurrent synapses")
    figure.tight_layout()
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "sparse_synapses.png", dpi=90)
    print(options.out / "sparse_synapses.png")
    return float(rates[-1].mean())


if __name__ == "__main__":
    main()
