"""The learning network on CPUs against its specification, and what it promises beside: state, bounds, endings."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiking import Events
from spiking.kernels import FallbackWarning, reservoir
from spiking.kernels.reservoir import Explosion, Generated, Interrupted, Izhikevich, Recorder
from spiking.kernels.stdp import Homeostasis, Plastic, Rule, Sliding, cpu, stdp
from spiking.kernels.stdp import op as module

from .guard import poison
from .stdp_cases import HOMEOSTASIS, NEURONS, RULES, N, both, network, rewards, same, train


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    poison(monkeypatch)


@pytest.mark.parametrize("kind", RULES)
def test_numba_is_the_reference(kind):
    found = network()
    record, state = both(train(), found, RULES[kind], homeostasis=HOMEOSTASIS)
    moved = state.weight - found.recurrent.synapses.weight
    chosen = found.recurrent.learning
    assert record.total[0] > 100 and (moved[chosen] != 0).double().mean() > 0.5
    assert moved[chosen].min() < -0.01 and moved[chosen].max() > 0.01


@pytest.mark.parametrize("kind", NEURONS)
def test_every_kind_of_neuron(kind):
    assert both(train(40), network(kind), RULES["triplets"])[0].total > 30


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(0, 16), st.sampled_from([0.0, 0.1, 1.0]), st.integers(1, 9), st.sampled_from([*RULES]), st.booleans(),
    st.integers(0, 99),
)  # fmt: skip
def test_any_sizes(T, rate, delay, kind, adapts, seed):
    x = train(T, rate, length=T - T // 5, seed=seed)
    both(x, network(delay=delay, seed=seed), RULES[kind], homeostasis=HOMEOSTASIS if adapts else None)


@pytest.mark.parametrize("kind", ["pairs", "triplets", "reward"])
def test_traces_that_hardly_decay_take_no_memory(kind):
    """Time constants of a million seconds, whose tables would fill 360 GB; also where a later call goes on."""
    long = {"tau_plus": 1e9, "tau_minus": 1e9, "tau_x": 1e9}
    rule = RULES[kind]._replace(**long, a_plus=0.002, a_minus=0.002)
    rule = rule if rule.tau_eligibility is None else rule._replace(tau_eligibility=1e9)
    state = both(train(), network(), rule)[1]
    both(train(30, seed=4), network(), rule, state=state)


def test_single_precision():
    both(train(), network(dtype=torch.float32), RULES["soft"], 1e-5, dtype=torch.float32, homeostasis=HOMEOSTASIS)


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_parts_are_the_whole(kind, backend):
    """To the bit; strengths that wait for rewards to rounding, for their decay is read at the end of each part."""
    x, found, rule = train(seed=3), network(), RULES[kind]
    signal = rewards(60, rule)
    whole = stdp(x, found, rule, HOMEOSTASIS, reward=signal, backend=backend)
    state, parts = None, []
    for a, b in ((0, 1), (1, 23), (23, 23), (23, 60)):
        some = None if signal is None else signal[a:b]
        record, state = stdp(x[a:b], found, rule, HOMEOSTASIS, state, reward=some, backend=backend)
        parts.append(record.spikes)
    joined = whole[0]._replace(spikes=Events.cat(parts, dim="time"))
    same((joined, state), whole, exact=rule.tau_eligibility is None)


def test_chunks_and_full_buffers_change_nothing(monkeypatch):
    x, found, rule = train(rate=0.5), network(), RULES["triplets"]
    whole = stdp(x, found, rule)
    monkeypatch.setattr(module, "CHUNK", 3 * N)
    monkeypatch.setattr(module, "ROOM", 1)
    same(stdp(x, found, rule), whole, exact=True)


def test_without_a_rule_it_is_the_reservoir():
    x, found = train(), network("two receptors")
    record, state = stdp(x, found)
    given = (found.inputs, found.recurrent.synapses, *found[2:])
    alone, after = reservoir(x, *given, record=Recorder(), dtype=torch.float64)
    assert record.total > 30 and torch.equal(record.spikes.index, alone.spikes.index)
    assert all(torch.equal(a, b) for a, b in zip(state.network, after, strict=True))
    assert torch.equal(state.weight, found.recurrent.synapses.weight)
    begun = stdp(x[20:], found, state=reservoir(x[:20], *given, dtype=torch.float64)[1])[1]
    assert torch.equal(begun.network.membrane, state.network.membrane)  # a network's own state begins


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("kind", ["pairs", "reward"])
def test_bounds_and_signs_hold(kind, backend):
    """Strong changes push synapses to both bounds, inhibitory ones to 0 and -0.9; what does not learn stays."""
    base = network()
    synapses = base.recurrent.synapses
    negative = synapses.weight < 0
    weak, strong = torch.zeros(len(negative)), 0.6 - 1.5 * negative.double()
    learns = torch.arange(len(negative)) % 5 > 0
    found = base._replace(recurrent=Plastic(synapses, weak, strong, learns))
    for a_plus, a_minus in ((2.0, 0.02), (0.02, 2.0)):
        rule = RULES[kind]._replace(a_plus=a_plus, a_minus=a_minus)
        signal = rewards(60, rule)
        signal = None if signal is None else signal.abs()
        weight = stdp(train(), found, rule, reward=signal, backend=backend)[1].weight
        assert torch.equal(weight[~learns], synapses.weight[~learns]) and (weight != synapses.weight).sum() > 100
        for mask in (negative & learns, ~negative & learns):
            assert (weight[mask] == (strong if a_plus > a_minus else weak)[mask]).sum() > 20
        assert (weight[negative] <= 0).all() and (weight[~negative] >= 0).all()
        assert weight.min() >= strong.min() and weight[learns].max() <= 0.6


def test_what_was_learned_is_delivered():
    """A synapse that grows beyond the threshold makes its target fire by itself."""
    found, x = network(delay=1), train(200, 0.1)
    before = stdp(x, found)[0].total
    assert stdp(x, found, Rule(0.2, 0.0))[0].total > 1.2 * before
    assert stdp(x, found, Rule(0.0, 0.5))[0].total < before


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_explosion_is_reported_with_step_and_rate(backend):
    x, found = train(rate=0.5), network()
    total = int(stdp(x, found, RULES["pairs"], backend=backend)[0].total)
    with pytest.raises(Explosion, match=r"budget of \d+ spikes at step \d+ \(\d+ Hz\)") as caught:
        stdp(x, found, RULES["pairs"], budget=total // 2, backend=backend)
    record, state = caught.value.record, caught.value.state
    assert int(record.total) > total // 2 and int(record.steps) < 60 and int(state.network.clock) == int(record.steps)
    stdp(x, found, RULES["pairs"], budget=total, backend=backend)  # spends it, but no more


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_run_keeps_what_it_has(monkeypatch, when):
    x, found, rule = train(rate=0.3), network(), RULES["reward"]
    signal = rewards(60, rule)
    whole = stdp(x, found, rule, reward=signal)
    monkeypatch.setattr(module, "CHUNK", 4 * N)
    calls, advance = [], cpu.advance

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == 3 and when == "before":
            raise KeyboardInterrupt
        advance(*arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(cpu, "advance", stopped)
    with pytest.raises(Interrupted, match=r"after step \d+ of 60") as caught:
        stdp(x, found, rule, reward=signal)
    monkeypatch.undo()
    done = int(caught.value.record.steps)
    assert 0 < done < 60
    rest = stdp(x[done:], found, rule, state=caught.value.state, reward=signal[done:])
    joined = Events.cat([caught.value.record.spikes[:done], rest[0].spikes], dim="time")
    same((whole[0]._replace(spikes=joined), rest[1]), whole)


def test_asking_for_triton_says_that_there_is_none():
    x, found = train(5), network()
    with pytest.warns(FallbackWarning, match="no Triton kernel"):
        run = stdp(x, found, RULES["pairs"], backend="triton")
    same(run, stdp(x, found, RULES["pairs"]))


def test_opcheck_passes():
    seen, advance, settle = [], torch.ops.spiking.stdp_advance, torch.ops.spiking.stdp_settle
    x, found, rule = train(5), network(), RULES["spread reward"]

    def note(op):
        def noted(*arguments):
            lists = [[t.clone() for t in a] if isinstance(a, list) and isinstance(a[0], torch.Tensor) else a
                     for a in arguments]  # fmt: skip
            seen.append((op, lists))
            op(*arguments)

        return noted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.ops.spiking, "stdp_advance", note(advance))
        patch.setattr(torch.ops.spiking, "stdp_settle", note(settle))
        stdp(x, found, rule, HOMEOSTASIS, reward=rewards(5, rule))
    assert [op for op, _ in seen] == [advance, settle]
    for op, arguments in seen:
        torch.library.opcheck(op, arguments)


def refusals():
    found, x, rule = network(), train(), RULES["pairs"]
    synapses, waits = found.recurrent.synapses, RULES["reward"]
    state = stdp(x, found, rule)[1]
    yield "network: expected a PlasticNetwork", lambda: stdp(x, tuple(found), rule)
    yield "network.recurrent: expected Plastic", lambda: stdp(x, found._replace(recurrent=synapses), rule)
    yield "x: expected one recording", lambda: stdp(Events.cat([x, x]), found, rule)
    yield "x: expected Events", lambda: stdp(x.to_dense(), found, rule)
    yield "rule: expected a Rule", lambda: stdp(x, found, "pairs")
    for field, wrong in (
        ("tau_plus", -1.0), ("tau_minus", 0.0), ("tau_x", float("nan")), ("tau_y", "3"), ("a_plus", -0.1),
        ("a_minus", float("inf")), ("a3_plus", -1.0), ("mu_plus", -1.0), ("nearest", 1), ("tau_eligibility", -5.0),
        ("tau_reward", 5.0), ("sliding", 3.0),
    ):  # fmt: skip
        yield f"rule.{field}", lambda f=field, w=wrong: stdp(x, found, rule._replace(**{f: w}))
    for sliding, field in (
        (Sliding(-1.0), "rate"), (Sliding(10.0, 0.0), "tau_rate"), (Sliding(10.0, 100.0, 50.0), "tau_theta"),
    ):  # fmt: skip
        yield f"rule.sliding.{field}", lambda s=sliding: stdp(x, found, rule._replace(sliding=s))
    yield "reward: expected None", lambda: stdp(x, found, rule, reward=torch.ones(60))
    yield "reward: expected (60,), one number a step, for the rule waits", lambda: stdp(x, found, waits)
    yield "reward: expected (60,), one number a step, got (59,)", lambda: stdp(x, found, waits, reward=torch.ones(59))
    yield "reward: expected finite", lambda: stdp(x, found, waits, reward=torch.full((60,), float("nan")))
    yield "reward", lambda: stdp(x, found, waits, reward=[1.0] * 60)
    for field, wrong in (
        ("rate", -1.0), ("lr", float("inf")), ("low", 0.0), ("high", 0.1), ("low", torch.ones(3)), ("lr", "1"),
    ):  # fmt: skip
        bad = HOMEOSTASIS._replace(**{field: wrong})
        yield f"homeostasis.{field}", lambda b=bad: stdp(x, found, None, b)
    yield "homeostasis", lambda: stdp(x, found, None, 3.0)
    yield "homeostasis: expected neurons with a threshold", lambda: stdp(
        x, found._replace(neuron=Izhikevich()), None, Homeostasis(1.0, 1.0)
    )
    for field, wrong in (
        ("weight", state.weight[1:]), ("weight", state.weight + 1), ("seen", state.seen + 99), ("past", state.seen),
        ("post", state.post * float("nan")), ("pre", None), ("network", None),
    ):  # fmt: skip
        yield "state", lambda f=field, w=wrong: stdp(x, found, rule, state=state._replace(**{f: w}))
    yield "state", lambda: stdp(x, found, rule, state=tuple(state))
    yield "state.threshold", lambda: stdp(x, found, rule, HOMEOSTASIS, state)
    yield "budget", lambda: stdp(x, found, rule, budget=-1)
    drawn = Generated(1, (N, N), 5, (0.1, 0.2))
    yield "synapses: expected stored Synapses, got Generated", lambda: Plastic(drawn, 0.0, 1.0)
    yield "synapses: expected those of a network", lambda: Plastic(found.inputs, 0.0, 1.0)
    yield "synapses", lambda: Plastic(synapses.sparse(), 0.0, 1.0)
    yield "weight: expected 0.0 to 0.1", lambda: Plastic(synapses, 0.0, 0.1)
    yield "strong: expected another bound than weak", lambda: Plastic(synapses, 0.6, 0.6)
    yield "weak: expected finite", lambda: Plastic(synapses, torch.zeros(3), 1.0)
    yield "strong", lambda: Plastic(synapses, 0.0, "1")
    yield "learns", lambda: Plastic(synapses, 0.0, 1.0, torch.ones(3))


def test_refusals_name_the_argument():
    for name, call in refusals():
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        assert str(caught.value).startswith(name), (name, str(caught.value))
