"""Named cases that every backend of `elm` is held to, and the code that runs one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels import MLP, MemoryState, elm

NAMES = ("m", "current", "memory")
OUT = 3  # of the readout
LEAVES = ("weight", *MLP._fields, "decay", "gain", "leak", "state.current", "state.memory", "x")


@dataclass(frozen=True)
class Case:
    """Sizes, activation and input; kind is "events", "dense" (without gradient), "learned" (with) or "currents"."""

    name: str
    kind: str = "events"
    activation: str = "relu"
    T: int = 23
    B: int = 3
    inputs: int = 17
    hidden: int = 10
    units: int = 5
    density: float = 0.1
    leak: float = 0.8
    valued: bool = False
    lengths: tuple[int, ...] | None = None
    state: bool = True
    read: str = ""  # the outputs that have a gradient, where there is a readout: "y", "y and m"


CASES = [
    Case("plain"),
    Case("silu", activation="silu"),
    Case("counts_and_signs", valued=True),
    Case("dense", kind="dense"),
    Case("too_dense", kind="dense", density=0.9, valued=True),
    Case("learned", kind="learned", valued=True, lengths=(23, 0, 9)),
    Case("learned_dense", kind="learned", density=0.9, activation="silu"),
    Case("currents", kind="currents", density=0.9, valued=True, lengths=(1, 22, 23)),
    Case("no_filter", leak=0.0),
    Case("lengths", lengths=(23, 0, 7)),
    Case("lengths_dense", kind="dense", lengths=(16, 0, 22), activation="silu"),
    Case("without_state", state=False),
    Case("odd_sizes", T=63, B=1, inputs=60, hidden=33, units=17, activation="silu"),
    Case("several_groups", T=9, B=21, hidden=40, units=20, lengths=tuple(range(9, -1, -1)) + tuple(range(10)) + (3,)),
    Case("several_rounds", T=9, B=150, inputs=7, hidden=20, units=10),
    Case("one_unit", hidden=2, units=1),
    Case("one_input", inputs=1),
    Case("one_hidden", hidden=1),
    Case("a_span", T=16),
    Case("one_more_than_a_span", T=17),
    Case("one_step", T=1),
    Case("no_step", T=0),
    Case("no_step_dense", T=0, kind="dense"),
    Case("empty_batch", B=0),
    Case("no_event", density=0.0),
    Case("read", read="y"),
    Case("read_and_memory", read="y and m", lengths=(23, 0, 7), units=17),
    Case("read_groups", read="y", T=33, B=21, hidden=40, units=20, lengths=tuple(range(33, 12, -1))),
    Case("read_currents", read="y and m", kind="currents", density=0.9, valued=True, lengths=(1, 22, 23)),
    Case("read_no_step", read="y", T=0),
    Case("read_empty_batch", read="y and m", B=0),
    Case("all_events", density=1.0),
]


class Problem(NamedTuple):
    """The tensors of a case."""

    x: Events | Tensor
    leaves: dict[str, Tensor]
    lengths: Tensor | None
    gradients: list[Tensor]  # of m, of the last state, and of y


def build(case: Case, dtype: torch.dtype = torch.float64, device: str = "cpu", seed: int = 0) -> Problem:
    """The tensors of a case, drawn with `seed` on the CPU, so that every backend gets the same numbers."""
    g = torch.Generator().manual_seed(seed)
    T, B, h, d = case.T, case.B, case.hidden, case.units
    inputs = h if case.kind == "currents" else case.inputs

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(*shape, generator=g, dtype=torch.float64)).to(device, dtype)

    hit = (torch.rand(T, B, inputs, generator=g) < case.density).double()
    if case.valued:
        hit *= torch.randint(-1, 4, hit.shape, generator=g)
    lengths = None if case.lengths is None else torch.tensor(case.lengths, dtype=torch.int64)
    x: Events | Tensor = hit.to(device, dtype)
    if case.kind == "events":
        x = Events.from_dense(hit, 1.0, lengths).to(device)
    tau = torch.logspace(0, 2.5, d, dtype=torch.float64)
    leaves = {
        "weight": normal(inputs, h, scale=0.5), "memory": normal(d, h, scale=d**-0.5), "bias": normal(h),
        "update": normal(h, d, scale=h**-0.5), "update_bias": normal(d, scale=0.3),
        "decay": torch.exp(-1 / tau).to(device, dtype), "gain": (1 - torch.exp(-5 / tau)).to(device, dtype),
        "leak": torch.tensor([case.leak], device=device, dtype=dtype),
        "state.current": normal(B, h), "state.memory": normal(B, d),
    }
    if case.kind == "currents":
        del leaves["weight"]
    last = [normal(T, B, d), normal(B, h), normal(B, d)]
    if case.read:
        leaves["readout"] = normal(d, OUT)
        last.append(normal(T, B, OUT))
    given = None if case.kind == "events" or lengths is None else lengths.to(device)
    return Problem(x, leaves, given, last)


def run(case: Case, p: Problem, backend: str, solver: str = "serial") -> dict[str, Tensor]:
    """Outputs and gradients on a backend, by name."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in p.leaves.items()}
    x: Any = p.x
    if case.kind in ("learned", "currents"):
        assert isinstance(p.x, Tensor)
        x = leaves["x"] = p.x.clone().requires_grad_()
    state = MemoryState(leaves["state.current"], leaves["state.memory"])
    if not case.state:
        del leaves["state.current"], leaves["state.memory"]
    m, after = elm(
        x, state if case.state else None, mlp=MLP(*(leaves[name] for name in MLP._fields)), decay=leaves["decay"],
        gain=leaves["gain"], weight=leaves.get("weight"), leak=leaves["leak"], activation=case.activation,
        solver=solver, lengths=p.lengths, backend=backend, readout=leaves.get("readout"),
    )
    y, m = m if case.read else (None, m)
    outputs, gradients = [m, *after], p.gradients[:3]
    found = dict(zip(NAMES, outputs, strict=True))
    if case.read:
        found["y"] = y
        outputs, gradients = [*outputs, y], p.gradients
        if case.read == "y":  # alone: of m and of the state nobody asks
            outputs, gradients = [y], p.gradients[3:]
    slopes = torch.autograd.grad(outputs, list(leaves.values()), gradients, allow_unused=True)
    for (name, leaf), slope in zip(leaves.items(), slopes, strict=True):
        found[f"d {name}"] = torch.zeros_like(leaf) if slope is None else slope
    return {name: x.detach() for name, x in found.items()}


def specified(case: Case, p: Problem) -> dict[str, Tensor]:
    """The reference in float64."""
    x = p.x if isinstance(p.x, Events) else p.x.double()
    leaves = {name: leaf.double() for name, leaf in p.leaves.items()}
    return run(case, Problem(x, leaves, p.lengths, [g.double() for g in p.gradients]), "reference")


def assert_close(case: Case, found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    """Every output and gradient within `tolerance` of the specification, relative to the largest number in it."""
    assert found.keys() == wanted.keys()
    for name, b in wanted.items():
        a = found[name]
        assert a.shape == b.shape, f"{case.name}, {name}: shape {tuple(a.shape)}, wanted {tuple(b.shape)}"
        assert torch.isfinite(a).all(), f"{case.name}, {name}: not finite"
        scale = max(1.0, float(b.abs().max()) if b.numel() else 0.0)
        error = float((a.double() - b).abs().max()) if b.numel() else 0.0
        assert error <= tolerance * scale, f"{case.name}, {name}: off by {error:.3g} of {scale:.3g}"
