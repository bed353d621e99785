"""Numbers as spikes: the integer code of SpikingBrain beside absmax quantisation, and its bit planes in time.

    python examples/spike_code.py [--out FOLDER]

Codes heavy-tailed vectors at several k, prints how sparse the spikes are and how far the decoded numbers lie from the
source, and draws one vector's spikes over virtual time into spike_code.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from spiking import coding


def absmax(x: torch.Tensor, bits: int) -> torch.Tensor:
    """The control: signed integers of so many bits, scaled to the largest entry of each vector."""
    scale = x.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    return (x / scale).round() * scale


def main(vectors: int = 512) -> dict[float, float]:
    """Print the table, draw, and return the relative error at each k."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    out = parser.parse_args().out
    torch.manual_seed(0)
    x = torch.distributions.StudentT(4.0).sample((vectors, 1024))

    def error(decoded: torch.Tensor) -> float:
        return float((decoded - x).norm() / x.norm())

    print("code          error   silent  |s|    spikes  empty slots of 3  bits  steps")
    errors = {}
    for k in (1.0, 2.0, 3.0, 4.0, 8.0):
        code = coding.adaptive(x, k)
        stats, errors[k] = code.stats(), error(code.decode())
        print(
            f"spikes, k={k:.0f}  {errors[k]:6.3f}  {100 * stats.silent:5.1f}%  {stats.mean_count:4.2f}  "
            f"{stats.spikes:6.2f}  {100 * stats.slot_sparsity(3):15.1f}%  {stats.effective_bits:4.2f}  {stats.steps:5d}"
        )
    for bits in (8, 4):
        print(f"absmax int{bits}   {error(absmax(x, bits)):6.3f}")

    train = coding.adaptive(x[0, :96], 3.0).expand("bitwise-ternary")
    figure, (spikes, counts) = plt.subplots(
        2, 1, figsize=(9, 3.6), sharex=True, layout="constrained", height_ratios=(2, 1)
    )
    for sign, colour, name in ((1, "#2166ac", "+1"), (-1, "#b2182b", "-1")):
        step, channel = (train.spikes == sign).nonzero(as_tuple=True)
        spikes.scatter(channel.tolist(), step.tolist(), marker="|", s=60, color=colour, label=name)
    spikes.set(ylabel="step t, a spike\ncounts 2^t", yticks=range(len(train.weight)))
    spikes.margins(y=0.15)
    spikes.legend(ncols=2, frameon=False, loc="upper right", bbox_to_anchor=(1, 1.25))
    counts.bar(range(96), train.counts().tolist(), color="#707070")
    counts.set(xlabel="channel", ylabel="count", xlim=(-1, 96))
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "spike_code.png", dpi=120)
    print(f"picture: {out / 'spike_code.png'}")
    return errors


if __name__ == "__main__":
    main()
