"""Named cases that every backend of `lif` is held to, and the code that runs one through an op and its specification.

A backend's test takes each case, runs `through_op` on it and compares with `specified`, which is reference.py in
float64 on the same numbers, replaying the backend's own spikes so that a decision within rounding cannot hide an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.lif import reference
from spiking.kernels.lif.rule import REFRACTORY, ROWS, STATES, THETA, Flags, W, Z
from spiking.kernels.surrogate import Surrogate, resolve

_PLAIN = Flags()


@dataclass(frozen=True)
class Case:
    """One setting of the recurrence, its sizes and its input."""

    name: str
    flags: Flags = _PLAIN
    surrogate: str = "triangle"
    T: int = 23
    B: int = 3
    N: int = 60
    inputs: int = 37
    density: float = 0.1
    fused: bool = True  # events and a weight; otherwise dense currents
    valued: bool = False  # events carry counts and signs
    lengths: tuple[int, ...] | None = None
    trace: bool = True
    bias: float = 0.0
    recurrent: bool = False


class Problem(NamedTuple):
    """The tensors of a case; `current` or (`events`, `weight`) is given."""

    current: Tensor | None
    events: Events | None
    weight: Tensor | None
    params: Tensor
    state: Tensor
    lengths: Tensor
    flags: Flags
    surrogate: Surrogate
    gradients: tuple[Tensor, Tensor, Tensor]  # of spikes, membrane and last state, for the backward pass
    recurrent: Tensor | None = None


class Result(NamedTuple):
    """Outputs and gradients of one run."""

    spikes: Tensor
    membrane: Tensor
    last: Tensor
    grad_input: Tensor  # of the currents or of the weight
    grad_params: Tensor
    grad_state: Tensor
    grad_recurrent: Tensor  # empty without recurrent weights


_ALL = Flags(synapse=1, adaptation=2, adapt_previous=0, detach_reset=0, refractory=2, mute=1)

CASES = [
    Case("lif"),
    Case("lif_dense", fused=False),
    Case("lif_without_trace", trace=False),
    Case("long", T=63),
    Case("one_segment", T=16),
    Case("segment_and_a_step", T=17),
    Case("one_step", T=1),
    Case("no_step", T=0),
    Case("no_step_dense", T=0, fused=False),
    Case("one_sample", B=1),
    Case("one_neuron", N=1),
    Case("odd_neurons", N=33),
    Case("several_blocks", N=301, B=5, T=18),
    Case("empty_batch", B=0),
    Case("empty_batch_dense", B=0, fused=False),
    Case("no_event", density=0.0),
    Case("all_firing", bias=30.0),
    Case("all_firing_refractory", Flags(refractory=3), bias=30.0),
    Case("counts_and_signs", valued=True),
    Case("lengths", lengths=(23, 0, 7)),
    Case("lengths_dense", replace(_ALL, adaptation=1), lengths=(16, 0, 22), fused=False),
    Case("lengths_in_second_segment", _ALL, lengths=(17, 1, 16)),
    Case("attached_reset", Flags(detach_reset=0)),
    Case("zero_reset", Flags(reset=1)),
    Case("zero_reset_attached", Flags(reset=1, detach_reset=0)),
    Case("no_reset", Flags(reset=2)),
    Case("next_reset", Flags(reset_next=1)),
    Case("next_reset_attached", Flags(reset_next=1, detach_reset=0)),
    Case("next_zero_reset", Flags(reset=1, reset_next=1)),
    Case("next_zero_reset_attached", Flags(reset=1, reset_next=1, detach_reset=0)),
    Case("inclusive", Flags(inclusive=1)),
    Case("synapse", Flags(synapse=1)),
    Case("synapse_dense", Flags(synapse=1), fused=False),
    Case("previous_synapse", Flags(synapse=2)),
    Case("hold", Flags(refractory=3)),
    Case("hold_attached", Flags(refractory=3, detach_reset=0, synapse=2)),
    Case("mute", Flags(refractory=3, mute=1)),
    Case("alif", Flags(adaptation=2)),
    Case("alif_attached", Flags(adaptation=2, detach_reset=0)),
    Case("alif_next_reset", Flags(adaptation=2, reset_next=1, detach_reset=0)),
    Case("alif_zero_reset", Flags(adaptation=2, reset=1, detach_reset=0)),
    Case("alif_previous", Flags(adaptation=2, adapt_previous=1, detach_reset=0)),
    Case("se_adlif", Flags(adaptation=1, reset=1)),
    Case("ef_adlif", Flags(adaptation=1, adapt_previous=1, reset=1)),
    Case("resonance", Flags(adaptation=1, adapt_previous=1, detach_reset=0)),
    Case("adlif_attached", Flags(adaptation=1, detach_reset=0), surrogate="boxcar"),
    Case("adlif_hold", Flags(adaptation=1, refractory=2)),
    Case("adlif_previous_next", Flags(1, 1, 1, 0, 1, 0, 0, 0, 0)),
    Case("everything", _ALL, surrogate="arctan"),
    Case("everything_long", replace(_ALL, synapse=2, reset=1), T=63, valued=True, lengths=(63, 40, 33)),
    Case("everything_dense", replace(_ALL, mute=0), fused=False, N=33),
    Case("fast_sigmoid", surrogate="fast_sigmoid"),
    Case("arctan", surrogate="arctan"),
    Case("boxcar", surrogate="boxcar"),
    Case("slayer", surrogate="slayer"),
    Case("multi_gaussian", surrogate="multi_gaussian"),
    Case("sigmoid", surrogate="sigmoid"),
    Case("leaky_integrator", Flags(reset=2), surrogate="never"),
]


def _recurrent(name: str, flags: Flags = _PLAIN, **options: Any) -> Case:
    return Case(f"recurrent_{name}", flags, recurrent=True, **options)


RECURRENT = [
    _recurrent("lif"),
    _recurrent("dense", fused=False),
    _recurrent("without_trace", trace=False),
    _recurrent("long", T=63),
    _recurrent("one_segment", T=16),
    _recurrent("segment_and_a_step", T=17),
    _recurrent("one_step", T=1),
    _recurrent("no_step", T=0),
    _recurrent("no_step_dense", T=0, fused=False),
    _recurrent("one_sample", B=1),
    _recurrent("one_neuron", N=1),
    _recurrent("odd_neurons", N=33),
    _recurrent("several_blocks", N=301, B=5, T=18),
    _recurrent("several_groups", B=37, N=19, lengths=tuple(k % 24 for k in range(37))),
    _recurrent("several_blocks_adlif", Flags(adaptation=1, detach_reset=0, synapse=1), N=131, T=35, fused=False),
    _recurrent("empty_batch", B=0),
    _recurrent("empty_batch_dense", B=0, fused=False),
    _recurrent("no_event", density=0.0),
    _recurrent("all_firing", bias=30.0),
    _recurrent("all_firing_refractory", Flags(refractory=3), bias=30.0),
    _recurrent("counts_and_signs", valued=True),
    _recurrent("few_near_the_threshold", T=20, B=9, N=130, density=0.9, valued=True),
    _recurrent("lengths", lengths=(23, 0, 7)),
    _recurrent("lengths_dense", replace(_ALL, adaptation=1), lengths=(16, 0, 22), fused=False),
    _recurrent("lengths_in_second_segment", _ALL, lengths=(17, 1, 16)),
    _recurrent("attached_reset", Flags(detach_reset=0)),
    _recurrent("zero_reset", Flags(reset=1)),
    _recurrent("zero_reset_attached", Flags(reset=1, detach_reset=0)),
    _recurrent("no_reset", Flags(reset=2)),
    _recurrent("next_reset", Flags(reset_next=1)),
    _recurrent("next_reset_attached", Flags(reset_next=1, detach_reset=0)),
    _recurrent("next_zero_reset_attached", Flags(reset=1, reset_next=1, detach_reset=0)),
    _recurrent("inclusive", Flags(inclusive=1)),
    _recurrent("synapse", Flags(synapse=1)),
    _recurrent("previous_synapse_dense", Flags(synapse=2), fused=False),
    _recurrent("hold_attached", Flags(refractory=3, detach_reset=0, synapse=2)),
    _recurrent("mute", Flags(refractory=3, mute=1)),
    _recurrent("alif", Flags(adaptation=2)),
    _recurrent("alif_next_reset", Flags(adaptation=2, reset_next=1, detach_reset=0)),
    _recurrent("alif_previous", Flags(adaptation=2, adapt_previous=1, detach_reset=0)),
    _recurrent("se_adlif", Flags(adaptation=1, reset=1)),
    _recurrent("ef_adlif", Flags(adaptation=1, adapt_previous=1, reset=1)),
    _recurrent("resonance", Flags(adaptation=1, adapt_previous=1, detach_reset=0)),
    _recurrent("adlif_attached", Flags(adaptation=1, detach_reset=0), surrogate="boxcar"),
    _recurrent("adlif_hold", Flags(adaptation=1, refractory=2)),
    _recurrent("adlif_previous_next", Flags(1, 1, 1, 0, 1, 0, 0, 0, 0)),
    _recurrent("everything", _ALL, surrogate="arctan"),
    _recurrent("everything_long", replace(_ALL, synapse=2, reset=1), T=63, valued=True, lengths=(63, 40, 33)),
    _recurrent("everything_dense", replace(_ALL, mute=0), fused=False, N=33),
    _recurrent("fast_sigmoid", surrogate="fast_sigmoid"),
    _recurrent("arctan_several_blocks", surrogate="arctan", N=130, B=9),
    _recurrent("slayer", surrogate="slayer"),
    _recurrent("multi_gaussian", surrogate="multi_gaussian"),
    _recurrent("leaky_integrator", Flags(reset=2), surrogate="never"),
]


def build(case: Case, dtype: torch.dtype = torch.float64, device: str = "cpu", seed: int = 0) -> Problem:
    """The tensors of a case, drawn with `seed` on the CPU, so that every backend gets the same numbers."""
    g = torch.Generator().manual_seed(seed)
    T, B, N, flags = case.T, case.B, case.N, case.flags

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)

    def place(x: Tensor) -> Tensor:
        return x.to(device, dtype)

    lengths = torch.full((B,), T) if case.lengths is None else torch.tensor(case.lengths)
    params = torch.stack([
        uniform(0.7, 0.95, N), uniform(0.2, 0.6, N), uniform(0.6, 1.2, N), uniform(0.3, 0.8, N), uniform(0.6, 1.2, N),
        uniform(0.7, 0.95, N), uniform(0.0, 0.3, N), uniform(0.1, 0.6, N), uniform(0.2, 0.8, N),
        uniform(-0.1, 0.1, N) + case.bias,
    ])  # fmt: skip
    assert params.shape == (ROWS, N)
    if case.surrogate == "never":
        params[THETA] = float("inf")
    state = uniform(-0.5, 0.5, STATES, B, N)
    state[W] = state[W].abs()
    state[Z] = (state[Z] > 0.3).double()
    state[REFRACTORY] = torch.randint(0, flags.refractory + 1, (B, N), generator=g).double()

    current = events = weight = None
    if case.fused:
        hit = torch.rand(T, B, case.inputs, generator=g) < case.density
        counts = torch.randint(-1, 4, (T, B, case.inputs), generator=g) if case.valued else 1.0
        events = Events.from_dense(hit.double() * counts, dt=1.0, lengths=lengths).to(device)
        weight = place(torch.randn(case.inputs, N, generator=g, dtype=torch.float64) * 0.8)
    else:
        current = place(torch.randn(T, B, N, generator=g, dtype=torch.float64) * 1.5)
    recurrent = place(torch.randn(N, N, generator=g, dtype=torch.float64) * 0.8 / N**0.5) if case.recurrent else None
    last = torch.randn(STATES, B, N, generator=g, dtype=torch.float64)
    last[REFRACTORY] = 0.0  # the counter is a number of steps: it has no gradient
    gradients = (
        place(torch.randn(T, B, N, generator=g, dtype=torch.float64)),
        place(torch.randn(T, B, N, generator=g, dtype=torch.float64)),
        place(last),
    )
    surrogate = resolve(case.surrogate)
    assert isinstance(surrogate, Surrogate)
    return Problem(
        current, events, weight, place(params), place(state), lengths.to(device), flags, surrogate, gradients,
        recurrent,
    )


def leaves_of(p: Problem) -> list[Tensor]:
    """The differentiable tensors of a case, ready for gradients: input, parameters, state, recurrent weights if any."""
    source = p.weight if p.current is None else p.current
    assert source is not None
    given = [source, p.params, p.state] + ([] if p.recurrent is None else [p.recurrent])
    return [x.detach().clone().requires_grad_() for x in given]


def _gradients(leaves: list[Tensor], outputs: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> list[Tensor]:
    reached = [(y, g) for y, g in zip(outputs, given, strict=True) if y.requires_grad]
    found = torch.autograd.grad([y for y, _ in reached], leaves, [g for _, g in reached], allow_unused=True)
    gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]
    return gradients if len(gradients) == 4 else [*gradients, gradients[0].new_empty(0)]


def arguments(p: Problem, leaves: list[Tensor], backend: str, trace: bool = True) -> tuple:
    """The arguments of `torch.ops.spiking.lif`, with the differentiable ones given."""
    source, params, state, *recurrent = leaves
    events = (None, None, None) if p.events is None else (p.events.indptr, p.events.index, p.events.value)
    current, weight = (source, None) if p.events is None else (None, source)
    T = p.gradients[0].shape[0]
    return (
        current, *events, weight, *(recurrent or [None]), params, state, p.lengths, T, p.flags.as_list(),
        p.surrogate.numbers, trace, True, backend,
    )  # fmt: skip


def through_op(case: Case, p: Problem, backend: str) -> Result:
    """Forward and backward of the op on a backend."""
    leaves = leaves_of(p)
    spikes, membrane, last, _, _ = torch.ops.spiking.lif(*arguments(p, leaves, backend, case.trace))
    outputs, given = (spikes, membrane, last), p.gradients
    if not case.trace:
        outputs, given = (spikes, last), (given[0], given[2])
    return Result(spikes.detach(), membrane.detach(), last.detach(), *_gradients(leaves, outputs, given))


def specified(case: Case, p: Problem, spikes: Tensor | None = None) -> Result:
    """Forward and backward of reference.py in float64, replaying `spikes` if given."""
    exact = Problem(*map(_double, p[:5]), *p[5:8], tuple(map(_double, p.gradients)), _double(p.recurrent))
    leaves = leaves_of(exact)
    source, params, state, *recurrent = leaves
    current = source if exact.events is None else exact.events.to_dense(torch.float64) @ source
    z, membrane, last = reference.lif(
        current, params, state, p.flags, p.surrogate, *(recurrent or [None]), p.lengths,
        None if spikes is None else spikes.double(),
    )
    outputs, given = (z, membrane, last), exact.gradients
    if not case.trace:
        outputs, given, membrane = (z, last), (given[0], given[2]), membrane.new_empty(0)
    return Result(z.detach(), membrane.detach(), last.detach(), *_gradients(leaves, outputs, given))


def _double(x: Tensor | Events | None) -> Tensor | Events | None:
    return x.double() if isinstance(x, Tensor) else x


def assert_close(case: Case, found: Result, wanted: Result, tolerance: float) -> None:
    """Every output and gradient within `tolerance` of the specification, relative to the largest number in it."""
    for name in Result._fields:
        a, b = getattr(found, name), getattr(wanted, name)
        assert a.shape == b.shape, f"{case.name}, {name}: shape {tuple(a.shape)}, wanted {tuple(b.shape)}"
        assert torch.isfinite(a).all() or not torch.isfinite(b).all(), f"{case.name}, {name}: not finite"
        scale = max(1.0, float(b.abs().max()) if b.numel() else 0.0)
        error = float((a.double() - b).abs().max()) if b.numel() else 0.0
        assert error <= tolerance * scale, f"{case.name}, {name}: off by {error:.3g} of {scale:.3g}"
