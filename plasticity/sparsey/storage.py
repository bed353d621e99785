"""A memory in one HDF5 file: plans as JSON, synapses as the words they are.

    attributes: format, version, inputs, seed, step, plans (JSON, a list)
    /level<k>/weight (M, W, Q K) int32    /level<k>/used (M, sources) int32    /level<k>/fields, beside, above
    /level<k>/last, stiffness (M, 32 W, Q K) where synapses fade
"""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import torch
from torch import Tensor

from spiking.datasets.errors import DataError
from spiking.datasets.storage import atomic, check_room
from spiking.kernels.csa import Rule
from spiking.plasticity.sparsey.backoff import BackOff
from spiking.plasticity.sparsey.level import LevelPlan

if TYPE_CHECKING:
    from spiking.plasticity.sparsey.network import Sparsey

FORMAT, VERSION = "spiking-sparsey", 1
TENSORS = ("fields", "beside", "above")
FADING = ("last", "stiffness")


def write(path: str | os.PathLike[str], memory: Sparsey) -> None:
    """The file, under its name whole or not at all."""
    path = Path(path)
    check_room(path.parent, sum(4 * level.weight.numel() for level in memory.levels) + (1 << 20))
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, inputs=memory.inputs, seed=memory.seed, step=memory.step)
        file.attrs["plans"] = json.dumps([_numbers(plan) for plan in memory.plans])
        for k, (plan, level) in enumerate(zip(memory.plans, memory.levels, strict=True)):
            group = file.create_group(f"level{k}")
            for name in TENSORS:
                if getattr(plan, name) is not None:
                    group.create_dataset(name, data=getattr(plan, name).cpu().numpy())
            group.create_dataset("weight", data=level.weight.cpu().numpy(), compression="gzip")
            group.create_dataset("used", data=level.used.cpu().numpy())
            if level.permanence:
                for name in FADING:
                    whole = torch.stack([getattr(synapses, name) for synapses in level.permanence])
                    group.create_dataset(name, data=whole.numpy(), compression="gzip")


def read(path: str | os.PathLike[str]) -> tuple[int, list[LevelPlan], dict[str, Any], list[dict[str, Tensor]]]:
    """Inputs, plans, seed and step, and of each level its weight and used.

    Raises:
        DataError: naming the file, if it is no such memory.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                raise damaged(path, f"format {file.attrs.get('format')!r}, version {file.attrs.get('version')}")
            plans, arrays = [], []
            for k, numbers in enumerate(json.loads(file.attrs["plans"])):
                group = file[f"level{k}"]
                wires = {name: torch.from_numpy(group[name][()]) for name in TENSORS if name in group}
                plans.append(_plan(numbers, wires))
                kept = ("weight", "used", *(FADING if plans[-1].fades else ()))
                arrays.append({name: torch.from_numpy(group[name][()]) for name in kept})
            return int(file.attrs["inputs"]), plans, {n: file.attrs[n] for n in ("seed", "step")}, arrays
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise damaged(path, str(error)) from error


def damaged(path: str | os.PathLike[str], what: str) -> DataError:
    """What to raise about a file."""
    return DataError(f"{path}: expected a memory that Sparsey.save wrote, found {what}")


def _numbers(plan: LevelPlan) -> dict[str, Any]:
    return {own.name: getattr(plan, own.name) for own in fields(plan) if own.name not in TENSORS}


def _plan(numbers: dict[str, Any], tensors: dict[str, Tensor]) -> LevelPlan:
    rule, back_off = numbers.pop("rule"), numbers.pop("back_off")
    floor, gamma, chi, sigma, hypothesis = rule
    numbers["band"], numbers["ambiguity"] = tuple(numbers["band"]), tuple(numbers["ambiguity"])
    numbers["rule"] = Rule(floor, gamma, chi, tuple(sigma), hypothesis)
    numbers["back_off"] = None if back_off is None else BackOff(*(tuple(part) for part in back_off))
    return LevelPlan(**numbers | tensors)
