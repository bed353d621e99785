"""A network leaves this toolkit as a NIR file and comes back; where Norse is installed it runs there, too.

Recurrent layers of current-based neurons are trained for a moment, so that weights and thresholds are not round
numbers, then written, read and run: every spike must be the same. docs/nir.md says what NIR cannot say.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings
from pathlib import Path

import torch
from torch import Tensor

from spiking.networks import SpikingMLP
from spiking.nir import from_nir, to_nir

STEPS, CHANNELS, DT = 100, 40, 1.0


def spikes(seed: int, samples: int = 8, rate: float = 50.0) -> Tensor:
    """Poisson trains of that rate in Hz."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(STEPS, samples, CHANNELS, generator=generator) < rate * DT / 1000).float()


def network() -> SpikingMLP:
    """NIR's neurons reset to a potential, not by their threshold."""
    net = SpikingMLP([CHANNELS, 32, 32, 4], neuron="cuba", recurrent=True, reset="zero", threshold=(0.5, 2.0), dt=DT)
    net.init_(rate=50.0, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(10):
        out, _ = net(spikes(step))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(out.mean(0), torch.arange(8) % 4).backward()
        optimizer.step()
    return net.eval()


def in_norse(net: SpikingMLP, x: Tensor) -> Tensor:
    """The last hidden layer's spikes, as Norse runs them from its own import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch and nirtorch, in Norse
        from norse.torch import from_nir as norse_from_nir

        model = norse_from_nir(to_nir(net, reader="norse", readout=False), dt=DT / 1000)
    state, out = None, []
    for now in x:
        z, state = model(now, state)
        out.append(z)
    return torch.stack(out)


def main() -> None:
    import nir

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of network.nir")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    file = out / "network.nir"
    net, x = network(), spikes(seed=100)
    (out, trains), _ = net(x, trace=True)
    nir.write(file, to_nir(net))
    (same, returned), _ = from_nir(file)(x, trace=True)
    print(f"{int(sum(z.sum() for z in trains))} spikes here, {int(sum(z.sum() for z in returned))} after {file.name}, "
          f"{int(sum((a != b).sum() for a, b in zip(trains, returned, strict=True)))} differ; "
          f"readout differs by {float((out - same).detach().abs().max()):.1g}")
    if importlib.util.find_spec("norse"):
        there = in_norse(net, x)
        print(f"{int(there.sum())} spikes of the last hidden layer in Norse, {int((there != trains[-1]).sum())} differ")


if __name__ == "__main__":
    main()
