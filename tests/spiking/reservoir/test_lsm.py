"""The liquid: its protocol, state, calibration, files, and what a user's mistakes come to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline

from spiking import Events
from spiking.datasets import EventStore
from spiking.datasets.errors import DataError
from spiking.kernels import SparseWeight, reservoir
from spiking.kernels.reservoir import Explosion, IntegrateFire, Synapses
from spiking.reservoir import LSM, Ensemble
from spiking.reservoir.calibrate import activity
from spiking.reservoir.dynamics import lyapunov, without_one
from spiking.reservoir.lsm import OtherStep
from spiking.reservoir.metrics import memory_capacity
from spiking.reservoir.presets import PRESETS
from spiking.reservoir.sweep import gain_sweep, quality

SMALL = {"neurons": 80, "input_gain": 4.0}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fire_and_go_on_from_their_state(name: str, store: EventStore) -> None:
    lsm = LSM.from_preset(name, inputs=40, neurons=60, seed=1, input_gain=6.0, gain=0.5)
    events, _ = store.batch(range(6), dt=lsm.step)
    whole, last = lsm.simulate(events)
    assert whole.shape == (len(events), 6, 60) and whole.dt == lsm.step and whole.nnz > 20
    cut = len(events) // 3
    first, state = lsm.simulate(events[:cut])
    rest, state = lsm.simulate(events[cut:], state)
    assert torch.equal(Events.cat([first, rest], dim="time").to_dense(), whole.to_dense())
    assert torch.equal(state.membrane, last.membrane)


def test_calibration_looks_at_all_of_a_store() -> None:
    """Recording k has one event, in channel k: stores often lie class by class."""
    n = 200
    labels, times = np.arange(n) % 2, np.zeros(n, np.int64)
    store = EventStore.from_arrays(np.arange(n), times, np.arange(n + 1), labels, sensor=(n, 1, 1))
    seen = LSM("random", inputs=n, neurons=20).look(store).index
    assert len(seen) == 32 and int(seen.min()) == 0 and int(seen.max()) == n - 1


def test_the_published_column_keeps_its_units() -> None:
    """30 nA that decay in 3 ms move a membrane of 30 ms and 1 MOhm by 2.32 mV at most, after 7.7 ms."""
    circuit = LSM.from_preset("maass2002", inputs=1, seed=0).circuit()
    synapse = Synapses.of(SparseWeight.from_dense(torch.tensor([[30.0]])), 0)
    kinetics = circuit.kinetics._replace(tau=3.0)
    x = Events.from_dense(torch.arange(60)[:, None, None] == 0, dt=1.0)
    state, seen = None, []
    for t in range(60):
        _, state = reservoir(x[t : t + 1], synapse, None, IntegrateFire(30.0, 1e9), kinetics, None, state)
        seen.append(float(state.membrane))
    assert max(seen) == pytest.approx(30 * 3 / 27 * (0.1 ** (1 / 9) - 0.1 ** (10 / 9)), rel=1e-3)


def test_the_lines_of_the_documentation(events: Events) -> None:
    lsm = LSM.from_preset("nalsm", inputs=40, neurons=100, dt=1.0, seed=0)
    assert lsm.calibrate(events) is lsm and lsm.gain > 0
    features = lsm.features(events, bins=1)
    spikes, state = lsm.simulate(events)
    assert features.shape == (8, 100) and np.array_equal(features, spikes.counts().numpy())
    lsm.simulate(events, state)


def test_a_transformer_of_scikit_learn(store: EventStore) -> None:
    lsm = LSM.from_preset("nalsm", bins=2, branching=0.9, **SMALL)
    model = make_pipeline(lsm, RidgeClassifier())
    train, test = store.split(hold_out=0.3, seed=0)
    model.fit(train, train.labels.numpy())
    assert model.score(test, test.labels.numpy()) > 0.9
    assert model[0].get_params()["neurons"] == 80 and model[0].gain != 1.0
    copy = clone(model[0])
    assert copy.gain == lsm.gain and np.array_equal(copy.transform(test), lsm.transform(test))
    copy.set_params(seed=5)
    assert not np.array_equal(copy.transform(test), lsm.transform(test))


def test_calibration_reaches_its_targets(events: Events) -> None:
    lsm = LSM.from_preset("nalsm", inputs=40, neurons=150, seed=2).calibrate(events, rate=30.0, drive=20.0)
    assert activity(lsm, events).rate == pytest.approx(30, rel=0.1)
    lsm.gain = 0.0
    assert activity(lsm, events).rate == pytest.approx(20, rel=0.1)
    lsm.calibrate(events, branching=1.3, drive=0.0)
    assert activity(lsm, events).branching == pytest.approx(1.3, rel=0.1)


def test_what_calibration_cant_reach(events: Events) -> None:
    lsm = LSM.from_preset("nalsm", inputs=40, neurons=80)
    said = r"branching: no gain from .* gives 50; nearest is .* at gain .*, where neurons fire at .*; at gain .* passed"
    with pytest.raises(ValueError, match=said):
        lsm.calibrate(events, branching=50.0)
    with pytest.raises(ValueError, match=r"rate: no gain from .* gives 1 Hz; nearest is"):
        lsm.calibrate(events, rate=1.0)
    assert lsm.gain == lsm.input_gain == 1.0
    with pytest.raises(ValueError, match="branching, rate: expected one target"):
        lsm.calibrate(events, branching=1.0, rate=5.0)
    with pytest.raises(ValueError, match="rate: expected a target above 0, got -1"):
        lsm.calibrate(events, rate=-1.0)
    with pytest.raises(ValueError, match="events: expected recordings with events, got none"):
        lsm.calibrate(events[:0])


def test_files_rebuild_bit_for_bit(tmp_path: Path, events: Events) -> None:
    lsm = LSM.from_preset("shd", inputs=40, input_width=(0.1, 0.2), lam=2.0, **SMALL)
    lsm.save(tmp_path / "liquid.json")
    again = LSM.open(tmp_path / "liquid.json")
    assert again.network().digest() == lsm.network().digest()
    assert np.array_equal(again.features(events), lsm.features(events))
    both = Ensemble.from_preset("nalsm", 2, inputs=40, seed=3, **SMALL)
    both.save(tmp_path / "both.json")
    rebuilt = Ensemble.open(tmp_path / "both.json")
    assert np.array_equal(rebuilt.features(events), both.features(events))
    assert rebuilt.features(events).shape == (8, 160) and both.members[0].seed == 3000


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "liquid.json"
    LSM.from_preset("nalsm", inputs=10, neurons=20).save(path)
    given = json.loads(path.read_text())
    for change, said in (
        ({"seed": 1}, "other synapses than the one that was saved"),
        ({"format": "x"}, "format: expected 'spiking.reservoir 2', got 'x'"),
        ({"colour": 1}, "colour"),
        ({"preset": "water"}, "preset: expected one of"),
    ):
        path.write_text(json.dumps({**given, **change}))
        with pytest.raises(DataError, match=said):
            LSM.open(path)
    with pytest.raises(DataError, match="expected a saved liquid"):
        LSM.open(tmp_path / "none.json")
    with pytest.raises(DataError, match="expected a saved ensemble"):
        Ensemble.open(path)


def test_mistakes_are_named(store: EventStore, events: Events) -> None:
    lsm = LSM.from_preset("nalsm", inputs=40, **SMALL)
    with pytest.raises(ValueError, match="water: no option of a liquid and no field of a preset"):
        LSM.from_preset("nalsm", water=3)
    with pytest.raises(ValueError, match="C EE: expected a probability, 0 to 1, got 2"):
        LSM.from_preset("nalsm", inputs=40, C=(2.0, 0, 0, 0))
    with pytest.raises(ValueError, match="inputs: expected the number of channels"):
        LSM.from_preset("nalsm").simulate(events)
    with pytest.raises(ValueError, match="x: expected 7 channels, got 40"):
        LSM.from_preset("nalsm", inputs=7, neurons=20).fit(store)
    with pytest.raises(ValueError, match="events: expected 7 channels, got 40"):
        LSM.from_preset("nalsm", inputs=7, neurons=20).simulate(events)
    with pytest.raises(ValueError, match=r"dt: layer 2 ms, events 1 ms"):
        LSM.from_preset("lin2023", inputs=40, dt=2.0, delay=(2.0,) * 4).simulate(events)
    with pytest.raises(ValueError, match=r"delay EE: expected 1 to 255 steps of 5 ms, got 1\.0 ms"):
        LSM.from_preset("nalsm", inputs=40, dt=5.0)
    with pytest.raises(TypeError, match="x: expected Events or an EventStore, got ndarray"):
        lsm.fit(np.zeros((3, 40)))
    lsm.gain = -1.0
    with pytest.raises(ValueError, match="gain: expected a factor of at least 0, got -1"):
        lsm.features(events)


def test_another_step_than_that_of_the_strengths_is_warned_of() -> None:
    def charge(dt: float, **change: float) -> float:
        circuit = LSM.from_preset("random", inputs=1, neurons=20, dt=dt, threshold=1e9, **change).circuit()
        x = Events.from_dense(torch.arange(round(100 / dt))[:, None, None] == 0, dt=dt)
        state, most = None, torch.zeros(20)
        for t in range(len(x)):
            _, state = circuit.run(x[t : t + 1], state)
            most = torch.maximum(most, state.membrane[0].abs())
        return float(most.max())

    with pytest.warns(OtherStep, match="dt: the strengths of random are meant for steps of 1 ms; .* about 2 times"):
        finer = charge(0.5)
    assert finer == pytest.approx(2 * charge(1.0), rel=0.15)
    assert LSM.from_preset("maass2002", inputs=1, neurons=20, dt=0.5).step == 0.5  # exact: no warning


def test_activity_that_dies_or_explodes_is_told(events: Events) -> None:
    silent = LSM.from_preset("nalsm", inputs=40, neurons=50, input_gain=0.0)
    with pytest.warns(UserWarning, match="no neuron of the liquid ever fired: raise input_gain"):
        silent.features(events)
    wild = LSM.from_preset("nalsm", inputs=40, neurons=200, gain=60.0, input_gain=5.0, inhibitory=0.0)
    with pytest.raises(Explosion, match=r"recording 0 at step \d+ \(\d+ Hz"):
        wild.simulate(events, budget=1000)
    found = activity(wild, events)
    assert found.exploded and "Hz" in found.note
    wild.calibrate(events, rate=20.0, drive=10.0)
    assert activity(wild, events).rate == pytest.approx(20, rel=0.3)


def test_washout_leaves_the_beginning_out(events: Events) -> None:
    lsm = LSM.from_preset("nalsm", inputs=40, **SMALL)
    spikes, _ = lsm.simulate(events)
    late = LSM.from_preset("nalsm", inputs=40, washout=20, **SMALL)
    assert np.array_equal(late.features(events), spikes[20:].counts().numpy())


def test_a_store_gives_what_its_batches_give(store: EventStore, events: Events) -> None:
    lsm = LSM.from_preset("nalsm", inputs=40, bins=3, **SMALL)
    assert np.array_equal(lsm.features(store)[:8], lsm.features(events))


def test_traces_remember_a_signal_and_not_another() -> None:
    rng = np.random.default_rng(0)
    signal = np.repeat(rng.random(200), 5)
    x = Events.from_dense(torch.from_numpy(rng.random((1000, 1, 40)) < 0.3 * signal[:, None, None]), dt=1.0)
    lsm = LSM.from_preset("nalsm", inputs=40, neurons=80).calibrate(x, rate=40.0, drive=30.0)
    states = lsm.traces(x, 1000, 5.0)[0]
    assert states.shape == (1000, 80)
    other = np.repeat(rng.random(200), 5)
    own = memory_capacity(states, signal, 20, ridge=0.1)
    assert own.curve[:5].max() > 0.3 > 3 * memory_capacity(states, other, 20, ridge=0.1).curve.max()


def test_quality_and_sweep(store: EventStore) -> None:
    lsm = LSM.from_preset("nalsm", inputs=40, **SMALL)
    found = quality(lsm, store, neurons=20)
    assert 1 <= found.spread < found.kernel.effective < 20 and found.difference > 0
    with pytest.raises(ValueError, match="store: expected at least 160 recordings for 80 neurons, got 60"):
        quality(lsm, store)
    rest, held = store.split(hold_out=0.3, seed=0)
    rows = gain_sweep(lsm, rest, held, (0.0, 1.0), neurons=20)
    assert [row["gain"] for row in rows] == [0.0, 1.0] and lsm.gain == 1.0
    assert rows[0]["rate_hz"] != rows[1]["rate_hz"] and rows[1]["accuracy"] > 0.8
    both = gain_sweep(lsm, rest, held, (0.0,), "both", neurons=20)
    assert both[0]["rate_hz"] == 0 and both[0]["accuracy"] < 0.8
    with pytest.raises(ValueError, match="scale: expected one of gain, input_gain, both"):
        gain_sweep(lsm, rest, held, (1.0,), "all")


def test_one_spike_less_in_each_recording(events: Events) -> None:
    less = without_one(events, 30)
    gone = events.to_dense() - less.to_dense()
    assert gone.sum((0, 2)).tolist() == [1.0] * 8 and not gone[:30].any()
    assert torch.equal(events[:30].to_dense(), less[:30].to_dense())


def test_stronger_synapses_forget_a_lost_spike_later(events: Events) -> None:
    more = Events.cat([events] * 4, dim="time")
    lsm = LSM.from_preset("nalsm", inputs=40, neurons=200, input_gain=5.0, gain=0.2)
    calm = lyapunov(lsm, more, 30)
    lsm.gain = 4.0
    wild = lyapunov(lsm, more, 30)
    assert calm.exponent < 0 and wild.exponent > calm.exponent and wild.curve[-1] > 5 * calm.curve[-1]
