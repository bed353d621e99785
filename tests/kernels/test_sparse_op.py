"""The ops of sparse synapses as PyTorch sees them: registration, compilation, dtypes, memory, wrong arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from spiking import Events
from spiking.kernels import LIFState, Rule, SparseWeight, event_linear, lif
from spiking.kernels.lif.rule import CHECKPOINT

from .cases import leaves_of
from .sparse_cases import OPS, SOME, arguments, masked, sparse, trains


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


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")  # torch's, to convert from
def test_a_csr_tensor_of_torch_keeps_its_gradient() -> None:
    values = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    with torch.sparse.check_sparse_tensor_invariants():
        csr = torch.sparse_csr_tensor(torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1]), values, (2, 3))
    weight = SparseWeight.from_csr(csr)
    x = Events.from_dense(torch.tensor([[[2.0, 1.0]]]), 1.0)
    event_linear(x, weight).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [2.0, 2.0, 1.0]
    assert weight.to_dense().tolist() == [[1.0, 2.0, 0.0], [0.0, 3.0, 0.0]]
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


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")  # torch's, to convert from
def test_other_mistakes_are_named() -> None:
    weight, x = sparse(30, 12), Events.from_dense(trains(3, 2, 30), 1.0)
    arrays = weight.indptr, weight.index, weight.values
    for k, name in enumerate(("indptr", "index", "values")):
        with pytest.raises(TypeError, match=f"{name}: expected a tensor, got list"):
            SparseWeight(*(a.tolist() if j == k else a for j, a in enumerate(arrays)), weight.shape)
    for k, name in ((1, "index"), (2, "values")):
        with pytest.raises(ValueError, match=f"{name}: expected .* on cpu, as ind.* is, got meta"):
            SparseWeight(*(a.to("meta") if j == k else a for j, a in enumerate(arrays)), weight.shape)
    csr = torch.sparse_csr_tensor(arrays[0], arrays[1].long(), arrays[2], weight.shape, check_invariants=True)
    for name, call in (
        ("weight", lambda: event_linear(x, csr)), ("weight", lambda: lif(x, weight=csr)),
        ("recurrent", lambda: lif(x, weight=weight, recurrent=csr)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"{name}: expected a dense tensor or a SparseWeight \(see"):
            call()
    for op in (lambda w: event_linear(x, w), lambda w: lif(x, weight=w)):
        with pytest.raises(ValueError, match=r"weight: expected \(in=30, \w+\), got \(7, 12\)"):
            op(sparse(7, 12))
    with pytest.raises(ValueError, match="weight: expected a tensor on cpu, where x lies, got meta"):
        event_linear(x, SparseWeight(*(a.to("meta") for a in arrays), weight.shape, check=False))
    with pytest.raises(ValueError, match=r"recurrent: expected \(12, 12\), got \(12, 13\)"):
        lif(x, weight=weight, recurrent=sparse(12, 13))
    with pytest.raises(ValueError, match="x: expected"):
        event_linear(torch.zeros(3, 30), weight)
    with pytest.raises(TypeError, match="x: expected Events or a tensor, got list"):
        event_linear([1.0], weight)
    assert repr(weight).startswith("SparseWeight(30, 12, nnz=")


BOUNDS = """
import sys
sys.path.insert(0, {root!r})
import torch
from spiking import Events
from spiking.kernels import SparseWeight, event_linear, lif
from spiking.kernels.lif import cpu_sparse
from tests.kernels.sparse_cases import SOME, check_linear, masked, sparse, through_sparse, trains
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
