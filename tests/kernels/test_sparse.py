"""Sparse synapses: `event_linear` and `lif` with a SparseWeight against the same ops with the dense matrix."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking import Events
from spiking.kernels import Adaptation, FallbackWarning, LIFState, Rule, SparseWeight, event_linear, lif, set_backend
from spiking.kernels.jit import jit, meet, together
from spiking.kernels.lif import cpu_fan, cpu_sparse
from spiking.kernels.lif.rule import CHECKPOINT
from spiking.kernels.sparse_linear import cpu

from .cases import RECURRENT, Case, Problem, Result, _gradients, assert_close, build, leaves_of, specified
from .guard import poison

OPS = torch.ops.spiking
NAMES = (
    "recurrent_lif", "recurrent_dense", "recurrent_without_trace", "recurrent_no_step_dense", "recurrent_one_neuron",
    "recurrent_segment_and_a_step", "recurrent_several_groups", "recurrent_several_blocks_adlif", "recurrent_lengths",
    "recurrent_empty_batch", "recurrent_all_firing_refractory", "recurrent_everything_long",
    "recurrent_leaky_integrator", "recurrent_everything", "recurrent_few_near_the_threshold",
)  # fmt: skip
WHOLE = Case("recurrent_whole_groups", T=18, B=131, N=19, surrogate="arctan", fused=False, recurrent=True)
SOME = [*(case for case in RECURRENT if case.name in NAMES), WHOLE]


def sparse(
    inputs: int, N: int, density: float = 0.3, seed: int = 0, dtype: torch.dtype = torch.float64
) -> SparseWeight:
    """Random synapses whose strengths take a gradient."""
    g = torch.Generator().manual_seed(seed)
    matrix = torch.randn(inputs, N, generator=g, dtype=dtype) * (torch.rand(inputs, N, generator=g) < density)
    weight = SparseWeight.from_dense(matrix)
    return weight.with_values(weight.values.requires_grad_())


def trains(T: int, B: int, inputs: int, density: float = 0.3, counts: bool = False, seed: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    dense = (torch.rand(T, B, inputs, generator=g) < density).double()
    return dense * torch.randint(-2, 3, dense.shape, generator=g) if counts else dense


def check_linear(dense: Tensor, weight: SparseWeight, backend: str, device: str = "cpu") -> None:
    """Events and a graded input, forward and all gradients, against the dense product."""
    dense, weight = dense.to(device), weight.to(device)
    matrix = weight.to_dense().detach().requires_grad_()
    graded = [dense.clone().requires_grad_() for _ in range(2)]
    wanted = graded[0] @ matrix
    grad = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(2), dtype=wanted.dtype).to(device)
    dx, dw = torch.autograd.grad(wanted, (graded[0], matrix), grad)
    at = dw[weight.rows(), weight.index.long()]
    for x in (Events.from_dense(dense, 1.0), graded[1]):
        out = event_linear(x, weight, backend=backend)
        torch.testing.assert_close(out, wanted)
        torch.testing.assert_close(torch.autograd.grad(out, weight.values, grad, retain_graph=True)[0], at)
    torch.testing.assert_close(torch.autograd.grad(out, graded[1], grad)[0], dx)


@settings(max_examples=40)
@given(
    sizes=st.tuples(*(st.integers(0, 7) for _ in range(2)), *(st.integers(1, 9) for _ in range(2))),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]), reach=st.sampled_from([0.0, 0.2, 1.0]), counts=st.booleans(),
    seed=st.integers(0, 99), backend=st.sampled_from(["numba", "reference"]),
)  # fmt: skip
def test_event_linear_is_the_dense_product(
    sizes: tuple[int, int, int, int], density: float, reach: float, counts: bool, seed: int, backend: str
) -> None:
    """Empty rows, no synapse at all, no event, no sample and no step among them."""
    T, B, inputs, N = sizes
    check_linear(trains(T, B, inputs, density, counts, seed), sparse(inputs, N, reach, seed), backend)


@pytest.mark.parametrize(("T", "B", "inputs", "N"), [(1, 1, 9, 3 * cpu.TILE + 5), (9, 5, 30, 301), (37, 3, 60, 17)])
def test_every_cut_writes_everything(T: int, B: int, inputs: int, N: int, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)
    check_linear(trains(T, B, inputs, counts=True), sparse(inputs, N), "numba")


def test_many_events_share_the_synapses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients in shares of rows, which are added up."""
    poison(monkeypatch)
    check_linear(trains(40, 9, 12, 0.9), sparse(12, 7), "numba")


def test_events_that_share_a_step_and_a_channel_add_up() -> None:
    x = Events(torch.tensor([0, 3]), torch.tensor([1, 1, 0]), (1, 1, 2), 1.0)
    weight = SparseWeight.from_dense(torch.tensor([[1.0], [10.0]]))
    weight = weight.with_values(weight.values.requires_grad_())
    out = event_linear(x, weight)
    out.sum().backward()
    assert out.flatten().tolist() == [21.0] and weight.values.grad.tolist() == [1.0, 2.0]


def masked(case: Case, dtype: torch.dtype = torch.float64) -> tuple[Problem, Tensor]:
    """A case whose recurrent matrix has a third of its synapses, and which."""
    p = build(case, dtype)
    assert p.recurrent is not None
    kept = torch.rand(p.recurrent.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    return p._replace(recurrent=p.recurrent * kept / 0.5), kept


def arguments(case: Case, p: Problem, leaves: list[Tensor]) -> tuple[Any, ...]:
    source, params, state, matrix = leaves
    current = source if p.events is None else p.events.to_dense(source.dtype) @ source
    fan = SparseWeight.from_dense(matrix)
    flags, numbers = p.flags.as_list(), p.surrogate.numbers
    return current, fan.indptr, fan.index, fan.values, params, state, p.lengths, flags, numbers, case.trace, True


def through_sparse(case: Case, p: Problem) -> Result:
    """Forward and backward of `lif_sparse`; the gradient of V is that of a matrix, 0 where there is no synapse."""
    leaves = leaves_of(p)
    spikes, membrane, last, _, _ = OPS.lif_sparse(*arguments(case, p, leaves))
    outputs, given = (spikes, membrane, last), p.gradients
    if not case.trace:
        outputs, given = (spikes, last), (given[0], given[2])
    return Result(spikes.detach(), membrane.detach(), last.detach(), *_gradients(leaves, outputs, given))


@pytest.mark.parametrize("team", [False, True], ids=["by_samples", "by_neurons"])
@pytest.mark.parametrize("case", SOME, ids=lambda case: case.name)
def test_lif_is_the_specification(case: Case, team: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)
    monkeypatch.setattr(cpu_sparse, "TEAM", 1 if team else 2048)
    p, kept = masked(case)
    found = through_sparse(case, p)
    assert torch.equal(found.spikes, specified(case, p).spikes)
    wanted = specified(case, p, found.spikes)
    assert_close(case, found, wanted._replace(grad_recurrent=wanted.grad_recurrent * kept), 1e-11)


@pytest.mark.parametrize("N", [1, 19, 130])
def test_both_ways_of_an_adjoint_through_synapses(N: int) -> None:
    """A group at once, and some neurons of each sample, against a matrix product."""
    g, fan = np.random.default_rng(0), sparse(N, N)
    V, indptr, index = fan.to_dense().detach().numpy(), fan.indptr.numpy(), fan.index.numpy()
    values, d = fan.values.detach().numpy(), g.standard_normal((cpu_fan.GROUP + 2, N))
    tile, felt = np.zeros(N * cpu_fan.GROUP), np.full(N * cpu_fan.GROUP, np.nan)
    for count in (1, 5, cpu_fan.GROUP):
        cpu_fan.push_all(tile, d.ravel(), 2 * N, N, count, N, indptr, index, values, felt)
        for lane in range(count):
            wanted, slope = V @ d[2 + lane], (g.random(N) < 0.5).astype(float)
            for lo in range(0, N, 128):
                n = min(128, N - lo)
                at_once, some = np.ones(128), np.ones(128)
                cpu_fan.take(at_once, n, lo, lane, felt)
                cpu_fan.push(some, slope, lo, n, lo, indptr, index, values, d.ravel(), (2 + lane) * N)
                np.testing.assert_allclose(at_once[:n], 1 + wanted[lo : lo + n], atol=1e-12)
                near = slope[lo : lo + n] != 0
                np.testing.assert_allclose(some[:n], np.where(near, 1 + wanted[lo : lo + n], 1), atol=1e-12)


OPTIONS: dict[str, Any] = dict(
    tau_mem=8.0, tau_syn=5.0, adaptation=Adaptation("threshold", strength=1.0), rule=Rule(refractory=2.0),
    surrogate="triangle",
)  # fmt: skip


@pytest.mark.parametrize("backend", ["numba", "reference"])
@pytest.mark.parametrize("which", ["weight", "recurrent", "both"])
def test_lif_is_that_of_the_dense_matrices(which: str, backend: str) -> None:
    """Spikes, state and all gradients; Events of different lengths; a recording in two parts."""
    x = Events.from_dense(trains(30, 3, 20, 0.2), 1.0, torch.tensor([30, 0, 17]))
    found = []
    for thin in (False, True):
        weight, recurrent = sparse(20, 13), sparse(13, 13, seed=3)
        dense = [w.to_dense().detach().requires_grad_() for w in (weight, recurrent)]
        W: Any = weight if thin and which != "recurrent" else dense[0]
        V: Any = recurrent if thin and which != "weight" else dense[1]
        first, state = lif(x[:11], weight=W, recurrent=V, backend=backend, **OPTIONS)
        second, state = lif(x[11:], state, weight=W, recurrent=V, backend=backend, **OPTIONS)
        assert isinstance(first, Tensor) and isinstance(second, Tensor)
        spikes = torch.cat([first, second])
        loss = (spikes * torch.linspace(-1, 1, 13)).sum() + state.membrane.sum()
        leaves = [w.values if isinstance(w, SparseWeight) else w for w in (W, V)]
        gradients = [
            g if isinstance(w, SparseWeight) else g[full.rows(), full.index.long()]
            for g, w, full in zip(torch.autograd.grad(loss, leaves), (W, V), (weight, recurrent), strict=True)
        ]
        found.append([spikes.detach(), *(s.detach() for s in state), *gradients])
    assert 0 < found[0][0].sum() < found[0][0].numel() / 2
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_a_train_drawn_from_dyadic_weights_is_the_same_spike_for_spike() -> None:
    """Sums of multiples of 1/64 are exact in any order: sparse and dense must agree in float32, too."""
    g = torch.Generator().manual_seed(0)
    matrix = torch.randint(-8, 9, (300, 300), generator=g) / 64 * (torch.rand(300, 300, generator=g) < 0.1)
    x = Events.from_dense(torch.rand(40, 2, 300, generator=g) < 0.1, 1.0)
    rule = Rule(input_scale="one")
    trains = [
        lif(x, weight=w, recurrent=w, rule=rule, threshold=0.5)[0] for w in (matrix, SparseWeight.from_dense(matrix))
    ]
    assert torch.equal(*trains) and 0.01 < trains[0].mean() < 0.5


def test_single_precision() -> None:
    case = next(case for case in SOME if case.name == "recurrent_everything_long")
    p, kept = masked(case, torch.float32)
    found = through_sparse(case, p)
    wanted = specified(case, p, found.spikes)
    assert found.spikes.dtype == torch.float32
    assert_close(case, found, wanted._replace(grad_recurrent=wanted.grad_recurrent * kept), 2e-5)


@pytest.mark.parametrize("team", [False, True], ids=["by_samples", "by_neurons"])
def test_threads_do_not_change_a_bit(team: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_sparse, "TEAM", 1 if team else 2048)
    case = next(case for case in SOME if case.name == "recurrent_several_blocks_adlif")
    p, _ = masked(case, torch.float32)
    linear = [(trains(*sizes).float(), sparse(*sizes[2:], dtype=torch.float32)) for sizes in LINEAR]
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found = list(through_sparse(case, p))
            for dense, weight in linear:
                x = dense.clone().requires_grad_()
                out = event_linear(x, weight)
                found += [out, *torch.autograd.grad(out.square().sum(), [x, weight.values])]
            results.append(found)
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


LINEAR = [(1, 1, 9, 5 * cpu.TILE), (20, 9, 30, 12)]


def test_together_lets_threads_wait_for_each_other() -> None:
    """Each thread writes its place and reads its neighbour's after the barrier, many times over."""

    @jit
    def go_round(k, n, barrier, seen, wrong):  # type: ignore[no-untyped-def]
        for turn in range(1, 2000):
            seen[turn % 2, k] = turn
            if barrier:
                meet(barrier)
            wrong[k] += seen[turn % 2, (k + 1) % n] != turn

    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            seen, wrong = np.zeros((2, threads), np.int64), np.zeros(threads, np.int64)
            together(go_round, seen, wrong)
            assert seen[1, 0] == 1999 and not wrong.any()

            def fails(k: int, n: int, barrier: int) -> None:
                raise RuntimeError("task")

            with pytest.raises(RuntimeError, match="task"):
                together(fails)
    finally:
        torch.set_num_threads(before)


def test_opcheck() -> None:
    x, weight = Events.from_dense(trains(5, 3, 30, 0.1), 1.0), sparse(30, 12)
    fan = weight.indptr, weight.index
    torch.library.opcheck(OPS.sparse_linear, (x.indptr, x.index, x.value, *fan, weight.values, 15, 12, "numba"))
    flat = x.to_dense(torch.float64).view(15, 30).requires_grad_()
    torch.library.opcheck(OPS.sparse_linear_dense, (flat, *fan, weight.values, 12, "numba"))
    grad = torch.randn(15, 12, dtype=torch.float64)
    torch.library.opcheck(OPS.sparse_linear_backward, (x.indptr, x.index, x.value, *fan, grad, "numba"))
    torch.library.opcheck(OPS.sparse_linear_inputs, (grad, *fan, weight.values.detach(), "numba"))
    case = next(case for case in SOME if case.name == "recurrent_everything")
    p, _ = masked(case, torch.float32)
    given = [x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x
             for x in arguments(case, p, leaves_of(p))]  # fmt: skip
    torch.library.opcheck(OPS.lif_sparse, tuple(given))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of inductor itself
@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compiles_into_one_graph(compiler: str) -> None:
    if compiler == "inductor" and not shutil.which("g++"):
        pytest.skip("inductor needs g++")
    x, weight = Events.from_dense(trains(20, 3, 30, 0.1), 1.0), sparse(30, 12, dtype=torch.float32)
    recurrent = sparse(12, 12, dtype=torch.float32)

    def run(x: Events, weight: SparseWeight, recurrent: SparseWeight) -> Tensor:
        hidden, _ = lif(x, weight=weight, recurrent=recurrent, tau_mem=10.0)
        assert isinstance(hidden, Tensor)
        return event_linear(hidden, recurrent)

    leaves = [weight.values, recurrent.values]
    wanted = run(x, weight, recurrent)
    slopes = torch.autograd.grad(wanted.sum(), leaves)
    found = torch.compile(run, fullgraph=True, backend=compiler)(x, weight, recurrent)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), leaves), slopes)


def test_gradcheck() -> None:
    weight, dense = sparse(6, 4), trains(3, 2, 6, 0.5).requires_grad_()

    def product(x: Tensor, values: Tensor) -> Tensor:
        return event_linear(x, weight.with_values(values))

    assert torch.autograd.gradcheck(product, [dense, weight.values])
    rule = Rule(reset="none")

    def membrane(current: Tensor, z: Tensor, values: Tensor) -> Tensor:
        """Without spikes only those of the state pass through the synapses: smooth in all three."""
        zero = torch.zeros_like(z)
        out, _ = lif(
            current, LIFState(zero, zero, zero, z, zero), recurrent=fan.with_values(values), threshold=float("inf"),
            rule=rule, surrogate="never", trace=True, dt=1.0,
        )
        return out[1]

    fan, z = sparse(4, 4), torch.rand(2, 4, dtype=torch.float64, requires_grad=True)
    current = torch.rand(3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(membrane, [current, z, fan.values])


def test_what_is_saved_is_bits_checkpoints_and_currents() -> None:
    T, B, N = 100, 8, 60
    recurrent, saved = sparse(N, N, dtype=torch.float32), dict[int, int]()
    current = torch.randn(T, B, N)

    def pack(x: Tensor) -> Tensor:
        saved[x.data_ptr()] = x.numel() * x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        lif(current, recurrent=recurrent, dt=1.0)
    given = sum(t.numel() * t.element_size() for t in (current, recurrent.indptr, recurrent.index, recurrent.values))
    state, lengths = (10 + 5 * B) * N * 4, 8 * B
    assert sum(saved.values()) == given + state + lengths + -(-T // CHECKPOINT) * B * N * 4 + T * B * -(-N // 8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_outputs_have_the_dtype_of_the_weight(dtype: torch.dtype) -> None:
    weight, recurrent = sparse(30, 12, dtype=dtype), sparse(12, 12, dtype=dtype)
    x = Events.from_dense(trains(9, 3, 30), 1.0)
    spikes, state = lif(x, weight=weight, recurrent=recurrent)
    assert isinstance(spikes, Tensor) and spikes.dtype == dtype
    assert state.membrane.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    spikes.sum().backward()
    assert weight.values.grad is not None and weight.values.grad.dtype == dtype
    assert recurrent.values.grad is not None and recurrent.values.grad.dtype == dtype
    assert event_linear(spikes, recurrent).dtype == event_linear(x, weight).dtype == dtype


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
def test_a_csr_tensor_of_torch_keeps_its_gradient() -> None:
    values = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with torch.sparse.check_sparse_tensor_invariants():
        csr = torch.sparse_csr_tensor(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]), values, (2, 3))
    weight = SparseWeight.from_csr(csr)
    x = Events.from_dense(torch.tensor([[[2.0, 1.0]]]), 1.0)
    event_linear(x, weight).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [2.0, 2.0, 1.0]
    assert weight.to_dense().tolist() == [[1.0, 2.0, 0.0], [0.0, 3.0, 0.0]]
    with pytest.raises(ValueError, match=r"weight: expected a dense tensor or a SparseWeight \(see from_csr\), got"):
        event_linear(x, csr)
    with pytest.raises(ValueError, match=r"matrix: expected .* in the layout torch.sparse_csr, got torch.strided"):
        SparseWeight.from_csr(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"matrix: expected \(in, out\), got \(2,\)"):
        SparseWeight.from_dense(torch.zeros(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indptr": [0, 1, 2]}, r"indptr: expected \(4,\) for in=3, got \(3,\)"),
        ({"indptr": [0, 3, 2, 4]}, "indptr: expected a rising sequence from 0 to 4 synapses"),
        ({"indptr": [0, 1, 2, 9]}, "indptr: expected a rising sequence from 0 to 4 synapses"),
        ({"indptr": [1, 1, 2, 4]}, "indptr: expected a rising sequence"),
        ({"indptr": [0.0, 1.0, 2.0, 4.0]}, "indptr: expected whole numbers, int32 or int64, got torch.float32"),
        ({"index": [0, 1, 3, 5]}, "index: expected targets 0 to 4, got 0 to 5"),
        ({"index": [-1, 1, 3, 4]}, "index: expected targets 0 to 4, got -1 to 4"),
        ({"index": [0, 3, 1, 4]}, "index: expected rising targets in each row, .* got 3 before 1 in row 1"),
        ({"index": [0, 2, 2, 4]}, "index: expected rising .* one synapse for each pair, got 2 before 2 in row 1"),
        ({"index": [[0, 1], [2, 3]]}, r"index: expected one dimension, got \(2, 2\)"),
        ({"index": [0, 2**40, 3, 4]}, "index: expected targets 0 to 4"),
        ({"values": [1.0, 2.0]}, r"values: expected \(4,\), one per synapse, got \(2,\)"),
        ({"values": [1, 2, 3, 4]}, "values: expected floating numbers, got torch.int64"),
        ({"values": [1.0, float("nan"), 1.0, 1.0]}, "values: expected finite numbers, got NaN or infinity"),
        ({"shape": (3, -1)}, r"shape: expected \(in, out\), got \(3, -1\)"),
        ({"shape": (3, 2**33)}, "shape: expected targets that fit int32, got 8589934592"),
    ],
)
def test_malformed_synapses_never_reach_a_kernel(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"indptr": [0, 1, 4, 4], "index": [0, 1, 3, 4], "values": [1.0] * 4}
    shape = change.pop("shape", (3, 5))
    arrays = {name: torch.tensor(content) for name, content in (given | change).items()}
    with pytest.raises(ValueError, match=message):
        SparseWeight(**arrays, shape=shape)


def test_other_mistakes_are_named() -> None:
    weight, x = sparse(30, 12), Events.from_dense(trains(3, 2, 30), 1.0)
    arrays = weight.indptr, weight.index, weight.values
    for k, name in enumerate(("indptr", "index", "values")):
        with pytest.raises(TypeError, match=f"{name}: expected a tensor, got list"):
            SparseWeight(*(a.tolist() if j == k else a for j, a in enumerate(arrays)), weight.shape)  # type: ignore
    for k, name in ((1, "index"), (2, "values")):
        with pytest.raises(ValueError, match=f"{name}: expected .* on cpu, as ind.* is, got meta"):
            SparseWeight(*(a.to("meta") if j == k else a for j, a in enumerate(arrays)), weight.shape)  # type: ignore
    for op in (lambda w: event_linear(x, w), lambda w: lif(x, weight=w)):
        with pytest.raises(ValueError, match=r"weight: expected \(in=30, \w+\), got \(7, 12\)"):
            op(sparse(7, 12))
    with pytest.raises(ValueError, match="weight: expected it on cpu, as x is, got meta"):
        event_linear(x, SparseWeight(*(a.to("meta") for a in arrays), weight.shape, check=False))
    with pytest.raises(ValueError, match=r"recurrent: expected \(12, 12\), got \(12, 13\)"):
        lif(x, weight=weight, recurrent=sparse(12, 13))
    with pytest.raises(ValueError, match="x: expected"):
        event_linear(torch.zeros(3, 30), weight)
    with pytest.raises(TypeError, match="x: expected Events or a tensor, got list"):
        event_linear([1.0], weight)  # type: ignore[arg-type]
    assert repr(weight).startswith("SparseWeight(30, 12, nnz=")


def test_a_gpu_falls_back_to_the_reference_and_says_so() -> None:
    with set_backend("triton"), pytest.warns(FallbackWarning, match="sparse recurrent weights have no kernel"):
        lif(torch.zeros(2, 1, 4), recurrent=sparse(4, 4), dt=1.0)


BOUNDS = """
import sys
sys.path.insert(0, {root!r})
import torch
from spiking import Events
from spiking.kernels import SparseWeight, event_linear, lif
from spiking.kernels.lif import cpu_sparse
from tests.kernels.test_sparse import SOME, check_linear, masked, sparse, through_sparse, trains
for team in (2048, 1):
    cpu_sparse.TEAM = team
    for case in SOME:
        if case.name in ("recurrent_whole_groups", "recurrent_several_blocks_adlif"):
            through_sparse(case, masked(case)[0])
check_linear(trains(1, 1, 9), sparse(9, 5000), "numba")
check_linear(trains(20, 9, 30), sparse(30, 12), "numba")
g, refused, ran = torch.Generator().manual_seed(0), 0, 0
def draw(low, high): return int(torch.randint(low, high, (), generator=g))
for _ in range(60):
    T, B, inputs, N = draw(0, 20), draw(0, 6), draw(1, 9), draw(1, 140)
    off = [draw(-1, 2) if draw(0, 4) == 0 else 0 for _ in range(4)]
    try:
        x = Events.from_dense(torch.rand(T, B, inputs, generator=g) < 0.3, 1.0)
        weights = []
        for rows, columns in ((inputs + off[0], N + off[1]), (N + off[2], N)):
            full = SparseWeight.from_dense((torch.rand(rows, columns, generator=g) < 0.3).double())
            index = full.index + off[3] * (torch.rand(full.nnz, generator=g) < 0.05).int()
            values = full.values.requires_grad_()
            weights.append(SparseWeight(full.indptr, index, values, (rows, N)))
        lif(x, weight=weights[0], recurrent=weights[1])[0].sum().backward()
        ran += 1
    except ValueError:
        refused += 1
assert ran > 5 and refused > 5, (ran, refused)
"""


@pytest.mark.timeout(300)
def test_no_kernel_leaves_its_arrays(tmp_path: Path) -> None:
    """Numba checks every index: a place outside an array raises an IndexError."""
    script = BOUNDS.format(root=str(Path(__file__).parents[2]))
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "0"}
    run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
