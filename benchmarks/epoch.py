"""An epoch of training on recordings like SHD's, loading included, next to snnTorch and tonic.

    python benchmarks/epoch.py [--recordings 8156] [--rounds 1] [--batches N] [--out FOLDER]

8,156 recordings of 700 channels in SHD's layout, written by the script; two layers of 128 recurrent neurons and a leaky
readout, 100 steps of 10 ms, batches of 128, shuffled, Adam, the cross entropy of the readout's mean.

tonic reads the file and makes frames (`SHD`, `ToFrame`, `PadTensors`, a DataLoader without and with two workers; the
faster one counts), snnTorch runs `RLeaky`, a whole layer after the other, with one product over all steps before each.
Ours reads the same file once into a store, which is timed apart, then events into `SpikingMLP`:

    lif     recurrent leaky neurons, the same work as snnTorch's: `like("snntorch")`
    alif    recurrent adaptive neurons, next to the same RLeaky, snnTorch's nearest, which does less work

First frames, outputs and gradients of a batch must agree for lif, the latter in float64: in such a network roundings of
float32 grow until spikes differ. Otherwise nothing is timed and the exit status is 1.
`--batches` cuts snnTorch's epochs short: their time is then extrapolated, and the script says so.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spiking import Events, readout
from spiking.bench import environment
from spiking.bench.peers.fan import Fan
from spiking.bench.peers.spike import spike_with
from spiking.bench.shd_like import EVENTS, tonic_loader, write_file
from spiking.datasets import EventStore
from spiking.datasets.formats import shd
from spiking.kernels.surrogate import triangle
from spiking.networks import SpikingMLP
from spiking.neurons import like

RECORDINGS, BATCH, STEPS, DT, ERROR = 8156, 128, 100, 10.0, 1e-6
BETA = float(torch.tensor(0.9))  # snnTorch keeps it in float32
SIZES = [700, 128, 128, 20]
RATE = EVENTS / 700  # Hz


def ours(neuron: str) -> SpikingMLP:
    """The network of this toolkit."""
    torch.manual_seed(0)
    options = like("snntorch", dt=DT, beta=BETA) if neuron == "lif" else {}
    net = SpikingMLP(
        SIZES, neuron, recurrent=True, surrogate=triangle(1.0), tau_out=-DT / math.log(BETA), **options
    )
    net.init_(rate=RATE, dt=DT)
    return net


class SnnTorch(nn.Module):
    """The same network in snnTorch, with the weights of ours."""

    def __init__(self, net: SpikingMLP) -> None:
        import snntorch

        super().__init__()
        layers = [*net.layers, net.readout]
        self.weights = nn.ParameterList([layer.weight.detach().clone() for layer in layers])
        self.neurons = nn.ModuleList()
        for layer in net.layers:
            neuron = snntorch.RLeaky(
                beta=BETA, linear_features=layer.out_features, spike_grad=spike_with(triangle(1.0))
            )
            neuron.recurrent = Fan(nn.Parameter(layer.recurrent.detach().clone()))
            self.neurons.append(neuron)
        self.readout = snntorch.Leaky(beta=BETA, reset_mechanism="none")

    def forward(self, frames: Tensor) -> Tensor:
        """(T, B, 700) to membrane potentials (T, B, 20)."""
        x = frames
        for weight, neuron in zip(self.weights, self.neurons, strict=False):
            currents = x @ weight
            z = membrane = torch.zeros_like(currents[0])
            spikes = []
            for current in currents.unbind(0):
                z, membrane = neuron(current, z, membrane)
                spikes.append(z)
            x = torch.stack(spikes)
        currents = (1 - BETA) * (x @ self.weights[-1])
        membrane, kept = torch.zeros_like(currents[0]), []
        for current in currents.unbind(0):
            _, membrane = self.readout(current, membrane)
            kept.append(membrane)
        return torch.stack(kept)


Forward = Callable[[Any], Tensor]
Step = Callable[[Any, Tensor], None]


def step_of(model: nn.Module, forward: Forward) -> Step:
    """One training step of a model as a function of a batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(x: Any, labels: Tensor) -> None:
        loss = cross_entropy(readout.mean(forward(x)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def frames_of(batch: Tensor) -> Tensor:
    """tonic's (B, T, 1, 700) as snnTorch takes it, (T, B, 700)."""
    return batch[:, :, 0].transpose(0, 1).to(torch.float32)


def whole(events: Events) -> Events:
    """The same with all steps valid: snnTorch goes on to the last step, where ours would stop with the recording."""
    return Events(events.indptr, events.index, events.shape, events.dt, events.value, check=False)


def agree(events: Events, labels: Tensor) -> float:
    """The largest relative RMS error of output and gradients between snnTorch's network and ours, in float64."""
    net = ours("lif").double()
    other = SnnTorch(net).double()
    outs = [net(events)[0], other(events.to_dense(torch.float64))]
    pairs = [(outs[0].detach(), outs[1].detach())]
    for out in outs:
        cross_entropy(readout.mean(out), labels).backward()
    for mine, layer, neuron in zip(other.weights, net.layers, [*other.neurons], strict=False):
        pairs += [(layer.weight.grad, mine.grad), (layer.recurrent.grad, neuron.recurrent.matrix.grad)]
    pairs.append((net.readout.weight.grad, other.weights[-1].grad))
    return float(torch.stack([(a - b).norm() / b.norm() for a, b in pairs]).max())  # NaN stays NaN


def epoch(batches: Iterable[Any], step: Step, prepare: Callable[[Any], Any], limit: int | None = None) -> float:
    """Seconds a batch, of a whole epoch or of its first `limit` batches."""
    batches, count = iter(batches), 0
    if limit is not None:  # starting workers is not extrapolated
        x, labels = next(batches)
        step(prepare(x), labels)
    begin = time.perf_counter()
    for x, labels in batches:
        step(prepare(x), labels)
        count += 1
        if count == limit:
            break
    return (time.perf_counter() - begin) / count


def measure(recordings: int, rounds: int, batches: int | None) -> dict[str, float]:
    """Seconds an epoch of each side, and ratios; empty if the sides disagree."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "SHD" / "shd_train.h5"
        write_file(source, recordings)
        begin = time.perf_counter()
        shd.read(source).save(Path(name) / "store.h5")
        found = {"seconds_converting_once": time.perf_counter() - begin}
        store = EventStore.open(Path(name) / "store.h5")
        events, labels = next(iter(store.loader(BATCH, dt=DT, steps=STEPS)))
        events = whole(events)
        frames, targets = next(iter(tonic_loader(Path(name), BATCH, STEPS, DT, workers=0)))
        error = agree(events, labels)
        same = torch.equal(events.to_dense(), frames_of(frames)) and torch.equal(labels, targets)
        print(f"frames {'equal' if same else 'differ'}, output and gradients off by {error:.1e}", flush=True)
        if not same or not error <= ERROR:
            print(f"the sides disagree (allowed: {ERROR:.0e}): no timings")
            return {}
        sides: dict[str, Callable[[], float]] = {}
        for neuron in ("lif", "alif"):
            net = ours(neuron)
            step = step_of(net, lambda x, net=net: net(x)[0])
            loader = store.loader(BATCH, dt=DT, steps=STEPS, shuffle=True)
            step(events, labels)
            sides[neuron] = lambda loader=loader, step=step: epoch(loader, step, whole)
        other = SnnTorch(ours("lif"))
        step = step_of(other, other)
        step(frames_of(frames), labels)
        for workers in (0, 2):
            theirs = tonic_loader(Path(name), BATCH, STEPS, DT, workers=workers, shuffle=True)
            sides[f"snntorch_tonic_{workers}_workers"] = lambda theirs=theirs, step=step: epoch(
                theirs, step, frames_of, batches
            )
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, run in sides.items():
                taken[side].append(run())
                print(f"  {side}: {1e3 * taken[side][-1]:.1f} ms a batch", flush=True)
    count = -(-recordings // BATCH)
    found |= {f"{side}.seconds": count * statistics.median(each) for side, each in taken.items()}
    best = min(found[f"snntorch_tonic_{workers}_workers.seconds"] for workers in (0, 2))
    for neuron in ("lif", "alif"):
        found[f"{neuron}.ratio"] = best / found[f"{neuron}.seconds"]
        found[f"{neuron}.ratio_with_converting"] = best / (
            found[f"{neuron}.seconds"] + found["seconds_converting_once"]
        )
    return found


def main() -> int:
    """Measure, print a table, and with --out write metrics.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=RECORDINGS)
    parser.add_argument("--rounds", type=int, default=1, help="epochs of each side")
    parser.add_argument("--batches", type=int, help="of snnTorch's epochs; all of them by default")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    about = environment(["snntorch", "tonic"], "cpu")
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    found = measure(given.recordings, given.rounds, given.batches)
    if not found:
        return 1
    rule = f"extrapolated from {given.batches} batches" if given.batches else "whole epochs"
    print(f"\n{given.recordings:,} recordings, batches of {BATCH}; snnTorch and tonic: {rule}\n")
    print("| an epoch, loading included | seconds | snnTorch and tonic take | with converting the file |")
    print("|---|---|---|---|")
    for side in ("snntorch_tonic_0_workers", "snntorch_tonic_2_workers"):
        print(f"| {side.replace('_', ' ')} | {found[f'{side}.seconds']:.1f} | | |")
    for neuron in ("lif", "alif"):
        ratio, whole = found[f"{neuron}.ratio"], found[f"{neuron}.ratio_with_converting"]
        print(f"| ours, recurrent {neuron} | {found[f'{neuron}.seconds']:.1f} | {ratio:.1f} x | {whole:.1f} x |")
    print(f"\nconverting the file once: {found['seconds_converting_once']:.1f} s")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "metrics.json").write_text(json.dumps(found, indent=1))
        print(given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
