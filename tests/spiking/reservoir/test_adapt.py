"""Liquids that learn: what moves and what stays, files, endings, and what a user's mistakes come to."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone

from spiking import Events
from spiking.datasets import EventStore
from spiking.datasets.errors import DataError
from spiking.kernels.reservoir import Explosion, Interrupted
from spiking.plasticity.hebbian import BCM, STDP, IntrinsicPlasticity, RewardSTDP, TripletSTDP
from spiking.reservoir import LSM, Ensemble, adapt
from spiking.reservoir.calibrate import activity
from spiking.reservoir.presets import PRESETS

RULE = STDP(0.02, 0.021)


def liquid(preset: str = "nalsm", seed: int = 0, **more: object) -> LSM:
    return LSM.from_preset(preset, inputs=40, neurons=80, seed=seed, input_gain=4.0, **more)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("rule", [RULE, BCM(), [TripletSTDP.from_preset("visual"), IntrinsicPlasticity(20.0)]])
def test_every_preset_learns_and_keeps_its_signs(preset: str, rule: object, store: EventStore) -> None:
    lsm = liquid(preset, gain=0.7)  # whose product and quotient are rounded
    drawn = lsm.network()
    events, _ = store.batch(range(4), dt=lsm.step)
    assert lsm.adapt(events, rule) is lsm and lsm.learned
    before, after = drawn.recurrent.values, lsm.network().recurrent.values
    assert not torch.equal(before, after) and ((before < 0) == (after < 0)).all()
    inhibitory = torch.from_numpy(drawn.inhibitory)[drawn.recurrent.rows()] | (before < 0)
    assert torch.equal(after[inhibitory], before[inhibitory])
    assert (after.abs() <= torch.maximum(3.0001 * unit(lsm), before.abs() * 1.0001)).all()
    (passage,) = lsm.history_
    assert passage.rate > 0 and 0 < passage.change < 1 and passage.weak + passage.strong <= 1
    assert (lsm.network().threshold is None) == (not isinstance(rule, list))


def unit(lsm: LSM) -> torch.Tensor:
    from spiking.reservoir.network import units

    return torch.from_numpy(units(lsm.network(), lsm.settings(), lsm.step)).float()


def test_epochs_and_stores_follow_each_other(store: EventStore) -> None:
    """Two epochs are two calls; a store is its recordings; one recording after the other is all of them."""
    few = store.select(range(5))
    events, _ = few.batch(range(5), dt=1.0)
    a, b, c = (liquid() for _ in range(3))
    a.adapt(few, RULE, epochs=2, progress=True)
    b.adapt(events, RULE).adapt(events, RULE)
    for _ in range(2):
        for k in range(5):
            c.adapt(events[:, k : k + 1], RULE)
    strengths = [lsm.network().recurrent.values for lsm in (a, b, c)]
    torch.testing.assert_close(strengths[0], strengths[1], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(strengths[0], strengths[2], rtol=1e-5, atol=1e-7)
    assert len(a.history_) == 2 and a.history_[1].rate != a.history_[0].rate


def test_thresholds_bring_the_liquid_to_a_rate(store: EventStore) -> None:
    lsm = liquid(gain=0.3)
    events, _ = store.batch(range(40), dt=1.0)
    before = activity(lsm, events).rate
    lsm.adapt(events, IntrinsicPlasticity(20.0, 0.02, (0.2, 5.0)), epochs=8)
    threshold = lsm.network().threshold
    assert threshold is not None and before < 6 and lsm.history_[-1].change == 0
    free = threshold > 4.01  # the others hardly hear any input and are at their lower bound, 0.2 times 20
    rates = lsm.simulate(events)[0].counts().mean(0) / 0.06
    assert free.float().mean() > 0.6 and rates[~free].mean() < 10
    assert rates[free].mean() == pytest.approx(20, abs=3)
    assert lsm.history_[0].rate < lsm.history_[-1].rate == pytest.approx(float(rates.mean()), abs=2)
    assert torch.equal(lsm.network().recurrent.values, liquid(gain=0.3).network().recurrent.values)


def test_rewards_choose_the_sign(events: Events) -> None:
    """A reward after the spikes strengthens what pairs have marked, a punishment as much less."""
    rule, found = RewardSTDP(500.0, None, 0.01, 0.002), []
    for amount in (1.0, -1.0):
        lsm, reward = liquid(), torch.zeros(60)
        start = lsm.network().recurrent.values
        reward[50] = amount
        lsm.adapt(events, rule, reward=reward)
        moved = lsm.network().recurrent.values - start
        found.append(moved[moved.abs() > 1e-6])
    assert len(found[0]) > 30 and found[0].mean() > 5e-3 and found[1].mean() < -5e-3
    by_number, whole = liquid(), liquid()
    signals = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    whole.adapt(events, rule, reward=signals)
    by_number.adapt(events, rule, reward=lambda k: signals[:, k])
    assert torch.equal(whole.network().recurrent.values, by_number.network().recurrent.values)


def npz(**arrays: np.ndarray) -> bytes:
    whole = io.BytesIO()
    np.savez(whole, **arrays)
    return whole.getvalue()


def named(whole: bytes) -> dict[str, str]:
    return {"file": "liquid.npz", "sha256": hashlib.sha256(whole).hexdigest()}


def test_files_keep_what_was_learned(tmp_path: Path, events: Events) -> None:
    lsm = liquid().adapt(events, [RULE, IntrinsicPlasticity(20.0)])
    path, beside = tmp_path / "liquid.json", tmp_path / "liquid.npz"
    lsm.save(path)
    again = LSM.open(path)
    assert again.learned and again.network().digest() == lsm.network().digest() != liquid().network().digest()
    assert np.array_equal(again.features(events), lsm.features(events))
    assert not np.array_equal(lsm.features(events), liquid().features(events))
    given, whole = path.read_text(), beside.read_bytes()
    beside.unlink()
    with pytest.raises(DataError, match=r"liquid\.npz, which is not there; keep both files together"):
        LSM.open(path)
    liquid(seed=1).adapt(events, RULE).save(tmp_path / "other.json")
    beside.write_bytes((tmp_path / "other.npz").read_bytes())
    with pytest.raises(DataError, match=r"liquid\.npz with sha256 [0-9a-f]{64}, got [0-9a-f]{64}"):
        LSM.open(path)
    beside.write_bytes(whole)
    for damaged, said in (
        (whole[:100], "File is not a zip file"),
        (b"", "No data left in file"),
        (whole[:200] + b"\0\1" + whole[202:], "Bad CRC-32|invalid|Error"),
        (npz(other=np.ones(3)), "'strength'"),
        (npz(strength=np.array(["a"])), "numpy.str_"),
        (npz(strength=again.network().recurrent.values.numpy() + 1j), "strength: expected floating numbers"),
        (npz(strength=again.network().recurrent.values.numpy() * np.nan), "strength: expected finite numbers"),
    ):
        beside.write_bytes(damaged)
        path.write_text(json.dumps({**json.loads(given), "learned": named(damaged)}))
        with pytest.raises(DataError, match=rf"learned: expected strengths and thresholds in .*liquid\.npz \(.*{said}"):
            LSM.open(path)
    beside.write_bytes(whole)
    for listed in ("[]", "null", "3"):
        path.write_text(listed)
        for kind in (LSM, Ensemble):
            with pytest.raises(DataError, match=r"format: expected 'spiking\.reservoir"):
                kind.open(path)
    with pytest.raises(ValueError, match=r"path: expected a name such as liquid\.json"):
        lsm.save(tmp_path / "liquid.npz")  # which would lie where the strengths go
    assert beside.read_bytes() == whole
    for change, said in (
        ({"learned": {"file": 3, "sha256": ""}}, "learned: expected the name of a file beside this one"),
        ({"learned": {"file": "../liquid.npz", "sha256": ""}}, "learned: expected the name of a file beside this one"),
        ({"neurons": 81}, r"strength: expected \(\d+,\), got"),
        ({"seed": 5}, r"strength: expected|other synapses than the one that was saved"),
    ):
        path.write_text(json.dumps({**json.loads(given), **change}))
        with pytest.raises(DataError, match=said):
            LSM.open(path)


def test_ensembles_keep_what_each_has_learned(tmp_path: Path, events: Events) -> None:
    both = Ensemble.from_preset("nalsm", 2, inputs=40, neurons=60, input_gain=4.0)
    both.members[1].adapt(events, RULE)
    both.save(tmp_path / "both.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["both.1.npz", "both.json"]
    again = Ensemble.open(tmp_path / "both.json")
    assert [lsm.learned for lsm in again.members] == [False, True]
    assert np.array_equal(again.features(events), both.features(events))


def test_another_seed_and_a_clone_have_learned_nothing(events: Events) -> None:
    lsm = liquid().adapt(events, RULE)
    assert not clone(lsm).learned and lsm.set_params(gain=2.0).learned
    assert not lsm.set_params(seed=1).learned
    assert lsm.network().digest() == liquid(seed=1).network().digest()


def test_explosion_and_interruption_keep_what_was_learned_before(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = liquid().adapt(events[:, :1], RULE), liquid()
    total = int(one.simulate(events[:, :2])[0].counts().sum(1).max())
    quiet = Events.cat([events[:, :1], events[:, 1:2]])
    with pytest.raises(Explosion, match=r"recording 0 of epoch 0: activity: passed the budget of 5 spikes at step"):
        two.adapt(quiet, RULE, budget=5)
    assert total > 5 and not two.learned
    assert torch.equal(two.network().recurrent.values, liquid().network().recurrent.values)
    calls, learn = list[int](), adapt.stdp

    def stopped(x: Events, *arguments: Any, **more: Any) -> Any:
        calls.append(len(x))
        if len(calls) == 3:  # the first begins at rest, with no step
            raise Interrupted("stopped", None, None)
        return learn(x, *arguments, **more)

    monkeypatch.setattr(adapt, "stdp", stopped)
    with pytest.raises(adapt.Halted, match="after 0 of 1 epochs; what was learned is kept"):
        two.adapt(events, RULE)
    torch.testing.assert_close(two.network().recurrent.values, one.network().recurrent.values)


def test_mistakes_are_named(store: EventStore, events: Events) -> None:
    lsm = liquid()
    for said, call in (
        ("rule: expected a rule of spiking.plasticity.hebbian, got str", lambda: lsm.adapt(events, ["stdp"])),
        ("rule: expected a rule of spiking.plasticity.hebbian, got int", lambda: lsm.adapt(events, 3)),
        ("rule: expected one for synapses, one for thresholds, or both", lambda: lsm.adapt(events, [RULE, RULE])),
        ("rule: expected one for synapses", lambda: lsm.adapt(events, [])),
        ("epochs: expected 1 or more, got 0", lambda: lsm.adapt(events, RULE, epochs=0)),
        ("events: expected at least one recording", lambda: lsm.adapt(events[:, :0], RULE)),
        ("x: expected 40 channels, got 7", lambda: lsm.adapt(Events.from_dense(torch.ones(5, 1, 7), dt=1.0), RULE)),
        ("dt: layer 1 ms, events 2 ms", lambda: lsm.adapt(Events.from_dense(torch.ones(5, 1, 40), dt=2.0), RULE)),
        ("x: expected Events or an EventStore, got ndarray", lambda: lsm.adapt(np.zeros((3, 40)), RULE)),
        (r"reward: expected \(60,\), one number a step, for the rule waits", lambda: lsm.adapt(events, RewardSTDP())),
        ("reward: expected None", lambda: lsm.adapt(events, RULE, reward=torch.ones(60))),
        (r"reward: expected \(60,\) or \(60, 8\), got \(5,\)",
         lambda: lsm.adapt(events, RewardSTDP(), reward=torch.ones(5))),
        ("reward: expected a function from a recording's number",
         lambda: lsm.adapt(store, RewardSTDP(), reward=torch.ones(60))),
        ("reward: expected a tensor, or a function that gives one, got str",
         lambda: lsm.adapt(events, RewardSTDP(), reward="much")),
        ("reward: expected a tensor, or a function that gives one, got NoneType",
         lambda: lsm.adapt(store, RewardSTDP(), reward=lambda k: None)),
        ("gain: expected it above 0", lambda: liquid(gain=0.0).adapt(events, RULE)),
        (r"strength: expected \(\d+,\), got \(3,\)", lambda: lsm.teach(torch.ones(3))),
        ("strength: expected a tensor, got NoneType", lambda: lsm.teach(None)),
        (r"threshold: expected numbers above the reset, got 0 for neuron 0, whose reset is 0",
         lambda: lsm.teach(lsm.network().recurrent.values, torch.zeros(80))),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=said):
            call()
    assert not lsm.learned and torch.equal(lsm.network().recurrent.values, liquid().network().recurrent.values)
