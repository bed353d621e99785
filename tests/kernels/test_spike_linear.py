"""Spike counts times int8 weights: the layout, the code, one result in every mode, backend and number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking.kernels import jit, spike_linear
from spiking.kernels.spike_linear import PackedWeight, dot, encode, pack, partial_sums

from .guard import poison

OPS = torch.ops.spiking
MODES = ("int", "event", "expand")
ROOT = Path(__file__).parents[2]


def weights(out: int, inputs: int, seed: int = 0) -> Tensor:
    return torch.randn(out, inputs, generator=torch.Generator().manual_seed(seed))


def tokens(count: int, inputs: int, seed: int = 0, far: float = 1000.0) -> Tensor:
    """Student's t with two degrees of freedom, a few channels a thousand times as large, one silent token."""
    g = torch.Generator().manual_seed(seed)
    normal, chi = torch.randn(count, inputs, generator=g), torch.rand(count, inputs, generator=g)
    x = normal / (-chi.log()).sqrt()
    x[:, :: 1 + inputs // 3] *= torch.where(torch.rand(x[:, :: 1 + inputs // 3].shape, generator=g) < 0.5, far, 1.0)
    if count > 2:
        x[1] = 0
    return x


SIZES = [(7, 60, 128, 1), (7, 60, 128, 3), (300, 129, 128, 5), (256, 256, 64, 9), (520, 516, 20, 2), (1, 1, 4, 1)]


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch)


@pytest.mark.parametrize(("out", "inputs", "group", "count"), [*SIZES, (33, 40, 16, 0)])
def test_one_result_in_every_mode_and_backend(poisoned: None, out: int, inputs: int, group: int, count: int) -> None:
    packed, x, bias = pack(weights(out, inputs), group), tokens(count, inputs), torch.randn(out)
    counts, threshold = encode(x, backend="reference")
    found = encode(x)
    assert torch.equal(found[0], counts) and torch.equal(found[1], threshold)
    wanted = partial_sums(counts, packed, "int", "reference")
    y = spike_linear(x, packed, bias=bias, mode="int", backend="reference")
    assert wanted.shape == (count, out, packed.groups) and wanted.dtype == torch.int32
    for backend in ("reference", "numba"):
        for mode in MODES:
            assert torch.equal(partial_sums(counts, packed, mode, backend), wanted)
            assert torch.equal(spike_linear(x, packed, bias=bias, mode=mode, backend=backend), y)
            given = spike_linear(counts, packed, bias=bias, mode=mode, threshold=threshold, backend=backend)
            assert torch.equal(given, y)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 300), st.integers(1, 300), st.sampled_from([4, 20, 64, 128]), st.integers(1, 6),
    st.sampled_from([1.0, 1e3, 1e6]), st.sampled_from([0.3, 3.0, 9.0]), st.sampled_from(MODES), st.integers(0, 99),
)  # fmt: skip
def test_any_sizes(
    poisoned: None, out: int, inputs: int, group: int, count: int, far: float, k: float, mode: str, seed: int
) -> None:
    packed, x = pack(weights(out, inputs, seed), group), tokens(count, inputs, seed, far)
    for saturation in ("exact", "clip"):
        y = [spike_linear(x, packed, k, None, mode, saturation, backend=b) for b in ("reference", "numba")]
        assert torch.equal(*y)


def test_more_tokens_than_a_chunk() -> None:
    packed, x = pack(weights(20, 40)), tokens(259, 40)
    assert torch.equal(spike_linear(x, packed), spike_linear(x, packed, backend="reference"))
    assert torch.equal(*(partial_sums(encode(x)[0], packed, mode="int", backend=b) for b in ("numba", "reference")))


@pytest.mark.gpu
@pytest.mark.parametrize(("out", "inputs", "group", "count"), [*SIZES, (1024, 2048, 128, 1), (1024, 2048, 128, 100)])
def test_a_gpu_finds_the_same(out: int, inputs: int, group: int, count: int) -> None:
    packed, x = pack(weights(out, inputs), group), tokens(count, inputs)
    counts, threshold = encode(x, backend="reference")
    found = encode(x.cuda())
    assert torch.equal(found[0].cpu(), counts) and torch.equal(found[1].cpu(), threshold)
    wanted = partial_sums(counts, packed, backend="reference")
    y = spike_linear(x, packed, backend="reference")
    for mode in MODES:
        assert torch.equal(partial_sums(counts.cuda(), packed.to("cuda"), mode).cpu(), wanted)
        assert torch.equal(spike_linear(x.cuda(), packed.to("cuda"), mode=mode).cpu(), y)


def test_sums_are_what_integers_say() -> None:
    packed, counts = pack(weights(70, 300), 128), torch.randint(-500, 500, (4, 300))
    whole = packed.integers().to(torch.int64)
    wanted = torch.stack([counts[:, g : g + 128] @ whole[:, g : g + 128].t() for g in (0, 128, 256)], 2)
    for mode in MODES:
        assert torch.equal(partial_sums(counts, packed, mode).to(torch.int64), wanted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [1, 7])
def test_threads_change_no_bit(mode: str, count: int) -> None:
    packed, x = pack(weights(900, 300)), tokens(count, 300)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(spike_linear(x, packed, mode=mode))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_token_without_openmp(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, x = pack(weights(900, 300)), tokens(1, 300)
    wanted = spike_linear(x, packed)
    monkeypatch.setattr(jit, "_openmp", lambda: None)
    assert torch.equal(spike_linear(x, packed), wanted)


def test_shapes_and_dtypes_are_those_of_linear() -> None:
    packed, x = pack(weights(5, 32)), tokens(6, 32, far=1.0)
    wanted = spike_linear(x, packed)
    assert torch.equal(spike_linear(x.view(2, 3, 32), packed), wanted.view(2, 3, 5))
    assert spike_linear(x[0], packed).shape == (5,)
    half = spike_linear(x.bfloat16(), packed)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, spike_linear(x.bfloat16().float(), packed).bfloat16())
    strided = x.t().contiguous().t()
    assert torch.equal(spike_linear(strided, packed), wanted)


def test_code_has_the_published_statistics() -> None:
    """Silent channels and mean |s| of a Laplace distribution; exact: 1 - exp(-1/(2k)) and about k."""
    uniform = torch.rand(1, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    x = (-uniform.sign() * (1 - 2 * uniform.abs()).log()).float()
    for k, silent, mean in ((2.0, 0.221, 1.98), (3.0, 0.154, 2.99), (4.0, 0.118, 3.99)):
        counts, threshold = encode(x, k)
        assert float((counts == 0).float().mean()) == pytest.approx(silent, abs=0.003)
        assert float(counts.abs().double().mean()) == pytest.approx(mean, abs=0.02)
        assert float(threshold) == pytest.approx(1 / k, rel=0.01)


def test_halves_are_rounded_to_even_and_thresholds_kept_in_range() -> None:
    x = torch.tensor([[0.5, 1.5, 2.5, -0.5, -1.5, 1.5, -2.5, -1.5]])  # mean |x| = 1.5
    for backend in ("reference", "numba"):
        assert encode(x, 1.5, backend)[0].tolist() == [[0, 2, 2, 0, -2, 2, -2, -2]]
        small, threshold = encode(torch.full((1, 4), 1e-7), 3.0, backend)
        assert small.tolist() == [[0, 0, 0, 0]] and threshold.item() == pytest.approx(1e-5)
        large, threshold = encode(torch.full((1, 4), 1e6), 3.0, backend)
        assert large.tolist() == [[100, 100, 100, 100]] and threshold.item() == 1e4


def test_clipping_and_exactness() -> None:
    packed = pack(torch.eye(64), 64)
    x = torch.ones(1, 64)
    x[0, 5] = 1000.0
    counts, threshold = encode(x)
    assert counts[0, 5] > 127
    for mode in MODES:
        exact, clipped = (spike_linear(x, packed, mode=mode, saturation=s)[0] for s in ("exact", "clip"))
        assert float(exact[5]) == pytest.approx(1000.0, rel=0.01)
        assert float(clipped[5]) == pytest.approx(127 * float(threshold), rel=1e-5)
        assert torch.equal(exact[:5], clipped[:5])
        given = spike_linear(counts, packed, mode=mode, saturation="clip", threshold=threshold)
        assert torch.equal(given[0], clipped)


def test_result_is_near_that_of_floating_numbers() -> None:
    weight, x = weights(200, 1000), torch.randn(4, 1000, generator=torch.Generator().manual_seed(3))
    y, wanted = spike_linear(x, pack(weight)), x @ weight.t()
    error = float((y - wanted).norm() / wanted.norm())
    assert 0.06 < error < 0.09  # Gauss at k = 3: 0.077


@pytest.mark.parametrize(("bits", "most"), [(8, 127), (4, 7), (2, 1)])
def test_packed_codes(bits: int, most: int) -> None:
    weight = weights(70, 150)
    weight[3, :128] = 0
    packed = pack(weight, 128, bits)
    whole, scale = packed.integers(), packed.scale()
    assert whole.shape == (70, 150) and scale.shape == (70, 2) and packed.groups == 2
    assert whole.abs().amax() == most and not whole[3, :128].any() and scale[3, 0] == 0
    torch.testing.assert_close(scale[:, 1], weight[:, 128:].abs().amax(1) / most)
    step = scale.repeat_interleave(128, 1)[:, :150]
    assert ((packed.unpack() - weight).abs() <= 0.5001 * step).all()
    again = PackedWeight(packed.codes.clone(), packed.scales.clone(), (70, 150), 128)
    assert torch.equal(again.unpack(), packed.unpack())


def test_packed_weight_takes_a_quarter() -> None:
    packed = pack(weights(1024, 1024))
    assert packed.nbytes / (4 * 1024 * 1024) < 0.259


def test_gradient_passes_rounding_straight_through() -> None:
    packed, bias = pack(weights(20, 50)), torch.randn(20, requires_grad=True)
    for mode in MODES:
        x = tokens(5, 50).requires_grad_()
        y, grad = spike_linear(x, packed, bias=bias, mode=mode), torch.randn(5, 20)
        dx, db = torch.autograd.grad(y, (x, bias), grad)
        torch.testing.assert_close(dx, grad @ packed.unpack())
        torch.testing.assert_close(db, grad.sum(0))
        assert torch.equal(y.detach(), spike_linear(x.detach(), packed, bias=bias.detach(), mode=mode))
    x = tokens(5, 50).requires_grad_()
    spike_linear(x, packed).sum().backward()  # a gradient that is expanded, not stored
    assert x.grad is not None and x.grad.isfinite().all()


def test_opcheck() -> None:
    packed, x, bias = pack(weights(20, 50)), tokens(3, 50, far=1.0), torch.randn(20)
    weight = packed.codes, packed.scales, *packed.shape, packed.group
    counts, threshold = encode(x)
    for rows, mode in ((3, "int"), (1, "event")):
        given = x[:rows].clone().requires_grad_(), bias.clone().requires_grad_()
        torch.library.opcheck(OPS.spike_linear, (*given, *weight, 3.0, mode, True, "numba"))
    torch.library.opcheck(OPS.count_linear, (counts, threshold, None, *weight, "expand", "numba"))
    torch.library.opcheck(OPS.spike_sums, (counts, *weight, "event", "numba"))
    torch.library.opcheck(OPS.spike_encode, (x, 3.0, "numba"))
    torch.library.opcheck(OPS.spike_linear_backward, (torch.randn(3, 20), *weight))


def test_compiles_into_one_graph() -> None:
    packed = pack(weights(20, 50))
    x = tokens(3, 50).requires_grad_()

    def run(x: Tensor) -> Tensor:
        return spike_linear(x, packed, bias=torch.ones(20)).relu()

    found = torch.compile(run, fullgraph=True, backend="aot_eager")(x)
    assert torch.equal(found, run(x))
    assert torch.equal(*(torch.autograd.grad(y.sum(), x)[0] for y in (found, run(x))))


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize(("bad", "shown"), [(float("nan"), "nan"), (float("-inf"), "-inf")])
def test_numbers_that_are_not_finite_are_named(backend: str, count: int, bad: float, shown: str) -> None:
    x = tokens(count, 40)
    x[count - 1, 7] = bad
    message = f"x: expected finite numbers, got {shown} in token {count - 1}, channel 7"
    with pytest.raises(ValueError, match=message):
        spike_linear(x, pack(weights(3, 40)), backend=backend)
    with pytest.raises(ValueError, match=message):
        encode(x, backend=backend)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_counts_out_of_range_are_refused(backend: str) -> None:
    packed = pack(weights(3, 40))
    with pytest.raises(ValueError, match=r"x: expected a sum of \|counts\| of at most 4194304, got more"):
        spike_linear(torch.full((1, 40), 1e12), packed, backend=backend)
    for dtype, value in ((torch.int32, 200_000), (torch.int64, 2**40)):
        counts = torch.full((2, 40), value, dtype=dtype)
        with pytest.raises(ValueError, match=r"counts: expected a sum of .* at most 4194304, got \d+ in token 0"):
            partial_sums(counts, packed, backend=backend)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(2, 39)}, r"x: expected \(..., in=40\), got \(2, 39\)"),
        ({"x": torch.ones(2, 40, dtype=torch.int32)}, "x: expected floating numbers, or counts .*, got torch.int32"),
        ({"k": 0.0}, "k: expected a positive number, got 0.0"),
        ({"k": float("nan")}, "k: expected a positive number, got nan"),
        ({"bias": torch.ones(4)}, r"bias: expected \(3,\), got \(4,\)"),
        ({"mode": "both"}, "mode: expected auto, int, event, expand, got 'both'"),
        ({"saturation": "wrap"}, "saturation: expected exact or clip, got 'wrap'"),
        ({"threshold": torch.ones(2, 1)}, "x: expected whole numbers, got torch.float32"),
        ({"x": torch.ones(2, 40, dtype=torch.int32), "threshold": torch.ones(2)}, r"threshold: expected \(2, 1\)"),
        ({"x": torch.ones(2, 40, device="meta")}, "x: expected a tensor on cpu, where the weight is, got meta"),
        ({"backend": "triton"}, "'triton' needs tensors on a GPU"),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spike_linear(**{"x": torch.ones(2, 40), "packed": pack(weights(3, 40)), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.ones(3)}, r"weight: expected floating \(out, in\), got torch.float32 \(3,\)"),
        ({"weight": torch.ones(3, 4, dtype=torch.int8)}, "weight: expected floating .*, got torch.int8"),
        ({"weight": torch.ones(3, 0)}, r"weight: expected floating .* \(3, 0\)"),
        ({"group": 30}, "group: expected a multiple of 4, got 30"),
        ({"bits": 9}, "bits: expected 2 to 8, got 9"),
        (
            {"weight": torch.tensor([[1.0, 2.0], [1.0, float("nan")], [float("inf"), 0.0]])},
            "weight: expected finite numbers, got others in 2 of 3 outputs, first in output 1",
        ),
    ],
)
def test_bad_weights(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack(**{"weight": torch.ones(3, 40), **change})


def test_tensors_that_do_not_fit_the_weight_are_named() -> None:
    packed = pack(weights(3, 40))
    with pytest.raises(ValueError, match=r"codes: expected \(704,\) torch.uint8 for a weight \(3, 40\) in groups"):
        PackedWeight(packed.codes[1:], packed.scales, (3, 40), 128)
    with pytest.raises(ValueError, match=r"scales: expected \(32,\) torch.float32"):
        PackedWeight(packed.codes, packed.scales, (3, 40), 32)


def sums_and_code() -> tuple[bool, str]:
    """Whether vector code adds rows as NumPy does, and that code as the processor's instructions."""

    @numba.njit(error_model="numpy")
    def run(codes, row, value, start, total):
        dot.add_rows(codes, 0, 256, row, value, 0, row.size, start, total)

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (50, 256)).astype(np.uint8)
    row, value = np.zeros(12 + dot.AHEAD, np.int32), rng.integers(-127, 128, 12).astype(np.int8)
    row[:12], value[0] = rng.permutation(50)[:12], -127
    codes[row[0]] = 255
    total = np.zeros(256, np.int32)
    run(codes.ravel(), row[:12], value, np.int32(-5), total)
    wanted = value.astype(np.int64) @ codes[row[:12]].astype(np.int64) - 5
    return bool((total == wanted).all()), next(iter(run.inspect_asm().values()))


def test_the_processors_dot_product_is_used() -> None:
    same, code = sums_and_code()
    assert same
    if not llvmlite.binding.get_host_cpu_features().get("avx512vnni") or os.environ.get("NUMBA_CPU_NAME"):
        pytest.skip("this processor has no AVX-512 VNNI")
    assert "vpdpbusd" in code and "vpmulld" not in code


PORTABLE = """
from tests.kernels import test_spike_linear as t
same, code = t.sums_and_code()
assert same and "vpdpbusd" not in code and ("pmaddwd" in code) == INTEL
for size in t.SIZES[1:4]:
    t.test_one_result_in_every_mode_and_backend(None, *size)
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other processors run this code in all tests")
def test_other_processors_find_the_same(tmp_path: Path) -> None:
    """As on a processor with AVX2 but without VNNI, in a process of its own: Numba compiles for one processor."""
    environment = {
        **os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2", "PYTHONPATH": str(ROOT),
        "NUMBA_CACHE_DIR": str(tmp_path),
    }  # fmt: skip
    script = f"INTEL = True\n{PORTABLE}"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, cwd=tmp_path, timeout=300)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_type_does_not_matter(default):
    packed, x = pack(weights(33, 70, 0), 16), tokens(3, 70, 0, 1.0)
    wanted = [spike_linear(one, packed, mode=mode) for one in (x, x[:1]) for mode in MODES]
    torch.set_default_dtype(default)
    try:
        found = [spike_linear(one, packed, mode=mode) for one in (x, x[:1]) for mode in MODES]
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
