"""The layer of ELM neurons: the fused kernel against the specification, step by step and its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from spiking.kernels import MLP
from spiking.kernels.elm_layer import LayerState, elm_layer

GRADED = ("drive", "m0", "r0", "a0", "W_m", "b_h", "W_u", "b_u", "decay", "gain", "read", "bias", "k", "R")


def given(T: int = 9, B: int = 3, N: int = 4, d: int = 2, h: int = 5, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    shapes = {
        "drive": (T, B, N, h), "m0": (B, N, d), "r0": (B, N), "a0": (B, N), "W_m": (N, d, h), "b_h": (N, h),
        "W_u": (N, h, d), "b_u": (N, d), "read": (N, d), "bias": (N,), "R": (N, N, h),
    }  # fmt: skip
    made = {name: torch.randn(shape, dtype=torch.float64) * 0.7 for name, shape in shapes.items()}
    made |= {"decay": torch.rand(N, d, dtype=torch.float64), "gain": torch.rand(N, d, dtype=torch.float64)}
    made["k"] = torch.tensor([0.8], dtype=torch.float64)
    return {name: value.requires_grad_() for name, value in made.items()}


def run(x: dict[str, Tensor], backend: str, wired: bool = True, high: bool = True, **options: Any) -> Any:
    return elm_layer(
        x["drive"], LayerState(x["m0"], x["r0"], x["a0"]), mlp=MLP(x["W_m"], x["b_h"], x["W_u"], x["b_u"]),
        decay=x["decay"], gain=x["gain"], read=x["read"], bias=x["bias"], high_pass=x["k"] if high else None,
        recurrent=x["R"] if wired else None, backend=backend, **options,
    )  # fmt: skip


@pytest.mark.parametrize("activation", ["relu_squared", "relu", "silu"])
@pytest.mark.parametrize("output", ["relu", "identity", "spike"])
@pytest.mark.parametrize("wired", [True, False])
def test_the_kernel_is_the_specification_with_every_gradient(activation: str, output: str, wired: bool) -> None:
    lengths = torch.tensor([9, 0, 4])
    found = {}
    for backend in ("reference", "numba"):
        x = given()
        a, after = run(x, backend, wired, activation=activation, output=output, lengths=lengths)
        weight = torch.linspace(-1, 2, a.numel(), dtype=a.dtype).view_as(a)
        (a * weight).sum().add(sum((part * part).sum() for part in after)).backward()
        found[backend] = [a, *after, *(x[name].grad for name in GRADED if wired or name != "R")]
    for ours, theirs in zip(found["numba"], found["reference"], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-11)
    a, memory = found["numba"][:2]
    assert not a[4:, 2].any() and not a[:, 1].any() and torch.equal(memory[1], given()["m0"][1])
    assert a.any() and (output != "spike" or set(a.unique().tolist()) <= {0.0, 1.0})


@pytest.mark.parametrize(
    ("T", "B", "N", "d", "h"), [(0, 2, 3, 1, 2), (1, 1, 1, 1, 1), (33, 17, 5, 3, 7), (5, 0, 2, 2, 2)]
)
def test_odd_sizes(T: int, B: int, N: int, d: int, h: int) -> None:
    x = given(T, B, N, d, h)
    ours, theirs = (run(x, backend, high=False)[0] for backend in ("numba", "reference"))
    assert ours.shape == (T, B, N) and torch.allclose(ours, theirs)
    if not T:
        return
    grads = torch.autograd.grad(ours.sum(), [x["drive"], x["R"]])
    wanted = torch.autograd.grad(theirs.sum(), [x["drive"], x["R"]], allow_unused=True, materialize_grads=True)
    assert all(torch.allclose(g, w) for g, w in zip(grads, wanted, strict=True))


def test_a_layer_goes_on_where_it_stopped() -> None:
    x = given(T=8)
    whole, last = run(x, "numba")
    first, state = run({**x, "drive": x["drive"][:3]}, "numba")
    second, after = run({**x, "drive": x["drive"][3:], **dict(zip(("m0", "r0", "a0"), state, strict=True))}, "numba")
    assert torch.allclose(torch.cat([first, second]), whole)
    assert all(torch.allclose(a, b) for a, b in zip(last, after, strict=True))


def test_the_smooth_parts_have_the_gradient_of_their_own_values() -> None:
    x = given(T=4, B=2, N=2, d=2, h=3)

    def smooth(*values: Tensor) -> Tensor:
        return run(dict(zip(GRADED, values, strict=True)), "numba", activation="silu", output="identity")[0]

    assert torch.autograd.gradcheck(smooth, [x[name] for name in GRADED])


def test_the_high_pass_forgets_what_stays() -> None:
    """With a constant input the memory settles, and an output without bias falls to nothing."""
    x = {name: value.detach() for name, value in given(T=400, B=1).items()}
    x["drive"] = x["drive"][:1].expand(400, -1, -1, -1) * 0.3
    x["bias"] = torch.zeros(4, dtype=torch.float64)
    heard = run(x, "numba", wired=False, output="identity", activation="silu")[0]
    assert heard[:3].abs().max() > 0.05 and heard[-1].abs().max() < 1e-6


def test_bad_input_is_named() -> None:
    x = given()
    for change, said in (
        ({"R": x["R"][:2]}, r"recurrent: expected \(N, N, h\), here \(4, 4, 5\), got \(2, 4, 5\)"),
        ({"drive": x["drive"][0]}, r"drive: expected \(T, B, N, h\), got \(3, 4, 5\)"),
        ({"gain": x["gain"].float()}, "gain: expected torch.float64 as drive has, got torch.float32"),
        ({"a0": x["a0"][:, :1]}, r"state.activity: expected \(B, N\), here \(3, 4\)"),
        ({"k": torch.ones(3)}, r"high_pass: expected a number or \(1,\), got \(3,\)"),
    ):
        with pytest.raises(ValueError, match=said):
            run({**x, **change}, "numba")
    with pytest.raises(ValueError, match="output: expected one of relu, identity, spike, got 'tanh'"):
        run(x, "numba", output="tanh")
    with pytest.raises(ValueError, match="lengths: expected 0 to 9 steps"):
        run(x, "numba", lengths=torch.tensor([1, 2, 10]))


@pytest.mark.parametrize(
    ("part", "name"), [("W_m", "mlp.memory"), ("b_h", "mlp.bias"), ("read", "read"), ("R", "recurrent")]
)
def test_weights_that_are_no_numbers_are_named(part: str, name: str) -> None:
    x = given()
    with torch.no_grad():
        x[part][2] = torch.nan
    for backend in ("numba", "reference"):
        with pytest.raises(ValueError, match=f"{name}: expected finite numbers, got nan at neuron 2"):
            run(x, backend)


@pytest.mark.parametrize("activation", ["relu_squared", "relu", "silu"])
def test_what_is_no_number_passes_on(activation: str) -> None:
    x = given()
    with torch.no_grad():
        x["drive"][4, 1, 0, 0] = torch.nan
    ours, theirs = (run(x, backend, activation=activation)[0] for backend in ("numba", "reference"))
    assert ours[4, 1, 0].isnan() and torch.equal(ours.isnan(), theirs.isnan())


def test_opcheck() -> None:
    x = given(T=3)
    flags = [0.0, 2.0, 1.0, 25.0, 0.0, 0.0, 0.0]
    rows = [x[name] for name in GRADED[:13]]
    torch.library.opcheck(torch.ops.spiking.elm_layer, (*rows, x["R"], torch.tensor([3, 0, 2]), flags))
