"""Calls of the reservoir with one argument that is wrong, or none; malformed.py runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st

from spiking import Events
from spiking.kernels import reservoir
from spiking.kernels.reservoir import (
    Generated,
    IntegrateFire,
    Izhikevich,
    Kinetics,
    Recorder,
    ReservoirState,
    ShortTerm,
    Synapses,
)  # fmt: skip

SYNAPSES = ("indptr", "word", "weight", "shape")
NAMES = ("inputs", "recurrent", "neuron", "kinetics", "short_term", "state", "record", "budget", *SYNAPSES, "index")


def build(
    draw: Any, one: Callable[..., Any], spoiled: Callable[..., Any], arrays: Callable[..., Any], known: tuple[str, ...]
) -> tuple[Callable[[str], Any], list[str]]:
    """A call on a backend, and what it may complain about; the functions are those of malformed.py."""
    T, B, inputs, N = draw(st.integers(0, 4)), draw(st.integers(0, 3)), draw(st.integers(0, 4)), one(draw, 3, 70, 1)
    fault = one(draw, *(None,) * 12, *known, *NAMES, *NAMES)
    events = arrays(draw, T, B, inputs, fault if fault in known else None)
    part = one(draw, "indptr", "word", "weight", "shape")

    def stored(name: str, sources: int, first: int) -> Callable[[], Any]:
        g = torch.Generator().manual_seed(draw(st.integers(0, 50)))
        there = torch.rand(sources, N, generator=g) < 0.3
        source, target = there.nonzero(as_tuple=True)
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), there.sum(1).cumsum(0)])
        delay = torch.randint(first, one(draw, first + 1, 5), source.shape, generator=g)
        weight = torch.randint(-400, 900, source.shape, generator=g).double() / 256
        given: dict[str, Any] = {
            "indptr": indptr, "word": ((delay << 24) | target).to(torch.int32), "weight": weight, "shape": (sources, N)
        }  # fmt: skip
        chosen = fault if fault in SYNAPSES and name == "inputs" else part if fault == name else None
        if chosen == "shape":
            given["shape"] = one(draw, (sources, max(N - 1, 0)), (sources + 1, N), (sources, 2**40), (-1, N), (N,))
        elif chosen == "word" and given["word"].numel() and one(draw, True, False):
            at = draw(st.integers(0, len(source) - 1))
            given["word"][at] += one(draw, -1, 1, N, -(1 << 24), 200 << 23)
        elif chosen == "indptr" and one(draw, True, False):
            given["indptr"][draw(st.integers(0, sources))] += one(draw, -1, 1, 2**40)
        elif chosen is not None:
            given[chosen] = spoiled(draw, given[chosen].double())
        return lambda: Synapses(**given)

    def drawn(name: str, sources: int, first: int) -> Callable[[], Any]:
        made = Generated(draw(st.integers(0, 9)), (sources, N), draw(st.integers(1, N)), (-0.5, 2.0), delay=(first, 3))
        if fault == name:
            made = one(
                draw, made._replace(fan_out=one(draw, 0, N + 1)), made._replace(shape=(sources + 1, N)),
                made._replace(delay=one(draw, (1, 256), (-1, 2), (2, 1))), made._replace(weight=(float("nan"), 1.0)),
                made._replace(seed=one(draw, -1, 2**32)), made._replace(excitatory=sources + 1), tuple(made), None,
            )  # fmt: skip
        return lambda: made

    sources = [one(draw, stored, stored, drawn)("inputs", inputs, 0)]
    sources.append(one(draw, stored, stored, drawn, lambda *_: lambda: None)("recurrent", N, 1))
    bad = torch.ones(N + 1)
    neuron = one(
        draw, IntegrateFire(refractory=one(draw, 0, 2)), Izhikevich(bias=10.0),
        IntegrateFire(reset=None, tau_adapt=9.0, jump=torch.ones(N)),
    )  # fmt: skip
    if fault == "neuron":
        neuron = one(
            draw, IntegrateFire(tau_mem=bad), IntegrateFire(reset=1.0), IntegrateFire(refractory=-1), Izhikevich(c=bad),
            IntegrateFire(refractory=torch.ones(N)), IntegrateFire(bias=float("inf")), Izhikevich(substeps=0), None,
        )  # fmt: skip
    kinetics = one(draw, Kinetics(), Kinetics("exponential", 2.0, 3.0), Kinetics("alpha"))
    if fault == "kinetics":
        kinetics = one(draw, Kinetics("beta"), Kinetics("alpha", 0.0), Kinetics("alpha", exact=False), "alpha")
    short = one(draw, None, None, ShortTerm(torch.full((N, 2), 0.5), 20.0, 5.0, torch.arange(N) % 2))
    if fault == "short_term":
        short = one(draw, ShortTerm(bad, 1.0), ShortTerm(2.0, 1.0), ShortTerm(0.5, 1.0, 1.0, bad.long()), 0.5)
    record = Recorder(True, one(draw, 0, 2), one(draw, 0, 3))
    if fault == "record":
        record = one(draw, record._replace(bins=-1), record._replace(traces=1.5), record._replace(tau=-1.0), None)
    budget = one(draw, -1, 2.5, "9") if fault == "budget" else None
    field = one(draw, *ReservoirState._fields)
    goes_on = one(draw, False, True) or fault == "state"
    seed = draw(st.integers(0, 10**6))

    def call(backend: str) -> Any:
        x = Events(**events)
        given = (x, sources[0](), sources[1](), neuron, kinetics, short)
        state = None
        if goes_on and fault in (None, "state"):
            state = reservoir(*given, dtype=torch.float64, backend="reference")[1]
            if fault == "state":
                tensor = getattr(state, field)
                more = tensor[:1] if B else tensor.new_zeros(1, *tensor.shape[1:])
                wrong = (
                    tensor.unsqueeze(0), torch.cat([tensor, more]),
                    tensor.to("meta"), tensor > 0, tensor.tolist(),
                )  # fmt: skip
                state = state._replace(**{field: wrong[seed % len(wrong)]})
        found, after = reservoir(*given, state, record=record, budget=budget, dtype=torch.float64, backend=backend)
        assert found.spikes is not None
        return [found.spikes.to_dense(), found.counts, found.traces, found.total, found.last, *after]

    return call, [*known, *NAMES, "dt"]
