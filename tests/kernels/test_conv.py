"""Convolved events: the equation as loops, the Numba kernels against the specification, the op as PyTorch sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiking import Events
from spiking.kernels import event_conv, event_linear
from spiking.kernels.event_conv import from_torch, op, reference, to_torch
from spiking.kernels.event_conv.layout import Axis, runs

from .conv_cases import CASES, Case, assert_close, build, run, specified
from .guard import poison

BACKENDS = ["reference", "numba"]
NAMED = {case.name: case for case in CASES}
SENSOR = (7, 9, 2)  # W, H, P


def events(T: int = 6, B: int = 3, density: float = 0.1, seed: int = 0) -> Events:
    g = torch.Generator().manual_seed(seed)
    return Events.from_dense(torch.rand(T, B, 126, generator=g) < density, 1.0, sensor=SENSOR)


def matrix(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["everything", "stride_two", "dilation_and_stride", "lengths_and_bias"])
def test_the_equation(name: str, backend: str) -> None:
    """Event by event, tap by tap, as op.py writes it."""
    case = NAMED[name]
    p = build(case)
    (H, W), each = case.pixels, case.planes // case.groups
    wanted = torch.zeros(p.grad.shape, dtype=torch.float64)
    if p.bias is not None:
        for b, length in enumerate(p.x.lengths.tolist()):
            wanted[:length, b] = p.bias[:, None, None]
    value = torch.ones(p.x.nnz) if p.x.value is None else p.x.value
    for row, i, v in zip(p.x.rows().tolist(), p.x.index.tolist(), value.tolist(), strict=True):
        c, y, x = i // (H * W), i // W % H, i % W
        first = c // each * case.out
        for ky in range(case.kernel[0]):
            for kx in range(case.kernel[1]):
                oy, over = divmod(y + case.padding[0] - ky * case.dilation[0], case.stride[0])
                ox, past = divmod(x + case.padding[1] - kx * case.dilation[1], case.stride[1])
                if over == past == 0 and 0 <= oy < wanted.shape[3] and 0 <= ox < wanted.shape[4]:
                    wanted[row // case.B, row % case.B, first : first + case.out, oy, ox] += v * p.weight[c, ky, kx]
    torch.testing.assert_close(run(case, p, backend).y, wanted)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_numba_is_the_specification(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    p = build(case)
    wanted = specified(case, p)
    poison(monkeypatch)
    assert_close(case, run(case, p, "numba"), wanted, 1e-11)


@pytest.mark.parametrize("name", ["everything", "border_stride_two", "many_outputs", "all_pixels"])
def test_numba_in_single_precision(name: str) -> None:
    case = NAMED[name]
    p = build(case, torch.float32)
    found = run(case, p, "numba")
    assert found.y.dtype == torch.float32
    assert_close(case, found, specified(case, p), 2e-5)


def test_cases_reach_every_border() -> None:
    """A test of borders needs events on all four sides, whose patches are cut there."""
    for name in ("border_stride_two", "corners_stride_three"):
        (H, W), index = NAMED[name].pixels, build(NAMED[name]).x.index
        assert {0, H - 1} <= set((index // W % H).tolist()) and {0, W - 1} <= set((index % W).tolist())
        assert NAMED[name].stride[0] > 1 and NAMED[name].padding[0] > 0


@pytest.mark.parametrize("name", ["everything", "odd_sizes", "all_pixels"])
def test_threads_do_not_change_a_bit(name: str) -> None:
    p, before, results = build(NAMED[name], torch.float32), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(NAMED[name], p, "numba"))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


SMALL = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60)
@given(
    kernel=SMALL, stride=SMALL, padding=st.tuples(st.integers(0, 5), st.integers(0, 5)), dilation=SMALL,
    pixels=st.tuples(st.integers(1, 9), st.integers(1, 9)), groups=st.integers(1, 3), each=st.integers(1, 2),
    out=st.integers(1, 18), density=st.sampled_from([0.0, 0.2, 1.0]), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_convolution(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int],
    pixels: tuple[int, int], groups: int, each: int, out: int, density: float, seed: int,
) -> None:  # fmt: skip
    if any(n + 2 * p < d * (k - 1) + 1 for n, p, d, k in zip(pixels, padding, dilation, kernel, strict=True)):
        return
    case = Case(
        "any", kernel, stride, padding, dilation, groups, 3, 2, pixels, groups * each, out, density, seed % 2 == 0
    )
    p = build(case, seed=seed)
    assert_close(case, run(case, p, "numba"), specified(case, p), 1e-11)


@settings(max_examples=60)
@given(
    size=st.integers(1, 12), kernel=st.integers(1, 5), stride=st.integers(1, 5), padding=st.integers(0, 5),
    dilation=st.integers(1, 5),
)  # fmt: skip
def test_runs_hold_each_pair_of_pixel_and_tap_once(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    axis = Axis(size, kernel, stride, padding, dilation)
    if axis.out < 1:
        return
    found, (taps, place, low, extent) = set(), runs(axis)
    for p, (run_, first) in enumerate(place.tolist()):
        for j, k in enumerate(taps[run_].tolist()):
            assert 0 <= first + j * axis.step < extent
            o = first + j * axis.step - low
            if k < kernel and 0 <= o < axis.out:
                assert (p, k, o) not in found
                found.add((p, k, o))
    assert found == {
        (p, k, o) for p in range(size) for k in range(kernel) for o in range(axis.out)
        if o * stride == p + padding - k * dilation
    }  # fmt: skip
    assert sorted(taps[taps < kernel].tolist()) == list(range(kernel))
    assert low + axis.out <= extent


def test_events_in_any_order_add_up() -> None:
    """A row's events need not rise, and a pixel may fire twice."""
    index = torch.tensor([100, 3, 17, 3, 0, 125, 62], dtype=torch.int32)
    x = Events(torch.tensor([0, 7]), index, (1, 1, 126), 1.0, sensor=SENSOR)
    weight = matrix(2, 3, 3, 4).requires_grad_()
    found, wanted = (event_conv(x, weight, stride=2, padding=1, backend=name) for name in ("numba", "reference"))
    torch.testing.assert_close(found, wanted)
    grad = matrix(*wanted.shape)
    a, b = (torch.autograd.grad(y, weight, grad)[0] for y in (found, wanted))
    torch.testing.assert_close(a, b)


def test_a_kernel_of_the_whole_sensor_is_event_linear() -> None:
    x, weight = events(), matrix(2, 9, 7, 4)
    torch.testing.assert_close(event_conv(x, weight).flatten(2), event_linear(x, weight.flatten(0, 2)))


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_layouts_turn_into_each_other(groups: int) -> None:
    conv = torch.nn.Conv2d(6, 12, (2, 3), groups=groups, dtype=torch.float64)
    ours = from_torch(conv.weight, groups)
    assert ours.shape == (6, 2, 3, 12 // groups)
    assert torch.equal(to_torch(ours, groups), conv.weight)
    dense = (matrix(4, 5, 6 * 8 * 7) > 1).double()
    x = Events.from_dense(dense, 1.0, sensor=(7, 8, 6))
    found = event_conv(x, ours, bias=conv.bias, groups=groups)
    wanted = conv(dense.view(20, 6, 8, 7))
    torch.testing.assert_close(found.flatten(0, 1), wanted)
    leaves = [*conv.parameters()]
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), leaves) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_step_outside_the_recording_is_zero_and_gives_no_gradient() -> None:
    x = Events.from_dense(events().to_dense() * torch.tensor([1.0]), 1.0, torch.tensor([6, 0, 2]), SENSOR)
    bias = torch.ones(4, dtype=torch.float64, requires_grad=True)
    for backend in BACKENDS:
        y = event_conv(x, matrix(2, 3, 3, 4), bias=bias, backend=backend)
        assert not y[:, 1].any() and not y[2:, 2].any() and bool((y[:, 0] != 0).all())
        assert torch.autograd.grad(y.sum(), bias)[0].tolist() == [8.0 * 7 * 5] * 4


def test_gradcheck() -> None:
    x = Events.from_dense(events(2, 2).to_dense(torch.float64) * 3, 1.0, sensor=SENSOR)
    leaves = [matrix(2, 3, 2, 3).requires_grad_(), matrix(3).requires_grad_()]
    assert torch.autograd.gradcheck(lambda w, b: event_conv(x, w, None, (2, 1), 1, b), leaves)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_outputs_have_the_dtype_of_the_weight(dtype: torch.dtype) -> None:
    x, weight, bias = events(), matrix(2, 3, 3, 4, dtype=dtype).requires_grad_(), matrix(4, dtype=dtype)
    y = event_conv(x, weight, bias=bias)
    assert y.dtype == dtype
    y.sum().backward()
    assert weight.grad is not None and weight.grad.dtype == dtype
    exact = event_conv(x, weight.detach().double(), bias=bias.double(), backend="reference")
    torch.testing.assert_close(y.double(), exact, rtol=1e-2, atol=2e-2)


def test_only_events_are_saved() -> None:
    x, weight, saved = events(200, 8, 0.01), matrix(2, 3, 3, 16).float().requires_grad_(), list[int]()

    def pack(x: Tensor) -> Tensor:
        saved.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        event_conv(x, weight, padding=1)
    assert 0 < sum(saved) <= x.nnz + x.indptr.numel()


def test_opcheck() -> None:
    for name in ("everything", "stride_two"):
        p = build(NAMED[name], torch.float32)
        shape = op._shape(
            p.x, p.weight, None, NAMED[name].stride, NAMED[name].padding, NAMED[name].dilation, NAMED[name].groups
        ).as_list()
        given = p.x.indptr, p.x.index, p.x.value
        torch.library.opcheck(op._op, (*given, p.weight.requires_grad_(), shape, "numba"))
        torch.library.opcheck(op._weight_gradient, (*given, p.grad.flatten(0, 1), shape, "numba"))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of inductor itself
@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compiles_into_one_graph(compiler: str) -> None:
    if compiler == "inductor" and not shutil.which("g++"):
        pytest.skip("inductor needs g++")
    x, conv = events(), torch.nn.Conv2d(2, 4, 3, dtype=torch.float64)

    def layer(x: Events, weight: Tensor, bias: Tensor) -> Tensor:
        return event_conv(x, from_torch(weight), stride=2, padding=1, bias=bias).relu()

    leaves = [conv.weight, conv.bias]
    wanted = layer(x, *leaves)
    found = torch.compile(layer, fullgraph=True, backend=compiler)(x, *leaves)
    torch.testing.assert_close(found, wanted)
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), leaves) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": torch.ones(4, 2, 3, 3)}, r"weight: expected \(P=2, kh, kw, out / groups\), got \(4, 2, 3, 3\)"),
        ({"weight": torch.ones(2, 3, 3)}, r"weight: expected \(P=2, kh, kw, out / groups\), got \(2, 3, 3\)"),
        ({"weight": torch.ones(2, 3, 3, 0)}, r"weight: expected .*, got \(2, 3, 3, 0\)"),
        ({"weight": torch.ones(2, 3, 3, 4, dtype=torch.int64)}, "weight: expected floating numbers, got torch.int64"),
        ({"weight": torch.full((2, 3, 3, 4), torch.nan)}, "weight: expected finite numbers, got nan at channel 0"),
        ({"weight": torch.ones(2, 10, 3, 4)}, r"weight: its kernel of \(10, 3\) taps .* \(H, W\) = \(9, 7\) pixels"),
        ({"dilation": 4}, r"weight: its kernel of \(3, 3\) taps with dilation \(4, 4\) does not fit"),
        ({"sensor": (9, 7, 2)}, r"sensor: expected \(W, H, P\) = \(7, 9, 2\) of the Events, got \(9, 7, 2\)"),
        ({"x": Events.from_dense(torch.ones(1, 1, 126), 1.0)}, r"sensor: expected \(W, H, P\), which these Events do"),
        (
            {"x": Events.from_dense(torch.ones(1, 1, 126), 1.0), "sensor": (7, 9, 3)},
            r"sensor: expected \(W, H, P\) of 126 channels, got \(7, 9, 3\) of 189",
        ),
        ({"sensor": (9, 7)}, r"sensor: expected three whole numbers \(W, H, P\), got \(9, 7\)"),
        ({"sensor": 7}, r"sensor: expected three whole numbers \(W, H, P\), got 7"),
        ({"stride": 0}, "stride: expected a whole number of 1 or more, or two of them, got 0"),
        ({"stride": (1, 2, 3)}, r"stride: expected a whole number of 1 or more, or two of them, got \(1, 2, 3\)"),
        ({"padding": -1}, "padding: expected a whole number of 0 or more, or two of them, got -1"),
        ({"padding": "same"}, "padding: expected a whole number of 0 or more, or two of them, got 'same'"),
        ({"dilation": 1.5}, "dilation: expected a whole number of 1 or more, or two of them, got 1.5"),
        ({"groups": 3}, "groups: expected a whole number that divides the P = 2 input channels, got 3"),
        ({"bias": torch.ones(3)}, r"bias: expected \(4,\), torch.float32 as weight, got \(3,\)"),
        ({"bias": torch.ones(4).double()}, r"bias: expected \(4,\), torch.float32 as weight, got .*float64"),
        ({"backend": "cuda"}, "backend: expected one of"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named_before_a_kernel_runs(
    wrong: dict, message: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(op, "_kernels", lambda name: pytest.fail("a kernel ran"))
    monkeypatch.setattr(reference, "event_conv", lambda *_: pytest.fail("the reference ran"))
    with pytest.raises(ValueError, match=message):
        event_conv(**{"x": events(), "weight": torch.ones(2, 3, 3, 4), "backend": backend, **wrong})


def test_frames_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="x: expected Events, got Tensor"):
        event_conv(torch.zeros(2, 1, 126), torch.ones(2, 3, 3, 4), SENSOR)


@pytest.mark.parametrize("index", [[0, 126], [-1, 5]])
def test_a_pixel_outside_the_sensor_never_reaches_a_kernel(index: list[int]) -> None:
    with pytest.raises(ValueError, match="index: expected channels 0 to 125, got"):
        Events(torch.tensor([0, 2]), torch.tensor(index), (1, 1, 126), 1.0, sensor=SENSOR)


BOUNDS = """
import sys
sys.path.insert(0, {folder!r})
import torch
from conv_cases import CASES, Case, build, run
from spiking import Events
from spiking.kernels import event_conv
for case in CASES:
    run(case, build(case), "numba")
g, refused, ran = torch.Generator().manual_seed(0), 0, 0
def draw(low, high): return int(torch.randint(low, high, (), generator=g))
for _ in range(150):
    W, H, P, T, B = draw(1, 9), draw(1, 9), draw(1, 4), draw(0, 4), draw(0, 4)
    off = [draw(-1, 2) if draw(0, 4) == 0 else 0 for _ in range(4)]
    try:
        rows = torch.randint(0, 3, (T * B,), generator=g)
        indptr = torch.cat([torch.zeros(1, dtype=torch.int64), rows.cumsum(0)])
        index = torch.randint(min(0, off[0]), W * H * P + max(0, off[0]), (int(indptr[-1]),), generator=g)
        x = Events(indptr, index, (T, B, W * H * P), 1.0, sensor=(W, H + off[1], P))
        weight = torch.randn(P + off[2], draw(1, 6), draw(1, 6), draw(1, 20), generator=g, requires_grad=True)
        y = event_conv(x, weight, stride=(draw(1, 4), draw(1, 4)), padding=(draw(0, 4), draw(0, 4) + off[3]),
                       dilation=(draw(1, 3), draw(1, 3)))
        y.sum().backward()
        ran += 1
    except ValueError:
        refused += 1
assert ran > 20 and refused > 20, (ran, refused)
weight = torch.ones(2, 3, 3, 4)
x = Events(torch.tensor([0, 1]), torch.tensor([5000]), (1, 1, 18), 1.0, sensor=(3, 3, 2), check=False)
try:
    event_conv(x, weight)
except IndexError:
    print("found")
"""


@pytest.mark.timeout(300)
def test_no_kernel_leaves_its_arrays(tmp_path: Path) -> None:
    """Numba checks every index, those of whole lanes too: a place outside an array raises an IndexError."""
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "0"}
    script = BOUNDS.format(folder=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "found\n", "an event outside the sensor, which no check had refused, went unnoticed"


def test_lanes_are_sums() -> None:
    """Eight and sixteen at once, in both precisions, against NumPy, with everything beside them left alone."""
    from spiking.kernels.event_conv.lanes import add_patch
    from spiking.kernels.jit import jit

    @jit
    def add(a, b, value, width):
        add_patch(a, 3, 70, 30, b, 5, 60, 25, value, 2, 2, width)

    for dtype in (np.float32, np.float64):
        for width in (8, 16, 24):
            a, b = (np.random.default_rng(k).standard_normal(200).astype(dtype) for k in (0, 1))
            wanted = a.copy()
            for j in range(2):
                for k in range(2):
                    t, s = 3 + 70 * j + 30 * k, 5 + 60 * j + 25 * k
                    wanted[t : t + width] += dtype(0.3) * b[s : s + width]
            add(a, b, dtype(0.3), width)
            np.testing.assert_array_equal(a, wanted)
