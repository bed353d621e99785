"""Two neurons learn delays, and only delays, to tell a rising sweep of spikes from a falling one.

    python examples/delays.py [--out FOLDER]

Each of 12 channels fires once in a sample, one after the other, upwards or downwards: counts say nothing about which.
A neuron that delays each channel by the time that is left until the last one hears all of them at once. Weights stay
equal and fixed. delays.png shows the delays that were learned beside those that make the spikes meet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from spiking import Events, readout
from spiking.neurons import LIF, Delay

CHANNELS, STEPS, DT, GAP, MAX_DELAY = 12, 120, 2.0, 4, 100.0  # the gap between channels in steps: 8 ms


def sweeps(samples: int) -> tuple[Events, torch.Tensor]:
    """Sweeps that start at any time, each spike up to a step early or late; label 1 falls."""
    labels = torch.randint(0, 2, (samples,))
    place = torch.arange(CHANNELS)
    order = torch.where(labels[:, None] == 0, place, CHANNELS - 1 - place)
    time = torch.randint(2, 22, (samples, 1)) + GAP * order + torch.randint(-1, 2, (samples, CHANNELS))
    x = torch.zeros(STEPS, samples, CHANNELS).scatter_(0, time[None], 1.0)
    return Events.from_dense(x, dt=DT), labels


def main(steps: int = 150) -> float:
    """Learn, draw, and return the share of fresh sweeps in which the right neuron alone fires."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    out = parser.parse_args().out
    torch.manual_seed(0)
    delay, neurons = Delay(CHANNELS, 2, MAX_DELAY), LIF(2, tau_mem=5.0, threshold=1.0, dt=DT)
    delay.weight.requires_grad_(False).fill_(0.5)
    optimiser = torch.optim.Adam([delay.raw_delay], lr=2.0)
    for step in range(steps):
        x, labels = sweeps(64)
        delay.sigma.fill_(max(40.0 * 0.97**step, 2.0))  # ms: wide enough to feel spikes from afar, then narrow
        (_, membrane), _ = neurons(delay(x)[0], trace=True)
        loss = torch.nn.functional.cross_entropy(10 * readout.max(membrane, x.lengths), labels)
        optimiser.zero_grad(), loss.backward(), optimiser.step()

    delay.eval()  # from here on each delay is rounded to a step
    x, labels = sweeps(500)
    fired = neurons(delay(x)[0])[0].sum(0) > 0
    alone = float((fired == torch.nn.functional.one_hot(labels, 2).bool()).all(1).float().mean())
    print(f"the right neuron alone fires in {100 * alone:.1f} % of 500 sweeps")

    learned, channel = delay.delay.detach(), torch.arange(CHANNELS)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    for k, (name, colour) in enumerate((("rising", "#2166ac"), ("falling", "#e08214"))):
        time = DT * x[:, [int((labels == k).nonzero()[0])]].to_dense()[:, 0].argmax(0)
        axes[0].plot(time, channel, "o", color=colour, label=name)
        axes[1].plot(time + learned[:, k], channel, "o", color=colour, label=name)
        needed = DT * GAP * (CHANNELS - 1 - channel if k == 0 else channel)
        axes[2].plot(learned[:, k], channel, "o", color=colour, label=f"learned for {name}")
        axes[2].plot(needed + (learned[:, k] - needed).median(), channel, "-", color=colour, label="that meet")
    for panel, title in zip(axes, ("spikes sent (ms)", "spikes that arrive (ms)", "delays (ms)"), strict=True):
        panel.set(xlabel=title, ylabel="channel", ylim=(-0.5, CHANNELS + 4))
        panel.legend(fontsize=7, ncols=2, loc="upper left")
    figure.tight_layout()
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "delays.png", dpi=90)
    print(out / "delays.png")
    return alone


if __name__ == "__main__":
    main()
