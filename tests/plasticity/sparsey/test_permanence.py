"""Synapses that fade: the table, the other law, what a coincidence that recurs does."""

from __future__ import annotations

import torch

from spiking.plasticity.sparsey.permanence import Permanence, decay, table


def test_the_table_exactly():
    age = torch.tensor([0, 1999, 2000, 2999, 3000, 3999, 4000, 5999, 6000, 7999, 8000, 10**6])
    wanted = [
        [127, 127, 120, 120, 50, 50, 0, 0, 0, 0, 0, 0], [127, 127, 127, 127, 127, 127, 120, 120, 50, 50, 0, 0],
        [127] * 12,
    ]  # fmt: skip
    assert [table(torch.tensor(s), age).tolist() for s in range(3)] == wanted


def test_the_law_of_convexity():
    found = decay(torch.tensor([0, 5, 9, 10, 99]), 10, 5.0)
    assert torch.allclose(found, torch.tensor([1.0, 1.5 / 2, 1.5 / 6, 0, 0], dtype=torch.float64))


def test_what_recurs_in_time_stays():
    synapses = Permanence(4, 3)
    pre, post = torch.tensor([True, True, False, False]), torch.tensor([True, False, False])
    one = torch.tensor([True, False, False, False])
    synapses.learn(pre, post, 0)
    assert synapses.weight(0).tolist() == [[127, 0, 0], [127, 0, 0], [0] * 3, [0] * 3]
    synapses.learn(one, post, 1999)  # within the first window: stiffness 1
    assert synapses.weight(1999 + 3999)[:2, 0].tolist() == [127, 0]
    synapses.learn(one, post, 1999 + 4000)  # too late for stiffness 2
    assert synapses.stiffness[0, 0] == 1
    synapses.learn(one, post, 1999 + 4001)
    assert synapses.weight(10**7)[:2, 0].tolist() == [127, 0]
    synapses.learn(~one, post, 10_000)  # a synapse that had faded begins again
    assert synapses.stiffness[1, 0] == 0 and synapses.weight(10_000)[1, 0] == 127


def test_freezing_keeps_what_still_has_a_weight():
    synapses = Permanence(2, 1)
    synapses.learn(torch.tensor([True, False]), torch.tensor([True]), 0)
    synapses.learn(torch.tensor([False, True]), torch.tensor([True]), 3000)
    synapses.freeze(4000)
    assert synapses.weight(10**6).tolist() == [[0], [127]]


def test_a_code_that_is_held_is_one_coincidence():
    synapses, on = Permanence(1, 1, persistence=4), torch.tensor([True])
    synapses.learn(on, on, 0)
    synapses.learn(on, on, 3)
    assert synapses.stiffness.item() == 0
