"""Calls of the ops with one argument that is wrong, or none: each runs as the reference does, or names the argument.

`python -m tests.kernels.malformed EXAMPLES` tries as many calls of each op on the CPU; test_malformed.py runs it under
Numba's bounds checks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking import Events
from spiking.kernels import (
    MLP,
    Adaptation,
    LIFState,
    MemoryState,
    Rule,
    delay_linear,
    elm,
    event_conv,
    event_linear,
    lif,
)

from . import malformed_reservoir

ARRAYS = ("indptr", "index", "value", "lengths", "shape")
OPS: dict[str, tuple[str, ...]] = {
    "event_linear": ("x", "weight"),
    "lif": ("x", "weight", "bias", "tau_mem", "threshold", "state", "adaptation", "lengths", "dt"),
    "lif_recurrent": ("x", "weight", "recurrent", "bias", "state", "lengths"),
    "delay_linear": ("x", "weight", "delay", "max_delay", "state", "lengths"),
    "event_conv": ("x", "weight", "bias", "sensor", "stride", "padding", "dilation", "groups"),
    "elm": ("x", "weight", "mlp", "decay", "gain", "leak", "state", "lengths"),
    "reservoir": malformed_reservoir.NAMES,
}
PAIRS = {"stride": (1, 2, (1, 3)), "padding": (0, 1, (2, 0)), "dilation": (1, 1, (1, 2)), "groups": (1,)}
Draw = Callable[[st.SearchStrategy[Any]], Any]


def one(draw: Draw, *choices: Any) -> Any:
    """One of the choices."""
    return draw(st.sampled_from(choices))


def numbers(draw: Draw, *shape: int) -> Tensor:
    """Double precision, as some view of some storage."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 50))), dtype=torch.float64)
    layout = one(draw, "dense", "transposed", "sliced", "strided", "expanded")
    if layout == "transposed" and x.ndim > 1:
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "sliced" and x.ndim:
        return torch.nn.functional.pad(x, (2, 3), value=float("nan"))[..., 2 : 2 + x.shape[-1]]
    if layout == "strided" and x.ndim:
        return torch.stack([x, torch.full_like(x, float("nan"))], -1)[..., 0]
    if layout == "expanded" and x.ndim and x.shape[0]:
        return x[:1].expand(x.shape)
    return x


def spoiled(draw: Draw, x: Tensor) -> Any:
    """A tensor of another type, place or shape, or with a number in it that is none."""
    how = one(draw, "integers", "bool", "complex", "meta", "longer", "shorter", "deeper", "flat", "nan", "inf", "list")
    if how == "list":
        return x.tolist()
    if how in ("nan", "inf"):
        x = x.clone(memory_format=torch.contiguous_format)
        if x.numel():
            x.view(-1)[draw(st.integers(0, x.numel() - 1))] = float(how)
        return x
    axis = draw(st.integers(0, max(x.ndim - 1, 0)))
    changed: dict[str, Callable[[], Tensor]] = {
        "integers": lambda: x.long(), "bool": lambda: x > 0, "complex": lambda: x.to(torch.complex128),
        "meta": lambda: x.to("meta"), "deeper": lambda: x[None], "flat": lambda: x.reshape(-1),
        "longer": lambda: torch.cat([x, x.narrow(axis, 0, min(1, x.shape[axis]))], axis) if x.ndim else x[None, None],
        "shorter": lambda: x.narrow(axis, 0, max(x.shape[axis] - 1, 0)) if x.ndim else x[None, None],
    }
    return changed[how]()


def arrays(draw: Draw, T: int, B: int, N: int, fault: str | None) -> dict[str, Any]:
    """The arguments of Events, maybe one of them wrong."""
    counts = torch.tensor([draw(st.integers(0, 3)) if N else 0 for _ in range(T * B)], dtype=torch.int64)
    lengths = torch.tensor([draw(st.integers(0, T)) for _ in range(B)], dtype=torch.int64)
    if T * B:
        counts[(torch.arange(T)[:, None] >= lengths).reshape(-1)] = 0
    nnz = int(counts.sum())
    indptr = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    index = torch.tensor([draw(st.integers(0, N - 1)) for _ in range(nnz)], dtype=one(draw, torch.int32, torch.int64))
    value = one(draw, None, torch.randn(nnz, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    if one(draw, False, True):  # strided views of the same numbers
        indptr, index = torch.stack([indptr, indptr - 1], 1)[:, 0], torch.stack([index, index + N], 1)[:, 0]
    given = {"indptr": indptr, "index": index, "shape": (T, B, N), "dt": 1.0, "value": value, "lengths": lengths}
    wrong = one(draw, -1, 1, 2**31, 2**40)
    if fault == "shape":
        at = draw(st.integers(0, 2))
        given["shape"] = tuple(n + one(draw, -1, 1, 2**33) if k == at else n for k, n in enumerate((T, B, N)))
    elif fault == "value":
        given["value"] = spoiled(draw, torch.ones(nnz, dtype=torch.float64))
    elif fault is not None:
        x = given[fault]
        if x.numel() and one(draw, True, False):
            x = x.to(torch.int64).clone()
            x[draw(st.integers(0, x.numel() - 1))] += wrong
        else:
            x = one(draw, x.double(), x[:-1], torch.cat([x, x[:1]]), x[None], x.to("meta"), x.tolist())
        given[fault] = x
    return given


def build(draw: Draw, op: str) -> tuple[Callable[[str], Any], list[str]]:
    """A call of an op on a backend, and what it may complain about."""
    if op == "reservoir":
        return malformed_reservoir.build(draw, one, spoiled, arrays, ARRAYS)
    T, B, inputs = draw(st.integers(0, 4)), draw(st.integers(0, 3)), draw(st.integers(0, 5))
    N = one(draw, 3, 130, 1, 3, 130, 0)
    fault = one(draw, *(None,) * 12, *ARRAYS, *OPS[op], *OPS[op])
    if op == "event_conv":
        W, H, P = (draw(st.integers(1, 4)) for _ in range(3))
        inputs = W * H * P
    dense = op != "event_conv" and fault not in ARRAYS and one(draw, False, True)
    events = arrays(draw, T, B, inputs, fault if fault in ARRAYS else None)
    x = numbers(draw, T, B, inputs) * (torch.arange(inputs) % 3 == 0) if dense else None
    if fault == "x":
        x = spoiled(draw, torch.zeros(T, B, inputs, dtype=torch.float64))

    def make(name: str, *shape: int) -> Any:
        made = numbers(draw, *shape)
        return spoiled(draw, made) if fault == name else made

    shape = (inputs, N)
    if op == "event_conv":
        shape = (P, draw(st.integers(1, min(3, H))), draw(st.integers(1, min(3, W))), one(draw, 1, 3, 17, 1, 3, 17, 0))
    given: dict[str, Any] = {"weight": make("weight", *shape)}
    if dense or fault == "lengths":
        lengths = torch.tensor([draw(st.integers(0, T)) for _ in range(B)], dtype=torch.int64)
        if fault == "lengths":
            lengths = one(draw, lengths - 1, lengths + T + 1, lengths.double(), torch.cat([lengths, lengths + 1]),
                          lengths.to("meta"), lengths.tolist())
        given["lengths"] = lengths
    if op in ("event_linear", "event_conv"):
        given.pop("lengths", None)
    if op == "event_conv":
        given.update({name: one(draw, *choices) for name, choices in PAIRS.items()}, groups=one(draw, 1, P))
        events["sensor"] = one(draw, (W, H, P), None)
        given["sensor"] = (W, H, P) if events["sensor"] is None else one(draw, (W, H, P), None)
        if fault == "sensor":
            given["sensor"] = one(draw, (W, H, P + 1), (W, H), (-W, -H, P), (W / 1, H, P), W, "WHP", [W, H, P, 1], True)
        elif fault in PAIRS:
            given[fault] = one(draw, 0, -1, 1.5, "2", True, (1,), (1, 2, 3), (1, -1), (1, 1.0), None, P + 1)
        if fault == "bias" or one(draw, False, True):
            given["bias"] = make("bias", shape[3] * (P if given["groups"] == P else 1))
    elif op == "elm":
        d = one(draw, 1, 3, 20)
        parts = {"memory": (d, N), "bias": (N,), "update": (N, d), "update_bias": (d,)}
        wrong = one(draw, *parts) if fault == "mlp" else ""
        mlp = {name: numbers(draw, *shape) / max(N, d) for name, shape in parts.items()}
        given["mlp"] = MLP(**{name: spoiled(draw, w) if name == wrong else w for name, w in mlp.items()})
        for name in ("decay", "gain"):
            given[name] = spoiled(draw, numbers(draw, d)) if fault == name else numbers(draw, d).sigmoid()
        given["leak"] = one(draw, "0.5", torch.ones(2), float("nan")) if fault == "leak" else 0.5
        if fault == "state" or one(draw, False, True):
            given["state"] = MemoryState(numbers(draw, B, N), numbers(draw, B, d))
            if fault == "state":
                given["state"] = one(draw, given["state"][:1], given["state"]._replace(
                    memory=spoiled(draw, given["state"].memory)))
    elif op == "delay_linear":
        last = draw(st.integers(0, 6))
        delay = numbers(draw, inputs, *one(draw, (N,), ())).abs().clamp(max=min(last, T))
        if fault == "delay":
            delay = one(draw, spoiled(draw, delay), delay - 1, delay + 7, delay * 1e300)
        given.update(delay=delay, max_delay=one(draw, -1, 2.5, "3", True) if fault == "max_delay" else last)
        given["sigma"] = one(draw, 0.0, 0.7)
        if one(draw, False, True) or fault == "state":
            given["state"] = make("state", last, B, N)
    elif op.startswith("lif"):
        given["dt"] = one(draw, 0.0, -1.0, float("nan"), 2.0) if fault == "dt" else 1.0
        given["rule"] = Rule(**one(draw, {}, {"reset": "zero", "refractory": 2.0}))
        given["surrogate"] = "triangle"
        for name in ("bias", "tau_mem", "threshold"):
            if fault == name or one(draw, False, True):
                given[name] = make(name, N)
        for name in ("tau_mem", "threshold"):
            if isinstance(given.get(name), Tensor) and fault != name:
                given[name] = given[name].abs() + 1.5
        if fault == "adaptation" or one(draw, False, True):
            given["adaptation"] = Adaptation("threshold", 20.0, make("adaptation", N))
        if fault == "state" or one(draw, False, True):
            parts = [numbers(draw, B, N).abs().round() for _ in LIFState._fields]
            given["state"] = LIFState(*parts)
            if fault == "state":
                at = draw(st.integers(0, 4))
                given["state"] = one(draw, tuple(parts[:4]), given["state"]._replace(
                    **{LIFState._fields[at]: spoiled(draw, parts[at])}))
        if op == "lif_recurrent":
            given["recurrent"] = make("recurrent", N, N)

    def call(backend: str) -> Any:
        source = Events(**events) if x is None else x
        leaves = {name: given[name] for name in ("weight", "recurrent", "bias", "delay", "gain") if name in given}
        leaves = {
            name: t.detach().requires_grad_() for name, t in leaves.items()
            if isinstance(t, Tensor) and t.is_floating_point()
        }
        known = {"event_linear": event_linear, "delay_linear": delay_linear, "event_conv": event_conv, "elm": elm}
        function = known.get(op, lif)
        found = function(source, **{**given, **leaves}, backend=backend)
        out = found if isinstance(found, Tensor) else found[0]
        wanted = list(leaves.values())
        slopes: Any = (None,) * len(wanted)  # as in a recording without steps
        if out.requires_grad:
            slopes = torch.autograd.grad(out.sum(), wanted, allow_unused=True)
        slopes = [torch.zeros_like(w) if s is None else s for s, w in zip(slopes, wanted, strict=True)]
        last = () if isinstance(found, Tensor) else found[1] if isinstance(found[1], tuple) else (found[1],)
        begun = given["state"] if op == "elm" and "state" in given else ()
        loose = [t for t in (x, given.get("threshold"), *begun) if isinstance(t, Tensor) and not t.isfinite().all()]
        if loose:
            return [out.detach()[..., :0]]  # NaN spreads as the additions lie; check_finite is there to find it
        return [out.detach(), *last, *slopes]

    return call, [*ARRAYS, *OPS[op], "dt", "recurrent"]


def attempt(call: Callable[[str], Any], names: list[str], backend: str) -> list[Tensor] | None:
    """What a call gives, or `None` where it names an argument."""
    try:
        found: list[Tensor] = call(backend)
    except (ValueError, TypeError) as error:
        name = str(error).split(":")[0].split(".")[0]
        assert name in names, f"{type(error).__name__} names no argument: {error}"
        return None
    return found


def tries(op: str, backend: str, examples: int) -> dict[str, int]:
    """How many calls ran, and how many were refused."""
    count = {"ran": 0, "refused": 0}

    @settings(max_examples=examples, derandomize=True, database=None, deadline=None, phases=(Phase.generate,),
              suppress_health_check=list(HealthCheck))
    @given(st.data())
    def both(data: st.DataObject) -> None:
        call, names = build(data.draw, op)
        wanted, found = attempt(call, names, "reference"), attempt(call, names, backend)
        assert (wanted is None) == (found is None)
        count["ran" if found is not None else "refused"] += 1
        for a, b in zip(found or (), wanted or (), strict=True):
            torch.testing.assert_close(a, b, equal_nan=True)

    both()
    return count


if __name__ == "__main__":
    for name in OPS:
        print(name, *tries(name, "numba", int(sys.argv[1])).values())
