"""The Numba kernels against the specification: outputs, every gradient, threads, memory and inputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking import Events
from spiking.kernels import event_linear
from spiking.kernels.event_linear import cpu as linear
from spiking.kernels.jit import spread
from spiking.kernels.lif import reference
from spiking.kernels.lif.cpu_push import GROUP, SPARSE, push_back, push_to
from spiking.kernels.lif.cpu_step import BLOCK
from spiking.kernels.lif.rule import THETA
from spiking.kernels.surrogate import Surrogate, derivative, resolve
from spiking.kernels.surrogate.cpu import derivative as fast_derivative
from spiking.kernels.surrogate.reference import KINDS

from .cases import CASES, RECURRENT, Case, assert_close, build, specified, through_op
from .guard import poison


@pytest.fixture(name="poison")
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


@pytest.mark.parametrize("case", CASES + RECURRENT, ids=lambda case: case.name)
def test_lif_is_the_specification(case: Case, poison: None) -> None:
    problem = build(case)
    found = through_op(case, problem, "numba")
    assert torch.equal(found.spikes, specified(case, problem).spikes)
    assert_close(case, found, specified(case, problem, found.spikes), 1e-11)


@pytest.mark.parametrize(
    "name",
    [
        "lif", "everything_long", "several_blocks", "multi_gaussian", "recurrent_everything_long",
        "recurrent_several_blocks",
    ],
)  # fmt: skip
def test_lif_in_single_precision(name: str) -> None:
    case = next(case for case in CASES + RECURRENT if case.name == name)
    problem = build(case, torch.float32)
    found = through_op(case, problem, "numba")
    assert found.spikes.dtype == torch.float32
    assert_close(case, found, specified(case, problem, found.spikes), 2e-5)


@pytest.mark.parametrize(
    "name", ["several_blocks", "lengths_dense", "recurrent_several_groups", "recurrent_several_blocks_adlif"]
)
def test_threads_do_not_change_a_bit(name: str) -> None:
    case = next(case for case in CASES + RECURRENT if case.name == name)
    problem = build(case, torch.float32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(through_op(case, problem, "numba"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["several_blocks", "recurrent_several_groups"])
def test_ten_runs_give_the_same_bits(name: str) -> None:
    case = next(case for case in CASES + RECURRENT if case.name == name)
    problem = build(case, torch.float32)
    first = through_op(case, problem, "numba")
    for _ in range(9):
        assert all(torch.equal(a, b) for a, b in zip(first, through_op(case, problem, "numba"), strict=True))


@pytest.mark.parametrize("N", [1, 19, 130])
def test_both_ways_of_an_adjoint_through_recurrent_weights(N: int) -> None:
    """All rows for a group at once, and some rows for each sample, against a matrix product."""
    g, width, blocks = np.random.default_rng(0), -(-N // 16) * 16, -(-N // BLOCK)
    d, V = np.zeros((GROUP + 3, width)), g.standard_normal((N, N))
    d[:, :N] = g.standard_normal((GROUP + 3, N))
    panels = np.zeros((blocks, width, BLOCK))
    for b in range(blocks):
        columns = V[b * BLOCK : (b + 1) * BLOCK].T
        panels[b, :N, : columns.shape[1]] = columns
    slots = g.permutation(GROUP)
    who = np.flatnonzero(g.random(N) < 0.5).astype(np.int32)
    for count in (0, 1, 6, GROUP):
        wanted = np.zeros((GROUP, N))
        wanted[:count] = d[3 + slots[:count]] @ np.pad(V, ((0, 0), (0, width - N))).T
        out = np.zeros((blocks, GROUP, BLOCK))
        push_back(d.ravel(), 3, slots, count, width, panels.ravel(), blocks, out.ravel())
        found = out.transpose(1, 0, 2).reshape(GROUP, -1)
        np.testing.assert_allclose(found[:, :N], wanted, atol=1e-12)
        some = np.zeros_like(out)
        for i in range(count):
            push_to(d.ravel(), (3 + slots[i]) * width, N, V.ravel(), who, 0, len(who), i, some.ravel())
        found = some.transpose(1, 0, 2).reshape(GROUP, -1)
        np.testing.assert_allclose(found[:, who], wanted[:, who], atol=1e-12)
        assert np.count_nonzero(some) == count * len(who)


def test_cases_take_both_ways() -> None:
    for name, few in (("recurrent_few_near_the_threshold", True), ("recurrent_several_groups", False)):
        problem = build(next(case for case in RECURRENT if case.name == name))
        current = problem.events.to_dense(torch.float64) @ problem.weight
        _, membrane, _ = reference.lif(
            current, problem.params, problem.state, problem.flags, problem.surrogate, problem.recurrent, problem.lengths
        )
        near = ((membrane - problem.params[THETA]).abs() < 1).double().mean()
        assert (0 < near < SPARSE) == few


def test_spread_runs_every_task_once_and_passes_errors_on() -> None:
    done = np.zeros(100, np.int64)

    def task(number: int, fail: int) -> None:
        done[number] += 1
        if number == fail:
            raise RuntimeError("task")

    spread(task, 100, -1)
    assert (done == 1).all()
    with pytest.raises(RuntimeError, match="task"):
        spread(task, 100, 50)
    spread(task, 0, -1)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_surrogates(name: str, dtype: torch.dtype) -> None:
    surrogate = Surrogate("never") if name == "never" else resolve(name)
    assert isinstance(surrogate, Surrogate)
    x = torch.cat([torch.linspace(-3, 3, 501, dtype=dtype), torch.tensor([0.5, -0.5, 1.0, -1.0], dtype=dtype)])
    out = torch.cat([x, torch.full_like(x[:3], torch.nan)])
    fast_derivative(surrogate.kind, np.array(surrogate.numbers[1:], x.numpy().dtype), out.numpy(), 0, len(x))
    torch.testing.assert_close(out[:-3], derivative(surrogate, x), rtol=2e-6, atol=1e-6)
    assert out[-3:].isnan().all()


@settings(max_examples=40)
@given(
    sizes=st.tuples(*(st.integers(0, 7) for _ in range(4))), density=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    valued=st.booleans(), seed=st.integers(0, 99),
)
def test_event_linear_is_a_matrix_product(
    sizes: tuple[int, int, int, int], density: float, valued: bool, seed: int
) -> None:
    T, B, inputs, out = sizes
    g = torch.Generator().manual_seed(seed)
    dense = (torch.rand(T, B, inputs, generator=g) < density).double()
    if valued:
        dense *= torch.randint(-2, 3, dense.shape, generator=g)
    weight = torch.randn(inputs, out, generator=g, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(T, B, out, generator=g, dtype=torch.float64)
    x = dense.clone().requires_grad_()
    wanted = dense @ weight
    for given_x in (Events.from_dense(dense, 1.0), x):
        y = event_linear(given_x, weight)
        torch.testing.assert_close(y, wanted)
        torch.testing.assert_close(
            torch.autograd.grad(y, weight, grad, retain_graph=True)[0],
            torch.einsum("tbi,tbo->io", dense, grad),
        )
    torch.testing.assert_close(torch.autograd.grad(y, x, grad)[0], grad @ weight.detach().t())


def test_event_linear_in_blocks(poison: None) -> None:
    g = torch.Generator().manual_seed(0)
    dense = (torch.rand(9, 5, 30, generator=g) < 0.1).double()
    weight = torch.randn(30, 301, generator=g, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(9, 5, 301, generator=g, dtype=torch.float64)
    y = event_linear(Events.from_dense(dense, 1.0), weight)
    torch.testing.assert_close(y, dense @ weight)
    torch.testing.assert_close(torch.autograd.grad(y, weight, grad)[0], torch.einsum("tbi,tbo->io", dense, grad))


@settings(max_examples=30)
@given(rows=st.integers(0, 40), channels=st.integers(0, 40), seed=st.integers(0, 99), valued=st.booleans())
def test_compress_keeps_every_entry_in_order(rows: int, channels: int, seed: int, valued: bool) -> None:
    g = torch.Generator().manual_seed(seed)
    x = (torch.rand(rows, channels, generator=g) < 0.1).float()
    if valued:
        x *= torch.randn(x.shape, generator=g)
    found = linear.compress(x, 1.0)
    assert found is not None
    indptr, index, value = found
    row, channel = x.nonzero(as_tuple=True)
    assert torch.equal(index.long(), channel)
    assert torch.equal(torch.arange(rows).repeat_interleave(indptr.diff()), row)
    assert torch.equal(value if value.numel() else torch.ones(len(row)), x[row, channel])


def test_a_sparse_input_is_kept_as_events_and_a_dense_one_whole() -> None:
    weight = torch.randn(50, 8, requires_grad=True)
    for density, kept in ((0.02, False), (0.5, True)):
        x = (torch.rand(40, 50, generator=torch.Generator().manual_seed(0)) < density).float()
        _, _, index, value, whole = torch.ops.spiking.dense_linear(x, weight, "numba")
        assert whole.shape[0] == (40 if kept else 0)
        assert index.numel() == (0 if kept else int(x.sum()))
        assert value.numel() == 0


BOUNDS = """
import sys
sys.path.insert(0, {folder!r})
import torch
from cases import CASES, RECURRENT, build, through_op
from spiking import Events
from spiking.kernels import LIFState, event_linear, lif
for case in CASES + RECURRENT:
    if case.name in {names!r}:
        through_op(case, build(case), "numba")
g, refused, ran = torch.Generator().manual_seed(0), 0, 0
def draw(low, high): return int(torch.randint(low, high, (), generator=g))
for _ in range(60):
    T, B, inputs, N = draw(0, 20), draw(0, 6), draw(1, 9), draw(1, 140)
    off = [draw(-1, 2) if draw(0, 4) == 0 else 0 for _ in range(6)]
    try:
        rows = torch.randint(0, 3, (T * B,), generator=g)
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), rows.cumsum(0)])
        index = torch.randint(min(0, off[0]), inputs + max(0, off[0]), (int(indptr[-1]),), generator=g)
        lengths = torch.randint(min(0, off[1]), T + 1 + max(0, off[1]), (B,), generator=g)
        x = Events(indptr, index, (T, B, inputs), 1.0, lengths=lengths)
        weight = torch.randn(inputs + off[2], N, generator=g, dtype=torch.float64, requires_grad=True)
        recurrent = torch.randn(N + off[3], N + off[4], generator=g, dtype=torch.float64, requires_grad=True)
        state = LIFState(*torch.ones(5, B, N + off[5], dtype=torch.float64)) if draw(0, 2) else None
        lif(x, state, weight=weight, recurrent=recurrent)[0].sum().backward()
        ran += 1
    except ValueError:
        refused += 1
assert ran > 5 and refused > 5, (ran, refused)
x = (torch.rand(3, 2, 30) < 0.1).double()
event_linear(x, torch.randn(30, 130, dtype=torch.float64, requires_grad=True)).sum().backward()
"""


@pytest.mark.timeout(300)
def test_no_kernel_leaves_its_arrays(tmp_path: Path) -> None:
    """Numba checks every index: a place outside an array raises an IndexError."""
    names = ["several_blocks", "everything_long", "lengths_dense", "one_neuron"]
    names += ["recurrent_several_groups", "recurrent_everything_long", "recurrent_all_firing", "recurrent_dense"]
    names.append("recurrent_few_near_the_threshold")
    script = BOUNDS.format(folder=str(Path(__file__).parent), names=names)
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "0"}
    run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
