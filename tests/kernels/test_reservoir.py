"""The reservoir on CPUs against its specification, and what it promises beside: state, records, endings, refusals."""

from __future__ import annotations

import _thread
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiking import Events
from spiking.kernels import SparseWeight, reservoir
from spiking.kernels.reservoir import (
    Explosion,
    Generated,
    IntegrateFire,
    Interrupted,
    Izhikevich,
    Kinetics,
    Recorder,
    ShortTerm,
    Synapses,
    cpu,
)  # fmt: skip
from spiking.kernels.reservoir import op as module

from .guard import poison
from .reservoir_cases import LIF, NEURONS, SOURCES, N, both, drawn, same, stored, trains

FAR = (SOURCES, N)


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    poison(monkeypatch)


@pytest.mark.parametrize("kind", NEURONS)
def test_numba_is_the_reference(kind):
    scale = 6 if kind in ("exponential", "two receptors", "alpha, equal times") else 1
    inputs, recurrent = stored()
    inputs = inputs.with_weight(inputs.weight * scale)
    total = both("numba", trains(counts=kind == "two receptors"), (inputs, recurrent), kind)
    assert total[0] > 20 and total[1] == 0 and total[2] > 10


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(0, 20), st.lists(st.integers(0, 20), max_size=3), st.sampled_from([0.0, 0.1, 1.0]), st.integers(1, 9),
    st.booleans(), st.sampled_from(["lif", "adaptive", "short-term"]), st.integers(0, 99),
)  # fmt: skip
def test_any_sizes(T, lengths, rate, delay, counts, kind, seed):
    both("numba", trains(T, lengths, rate, counts, seed), stored(delay, seed=seed), kind)


def test_without_recurrent_synapses_and_in_single_precision():
    inputs, recurrent = stored(dtype=torch.float32)
    assert both("numba", trains(), (inputs, None), "lif").sum() > 0
    runs = [reservoir(trains(), inputs, recurrent, LIF, backend=b) for b in ("reference", "numba")]
    assert torch.equal(runs[0][0].spikes.index, runs[1][0].spikes.index)  # sums of multiples of 2^-10 are exact
    assert runs[1][1].membrane.dtype == torch.float32


@pytest.mark.parametrize("autapses", [True, False])
@pytest.mark.parametrize("kind", ["lif", "two receptors", "short-term groups"])
def test_drawn_connections_are_their_expansion(autapses, kind):
    inputs, recurrent = drawn(autapses)
    x = trains(counts=True)
    assert both("numba", x, (inputs, recurrent), kind).sum() > 20
    neuron = NEURONS[kind]
    runs = [reservoir(x, *net, *neuron) for net in ((inputs, recurrent), (inputs.expand(), recurrent.expand()))]
    same(*runs, exact=True)


def test_drawn_connections_are_what_was_asked_for():
    expanded = drawn(autapses=False)[1].expand()
    target, source = expanded.target, expanded.sparse().rows()
    assert not bool((target == source).any()) and recurrent_in(expanded, 52)
    assert expanded.delay.unique().tolist() == [1, 2, 3, 4]
    full = drawn()[1].expand()
    assert full.indptr.diff().unique().tolist() == [11] and full.nbytes == 8 * 11 * N
    wide = Generated(7, (2000, 1000), 100, (0.0, 1.0)).expand()
    received = torch.bincount(wide.target, minlength=1000).double()
    assert received.mean() == 200 and abs(float(received.std()) / 200**0.5 - 0.95) < 0.1  # one target in each tenth
    assert abs(float(wide.weight.mean()) - 0.5) < 0.005 and abs(float(wide.weight.var()) - 1 / 12) < 0.002
    assert drawn()[0].nbytes == 0


def recurrent_in(synapses, excitatory):
    """Dale's law: one sign for each source."""
    source, weight = synapses.sparse().rows(), synapses.weight
    return bool((weight[source < excitatory] > 0).all()) and bool((weight[source >= excitatory] < 0).all())


@pytest.mark.parametrize("kind", ["lif", "alpha", "adaptive", "izhikevich", "short-term groups"])
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_goes_on_with_the_same_bits(kind, backend):
    x, network = trains(lengths=(50, 20, 31), rate=0.3), stored()
    record = Recorder(traces=1)
    whole = reservoir(x, *network, *NEURONS[kind], record=record, backend=backend)
    state, parts = None, []
    for part in (x[:1], x[1:20], x[20:20], x[20:]):
        found, state = reservoir(part, *network, *NEURONS[kind], state, record=record, backend=backend)
        parts.append(found.spikes)
    joined = Events.cat(parts, dim="time")
    assert joined.nnz and torch.equal(joined.index, whole[0].spikes.index)
    for name, a, b in zip(state._fields, state, whole[1], strict=True):
        if name == "trace":
            torch.testing.assert_close(a, b)
        else:
            assert torch.equal(a, b), name


def test_chunks_and_full_buffers_change_nothing(monkeypatch):
    x, network = trains(rate=0.9), stored()
    whole = reservoir(x, *network, LIF)
    monkeypatch.setattr(module, "CHUNK", 3 * 3 * N)
    monkeypatch.setattr(module, "ROOM", 1)
    same(reservoir(x, *network, LIF), whole, exact=True)


@pytest.mark.parametrize("kind", ["lif", "two receptors", "short-term groups"])
def test_threads_change_nothing(kind, monkeypatch):
    """Neither as many recordings nor as one large network, all of whose threads deliver to their own neurons."""
    monkeypatch.setattr(cpu, "LARGE", 1)
    before, runs = torch.get_num_threads(), []
    try:
        for lengths in ((12, 9), (12, 9, 12, 12, 5)):
            x = trains(12, lengths, 0.6)
            for threads in (1, 2):
                torch.set_num_threads(threads)
                for network in (stored(dtype=torch.float32), drawn()):
                    runs.append(reservoir(x, *network, *NEURONS[kind], record=Recorder(bins=2, traces=2)))
            for a, b in ((0, 2), (1, 3)):
                assert runs[a][0].total.sum() > 0
                same(runs[a], runs[b], exact=True)
            runs.clear()
    finally:
        torch.set_num_threads(before)


def test_short_term_plasticity_has_its_golden_numbers():
    """A train of three spikes 10 ms apart through one synapse of weight 1: u and R by hand."""
    one = SparseWeight.from_dense(torch.tensor([[10.0]], dtype=torch.float64))
    fed = Synapses.of(SparseWeight.from_dense(torch.tensor([[1.0]], dtype=torch.float64)), 1)
    x = torch.zeros(30, 1, 1)
    x[::10] = 1
    state = reservoir(
        Events.from_dense(x, dt=1.0), Synapses.of(one, 0), fed, IntegrateFire(20.0, 5.0), Kinetics(),
        ShortTerm(0.5, 100.0, 50.0), dtype=torch.float64,
    )[1]  # fmt: skip
    decay, rest = torch.exp(torch.tensor([-10 / 100, -10 / 50], dtype=torch.float64)).tolist()
    u, R = 0.5, 1.0
    for _ in range(2):
        u, R = 0.5 + u * 0.5 * rest, 1 + (R - u * R - 1) * decay
    assert float(state.use) == pytest.approx(u, rel=1e-12) and float(state.resources) == pytest.approx(R, rel=1e-12)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_traces_do_not_go_on_over_a_call_that_recorded_none(backend):
    x, network, record = trains(), stored(), Recorder(traces=1)
    whole, _ = reservoir(x, *network, LIF, record=record, backend=backend)
    _, state = reservoir(x[:20], *network, LIF, record=record, backend=backend)
    _, between = reservoir(x[20:30], *network, LIF, state=state, backend=backend)
    with pytest.raises(ValueError, match=r"record\.traces: expected a state whose .* got 30 steps without"):
        reservoir(x[30:], *network, LIF, state=between, record=record, backend=backend)
    rest, _ = reservoir(x[20:], *network, LIF, state=state, record=record, backend=backend)
    torch.testing.assert_close(rest.traces, whole.traces)
    anew = between._replace(trace=torch.zeros_like(between.membrane))
    later, _ = reservoir(x[30:], *network, LIF, state=anew, record=record, backend=backend)
    torch.testing.assert_close(later.traces[:, 0], filtered(later.spikes, later.steps))


def test_records_are_what_the_spikes_say():
    x, network = trains(), stored()
    record, state = reservoir(x, *network, LIF, record=Recorder(bins=5, traces=5, tau=12.0), dtype=torch.float64)
    dense = record.spikes.to_dense(torch.float64)
    assert torch.equal(record.counts, dense.view(5, 10, 3, N).sum(1).transpose(0, 1))
    trace, samples = torch.zeros(3, N, dtype=torch.float64), []
    for t in range(50):
        moves = (t < x.lengths)[:, None]
        trace = torch.where(moves, trace * torch.exp(torch.tensor(-1 / 12.0, dtype=torch.float64)) + dense[t], trace)
        if t % 10 == 9:
            samples.append(trace)
    torch.testing.assert_close(record.traces, torch.stack(samples, 1))
    torch.testing.assert_close(state.trace, trace)
    bare = reservoir(x, *network, LIF, record=Recorder(spikes=False, bins=1), dtype=torch.float64)[0]
    assert bare.spikes is None and torch.equal(bare.counts[:, 0], dense.sum(0)) and bare.traces.numel() == 0
    assert record.last.tolist() == [int(s.any(1).nonzero().max()) if s.any() else -1 for s in dense.unbind(1)]
    assert float(record.rate(N, 1.0)[2]) == pytest.approx(float(dense[:, 2].sum()) / N / 0.033)


def filtered(spikes, steps, tau=30.0):
    """The trace after so many steps of each recording, by its definition."""
    left = (steps - 1 - torch.arange(len(spikes))[:, None]).clamp(min=0)
    return (spikes.to_dense() * torch.exp(-left / tau)[:, :, None]).sum(0)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_explosion_is_reported_with_step_and_rate(backend):
    x, network = trains(rate=0.5, lengths=(50, 50, 3)), stored()
    total = reservoir(x, *network, LIF, backend=backend)[0].total
    budget = int(total[0]) - 1
    with pytest.raises(Explosion, match=r"budget of \d+ spikes: recording 0 at step \d+ \(\d+ Hz\)") as caught:
        reservoir(x, *network, LIF, budget=budget, backend=backend, record=Recorder(traces=3))
    record = caught.value.record
    assert record.total[0] == budget + 1 and record.total[2] == total[2]
    assert record.spikes.lengths.tolist() == record.steps.tolist() and record.steps[0] <= 50
    assert int(caught.value.state.clock[0]) == int(record.steps[0])
    assert torch.allclose(caught.value.state.trace, filtered(record.spikes, record.steps), atol=1e-5)
    reservoir(x, *network, LIF, budget=int(total.max()), backend=backend)  # spends it, but no more


@pytest.mark.parametrize("hit", [2, 3])
def test_an_interrupted_run_keeps_what_it_has(monkeypatch, hit):
    """Ctrl-C between chunks and within one: the rest of the run goes on from the state with the same bits."""
    x, network = trains(rate=0.3, lengths=(50, 50)), stored()
    whole = reservoir(x, *network, LIF)
    monkeypatch.setattr(module, "CHUNK", 4 * 2 * N)
    calls, advance = [], cpu.advance

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == hit:
            raise KeyboardInterrupt
        advance(*arguments)

    monkeypatch.setattr(cpu, "advance", stopped)
    with pytest.raises(Interrupted, match=r"after step \d+ of 50") as caught:
        reservoir(x, *network, LIF, record=Recorder(traces=1))
    assert torch.allclose(caught.value.state.trace, filtered(caught.value.record.spikes, caught.value.record.steps))
    done = int(caught.value.record.steps[0])
    assert 0 < done < 50 and len(caught.value.record.spikes) == done
    rest = reservoir(x[done:], *network, LIF, state=caught.value.state)
    joined = Events.cat([caught.value.record.spikes, rest[0].spikes], dim="time")
    assert torch.equal(joined.index, whole[0].spikes.index)
    assert torch.equal(rest[1].membrane, whole[1].membrane)


def test_a_real_interruption_is_heard():
    steps = 4_000_000
    x = Events(torch.zeros(steps + 1, dtype=torch.int64), torch.empty(0, dtype=torch.int64), (steps, 1, SOURCES), 1.0)
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    with pytest.raises(Interrupted) as caught:
        reservoir(x, *stored(), LIF)
    timer.join()
    assert 0 < int(caught.value.record.steps[0]) < steps


def test_opcheck_passes():
    seen, advance = [], torch.ops.spiking.reservoir_advance
    x, network = trains(5, (5, 3)), stored()

    def note(*arguments):
        seen.append([[t.clone() for t in a] if isinstance(a, list) and isinstance(a[0], torch.Tensor) else a
                     for a in arguments])  # fmt: skip
        advance(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.ops.spiking, "reservoir_advance", note)
        reservoir(x, *network, LIF, record=Recorder(bins=1, traces=1))
    torch.library.opcheck(advance, seen[0])


def refusals():
    inputs, recurrent = stored()
    x, W = trains(), inputs.sparse()
    state = reservoir(x, inputs, recurrent, LIF)[1]
    early = Synapses.of(recurrent.sparse(), 0)
    yield "x", lambda: reservoir(x.to_dense(), inputs, recurrent, LIF)
    yield "inputs", lambda: reservoir(x, recurrent, recurrent, LIF)
    yield "inputs", lambda: reservoir(x, W, recurrent, LIF)
    yield "recurrent", lambda: reservoir(x, inputs, inputs, LIF)
    yield "recurrent: expected delays of 1 step", lambda: reservoir(x, inputs, early, LIF)
    yield "delay: expected 0 to 255 steps, got -1", lambda: Synapses.of(W, -1)
    yield "delay: expected 0 to 255", lambda: Synapses.of(W, 256)
    yield "delay: expected whole steps", lambda: Synapses.of(W, 1.5)
    yield "delay: expected a number", lambda: Synapses.of(W, torch.ones(3, dtype=torch.int64))
    yield "word", lambda: Synapses(inputs.indptr, inputs.word.long(), inputs.weight, FAR)
    yield "index", lambda: Synapses(inputs.indptr, inputs.word, inputs.weight, (SOURCES, 5))
    yield "weight", lambda: inputs.with_weight(inputs.weight[1:])
    yield "weight: expected finite", lambda: inputs.with_weight(inputs.weight * float("nan"))
    for field, wrong in (
        ("fan_out", 71), ("fan_out", 0), ("seed", -1), ("weight", (1.0, 0.0)), ("delay", (2, 1)), ("delay", (0, 999)),
        ("excitatory", 71), ("inhibitory", (float("nan"), 1.0)), ("shape", (N, 0)),
    ):  # fmt: skip
        bad = drawn()[1]._replace(**{field: wrong})
        yield f"recurrent.{field}", lambda bad=bad: reservoir(x, inputs, bad, LIF)
    for field, wrong in (
        ("tau_mem", -1.0), ("tau_mem", torch.ones(3)), ("threshold", float("nan")), ("reset", 2.0), ("bias", "1"),
        ("refractory", -1), ("refractory", 1.5), ("tau_adapt", 0.0),
    ):  # fmt: skip
        yield f"neuron.{field}", lambda f=field, w=wrong: reservoir(x, inputs, None, LIF._replace(**{f: w}))
    yield "neuron.c", lambda: reservoir(x, inputs, None, Izhikevich(c=40.0))
    yield "neuron.substeps", lambda: reservoir(x, inputs, None, Izhikevich(substeps=0))
    yield "neuron", lambda: reservoir(x, inputs, None, "lif")
    for kinetics, name in (
        (Kinetics("gamma"), "kind"), (Kinetics("alpha", -1.0), "tau"), (Kinetics("alpha", 1.0, 0.0), "tau_inhibitory"),
        (Kinetics("alpha", exact=False), "exact"),
    ):  # fmt: skip
        yield f"kinetics.{name}", lambda k=kinetics: reservoir(x, inputs, None, LIF, k)
    for plasticity, name in (
        (ShortTerm(1.5, 1.0), "use"), (ShortTerm(0.5, 0.0), "depression"), (ShortTerm(0.5, 1.0, -1.0), "facilitation"),
        (ShortTerm(0.5, 1.0, group=torch.ones(N, dtype=torch.int64)), "group"), (ShortTerm(torch.ones(3), 1.0), "use"),
    ):  # fmt: skip
        yield f"short_term.{name}", lambda p=plasticity: reservoir(x, inputs, recurrent, LIF, Kinetics(), p)
    for field, wrong in (
        ("membrane", state.membrane[:1]), ("pending", state.pending[:, :2]), ("clock", state.clock - 99),
        ("last", state.last.int()), ("slow", None),
    ):  # fmt: skip
        bad = state._replace(**{field: wrong})
        yield "state", lambda bad=bad: reservoir(x, inputs, recurrent, LIF, state=bad)
    yield "state", lambda: reservoir(x, inputs, recurrent, LIF, state=tuple(state))
    yield "record.bins", lambda: reservoir(x, inputs, recurrent, LIF, record=Recorder(bins=-1))
    yield "record.tau", lambda: reservoir(x, inputs, recurrent, LIF, record=Recorder(tau=0.0))
    yield "budget", lambda: reservoir(x, inputs, recurrent, LIF, budget=-1)
    yield "dtype", lambda: reservoir(x, inputs, recurrent, LIF, dtype=torch.float16)


def test_refusals_name_the_argument():
    for name, call in refusals():
        with pytest.raises((ValueError, TypeError)) as caught:
            call()
        assert str(caught.value).startswith(name), (name, str(caught.value))
