"""Run a network in NEST, in a process of its own: `python benchmarks/nest_network.py NETWORK.npz SPIKES.npz`.

NETWORK holds `model` and `params` (JSON), the arrays `source`, `target`, `weight`, `delay` (steps) of the input and of
the recurrent synapses with `in_` and `re_` before them, and `step`, `channel` of the input spikes; maybe `tsodyks`, JSON
of a tsodyks2_synapse for all recurrent ones. SPIKES gets `step` and `neuron`, ordered, and the `seconds` of the run
alone: not those of building, nor of NEST's preparations. One thread. A spike that NEST stamps with the end of a step is
one of that step here. (NEST and torch's compiler do not go together in one process.)
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np


def main(network: str, out: str) -> int:
    """Build, run and save."""
    import nest

    given = np.load(network)
    N, inputs, T, dt = (int(given[name]) for name in ("N", "inputs", "T", "dt"))
    nest.set_verbosity("M_ERROR")
    nest.SetKernelStatus({"resolution": float(dt), "local_num_threads": 1})
    neurons = nest.Create(str(given["model"]), N, params=json.loads(str(given["params"])))
    generators = nest.Create("spike_generator", inputs)
    steps, channels = given["step"], given["channel"]
    order = np.lexsort((steps, channels))
    times = np.split((steps[order] + 1.0) * dt, np.searchsorted(channels[order], np.arange(1, inputs)))
    generators.set([{"spike_times": t} for t in times])
    bias = json.loads(str(given["bias"]))
    if bias:
        neurons.set(bias)
    for kind, first in (("in", generators[0].global_id), ("re", neurons[0].global_id)):
        source, target = given[f"{kind}_source"], given[f"{kind}_target"]
        how = {
            "synapse_model": "static_synapse", "weight": given[f"{kind}_weight"].astype(float),
            "delay": given[f"{kind}_delay"] * float(dt),
        }  # fmt: skip
        if kind == "re" and "tsodyks" in given:
            how.update(synapse_model="tsodyks2_synapse")
            how.update({key: np.full(len(source), value) for key, value in json.loads(str(given["tsodyks"])).items()})
        if len(source):
            nest.Connect(source + first, target + neurons[0].global_id, "one_to_one", how)
    recorder = nest.Create("spike_recorder")
    nest.Connect(neurons, recorder)
    nest.Prepare()
    start = time.perf_counter()
    nest.Run(float(T * dt))
    seconds = time.perf_counter() - start
    nest.Cleanup()
    events = recorder.get("events")
    step, neuron = np.rint(events["times"] / dt).astype(int) - 1, events["senders"] - neurons[0].global_id
    order = np.lexsort((neuron, step))
    np.savez(out, step=step[order], neuron=neuron[order], seconds=seconds)
    return 0


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    raise SystemExit(main(*sys.argv[1:]))
