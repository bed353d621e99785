"""Two processes that train one model end with one subspace: that of one process with the joined batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

# Three tasks of eight samples a step; of two processes the first takes five, the other three, rates and steps alike.
SCRIPT = """
import os, sys
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from spiking.events import Events
from spiking.kernels import Lateral
from spiking.networks import SpikingMLP
from spiking.plasticity import GPM, HLOP, OWM

rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
NAMES = ("layers.0", "readout")
METHODS = {
    "hlop": lambda model: HLOP(model, {"layers.0": 3, "readout": 2}),
    "published": lambda model: HLOP(model, {"layers.0": 3}, preset="published", trace="steps"),
    "lateral": lambda model: HLOP(model, {"layers.0": 3, "readout": 2}, lateral=Lateral(2.0, 10), form="activity"),
    "owm": lambda model: OWM(model, NAMES),
    "gpm": lambda model: GPM(model, NAMES, threshold=0.9, batch_axis=1),
}
ALL = 8
SHARE = {1: [slice(0, 8)], 2: [slice(0, 5), slice(5, 8)]}[world][rank]


def batch(seed):
    g = torch.Generator().manual_seed(seed)
    return (torch.rand(4, ALL, 12, generator=g) < 0.4).double()[:, SHARE]


def learn(make, wrapped_first):
    torch.manual_seed(0)
    net = SpikingMLP([12, 10, 3], dt=1.0).double()
    net.init_(rate=300.0)
    method = None if wrapped_first else make(net)
    model = DistributedDataParallel(net) if world > 1 else net
    method = make(model) if wrapped_first else method
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for task in range(3):
        for step in range(6):
            x = batch(10 * task + step)
            given = x if step % 2 else Events.from_dense(x, 1.0)
            out = model(given)[0].mean(0)
            optimizer.zero_grad()
            # the mean over all samples, whichever process has them: DistributedDataParallel divides by their number
            (out.sin().sum() * world / ALL).backward()
            method.project()
            optimizer.step()
            method.learn()
        method.next_task(batches=[(batch(10 * task), torch.zeros(x.shape[1]))])
    kept = method.projector if hasattr(method, "projector") else method.basis
    return {**kept, **{f"weight {name}": p.detach() for name, p in net.named_parameters()}}


if __name__ == "__main__":
    torch.set_num_threads(1)
    if world > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    found = {name: learn(make, name == "hlop") for name, make in METHODS.items()}
    torch.save(found, f"{folder}/{rank}.pt")
    if world > 1:
        torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_have_the_subspace_of_one(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    runs = [(0, 2, "two"), (1, 2, "two"), (0, 1, "one")]
    words = [[sys.executable, str(script), str(k), str(world), str(tmp_path / name)] for k, world, name in runs]
    started = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=os.environ) for line in words]
    ended = [(process.communicate(timeout=240)[1], process.returncode) for process in started]
    assert all(status == 0 for _, status in ended), ended
    first, second, whole = (torch.load(tmp_path / place) for place in ("two/0.pt", "two/1.pt", "one/0.pt"))
    assert set(whole) == {"hlop", "published", "lateral", "owm", "gpm"}
    for method, kept in whole.items():
        for name, wanted in kept.items():
            assert torch.equal(first[method][name], second[method][name]), (method, name)
            found = first[method][name]
            if method in ("hlop", "lateral", "gpm") and not name.startswith("weight"):  # rows may turn in their space
                found, wanted = found.t() @ found, wanted.t() @ wanted
            torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-9, msg=f"{method} {name}")
    assert len(whole["hlop"]["layers.0"]) == len(whole["published"]["layers.0"]) == 9
