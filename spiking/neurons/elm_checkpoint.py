"""The published weights of ELM neurons (github.com/AaronSpieler/elmneuron, MIT), read into ours.

    ours         theirs
    weight       _proto_w_s                                         both rectified
    w_branch     mlp.network.0.weight[:, :n].T                      n branches come before the memory
    w_memory     mlp.network.0.weight[:, n:].T
    w_update     mlp.network.2.weight.T
    w_out        w_y.weight.T
    tau_memory   min + (max - min) sigmoid(_proto_tau_m)
    tau_branch   tau_s, a filter a synapse in v1; tau_b, one a branch in v2
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiking.neurons.branch_elm import BranchELM
from spiking.neurons.elm import ELM
from spiking.neurons.layer import span

FILTERS = {"v1": "tau_s", "v2": "tau_b"}
KEYS = (
    "_proto_w_s", "_proto_tau_m", "mlp.network.0.weight", "mlp.network.0.bias", "mlp.network.2.weight",
    "mlp.network.2.bias", "w_y.weight", "w_y.bias",
)
ROUTED = ("input_to_synapse_indices", "valid_indices_mask")
ROUTINGS = {None: "contiguous", "random_routing": "random", "neuronio_routing": "neuronio"}
SETTINGS = (
    "num_input", "num_output", "num_memory", "lambda_value", "mlp_num_layers", "mlp_hidden_size", "mlp_activation",
    "tau_s_value", "tau_b_value", "memory_tau_min", "memory_tau_max", "learn_memory_tau", "w_s_value", "num_branch",
    "num_synapse_per_branch", "input_to_synapse_routing", "delta_t",
)
DEFAULTS = {"memory_tau_min": 1.0, "memory_tau_max": 1000.0, "lambda_value": 5.0, "learn_memory_tau": False}


def read(
    path: str | Path, config: str | Path | Mapping[str, Any]
) -> tuple[type[ELM], tuple[int, int, int], dict[str, Any], dict[str, Tensor]]:
    """The class, its sizes, its options, and the part of its state dict that a published file determines.

    Arguments:
        path: the state dict.
        config: the `.json` beside it, or its content.

    Raises:
        ValueError: naming the file, and the version or the keys that were found and wanted.
    """
    told = dict(config) if isinstance(config, Mapping) else _json(config)
    strange = sorted(str(key) for key in told if key not in SETTINGS)
    if strange:
        raise ValueError(f"config: expected keys among {', '.join(SETTINGS)}, got {', '.join(strange)}")
    found = _state_dict(path)
    version = _version(path, found)
    routing = told.get("input_to_synapse_routing")
    if routing not in ROUTINGS:
        raise ValueError(f"config: input_to_synapse_routing: expected one of {list(ROUTINGS)}, got {routing!r}")
    missing = [key for key in (*KEYS, *(ROUTED[:1] if routing else ())) if key not in found]
    unknown = sorted(set(found) - {*KEYS, *ROUTED, FILTERS[version]})
    if missing or unknown:
        raise ValueError(
            f"{path}: expected the keys of an ELM {version} with one hidden layer, got "
            + "; ".join(f"{what} {', '.join(keys)}" for what, keys in (("none of", missing), ("also", unknown)) if keys)
        )
    settings = {**DEFAULTS, **told}
    for key in ("num_input", "num_output", "num_memory"):
        if not isinstance(settings.get(key), int):
            raise ValueError(f"config: {key}: expected a whole number, got {settings.get(key)!r}")
    sizes = settings["num_input"], settings["num_output"], settings["num_memory"]
    if found["_proto_tau_m"].shape != sizes[2:]:
        got = tuple(found["_proto_tau_m"].shape)
        raise ValueError(f"{path}: _proto_tau_m: expected {sizes[2:]}, the config's num_memory, got {got}")
    low, high = float(settings["memory_tau_min"]), float(settings["memory_tau_max"])
    hidden, branches = found["mlp.network.0.weight"], settings.get("num_branch")
    options: dict[str, Any] = {
        "hidden": hidden.shape[0], "scale": float(settings["lambda_value"]), "rule": version,
        "activation": settings.get("mlp_activation", "relu"),
        "tau_memory": low + (high - low) * found["_proto_tau_m"].sigmoid(),
        "tau_branch": _filter(path, found, FILTERS[version]),
        "learn": ("tau_memory",) if settings["learn_memory_tau"] else (), "ranges": {"tau_memory": (low, high)},
    }
    if not options["learn"]:
        del options["ranges"]
    if "delta_t" in settings:
        options["dt"] = float(settings["delta_t"])
    kind: type[ELM] = ELM
    if branches is not None:
        kind = BranchELM
        options |= {
            "branches": branches, "routing": ROUTINGS[routing], "synapses": settings.get("num_synapse_per_branch")
        }
    n = branches if branches is not None else sizes[0]
    weights = {
        "weight": found["_proto_w_s"], "w_branch": hidden[:, :n].t(), "w_memory": hidden[:, n:].t(),
        "b_hidden": found["mlp.network.0.bias"], "w_update": found["mlp.network.2.weight"].t(),
        "b_update": found["mlp.network.2.bias"], "w_out": found["w_y.weight"].t(), "b_out": found["w_y.bias"],
    }
    if routing:
        weights["routing.index"] = found["input_to_synapse_indices"]
        if "valid_indices_mask" in found:
            weights["routing.valid"] = found["valid_indices_mask"]
    return kind, sizes, options, weights


def _json(path: str | Path) -> dict[str, Any]:
    try:
        told = json.loads(Path(path).read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"config: {path} is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise ValueError(f"config: {path}: expected an object with names, got {type(told).__name__}")
    return told


def _state_dict(path: str | Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: expected a state dict saved by PyTorch: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"{path}: expected a state dict of tensors, got {type(found).__name__}")
    return dict(found)


def _version(path: str | Path, found: Mapping[str, Tensor]) -> str:
    there = [version for version, name in FILTERS.items() if name in found]
    if len(there) != 1:
        got = " and ".join(FILTERS[version] for version in there) or "neither"
        raise ValueError(f"{path}: expected an ELM of version v1, with tau_s, or v2, with tau_b, got {got}")
    return there[0]


def _filter(path: str | Path, found: Mapping[str, Tensor], name: str) -> float | Tensor:
    """One number where all filters are alike; v1 has one for each synapse, which then have no common branch."""
    times = found[name].reshape(-1)
    if bool((times == times[0]).all()):
        return float(times[0])
    if name == "tau_s":
        raise ValueError(f"{path}: tau_s: expected one time constant for all synapses, got {span(times)} ms")
    return times
