"""What is drawn: connections, signs, delays, strengths, and that a seed always gives the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spiking.reservoir import connect, draws
from spiking.reservoir.network import build
from spiking.reservoir.presets import PRESETS, preset

# of each preset with 60 channels and seed 3: what a later version must still draw
DIGESTS = {
    "maass2002": "3f0f76b1893c8d4f",
    "nalsm": "db85e9d2a824d79c",
    "lin2023": "5d81ba4c43ab6c71",
    "random": "1569800e239f64b3",
    "shd": "a012f30fbac34379",
}


def weights(network: object) -> np.ndarray:
    return network.recurrent.to_dense().numpy()


@pytest.mark.parametrize("name", PRESETS)
def test_a_seed_gives_the_same_network_and_another_seed_another(name: str) -> None:
    made = PRESETS[name]
    neurons = min(made.neurons, 200)
    one, same, other = (build(made, 60, neurons, made.dt, seed) for seed in (3, 3, 4))
    assert one.digest() == same.digest() != other.digest()
    assert one.recurrent.shape == (neurons, neurons) and one.input.shape == (60, neurons)
    assert one.digest()[:16] == DIGESTS[name]


def test_uniform_numbers_depend_on_their_place_only() -> None:
    whole = draws.uniform(5, draws.SYNAPSES, 0, 1000)
    parts = [draws.uniform(5, draws.SYNAPSES, k, 250) for k in range(0, 1000, 250)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert 0 < whole.min() and whole.max() < 1 and abs(whole.mean() - 0.5) < 0.03
    assert abs(draws.normal(5, draws.STRENGTHS, 0, 10_000).std() - 1) < 0.03


def test_probability_falls_with_distance_as_asked() -> None:
    C, lam = (0.9, 0.6, 0.4, 0.2), 2.0
    place = connect.grid(1000)
    inhibitory = draws.choose(0, draws.NEURONS, 1000, 200)
    indptr, index = connect.distance(0, place, inhibitory, C, lam)
    source = np.repeat(np.arange(1000), np.diff(indptr))
    there = np.zeros((1000, 1000), bool)
    there[source, index] = True
    assert there.sum() == len(index) and not there.diagonal().any()
    far = ((place[:, None] - place[None]) ** 2).sum(-1)
    kind = connect.kinds(inhibitory, np.arange(1000)[:, None], np.arange(1000)[None])
    for k, probability in enumerate(C):
        for square in (1, 2, 4):
            pairs = there[(kind == k) & (far == square)]
            wanted = probability * np.exp(-square / lam**2)
            assert abs(pairs.mean() - wanted) < 4 * np.sqrt(wanted / len(pairs))


@pytest.mark.parametrize("name", ["maass2002", "nalsm", "random", "shd"])
def test_dales_law(name: str) -> None:
    network = build(PRESETS[name], 20, 150, 1.0, 1)
    W = weights(network)
    assert network.inhibitory.sum() == 30
    assert (W[~network.inhibitory] >= 0).all() and (W[network.inhibitory] <= 0).all() and (W != 0).any()


def test_fixed_outdegree_and_dense() -> None:
    W = weights(build(PRESETS["random"], 10, 100, 1.0, 0))
    assert ((W != 0).sum(1) == 10).all() and not W.diagonal().any()
    dense = build(PRESETS["lin2023"], 10, 100, 5.0, 0)
    assert dense.recurrent.nnz == 100 * 100 and abs(float(dense.recurrent.values.std()) - 0.46) < 0.02


def test_maass_strengths_delays_and_short_term_plasticity() -> None:
    network = build(PRESETS["maass2002"], 20, 135, 0.1, 0)
    W, mask = weights(network), network.inhibitory
    assert connect.grid(135, (3, 3, 15)).max(0).tolist() == [2, 2, 14]
    for rows, columns, mean in ((~mask, ~mask, 30), (~mask, mask, 60), (mask, ~mask, -19)):
        values = W[np.ix_(rows, columns)]
        values = values[values != 0]
        assert abs(values.mean() / mean - 1) < 4 * 0.7 / np.sqrt(len(values))
    source = network.recurrent.rows().numpy()
    both = ~mask[source] & ~mask[network.recurrent.index.numpy()]
    assert abs(network.delay.numpy()[both].mean() - 15) < 1 and abs(network.delay.numpy()[~both].mean() - 8) < 1
    U, D, F = network.short_term
    assert (0 <= U).all() and (U <= 1).all() and (D > 0).all() and (F > 0).all()
    E = ~mask
    assert abs(float(D[E, 0].mean()) / 1100 - 1) < 0.2 and abs(float(F[E, 1].mean()) / 1200 - 1) < 0.2
    assert network.refractory.unique().tolist() == [20, 30]


def test_bands_are_where_the_neurons_are() -> None:
    made = replace(PRESETS["shd"], input_width=(0.05, 0.05))
    W = build(made, 200, 300, 1.0, 0).input.to_dense().numpy()
    centre = np.arange(200) / 200
    for sign in (1, -1):
        part = np.maximum(sign * W, 0)
        heard = part[:, part.sum(0) > 0]
        mean = (centre[:, None] * heard).sum(0) / heard.sum(0)
        off = np.sqrt((heard * (centre[:, None] - mean) ** 2).sum(0) / heard.sum(0))
        assert np.median(off) < 0.05  # of a uniform choice 0.29


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"C": (1.2, 0.1, 0.1, 0.1)}, "C EE: expected a probability, 0 to 1, got 1.2"),
        ({"lam": 0.0}, "lambda: expected a length above 0"),
        ({"input_density": -0.1}, "input_density: expected a probability"),
        ({"inhibitory": 1.5}, "inhibitory: expected a probability"),
        ({"tau_mem": (-5.0, 5.0)}, "tau_mem: expected a time constant above 0 ms, got -5"),
        ({"tau_syn": (-1.0,)}, "tau_syn: expected time constants above 0"),
        ({"tau_adapt": 0.0}, "tau_adapt: expected a time constant above 0"),
        ({"delay": (1.0, 0.4, 1.0, 1.0)}, "delay EI: expected 1 to 255 steps of 1 ms, got 0.4 ms"),
        ({"delay": (1.0, 1.0, 300.0, 1.0)}, "delay IE: expected 1 to 255 steps"),
        ({"strength": (1.0, -1.0, -1.0, -1.0)}, "strength: expected E->E, E->I of at least 0"),
        ({"rule": "near"}, "rule: expected distance, degree or dense"),
        ({"input_width": (0.2, 0.1)}, "input_width: expected widths above 0"),
    ],
)
def test_what_cant_be_drawn_is_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(replace(PRESETS["nalsm"], **changes), 10, 50, 1.0, 0)


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="neurons: expected a whole number of at least 1, got 0"):
        build(PRESETS["nalsm"], 10, 0, 1.0, 0)
    with pytest.raises(ValueError, match="dt: expected a step above 0 ms"):
        build(PRESETS["nalsm"], 10, 10, 0.0, 0)
    with pytest.raises(ValueError, match="fan_out: expected 0 to 9"):
        connect.degree(0, 10, 10)
    with pytest.raises(ValueError, match="preset: expected one of maass2002"):
        preset("water")
    assert torch.is_tensor(build(PRESETS["nalsm"], 1, 1, 1.0, 0).delay)


@pytest.mark.parametrize(
    "change", [{"threshold": 19.0}, {"adapt": 0.5}, {"tau_adapt": 50.0}, {"tau_inhibitory": 5.0}, {"normalised": True}]
)
def test_the_digest_covers_what_all_neurons_have_alike(change: dict[str, float]) -> None:
    made = replace(preset("maass2002"), tau_syn=(1.0,))  # of 1 ms and step, so that area and peak are the same
    assert build(made, 5, 30, 1.0, 0).digest() != build(replace(made, **change), 5, 30, 1.0, 0).digest()


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("C", 0.2, "four finite numbers, such as .*, got 0.2"),
        ("tau_mem", 20.0, "two finite numbers, such as .*, got 20.0"),
        ("delay", 1.0, "four finite numbers, .*, got 1.0"), ("tau_syn", 2.0, "one or more finite numbers, .*, got 2.0"),
        ("refractory", 2.0, "two finite numbers, .*, got 2.0"),
        ("refractory", (-1.0, 2.0), "two finite numbers, .*0 or"),
        ("short_term", ((0.5, 1100.0, 50.0),), "U, D and F of E->E, E->I, I->E and I->I, .*, got"),
        ("threshold", float("nan"), "a finite number, got nan"),
        ("spread", -0.5, "a finite number, 0 or more, got -0.5"),
        ("inhibitory", "all", "a finite number, got 'all'"), ("normalised", 1, "True or False, got 1"),
        ("shape", (3, 3), "three whole numbers, .*, got"), ("rule", 3, "a word, got 3"),
    ],
)  # fmt: skip
def test_fields_of_another_form_are_named(field: str, value: object, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: expected {wanted}"):
        build(replace(preset("nalsm"), **{field: value}), 5, 30, 1.0, 0)
