"""Sparsey's memories: single-trial learning, sequences, levels, freezing, files, bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from spiking.kernels.csa import Rule
from spiking.plasticity.sparsey import BackOff, FrozenWarning, LevelPlan, Mac, Sparsey, around, tiles, widen
from spiking.plasticity.sparsey.level import Level
from spiking.plasticity.sparsey.study import moved, sequences

from .items import item, same, weights


@pytest.mark.parametrize("seed", range(3))
def test_what_is_new_does_not_get_the_code_of_what_was_learned(seed: int):
    """Nothing speaks for any unit, so that winners are drawn: one in eight is right by chance, 3 of 24."""
    mac = Mac(inputs=144, modules=24, units=8, seed=seed)
    winners = mac.learn(item(*range(12)))
    others, familiarity = mac.recognise(item(*range(12, 24)))
    assert familiarity == 0 and int((others == winners).sum()) < 10


def test_the_lines_of_the_documentation():
    mac = Mac(inputs=144, modules=24, units=8, seed=0)
    winners = mac.learn(item(*range(12)))
    assert winners.shape == (24,)
    again, familiarity = mac.recognise(item(*range(12)))
    assert torch.equal(again, winners) and familiarity == 1
    _, none = mac.recognise(item(*range(12, 24)))
    assert none == 0
    assert mac.familiarity(item(*range(6, 18))) == 0.5
    assert Sparsey.from_preset("mnist", seed=0).inputs == 384


def test_four_disjoint_items_have_codes_of_their_own():
    mac = Mac(inputs=16, modules=5, units=8, seed=0)
    items = torch.stack([item(*range(3 * k, 3 * k + 3), inputs=16) for k in range(4)])[:, None]
    codes = mac.learn(items)
    assert codes.shape == (4, 1, 5) and mac.recognise(items)[1].shape == (4, 1)
    assert len(codes.flatten(1).unique(dim=0)) == 4
    again, familiarity = mac.recognise(items)
    assert torch.equal(again, codes) and bool((familiarity == 1).all())
    assert mac.recognise(item(12, 13, 14, inputs=16))[1] == 0


def test_the_published_net_has_39168_weights():
    assert Sparsey.from_preset("capacity").synapses == 39_168


def test_items_together_and_one_by_one_are_the_same():
    items = sequences(9, frames=1, inputs=60, active=(5, 9))
    together, apart = (Sparsey.from_preset("capacity", 3, inputs=60, least=5) for _ in range(2))
    codes = together.learn(items).winners[0]
    assert torch.equal(codes, torch.cat([apart.learn(x).winners[0] for x in items]))
    assert same(weights(together), weights(apart))


def test_every_backend_draws_the_same_codes():
    items = sequences(2, frames=4)
    found = [Mac(144, 6, 5, seed=2**40, horizontal=True, backend=name).learn(items) for name in ("reference", "numba")]
    assert torch.equal(*found)
    assert not torch.equal(found[0], Mac(144, 6, 5, seed=1, horizontal=True).learn(items))


def test_a_sequence_is_replayed_from_its_first_frames():
    items = sequences(8)
    memory = Sparsey.from_preset("capacity")
    memory.learn(items)
    for sequence in items:
        found = memory.recall(sequence[:2], 8)
        assert bool((found & sequence[2:] == sequence[2:]).double().mean() > 0.99)
        assert float(found.sum()) < 1.2 * float(sequence[2:].sum())


def test_only_what_hears_the_past_tells_a_new_order():
    items = sequences(3)
    wrong = items[:, torch.randperm(10, generator=torch.Generator().manual_seed(0))]
    for hears in (True, False):
        mac = Mac(144, 9, 16, horizontal=hears)
        mac.learn(items)
        known, new = mac.familiarity(items).mean(), mac.familiarity(wrong).mean()
        assert known > 0.99 and (new < 0.5 if hears else new > 0.99)


def test_back_off_finds_known_frames_in_a_new_order():
    items = sequences(3)
    wrong = items.flip(1)
    for cases, known in ((BackOff(("UH", "U"), (0.9, 0.9), (0, 1)), True), (BackOff(("UH",), (0.9,), (0,)), False)):
        mac = Mac(144, 9, 16, horizontal=True, back_off=cases)
        mac.learn(items)
        familiarity = float(mac.familiarity(wrong).mean())
        assert familiarity > 0.99 if known else familiarity < 0.5
    assert BackOff().exponents({"U": 2.0, "O": 3.0, "H": 1.0, "L": 1.0})[1:3] == [[2, 3, 1, 1], [2, 3, 0, 1]]
    with pytest.raises(ValueError, match="cases: expected letters"):
        BackOff(("X",), (0.5,), (0,)).exponents({"U": 1.0})


def two_levels(persistence: int = 1, hypotheses: str | None = None, fades: bool = False) -> Sparsey:
    low = LevelPlan(
        tiles((8, 8), (4, 4), (4, 4)), 5, 12, beside=around((2, 2), 1), above=torch.zeros(4, 1, dtype=torch.long),
        band=(1, 16), hypotheses=hypotheses, exponents={"U": 4.0, "H": 4.0, "D": 2.0}, fades=fades,
    )  # fmt: skip
    top = LevelPlan(torch.arange(4)[None], 7, 5, band=(2, 4), persistence=persistence, beside=around((1, 1)))
    return Sparsey(64, [low, top])


def test_levels_learn_and_recognise_through_each_other():
    items = sequences(4, frames=6, inputs=64, active=(10, 14))
    memory = two_levels(hypotheses="boost")
    assert [list(level.parts) for level in memory.levels] == [["U", "H", "D"], ["U", "H"]]
    learned = memory.learn(items)
    found = memory.recognise(items)
    for a, b in zip(learned.winners, found.winners, strict=True):
        assert float((a == b).double().mean()) > 0.9  # chance is 1 / 12 and 1 / 5
    assert bool((memory.familiarity(items) > memory.familiarity(items.roll(1, 2)) + 0.2).all())
    assert (memory.levels[0].used[:, 2] > 0).all()


@pytest.mark.gpu
def test_synapses_fade_on_a_gpu_as_they_do_here():
    macs = [Mac(144, 6, 8, horizontal=True, fades=True, freeze=0.2) for _ in range(2)]
    macs[1].memory.to("cuda")
    for begin in (0, 1500, 4000, 9000):
        for mac in macs:
            mac.memory.step = begin
        a, b = (mac.learn(sequences(2, frames=3, seed=begin // 4000)) for mac in macs)
        assert torch.equal(a, b.cpu())
    assert same(weights(macs[0].memory), [w.cpu() for w in weights(macs[1].memory)])


@pytest.mark.parametrize("fades", [False, True])
def test_nothing_is_made_on_a_device_of_its_own(fades: bool):
    """Whatever is not told where to be comes to lie on "meta", which tensors of a CPU do not meet."""
    items = sequences(2, frames=3, inputs=64, active=(10, 14))
    found = []
    for where in ("cpu", "meta"):
        memory = two_levels(persistence=2, hypotheses="boost", fades=fades)
        memory.backend = "reference"
        with torch.device(where):
            found.append((memory.learn(items).winners, memory.recognise(items).winners, memory.recall(items[0, :1], 2)))
    for a, b in zip(found[0][:2], found[1][:2], strict=True):
        assert same(list(a), list(b))
    assert torch.equal(found[0][2], found[1][2])


@pytest.mark.gpu
def test_a_gpu_draws_the_same_codes():
    items = sequences(3, frames=4, inputs=64, active=(10, 14))
    here, there = two_levels(hypotheses="boost"), two_levels(hypotheses="boost").to("cuda")
    for a, b in zip(here.learn(items).winners, there.learn(items.cuda()).winners, strict=True):
        assert torch.equal(a, b.cpu())
    assert same(weights(here), [w.cpu() for w in weights(there)])


def test_a_code_is_held_as_long_as_its_level_persists():
    codes = two_levels(persistence=3).learn(sequences(1, frames=7, inputs=64, active=(20, 24))).winners[1][0, :, 0]
    assert torch.equal(codes[0], codes[2]) and torch.equal(codes[3], codes[5])
    assert not torch.equal(codes[2], codes[3]) and not torch.equal(codes[5], codes[6])


def test_a_mac_outside_its_band_stays_silent():
    memory = Sparsey(8, [LevelPlan(torch.arange(8).view(2, 4), 3, 4, band=(2, 3))])
    winners = memory.learn(item(0, 1, 4, inputs=8)).winners[0][0, 0]
    assert bool((winners[0] >= 0).all()) and winners[1].tolist() == [-1] * 3
    assert not memory.levels[0].weight[1].any()


@pytest.mark.parametrize(("name", "wanted"), [("boost", [1, 4, 0]), ("divide", [1, 0.5, 0])])
def test_what_codes_of_several_hypotheses_are_worth(name, wanted):
    plan = LevelPlan(torch.arange(4)[None], 4, 8, hypotheses=name, ambiguity=(2.0, 3))
    worth = Level(plan, None, None, 0)._worth(torch.tensor([[3, 8, 20]]))  # zeta of 1, 2 and 5
    assert worth.tolist() == [wanted]


def test_a_matrix_freezes_and_says_so_once():
    mac = Mac(40, 4, 4, freeze=0.25)
    level = mac.memory.levels[0]
    items = sequences(40, frames=1, inputs=40, active=(5, 5))
    with pytest.warns(FrozenWarning, match="learns nothing more"):
        mac.learn(items)
    assert level.frozen.all() and 0.25 < int(level.used.sum()) / level.synapses < 0.25 + 20 / 640
    before = level.weight.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mac.learn(items[1, 0])
    assert torch.equal(level.weight, before)


def test_a_memory_that_froze_in_the_midst_of_a_call_says_so():
    with pytest.warns(FrozenWarning, match="learns nothing more"):
        Mac(144, 4, 4, freeze=0.0).learn(sequences(5, frames=1))


def test_full_units_learn_nothing_more():
    mac, items = Mac(144, 3, 2, fan_in=0), sequences(9, frames=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mac.learn(items[0])
    assert not mac.memory.frozen
    with pytest.warns(FrozenWarning, match="learns nothing more"):
        mac.learn(items)
    assert mac.memory.frozen and bool(mac.memory.levels[0].full.all())


def test_a_memory_that_still_hears_is_not_called_frozen():
    """What is active once fills a small matrix of features; that of codes is larger and stays open."""
    mac = Mac(10, 4, 8, horizontal=True, freeze=0.1)
    with pytest.warns(FrozenWarning, match="what macs see is frozen: they learn only what they hear"):
        mac.learn(torch.ones(2, 10, dtype=torch.bool))
    assert mac.memory.levels[0].frozen.tolist() == [[True, False]] and not mac.memory.frozen
    with pytest.warns(FrozenWarning, match="learns nothing more"):
        mac.learn(sequences(20, inputs=10, active=(3, 7)))
    assert mac.memory.frozen


def test_what_a_frozen_matrix_has_does_not_fade():
    first, later = item(*range(10)), item(*range(20, 30))
    mac = Mac(144, 6, 8, horizontal=True, fades=True, freeze=0.005)
    with pytest.warns(FrozenWarning, match="what macs see is frozen"):
        mac.learn(first)
    level = mac.memory.levels[0]
    before, used = level.weight[:, : level.parts["U"]].clone(), level.used[0, 0].item()
    mac.memory.step = 10**5
    mac.learn(later)
    assert level.frozen.tolist() == [[True, False]] and level.used[0, 0] == used == 60
    assert torch.equal(level.weight[:, : level.parts["U"]], before) and mac.recognise(first)[1] == 1


def test_a_mac_that_does_not_choose_forgets_too():
    memory = Sparsey(8, [LevelPlan(torch.arange(8).view(2, 4), 3, 4, fades=True)])
    left, right = item(0, 1, inputs=8), item(4, 5, inputs=8)
    memory.learn(left)
    memory.step = 4000
    memory.learn(right)
    assert memory.levels[0].used[:, 0].tolist() == [0, 6] and not memory.levels[0].weight[0].any()


def test_what_has_faded_does_not_choose():
    """A mac's synapses are forgotten before it chooses, not after: else a dead item would draw its own code again."""
    mac = Mac(144, 24, 8, fades=True)
    winners = mac.learn(item(*range(12)))
    mac.memory.step = 4000
    again = mac.learn(item(*range(12)))
    assert int((again == winners).sum()) < 10 and int(mac.memory.levels[0].used.sum()) == 12 * 24


def test_places_of_no_neighbour_are_no_synapses():
    """Corner macs hear four macs of nine; a mac with one feature is full with it."""
    fields = torch.tensor([[0, 1, 2], [3, -1, -1]])
    level = Level(LevelPlan(fields, 2, 4, labels=3, off=True, freeze=0.5), None, None, 0)
    assert level.sizes.tolist() == [[24, 24, 24], [8, 8, 24]] and level.synapses == 112
    assert level.limits.tolist() == [[12, 12, 12], [4, 4, 12]]
    grid = Level(LevelPlan(tiles((3, 3), (1, 1), (1, 1)), 2, 4, beside=around((3, 3), 1)), None, None, 0)
    assert sorted(grid.sizes[:, 1].tolist()) == sorted(n * 64 - 32 for n in (4, 4, 4, 4, 6, 6, 6, 6, 9))


def test_each_mac_freezes_by_its_own_size():
    fields = torch.tensor([[0, 1, 2, 3], [4, -1, -1, -1]])
    memory = Sparsey(5, [LevelPlan(fields, 2, 1, freeze=0.5)])
    memory.learn(item(0, 1, 4, inputs=5))
    assert memory.levels[0].frozen[:, 0].tolist() == [False, True]  # 4 of 8, 2 of 2


def test_a_mac_of_one_module_hears_its_neighbours_alone():
    plan = LevelPlan(torch.arange(8).view(2, 4), 1, 6, beside=around((1, 2), 1))
    memory = Sparsey(8, [plan])
    level = memory.levels[0]
    assert level.sizes[:, 1].tolist() == [36, 36]
    memory.learn(torch.tensor([[1, 0, 0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 1, 0, 0]]))
    own = level.parts["U"]
    assert not level.weight[:, own].any() and level.used[:, 1].tolist() == [1, 1]
    alone = torch.tensor([[1, 0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]])
    assert memory.recognise(alone).familiarity[0][0, :, 0].tolist() == [1, 1]  # no code to hear is no evidence
    with pytest.raises(ValueError, match="beside: a unit hears no unit of its own module"):
        Mac(8, 1, 4, horizontal=True)


def test_a_mac_that_falls_silent_is_familiar_with_nothing():
    memory = Sparsey(8, [LevelPlan(torch.arange(8).view(2, 4), 3, 4)])
    both, left = item(0, 4, inputs=8), item(0, inputs=8)
    memory.learn(both)
    sequence = torch.stack([both, left])
    assert memory.recognise(sequence).familiarity[0][0].tolist() == [[1, 1], [1, 0]]
    assert memory.familiarity(sequence) == 1


def test_an_item_is_as_familiar_alone_as_in_a_batch():
    plan = LevelPlan(
        torch.arange(144)[None], 9, 8, beside=around((1, 1)), band=(9, 12), exponents={"U": 2.0, "H": 2.0}, start=8.0
    )
    memory, items = Sparsey(144, [plan]), sequences(12, frames=4)
    memory.learn(items[:6])
    items[0, :2] = False  # a first frame that wakes nobody, beside others that do
    together = memory.recognise(items)
    for k in range(12):
        alone = memory.recognise(items[k : k + 1])
        assert torch.equal(alone.winners[0][0], together.winners[0][k])
        assert torch.equal(alone.familiarity[0][0], together.familiarity[0][k])
    shuffled = memory.recognise(items.flip(0))
    assert torch.equal(shuffled.winners[0].flip(0), together.winners[0])


def test_the_first_frame_has_an_exponent_of_its_own():
    known, half = item(*range(10)), item(*range(5, 15))
    mac = Mac(144, 6, 8, horizontal=True, exponents={"U": 1.0, "H": 0.0}, start=3.0)
    mac.learn(known)
    assert mac.recognise(torch.stack([half, half]))[1].tolist() == [0.125, 0.5]


def test_what_wakes_no_mac_has_no_label():
    for labels in (1, 3):
        memory = Sparsey(8, [LevelPlan(torch.arange(8).view(2, 4), 3, 6, labels=labels, band=(2, 3))])
        known = torch.stack([item(0, 1, inputs=8), item(4, 5, inputs=8)])[:labels, None]
        memory.learn(known, torch.arange(len(known)))
        silent = torch.stack([item(0, inputs=8), item(3, 5, inputs=8), item(inputs=8)])[:, None]
        assert memory.classify(torch.cat([known, silent])).tolist() == [*range(len(known)), -1, -1, -1]


def test_synapses_fade_unless_their_item_recurs(tmp_path):
    once, twice, other = item(*range(10)), item(*range(20, 30)), item(*range(60, 70))
    mac = Mac(144, 6, 8, fades=True)
    mac.learn(torch.stack([once, twice])[:, None])
    assert mac.recognise(once)[1] == 1
    mac.memory.step = 1500
    mac.learn(twice)
    mac.save(tmp_path / "m.h5")
    mac = Mac.load(tmp_path / "m.h5")
    mac.memory.step = 4000
    mac.learn(other)
    assert mac.recognise(once)[1] == 0 and mac.recognise(twice)[1] == 1 and mac.recognise(other)[1] == 1
    level = mac.memory.levels[0]
    assert int(level.used.sum()) == 2 * 10 * 6


def test_labels_are_told_by_familiarity():
    prototypes = sequences(3, frames=1)
    plan = LevelPlan(torch.arange(144)[None], 8, 32, labels=3, off=True, exponents={"U": 4.0, "O": 4.0}, fan_in=0)
    memory = Sparsey(144, [plan])
    for k in range(8):
        memory.learn(moved(prototypes, 2, seed=k), [0, 1, 2])
    looks = moved(prototypes.repeat(10, 1, 1), 3, seed=99)
    assert memory.classify(looks).tolist() == [0, 1, 2] * 10


def test_normalisation_by_the_band_forgives_what_is_too_much():
    known, more = item(*range(9)), item(*range(12))
    for name, wanted in (("active", 0.75), ("band", 1.0)):
        mac = Mac(144, 5, 6, band=(9, 12), normalise=name)
        mac.learn(known)
        assert mac.recognise(more)[1] == wanted


def test_files_there_and_back(tmp_path):
    items = sequences(4, frames=3, inputs=64, active=(10, 14))
    memory = two_levels(hypotheses="divide")
    memory.learn(items[:3])
    memory.save(tmp_path / "m.h5")
    loaded = Sparsey.load(tmp_path / "m.h5")
    assert same(weights(loaded), weights(memory)) and loaded.plans[0].hypotheses == "divide"
    for a, b in zip(memory.learn(items[3]).winners, loaded.learn(items[3]).winners, strict=True):
        assert torch.equal(a, b)  # the draws go on where they stopped
    with pytest.raises(ValueError, match="5 macs; load it by Sparsey"):
        Mac.load(tmp_path / "m.h5")
    mac = Mac(20, 3, 4, rule=Rule(chi=50.0), back_off=BackOff())
    code = mac.learn(item(1, 2, inputs=20))
    mac.save(tmp_path / "mac.h5")
    again = Mac.load(tmp_path / "mac.h5")
    assert torch.equal(again.recognise(item(1, 2, inputs=20))[0], code)
    assert again.memory.plans[0].rule.chi == 50 and again.memory.plans[0].back_off == BackOff()


def test_fields():
    assert tiles((4, 6), (2, 3), (2, 3)).tolist()[1] == [3, 4, 5, 9, 10, 11]
    assert around((2, 2), 1)[3].tolist() == [3, 0, 1, -1, 2, -1, -1, -1, -1]
    assert around((1, 1)).tolist() == [[0]]
    cross = widen(item(4, inputs=9), (3, 3))
    assert cross.nonzero().flatten().tolist() == [1, 3, 4, 5, 7]
    for wrong, said in (
        (((4, 4), (5, 1), (1, 1)), "size: rows: expected a whole number, 1 to 4, got 5"),
        (((4, 4), (1, 1), (1, 0)), "step: columns: expected a whole number, 1 to 4, got 0"),
        (((4, 0), (1, 1), (1, 1)), "shape: columns: expected a whole number of at least 1, got 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            tiles(*wrong)
    assert torch.equal(tiles((np.int64(4), 6), (2, np.int64(3)), (2, 3)), tiles((4, 6), (2, 3), (2, 3)))
