"""A memory in one HDF5 file: plans as JSON, synapses as the words they are.

    attributes: format, version, inputs, seed, step, plans (JSON, a list)
    /level<k>/weight (M, W, Q K) int32    /level<k>/used (M, sources) int32    /level<k>/fields, beside, above
    /level<k>/last int32, stiffness int8 (M, 32 W, Q K) where synapses fade
"""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import torch
from torch import Tensor

from spiking.datasets.errors import DataError
from spiking.datasets.storage import atomic, check_room
from spiking.kernels.csa import Rule
from spiking.plasticity.sparsey.backoff import BackOff
from spiking.plasticity.sparsey.level import WIRES, Level
from spiking.plasticity.sparsey.plan import LevelPlan

if TYPE_CHECKING:
    from spiking.plasticity.sparsey.network import Sparsey

FORMAT, VERSION = "spiking-sparsey", 1
FADING = ("last", "stiffness")


def write(path: str | os.PathLike[str], memory: Sparsey) -> None:
    """The file, under its name whole or not at all.

    Raises:
        DataError: naming the folder, or the file, if it can't be written.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: can't write a file here, where there is a folder")
    check_room(path.parent, sum(4 * level.weight.numel() for level in memory.levels) + (1 << 20))
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, inputs=memory.inputs, step=memory.step)
        file.attrs["seed"] = np.uint64(memory.seed)
        file.attrs["plans"] = json.dumps([_numbers(plan) for plan in memory.plans])
        for k, level in enumerate(memory.levels):
            group = file.create_group(f"level{k}")
            for name in WIRES:
                if getattr(level.plan, name) is not None:
                    group.create_dataset(name, data=getattr(level.plan, name).cpu().numpy())
            group.create_dataset("weight", data=level.weight.cpu().numpy(), compression="gzip")
            group.create_dataset("used", data=level.used.cpu().numpy())
            for name in FADING if level.permanence is not None else ():
                group.create_dataset(name, data=getattr(level.permanence, name).cpu().numpy(), compression="gzip")


def read(path: str | os.PathLike[str], kind: type[Sparsey]) -> Sparsey:
    """The memory in a file.

    Raises:
        DataError: naming the file, if it is no such memory.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            form, version = file.attrs.get("format"), file.attrs.get("version")
            if form != FORMAT or version != VERSION:
                raise ValueError(f"format {form!r}, version {version}, not {FORMAT!r} {VERSION}")
            plans = []
            for k, numbers in enumerate(json.loads(file.attrs["plans"])):
                group = file[f"level{k}"]
                wires = {name: torch.from_numpy(group[name][()]) for name in WIRES if name in group}
                plans.append(_plan(numbers, wires))
            memory = kind(int(file.attrs["inputs"]), plans, int(file.attrs["seed"]))
            memory.step = int(file.attrs["step"])
            for k, level in enumerate(memory.levels):
                _fill(level, {name: value[()] for name, value in file[f"level{k}"].items()}, k)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path}: expected a memory that Sparsey.save wrote, found {error}") from error
    return memory


def _fill(level: Level, arrays: dict[str, Any], k: int) -> None:
    """Put what was stored into a level that fits it."""
    homes: list[tuple[str, Any]] = [("weight", level), ("used", level)]
    homes += [(name, level.permanence) for name in FADING if level.permanence is not None]
    for name, home in homes:
        given, wanted = torch.from_numpy(arrays[name]), getattr(home, name)
        if given.shape != wanted.shape or given.is_floating_point() or given.is_complex():
            raise ValueError(
                f"{name} of level {k} as {given.dtype} {tuple(given.shape)}, not {wanted.dtype} {tuple(wanted.shape)}"
            )
        setattr(home, name, given.to(wanted.dtype))
    if not torch.equal(level.used, level.counted()):
        raise ValueError(f"other synapses in weight of level {k} than used counts")


def _numbers(plan: LevelPlan) -> dict[str, Any]:
    return {own.name: getattr(plan, own.name) for own in fields(plan) if own.name not in WIRES}


def _plan(numbers: dict[str, Any], tensors: dict[str, Tensor]) -> LevelPlan:
    rule, back_off = numbers.pop("rule"), numbers.pop("back_off")
    floor, gamma, chi, sigma, hypothesis = rule
    numbers["band"], numbers["ambiguity"] = tuple(numbers["band"]), tuple(numbers["ambiguity"])
    numbers["rule"] = Rule(floor, gamma, chi, tuple(sigma), hypothesis)
    numbers["back_off"] = None if back_off is None else BackOff(*(tuple(part) for part in back_off))
    return LevelPlan(**numbers | tensors)
