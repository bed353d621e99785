"""Every Triton kernel compiled for GPUs that are not here: errors, shared memory, spills, barriers, recompilation.

Proves that kernels build and fit; that they run fast, or at all, only a GPU shows.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl

from spiking.events import Events
from spiking.kernels import aot, lif
from spiking.kernels.delay import gpu as delay_gpu
from spiking.kernels.event_conv import gpu as conv_gpu
from spiking.kernels.event_conv.layout import Axis, Geometry
from spiking.kernels.event_linear import gpu as event_gpu
from spiking.kernels.lif import gpu, gpu_sparse
from spiking.kernels.lif.gpu_step import Switches
from spiking.kernels.lif.rule import Flags
from spiking.kernels.reservoir import Generated, IntegrateFire, Recorder, Synapses, reservoir
from spiking.kernels.reservoir import gpu as reservoir_gpu
from spiking.kernels.sparse_linear import SparseWeight
from spiking.kernels.sparse_linear import gpu as sparse_gpu
from spiking.kernels.spike_linear import gpu as spike_gpu
from spiking.kernels.spike_linear import pack
from spiking.kernels.surrogate.reference import KINDS
from tests.scripts import script

from .cases import Case, build

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="TRITON_INTERPRET=1 leaves nothing to compile"
)

ROOT = Path(__file__).parents[2]
VARIANTS = {v.name: v for v in aot.variants()}
LIF = VARIANTS["lif backward: LIF, fp32 currents"]
RECURRENT = VARIANTS["lif backward: LIF, fp32 currents, 256 recurrent"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))


# Bytes: the ptxas of Triton 3.6 parks one or two registers to reach a rounder number of them.
SPILL_LIMIT = 8
# With several warps ptxas parks more, 3.9's too, so that two programs fit where one would: a choice, made with
# registers to spare. What it must park because a thread has no more registers is held to SPILL_LIMIT.
PARKED_LIMIT = 64


def fits(variant: aot.Variant, target: str, aligned: bool = True) -> None:
    compiled = aot.build(variant, target, aligned)
    used = aot.resources(compiled)
    assert used.shared <= aot.SHARED_LIMIT[target]
    warps = variant.options["num_warps"]
    chosen = warps > 1 and used.registers <= 128  # of 255
    assert used.spills <= (PARKED_LIMIT if chosen else SPILL_LIMIT)
    for argument in variant.scratch:
        assert aot.unguarded(compiled, argument) == []


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_compiles_and_fits(name, target):
    fits(VARIANTS[name], target)


@pytest.mark.parametrize("target", ["sm_90", "gfx942"])
@pytest.mark.parametrize("name", [n for n in VARIANTS if "LIF, fp32" in n or n == "event_linear: fp32"])
def test_unaligned_pointers_compile_too(name, target):
    fits(VARIANTS[name], target, aligned=False)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != LIF.constants["kind"]])
def test_every_surrogate_compiles(kind):
    fits(replace(LIF, constants={**LIF.constants, "kind": kind}), "sm_90")


@pytest.mark.parametrize("variant", [LIF, RECURRENT], ids=lambda v: v.name)
@pytest.mark.parametrize(
    "flags",
    [
        Switches(synapse=2, adaptation=1, adapt_previous=1, reset=1, reset_next=1, detach_reset=0, inclusive=1),
        Switches(adaptation=1, reset=2, refractory=1),
    ],
)
def test_other_switches_compile(flags, variant):
    fits(replace(variant, constants={**variant.constants, "flags": flags}), "sm_90")


@pytest.mark.parametrize(("way", "sums"), [("forward", 2), ("backward", 3)])
def test_recurrent_rows_are_read_sixteen_bytes_at_a_time(way, sums):
    """Those of the input weights and of the recurrent ones; going back, those of the latter a second time."""
    variant = VARIANTS[f"lif {way}: LIF, fp32 events, 128 recurrent"]
    threads = 32 * variant.options["num_warps"]
    wide = variant.constants["K"] * 128 // (4 * threads)
    assert aot.build(variant, "sm_90").asm["ptx"].count("ld.global.v4") >= sums * wide > 0


@triton.jit
def passes_on(scratch, Y, T, first: tl.constexpr, second: tl.constexpr):
    at = tl.arange(0, 128)
    total = tl.zeros((128,), tl.float32)
    for t in range(T):
        tl.store(scratch + at, total + t)
        if first:
            tl.debug_barrier()
        total += tl.load(scratch + 127 - at)
        if second:
            tl.debug_barrier()
    tl.store(Y + at, total)


@pytest.mark.parametrize("target", ["sm_90", "gfx942"])
@pytest.mark.parametrize(("first", "second"), [(True, True), (True, False), (False, True), (False, False)])
def test_a_missing_barrier_is_found(first, second, target):
    types = {"scratch": "*fp32", "Y": "*fp32", "T": "i32"}
    variant = aot.Variant("toy", passes_on, types, {"first": first, "second": second}, ("scratch",))
    found = aot.unguarded(aot.build(variant, target), "scratch")
    assert bool(found) is not (first and second)


@triton.jit
def hoards(X, Y):
    at = tl.arange(0, 64)[:, None] * 128 + tl.arange(0, 128)[None, :]
    many = tl.load(X + at)
    tl.store(Y + at, many / tl.sum(many))


def test_spilled_registers_are_found():
    """8192 numbers that one warp holds until their sum is known: 256 a thread, one more than there are registers."""
    variant = aot.Variant("toy", hoards, {"X": "*fp32", "Y": "*fp32"})
    assert aot.resources(aot.build(variant, "sm_90")).spills > SPILL_LIMIT
    with pytest.raises(AssertionError):
        fits(variant, "sm_90")


def test_shared_memory_over_the_limit_is_found(monkeypatch):
    name = "lif backward: LIF, fp32 currents"
    used = aot.resources(aot.build(VARIANTS[name], "sm_90")).shared
    monkeypatch.setitem(aot.SHARED_LIMIT, "sm_90", used - 1)
    with pytest.raises(AssertionError):
        fits(VARIANTS[name], "sm_90")


class Nowhere:
    """Stands in for the driver of a GPU, so that Triton's own binder says what a launch would compile."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self):
        return aot.TARGETS["sm_90"]


@pytest.fixture
def compiled(monkeypatch):
    """What launches would compile: the set of (kernel, key, signature), filled as they happen."""
    seen = {}

    def note(*, key, fn, compile, **_):
        seen[fn.name, key] = compile
        return True  # go no further

    monkeypatch.setattr(triton.runtime.driver, "_active", Nowhere())
    monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", note)
    for module in (gpu, gpu_sparse, event_gpu, delay_gpu, sparse_gpu, conv_gpu, spike_gpu, reservoir_gpu):
        monkeypatch.setattr(module, "check", lambda device: None)
    for kernel in {v.kernel for v in VARIANTS.values()}:
        kernel.device_caches.clear()
    yield seen
    for kernel in {v.kernel for v in VARIANTS.values()}:
        kernel.device_caches.clear()


def launch(case: Case) -> None:
    p = build(case, torch.float32)
    events = (p.events.indptr, p.events.index, p.events.value) if p.events is not None else (None,) * 3
    given = (p.current, *events, p.weight, p.recurrent, p.params, p.state, p.lengths)
    flags = p.flags.as_list()
    *_, bits, saved = gpu.forward(*given, case.T, flags, case.trace, True)
    gz, gm, gl = p.gradients
    gpu.backward(
        gz, gm if case.trace else None, gl, *given, bits, saved, case.T, flags, p.surrogate.numbers, True
    )


def test_sizes_do_not_recompile(compiled):
    """One compilation of each kernel for a power of two of neurons, whatever T, B, N, refractory time and alignment."""
    for T, B, N, inputs, refractory in ((1, 1, 65, 1, 1), (16, 16, 128, 32, 2), (33, 7, 100, 700, 3)):
        launch(Case("", Flags(refractory=refractory), T=T, B=B, N=N, inputs=inputs, trace=False))
    assert sorted(name.split(".")[-1] for name, _ in compiled) == ["backward", "forward", "sum_rows"]
    launch(Case("", Flags(refractory=1), T=5, B=2, N=300, inputs=9, trace=False))
    launch(Case("", Flags(refractory=1), T=5, B=2, N=700, inputs=9, trace=False))
    assert len(compiled) == 3  # blocks of 128 from there on
    launch(Case("", Flags(refractory=1), T=5, B=2, N=20, inputs=9, trace=False))
    assert len(compiled) == 6


def test_recurrent_sizes_do_not_recompile(compiled):
    """One compilation of each kernel for a power of two of connected neurons."""
    for powers, populations in enumerate(((65, 128, 100), (130, 256, 200), (1000, 1024, 513)), 1):
        for T, B, N in zip((1, 16, 33), (1, 16, 7), populations, strict=True):
            launch(Case("", T=T, B=B, N=N, inputs=9, trace=False, recurrent=True))
        kinds = [name.split(".")[-1] for name, _ in compiled]
        assert kinds.count("forward") == kinds.count("backward") == powers
    assert kinds.count("sum_rows") == 1


def test_slices_do_not_recompile(compiled):
    p = build(Case("", T=9, B=3, N=33, inputs=17), torch.float32)
    longer = torch.randn(400 * 33 + 1)
    for x in (p.events, p.events[1:]):
        event_gpu.forward(x.indptr, x.index, None, p.weight, x.indptr.numel() - 1)
        event_gpu.forward(x.indptr, x.index, None, longer[1 : 1 + 17 * 33].view(17, 33), x.indptr.numel() - 1)
    assert len(compiled) == 1


def test_delays_do_not_recompile(compiled):
    """Neither for T, B, P, the width of a kernel and N up to a power of two, nor for slices of events."""
    for T, B, N, K, last in ((16, 16, 128, 1, 0), (9, 1, 65, 5, 20), (33, 7, 100, 16, 40)):
        p = build(Case("", T=T, B=B, N=N, inputs=17), torch.float32)
        for columns in (1, N):
            first = torch.zeros(17, columns, dtype=torch.int32)
            for x in (p.events, p.events[1:]):
                T = len(x)
                delay_gpu.forward(x.indptr, x.index, None, torch.zeros(17, K, N), first, T, B, last)
                delay_gpu.backward(x.indptr, x.index, None, torch.zeros(T + last, B, N), first, T, K)
    names = sorted(name.split(".")[-1] for name, _ in compiled)
    assert names == ["arrive", "arrive", "collect", "collect"]
    for (name, _), made in compiled.items():
        same = [v for v in VARIANTS.values() if v.kernel.__name__ == name.split(".")[-1] and all(
            made["signature"][n] == v.types.get(n, "constexpr") for n in v.kernel.arg_names
        )]
        assert same, f"{name}: no variant with {made['signature']}"


def test_sparse_synapses_do_not_recompile(compiled):
    """Neither for rows, inputs, targets, tiles of targets and synapses, nor for slices of events."""
    for T, B, N in ((16, 16, 128), (1, 1, 5000), (33, 7, 101)):
        p = build(Case("", T=T, B=B, N=N, inputs=17), torch.float32)
        fan = SparseWeight.from_dense(torch.ones(17, N).tril(7))
        for x in (p.events, p.events[T // 2 :]):
            rows = x.indptr.numel() - 1
            sparse_gpu.forward(x.indptr, x.index, None, fan.indptr, fan.index, fan.values, rows, N)
            sparse_gpu.backward(x.indptr, x.index, None, fan.indptr, fan.index, torch.zeros(rows, N))
            sparse_gpu.inputs(torch.zeros(rows, N), fan.indptr, fan.index, fan.values)
    assert sorted(name.split(".")[-1] for name, _ in compiled) == ["scatter", "sum_events", "weigh"]
    for (name, _), made in compiled.items():
        same = [v for v in VARIANTS.values() if v.kernel.__name__ == name.split(".")[-1] and all(
            made["signature"][n] == v.types.get(n, "constexpr") for n in v.kernel.arg_names
        )]
        assert same, f"{name}: no variant with {made['signature']}"


def test_sparse_recurrent_weights_do_not_recompile(compiled):
    """One compilation of each kernel for a power of two of neurons, and of any more than a tile of them."""
    for powers, populations in enumerate(((65, 128, 100), (1000, 1024, 2500)), 1):
        for T, B, N in zip((1, 16, 33), (1, 16, 7), populations, strict=True):
            p = build(Case("", T=T, B=B, N=N, fused=False), torch.float32)
            fan = SparseWeight.from_dense(torch.ones(N, N).triu(N - 9))
            given = (p.current, fan.indptr, fan.index, fan.values, p.params, p.state, p.lengths)
            *_, bits, saved = gpu_sparse.forward(*given, p.flags.as_list(), False, True)
            gz, _, gl = p.gradients
            gpu_sparse.backward(
                gz, None, gl, *given, torch.zeros_like(bits), saved, p.flags.as_list(), p.surrogate.numbers, False
            )
        kinds = [name.split(".")[-1] for name, _ in compiled]
        assert kinds.count("forward") == kinds.count("backward") == powers
    for (name, _), made in compiled.items():
        same = [v for v in VARIANTS.values() if v.kernel.__name__ == name.split(".")[-1] and all(
            made["signature"].get(n) == v.types.get(n, "constexpr") for n in v.kernel.arg_names
        )]
        assert same, f"{name}: no variant with {made['signature']}"


def test_reservoirs_do_not_recompile(compiled, monkeypatch):
    """Neither for steps, recordings, inputs, neurons, synapses, delays and slices of events; only for drawing."""
    advance, given = torch.ops.spiking.reservoir_advance, []

    def note(*arguments):
        given.append(arguments[:-1])
        advance(*arguments)

    monkeypatch.setattr(torch.ops.spiking, "reservoir_advance", note)
    for T, B, N in ((16, 16, 128), (1, 1, 65), (33, 7, 1101)):
        x = build(Case("", T=T, B=B, N=N, inputs=17), torch.float32).events
        inputs = Synapses.of(SparseWeight.from_dense(torch.ones(17, N).tril(7)), torch.tensor(T))
        for part in (x, x[T // 2 :]):
            for recurrent in (None, Generated(1, (N, N), 5, (0.0, 1.0), delay=(1, N % 9 + 1))):
                reservoir(part, inputs, recurrent, IntegrateFire(), record=Recorder(bins=N % 3 + 1))
    for arguments in given:
        reservoir_gpu.advance(*arguments)
    assert [name.split(".")[-1] for name, _ in compiled] == ["run", "run"]


def test_spike_counts_do_not_recompile(compiled):
    """One compilation of each kernel, whatever the weight, its groups, the tokens and their alignment."""
    for tokens, out, inputs, group in ((1, 1, 1, 4), (16, 256, 128, 16), (33, 300, 129, 20)):
        packed = pack(torch.randn(out, inputs), group)
        x = torch.randn(tokens * inputs + 1)
        for flat in (x[:-1], x[1:]):
            counts, threshold = spike_gpu.encode(flat.view(tokens, inputs), 3.0)
            for mode in ("int", "event", "expand"):
                spike_gpu.linear(counts, threshold, packed, None, mode)
    names = sorted(name.split(".")[-1] for name, _ in compiled)
    assert names == ["add_groups", "encode_token", "multiply", "sum_group", "sum_group"]
    for (name, _), made in compiled.items():
        same = [v for v in VARIANTS.values() if v.kernel.__name__ == name.split(".")[-1] and all(
            made["signature"][n] == v.types.get(n, "constexpr") for n in v.kernel.arg_names
        )]
        assert same, f"{name}: no variant with {made['signature']}"


def test_convolutions_do_not_recompile(compiled):
    """Neither for other sensors, kernels, strides, groups, steps and samples, nor for outputs up to a power of two."""
    cameras = ((34, 34, 2, 5, 2, 1, 20), (16, 48, 1, 1, 1, 1, 32), (9, 7, 4, 3, 3, 2, 17))
    for T, (W, H, P, k, s, groups, out) in zip((1, 16, 33), cameras, strict=True):
        dense = torch.rand(T, 2, W * H * P, generator=torch.Generator().manual_seed(0)) < 0.3
        x = Events.from_dense(dense, 1.0, sensor=(W, H, P))
        shape = Geometry(Axis(H, k, s, k // 2, 1), Axis(W, k, s, k // 2, 1), P, groups)
        for part in (x, x[1:]) if T > 1 else (x,):
            y = conv_gpu.forward(part.indptr, part.index, None, torch.zeros(P, k, k, out), shape)
            conv_gpu.backward(part.indptr, part.index, None, y, shape)
    assert sorted(name.split(".")[-1] for name, _ in compiled) == ["correlate", "reach"]
    for (name, _), made in compiled.items():
        same = [v for v in VARIANTS.values() if v.kernel.__name__ == name.split(".")[-1] and all(
            made["signature"].get(n) == v.types.get(n, "constexpr") for n in v.kernel.arg_names
        )]
        assert same, f"{name}: no variant with {made['signature']}"


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("name", ["sparse_linear: fp32", "lif forward: LIF, fp32 currents, 1024 sparse recurrent"])
def test_the_events_of_a_row_wait_for_each_other(name, target):
    """A barrier stands between the store to the targets and the loads of the next event, and is in the final code."""
    compiled = aot.build(VARIANTS[name], target)
    barrier = r"(tt\.|buffer_)store[^\n]*\n\s*\}[^\n]*\n\s*(ttg|gpu)\.barrier"  # where the loop over a fan-out ends
    assert re.search(barrier, compiled.asm["ttgir"])
    assert re.search(r"barrier\.cta|amdgcn\.s\.barrier\(\)|nvvm\.barrier0|bar\.warp", compiled.asm["llir"])


@pytest.mark.parametrize(
    ("N", "fused", "recurrent"), [(256, True, False), (256, False, False), (128, True, True), (256, False, True)]
)
def test_what_a_layer_launches_is_what_is_compiled_here(compiled, N, fused, recurrent):
    launch(
        Case("", T=4, B=2, N=N, inputs=9, trace=False, fused=fused, recurrent=recurrent, surrogate="fast_sigmoid")
    )
    assert compiled
    for (name, _), made in compiled.items():
        kernel = name.split(".")[-1]
        source = made["signature"]
        same = [
            v for v in VARIANTS.values()
            if v.kernel.__name__ == kernel
            and all(source.get(n) == v.types.get(n, "constexpr") for n in v.kernel.arg_names)
            and v.options["num_warps"] == made["num_warps"]
        ]
        assert same, f"{kernel}: no variant with {source}"


def test_a_cpu_tensor_is_refused():
    with pytest.raises(ValueError, match="'triton' needs tensors on a GPU"):
        lif(torch.zeros(2, 1, 3), dt=1.0, backend="triton")


def test_report_prints_a_row_for_each(capsys):
    report = script("compile_report")
    report.main(["--target", "sm_90", "--only", "event_linear: bf16"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith("| kernel | sm_90 ") and len(lines) == 4
    assert re.fullmatch(r"\| event_linear: bf16 \| \d+ / 0 / 0 \|", lines[2])


def test_the_page_has_a_row_for_each_kernel():
    rows = re.findall(r"^\| ([^|]+) \| \d+ / ", (ROOT / "docs" / "gpu.md").read_text(), re.MULTILINE)
    assert rows == [variant.name for variant in aot.variants()]
