"""Run networks in NEST, in a process of its own: `python benchmarks/nest_network.py NETWORK.npz SPIKES.npz [...]`.

NETWORK holds `model` and `params` (JSON), the arrays `source`, `target`, `weight`, `delay` (steps) of the input and of
the recurrent synapses with `in_` and `re_` before them, and `step`, `channel` of the input spikes; maybe `tsodyks`,
JSON of a tsodyks2_synapse for all recurrent ones, or `stdp`, of a stdp_synapse for those above 0. SPIKES gets `step`
and `neuron`, ordered, and the `seconds` of the run alone: not those of building, nor of NEST's preparations. One
thread. A spike that NEST stamps with the end of a step is one of that step here. (NEST and torch's compiler do not go
together in one process.)
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np


def run(nest: Any, network: str, out: str) -> None:
    """Build, run and save."""
    given = np.load(network)
    N, inputs, T, dt = int(given["N"]), int(given["inputs"]), int(given["T"]), float(given["dt"])
    nest.ResetKernel()
    nest.SetKernelStatus({"resolution": dt, "local_num_threads": 1})
    neurons = nest.Create(str(given["model"]), N, params=json.loads(str(given["params"])))
    generators = nest.Create("spike_generator", inputs)
    steps, channels = given["step"], given["channel"]
    order = np.lexsort((steps, channels))
    times = np.split((steps[order] + 1.0) * dt, np.searchsorted(channels[order], np.arange(1, inputs)))
    generators.set([{"spike_times": t} for t in times])
    for kind, first in (("in", generators[0].global_id), ("re", neurons[0].global_id)):
        source, target = given[f"{kind}_source"], given[f"{kind}_target"]
        how: dict[str, Any] = {"weight": given[f"{kind}_weight"].astype(float), "delay": given[f"{kind}_delay"] * dt}
        if kind == "re" and "tsodyks" in given:
            how.update({key: np.full(len(source), value) for key, value in json.loads(str(given["tsodyks"])).items()})
            how["synapse_model"] = "tsodyks2_synapse"
        learns = how["weight"] > 0 if kind == "re" and "stdp" in given else np.zeros(len(source), bool)
        if learns.any():
            some = {key: value[learns] for key, value in how.items()}
            some.update({key: np.full(learns.sum(), v) for key, v in json.loads(str(given["stdp"])).items()})
            some["synapse_model"] = "stdp_synapse"
            nest.Connect(source[learns] + first, target[learns] + neurons[0].global_id, "one_to_one", some)
            how = {key: value[~learns] for key, value in how.items()}
        nest.Connect(source[~learns] + first, target[~learns] + neurons[0].global_id, "one_to_one", how)
    recorder = nest.Create("spike_recorder")
    nest.Connect(neurons, recorder)
    nest.Prepare()
    start = time.perf_counter()
    nest.Run(T * dt)
    seconds = time.perf_counter() - start
    nest.Cleanup()
    events = recorder.get("events")
    step, neuron = np.rint(events["times"] / dt).astype(int) - 1, events["senders"] - neurons[0].global_id
    order = np.lexsort((neuron, step))
    np.savez(out, step=step[order], neuron=neuron[order], seconds=seconds)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    import nest

    nest.set_verbosity("M_ERROR")
    for network, out in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        run(nest, network, out)
