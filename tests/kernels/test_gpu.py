"""The kernels on a real GPU, at sizes that networks have, against the specification on the CPU.

    cd tests && pytest -m gpu kernels
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spiking.events import Events
from spiking.kernels import event_linear, lif
from spiking.kernels.lif.rule import Flags

from .cases import CASES, RECURRENT, Case, assert_close, build, specified, through_op
from .guard import poison
from .sparse_cases import SOME, check_linear, masked, sparse, through_sparse, trains

pytestmark = pytest.mark.gpu


def on_cpu(*found):
    return type(found[0])(*(x.cpu() for x in found[0]))


def narrow(p, dtype):
    recurrent = None if p.recurrent is None else p.recurrent.to(dtype)
    gradients = (p.gradients[0].to(dtype), *p.gradients[1:])
    return p._replace(weight=p.weight.to(dtype), recurrent=recurrent, gradients=gradients)


def check(case: Case, dtype: torch.dtype, tolerance: float) -> None:
    found = on_cpu(through_op(case, build(case, dtype, "cuda"), "triton"))
    problem = build(case, dtype)
    if dtype == torch.float64:
        assert torch.equal(found.spikes, specified(case, problem).spikes)
    assert_close(case, found, specified(case, problem, found.spikes), tolerance)


@pytest.mark.parametrize("case", CASES + RECURRENT, ids=lambda c: c.name)
def test_every_case_in_float64(case, monkeypatch):
    poison(monkeypatch)
    check(case, torch.float64, 1e-9)


@pytest.mark.parametrize("case", CASES + RECURRENT, ids=lambda c: c.name)
def test_every_case_in_float32(case, monkeypatch):
    poison(monkeypatch)
    check(case, torch.float32, 1e-3)


@pytest.mark.parametrize(
    ("T", "B", "inputs", "N", "reach"), [(20, 9, 300, 400, 0.1), (1, 1, 200, 9000, 0.05), (300, 1, 9, 200, 1.0)]
)
def test_sparse_synapses(T, B, inputs, N, reach, monkeypatch):
    poison(monkeypatch)
    check_linear(trains(T, B, inputs, 0.2, True), sparse(inputs, N, reach), "triton", "cuda")


MANY = Case("many", Flags(adaptation=1), "arctan", T=40, B=150, N=3000, fused=False, trace=False, recurrent=True)


@pytest.mark.parametrize("case", [*SOME, MANY], ids=lambda c: c.name)
def test_sparse_recurrent_weights(case, monkeypatch):
    """In float64, so that a race between warps can't hide; a matrix with a third of its synapses."""
    poison(monkeypatch)
    p, kept = masked(case)
    moved = p._replace(**{n: x.to("cuda") for n, x in zip(p._fields, p, strict=True) if isinstance(x, torch.Tensor)})
    moved = moved._replace(
        events=None if p.events is None else p.events.to("cuda"), gradients=tuple(x.to("cuda") for x in p.gradients)
    )
    found = on_cpu(through_sparse(case, moved, "triton"))
    assert torch.equal(found.spikes, specified(case, p).spikes)
    wanted = specified(case, p, found.spikes)
    assert_close(case, found, wanted._replace(grad_recurrent=wanted.grad_recurrent * kept), 1e-9)


@pytest.mark.parametrize("flags", [Flags(), Flags(1, 2, 0, 0, 0, 0, 0, 2, 1), Flags(0, 1, 1, 1)])
@pytest.mark.parametrize("fused", [True, False])
def test_sizes_of_real_networks(flags, fused):
    """Few decisions differ from float64, and the gradients are those of the spikes that were made."""
    case = Case("real", flags, T=100, B=64, N=256, inputs=700, density=0.015, fused=fused, trace=False)
    p = build(case, torch.float32)
    if fused:
        p = p._replace(weight=p.weight * 0.25)
    moved = p._replace(**{n: x.to("cuda") for n, x in zip(p._fields, p, strict=True) if isinstance(x, torch.Tensor)})
    moved = moved._replace(
        events=None if p.events is None else p.events.to("cuda"), gradients=tuple(x.to("cuda") for x in p.gradients)
    )
    found = on_cpu(through_op(case, moved, "triton"))
    free = specified(case, p)
    assert 0.001 < float(free.spikes.mean()) < 0.9
    assert float((found.spikes != free.spikes).double().mean()) <= 1e-5
    wanted = specified(case, p, found.spikes)
    for name in ("grad_input", "grad_params", "grad_state"):
        a, b = getattr(found, name).double(), getattr(wanted, name)
        assert float((a - b).square().mean().sqrt()) <= 1e-3 * float(b.square().mean().sqrt()), name


@pytest.mark.parametrize("N", [128, 256, 512, 1000])
@pytest.mark.parametrize("surrogate", ["triangle", "arctan"])
@pytest.mark.parametrize("flags", [Flags(), Flags(1, 1, 0, 0, 0, 0)])
def test_connected_populations_of_real_sizes(flags, surrogate, N):
    """In float64, so that a race between warps can't hide behind the chaos of a recurrent network in float32."""
    case = Case("real", flags, surrogate, T=40, B=150, N=N, inputs=100, density=0.1, trace=False, recurrent=True)
    p = build(case, torch.float64, "cuda")
    found = through_op(case, p, "triton")
    free = specified(case, p)
    assert 0.01 < float(free.spikes.mean()) < 0.6
    assert torch.equal(found.spikes, free.spikes)
    assert_close(case, found, free, 1e-9)


AGAIN = ("everything", "everything_dense", "several_blocks", "recurrent_everything", "recurrent_several_blocks")


@pytest.mark.parametrize("case", [c for c in CASES + RECURRENT if c.name in AGAIN], ids=lambda c: c.name)
def test_ten_runs_give_the_same_bits(case):
    p = build(replace(case, T=63, B=40), torch.float32, "cuda")
    runs = [through_op(case, p, "triton") for _ in range(10)]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights(dtype, recurrent):
    case = Case("narrow", T=20, B=8, N=64, trace=False, recurrent=recurrent)
    p = build(case, torch.float32, "cuda")
    p = narrow(p, dtype)
    found = on_cpu(through_op(case, p, "triton"))
    assert found.spikes.dtype == found.grad_input.dtype == dtype
    q = build(case, torch.float32)
    q = narrow(q, dtype)
    assert_close(case, found, specified(case, q, found.spikes), 1e-2)


def test_more_cells_than_32_bits_count():
    """T * B * N just above 2^31: the last sample's rows lie beyond what a 32-bit offset reaches."""
    T, B, N = 129, 16400, 1024
    if torch.cuda.mem_get_info()[0] < 24e9:
        pytest.skip("needs 24 GB of free GPU memory")
    current = torch.zeros(T, B, N, dtype=torch.bfloat16, device="cuda")
    current[:, -1] = 3.0
    spikes, _ = lif(current, tau_mem=2.0, dt=1.0)
    alone, _ = lif(current[:, -1:].clone(), tau_mem=2.0, dt=1.0)
    assert torch.equal(spikes[:, -1:], alone) and bool(alone.any())
    assert not bool(spikes[:, :-1].any())


@pytest.mark.parametrize("counts", [False, True])
def test_event_linear_and_both_gradients(counts):
    g = torch.Generator().manual_seed(0)
    dense = (torch.rand(50, 16, 301, generator=g) < 0.05).float()
    if counts:
        dense *= torch.randint(-2, 5, dense.shape, generator=g)
    grad = torch.randn(50, 16, 75, generator=g)
    weight = torch.randn(301, 75, generator=g)
    exact = torch.einsum("tbi,tbo->io", dense.double(), grad.double())
    for x in (Events.from_dense(dense, dt=1.0).to("cuda"), dense.cuda().requires_grad_()):
        w = weight.clone().cuda().requires_grad_()
        y = event_linear(x, w)
        torch.testing.assert_close(y.cpu().double(), dense.double() @ weight.double(), rtol=1e-4, atol=1e-4)
        y.backward(grad.cuda())
        torch.testing.assert_close(w.grad.cpu().double(), exact, rtol=1e-4, atol=1e-3)
        if isinstance(x, torch.Tensor):
            dx = grad.double() @ weight.double().T
            torch.testing.assert_close(x.grad.cpu().double(), dx, rtol=1e-2, atol=5e-2)  # TF32 if torch is set to it


def test_slices_of_events_and_misaligned_currents():
    g = torch.Generator().manual_seed(1)
    x = Events.from_dense(torch.rand(30, 4, 50, generator=g) < 0.2, dt=1.0)
    weight = torch.randn(50, 33, generator=g)
    for part in (x[3:], x[:, [2, 0]], x[5:21]):
        a, _ = lif(part.to("cuda"), weight=weight.cuda())
        b, _ = lif(part, weight=weight, backend="reference")
        assert float((a.cpu() != b).float().mean()) <= 1e-4
    flat = torch.randn(9 * 4 * 32 + 1, generator=g)
    current = flat[1:].view(9, 4, 32)
    a, _ = lif(flat.cuda()[1:].view(9, 4, 32), dt=1.0)
    b, _ = lif(current, dt=1.0, backend="reference")
    assert float((a.cpu() != b).float().mean()) <= 1e-4
