"""What does not fit a memory is refused with the argument or the file named, and leaves the memory as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from spiking.datasets.errors import DataError
from spiking.kernels.csa import Rule
from spiking.plasticity.sparsey import BackOff, LevelPlan, Mac, Sparsey, around, tiles, widen
from spiking.plasticity.sparsey.permanence import decay
from spiking.plasticity.sparsey.study import capacity, moved, noise, overlaps, sequences
from spiking.plasticity.sparsey.study.noise import share

from .items import item, same, weights

NAN, INF = float("nan"), float("inf")


def test_items_that_do_not_fit_leave_the_memory_as_it_was():
    mac = Mac(144, 6, 8, band=(9, 12), horizontal=True)
    mac.learn(item(*range(10)))
    before = weights(mac.memory)
    sequence = torch.stack([item(*range(10)), item(*range(20))])
    for wrong, words in (
        (item(*range(8)), "item has 8 active features, which wake no mac: expected 9 to 12"),
        (item(*range(13)), "item has 13 active"), (sequence, "frame 1 has 20 active"),
        (torch.stack([sequence[:1], sequence[1:]]), "item 1: frame 0 has 20 active"),
        (255 * item(*range(10)).int(), "expected 0 and 1, got torch.int32 from 0 to 255; binarise it"),
        (torch.full((144,), 0.5), "binarise it"), (torch.zeros(100), r"expected \(144,\)"),
    ):  # fmt: skip
        for call in (mac.learn, mac.recognise):
            with pytest.raises(ValueError, match=words):
                call(wrong)
    assert same(weights(mac.memory), before) and mac.memory.step == 1


def test_bad_plans_and_labels():
    f = torch.arange(8).view(2, 4)
    for words, call in (
        ("modules: expected a whole number of at least 1, got 0", lambda: LevelPlan(f, 0, 4)),
        ("fields: expected", lambda: LevelPlan(f[0], 2, 4)),
        ("band: expected", lambda: LevelPlan(f, 2, 4, band=(4, 3))),
        ("exponents: expected", lambda: LevelPlan(f, 2, 4, exponents={"X": 1})),
        ("exponents: U: expected", lambda: LevelPlan(f, 2, 4, exponents={"U": float("nan")})),
        ("exponents: U: expected", lambda: LevelPlan(f, 2, 4, exponents={"U": float("inf")})),
        ("start: expected an exponent of 0 or more, got nan", lambda: LevelPlan(f, 2, 4, start=float("nan"))),
        (r"prompt: expected \(8,\) or \(T, 8\), got \(2, 3, 8\)",
         lambda: Mac(8, 2, 2, horizontal=True).recall(torch.ones(2, 3, 8), 3)),
        ("normalise: expected", lambda: LevelPlan(f, 2, 4, normalise="no")),
        ("freeze: expected", lambda: LevelPlan(f, 2, 4, freeze=2)),
        ("beside: expected each mac itself", lambda: LevelPlan(f, 2, 4, beside=torch.tensor([[1], [0]]))),
        ("above: there is no level", lambda: Sparsey(8, [LevelPlan(f, 2, 4, above=f[:, :1])])),
        ("fields: level 0 sees 7", lambda: Sparsey(7, [LevelPlan(f, 2, 4)])),
        ("plans: expected", lambda: Sparsey(7, [])),
        ("preset: expected one of", lambda: Sparsey.from_preset("no")), ("inputs: expected", lambda: Mac(0, 2, 2)),
        ("label: expected", lambda: Mac(8, 2, 2).learn(item(1, inputs=8), 1)),
        ("label: expected 0 to 2", lambda: Mac(8, 2, 2, labels=3).learn(item(1, inputs=8), 3)),
        ("labels: this memory has no", lambda: Mac(8, 2, 2).classify(item(1, inputs=8))),
        ("beside: the first level hears", lambda: Mac(8, 2, 2).recall(item(1, inputs=8), 3)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            call()


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "m.h5"
    for make, words in (
        (lambda: path.write_text("no"), "m.h5: expected a memory"),
        (lambda: h5py.File(path, "w").close(), "found format None"),
    ):
        make()
        with pytest.raises(DataError, match=words):
            Sparsey.load(path)
    with pytest.raises(DataError, match=r"nothing\.h5"):
        Sparsey.load(tmp_path / "nothing.h5")
    Mac(20, 3, 4).save(path)
    with h5py.File(path, "a") as file:
        del file["level0/weight"]
        file["level0/weight"] = [[[1]]]
    with pytest.raises(DataError, match="weight of level 0"):
        Sparsey.load(path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"modules": 6.0}, "modules: expected a whole number of at least 1, got 6.0"),
        ({"units": "8"}, "units: expected"), ({"units": True}, "units: expected"),
        ({"persistence": 1.5}, "persistence: expected"),
        ({"labels": -1}, "labels: expected a whole number of at least 0, got -1"),
        ({"fan_in": -3}, "fan_in: expected"),
        ({"fan_in": 1.5}, "fan_in: expected"), ({"band": (1.5, 3)}, "band: expected a whole number, got 1.5"),
        ({"band": (1, 2, 3)}, "band: expected 1 <= least <= most"), ({"band": 4}, "band: expected"),
        ({"exponents": [1]}, "exponents: expected numbers"), ({"exponents": {"U": "2"}}, "exponents: U: expected"),
        ({"exponents": {"H": 2.0}}, "exponents: H weighs no source of this level, which has U"),
        ({"freeze": "0.5"}, "freeze: expected a share"), ({"freeze": NAN}, "freeze: expected a share"),
        ({"off": 1}, "off: expected True or False"), ({"ambiguity": (NAN, 3)}, "ambiguity: A: expected"),
        ({"ambiguity": (1.0, 0)}, "ambiguity: B: expected"), ({"ambiguity": (1.0,)}, "ambiguity: expected A and B"),
        ({"rule": None}, "rule: expected a Rule, got None"), ({"rule": Rule(floor=1.0)}, "rule: expected finite"),
        ({"rule": Rule(chi=INF)}, "rule: expected finite"), ({"rule": Rule(hypothesis=NAN)}, "rule: expected finite"),
        ({"rule": Rule(sigma=(1.0, 2.0, 3.0))}, "four of sigma"),
        ({"back_off": "UH"}, "back_off: expected a BackOff"), ({"back_off": BackOff(("X",), (0.5,), (0,))}, "cases: "),
        ({"back_off": BackOff(("U",), (0.5, 0.6), (0,))}, "thresholds, levels: expected one for each case"),
        ({"back_off": BackOff(("U",), (NAN,), (0,))}, "thresholds: expected a finite number"),
        ({"back_off": BackOff(("U", "UH"), (0.1, 0.1), (1, 0))}, "levels not falling"),
        ({"back_off": BackOff(("H",), (0.5,), (0,))}, "back_off: case H has no source of this level, which has U"),
        ({"seed": 1.5}, "seed: expected a whole number, got 1.5"), ({"seed": None}, "seed: expected"),
        ({"backend": "cuda"}, "backend: expected one of"), ({"inputs": 144.0}, "inputs: expected"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_numbers_of_a_plan(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Mac(**{"inputs": 144, "modules": 6, "units": 8} | given)


def test_bad_wires():
    f, top = torch.arange(8).view(2, 4), LevelPlan(torch.tensor([[0, 1]]), 2, 4)
    for said, call in (
        ("fields: expected a tensor of whole numbers, got list", lambda: LevelPlan([[1, 2]], 2, 4)),
        ("fields: expected whole numbers", lambda: LevelPlan(f > 3, 2, 4)),
        ("fields: expected -1 for none, or a place, got -2", lambda: LevelPlan(f - 2, 2, 4)),
        ("fields: mac 1 sees nothing", lambda: LevelPlan(torch.tensor([[0, 1], [-1, -1]]), 2, 4)),
        ("fields: mac 0 has 1 twice", lambda: LevelPlan(torch.tensor([[1, 0, 1]]), 2, 4)),
        (r"beside: expected whole numbers \(2, n\)", lambda: LevelPlan(f, 2, 4, beside=f[:1])),
        ("beside: expected whole numbers", lambda: LevelPlan(f, 2, 4, beside=f[:, :2] / 2)),
        ("beside: expected macs 0 to 1, got 5", lambda: LevelPlan(f, 2, 4, beside=torch.tensor([[0, 5], [1, 0]]))),
        ("beside: expected -1 for none", lambda: LevelPlan(f, 2, 4, beside=torch.tensor([[0, -5], [1, 0]]))),
        ("above: expected macs 0 to 0, got 3",
         lambda: Sparsey(8, [LevelPlan(f, 2, 4, above=torch.tensor([[3], [0]])), top])),
        ("plans: expected a list of LevelPlan", lambda: Sparsey(8, LevelPlan(f, 2, 4))),
        ("plans: expected a list of LevelPlan", lambda: Sparsey(8, [3])),
        ("inputs: expected a whole number of at least 1, got -8", lambda: Sparsey(-8, [LevelPlan(f, 2, 4)])),
        ("device: expected one that holds numbers", lambda: Sparsey(8, [LevelPlan(f, 2, 4)]).to("meta")),
        ("step: rows: expected", lambda: tiles((4, 4), (2, 2), (0, 1))),
        ("size: rows: expected", lambda: tiles((4, 4), (2.0, 2), (1, 1))),
        ("reach: expected", lambda: around((2, 2), -1)), ("shape: rows: expected", lambda: around((0, 2))),
        ("frames: expected", lambda: widen(item(1), (5, 5))),
        ("frames: expected", lambda: widen(item(1) * 0.5, (12, 12))),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            call()
    small = Sparsey(8, [LevelPlan(f.to(torch.uint8), 2, 4)])  # whole numbers of any kind
    assert small.learn(item(1, 5, inputs=8)).winners[0].min() >= 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, "item: expected an array of numbers, got NoneType"), ("abc", "item: expected an array"),
        ([[1, 0], [1]], "item: expected an array"), (np.array([object()] * 144), "item: expected an array"),
        ([item(1), item(2)], "got a list of tensors; torch.stack makes one"),
        (item(1).float().to_sparse(), "item: expected an array"), (torch.zeros(144, device="meta"), "on meta"),
        (torch.full((144,), NAN), "item: expected 0 and 1"), (-item(1).int(), "item: expected 0 and 1"),
        (torch.zeros(0, 144), r"got \(0, 144\)"), (torch.tensor(1), r"got \(\)"),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_what_is_no_item(wrong: Any, said: str) -> None:
    mac = Mac(144, 6, 8, horizontal=True, labels=2)
    mac.learn(item(*range(10)))
    before = weights(mac.memory)
    for call in (mac.learn, mac.recognise, mac.familiarity, mac.classify):
        with pytest.raises(ValueError, match=said):
            call(wrong)
    with pytest.raises(ValueError, match=said.replace("item", "prompt")):
        mac.recall(wrong, 3)
    assert same(weights(mac.memory), before) and mac.memory.step == 1


def test_bad_recalls_and_labels():
    mac = Mac(144, 6, 8, horizontal=True, labels=3)
    cue = torch.stack([item(*range(9))] * 2)
    for said, call in (
        *((f"frames: .* got {n!r}", lambda n=n: mac.recall(cue, n)) for n in (-1, 0, 1.5, "3", None)),
        *((f"threshold: .* got {x!r}", lambda x=x: mac.recall(cue, 3, x)) for x in (NAN, -1, 0, 2, "a")),
        ("winners: expected", lambda: mac.memory.decode(torch.zeros(3, 2))),
        ("winners: expected int32", lambda: mac.memory.decode(torch.zeros(3, 1, 6))),
        ("winners: expected -1 to 7, got 9", lambda: mac.memory.decode(torch.full((3, 1, 6), 9))),
        ("label: expected an array", lambda: mac.learn(cue, "a")), ("label: expected", lambda: mac.learn(cue, [0, 1])),
        ("label: expected", lambda: mac.learn(cue, 1.0)), ("label: expected 0 to 2", lambda: mac.learn(cue, -1)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            call()
    assert mac.memory.step == 0 and not mac.memory.levels[0].weight.any()


def test_bad_studies():
    x, rule = sequences(1), Rule()
    for said, call in (
        ("count: expected", lambda: sequences(-1)), ("lexicon: expected", lambda: sequences(1, lexicon=0)),
        ("features: expected", lambda: moved(x, -1)), ("features: expected", lambda: moved(x, 1.5)),
        ("x: expected bool", lambda: moved(x.int(), 1)), ("v: expected", lambda: share(1.5, 8, rule)),
        ("v: expected", lambda: share(NAN, 8, rule)), ("values: expected", lambda: overlaps((13,), 9, rule)),
        ("draws: expected", lambda: overlaps((1,), 1, rule)), ("features: expected", lambda: noise((-1,))),
        ("count: expected", lambda: noise((1,), count=0)), ("most: expected", lambda: capacity(9, 4, most=0)),
        ("recall: expected", lambda: capacity(9, 4, most=3, recall=2)),
        ("permanence: expected", lambda: decay(torch.tensor(1), 0, 5.0)),
        ("convexity: expected", lambda: decay(torch.tensor(1), 10, NAN)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            call()


def plan(**numbers: Any) -> Any:
    def change(file: h5py.File) -> None:
        file.attrs["plans"] = json.dumps([json.loads(file.attrs["plans"])[0] | numbers])

    return change


def array(name: str, value: Any) -> Any:
    def change(file: h5py.File) -> None:
        kept = file[f"level0/{name}"][()]
        del file[f"level0/{name}"]
        file[f"level0/{name}"] = value(kept)

    return change


CHANGES: dict[str, tuple[Any, str]] = {
    "version": (lambda file: file.attrs.update(version=2), "version 2, not 'spiking-sparsey' 1"),
    "version as text": (lambda file: file.attrs.update(version="1"), "version 1, not"),
    "no JSON": (lambda file: file.attrs.update(plans="{"), "property name"),
    "no plans": (lambda file: file.attrs.update(plans="[]"), "at least one level"),
    "another list": (lambda file: file.attrs.update(plans="[3]"), "'int' object"),
    "no modules": (plan(modules=0), "modules: expected"), "other units": (plan(units=9), "weight of level 0 as"),
    "another argument": (plan(colour=1), "colour"), "short rule": (plan(rule=[1, 2]), "unpack"),
    "no band": (plan(band=None), "NoneType"), "fewer inputs": (lambda file: file.attrs.update(inputs=9), "fields: "),
    "seed as text": (lambda file: file.attrs.update(seed="x"), "invalid literal"),
    "no level": (lambda file: file.__delitem__("level0"), "level0"),
    "wide weight": (array("weight", lambda x: x.astype(np.float32)), "weight of level 0 as torch.float32"),
    "used": (array("used", lambda x: x + 7), "other synapses in weight of level 0 than used counts"),
    "short used": (array("used", lambda x: x[0]), "used of level 0 as"),
    "last": (array("last", lambda x: x[0]), "last of level 0 as"), "text": (array("last", lambda x: "no"), "expected"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
def test_files_that_were_changed(change: Any, said: str, tmp_path: Path) -> None:
    mac = Mac(40, 4, 4, horizontal=True, fades=True)
    mac.learn(sequences(1, frames=2, inputs=40))
    mac.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "a") as file:
        change(file)
    with pytest.raises(DataError, match=rf"m\.h5: expected a memory that Sparsey.save wrote, found .*{said}"):
        Mac.load(tmp_path / "m.h5")


def test_files_that_are_cut_or_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    Mac(40, 4, 4).save(path)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[:-1], whole[: len(whole) // 2] + b"\xff" * (len(whole) // 2)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"m\.h5: expected a memory"):
            Sparsey.load(path)
    with pytest.raises(DataError, match="where there is a folder"):
        Mac(40, 4, 4).save(tmp_path)
    with pytest.raises(DataError, match="no such file"):
        Sparsey.load(tmp_path)


def test_numbers_of_any_kind_are_kept_in_a_file(tmp_path: Path) -> None:
    """A seed is a word of 64 bits, whole numbers may be NumPy's."""
    for seed in (2**63, 2**70 + 5, -5):
        mac = Mac(40, np.int64(4), 4, seed=seed, band=(np.int64(1), 9), exponents={"U": np.float32(2)})
        mac.save(tmp_path / "m.h5")
        again, x = Mac.load(tmp_path / "m.h5"), sequences(3, inputs=40, active=(3, 9))
        assert torch.equal(mac.learn(x), again.learn(x)) and again.memory.plans[0].band == (1, 9)
