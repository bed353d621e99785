"""Every Triton kernel compiled for GPUs that are not here: errors, shared memory, spills, barriers, recompilation.

Proves that kernels build and fit; that they run fast, or at all, only a GPU shows.
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl

from spiking.kernels import aot, lif
from spiking.kernels.event_linear import gpu as event_gpu
from spiking.kernels.lif import gpu
from spiking.kernels.lif.gpu_forward import Switches
from spiking.kernels.lif.rule import Flags
from spiking.kernels.surrogate.reference import KINDS

from .cases import Case, build

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="TRITON_INTERPRET=1 leaves nothing to compile"
)

ROOT = Path(__file__).parents[2]
VARIANTS = {v.name: v for v in aot.variants()}
LIF = VARIANTS["lif backward: LIF, fp32 currents"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))


# Bytes: the ptxas of Triton 3.6 parks one or two registers to reach a rounder number of them; 3.9 parks none.
SPILL_LIMIT = 8


def fits(variant: aot.Variant, target: str, aligned: bool = True) -> None:
    compiled = aot.build(variant, target, aligned)
    used = aot.resources(compiled)
    assert used.shared <= aot.SHARED_LIMIT[target]
    assert used.spills <= SPILL_LIMIT
    if variant.scratch:
        assert aot.unguarded(compiled, variant.scratch) == []


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


@pytest.mark.parametrize(
    "flags",
    [
        Switches(synapse=2, adaptation=1, adapt_previous=1, reset=1, reset_next=1, detach_reset=0, inclusive=1),
        Switches(adaptation=1, reset=2, refractory=1),
    ],
)
def test_other_switches_compile(flags):
    fits(replace(LIF, constants={**LIF.constants, "flags": flags}), "sm_90")


def test_rows_are_read_sixteen_bytes_at_a_time():
    aligned, unaligned = (
        aot.build(VARIANTS["event_linear: fp32"], "sm_90", known).asm["ptx"] for known in (True, False)
    )
    assert aligned.count("ld.global.v4") >= event_gpu.TOGETHER
    assert unaligned.count("ld.global.v4") == 0


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("storage", ["fp32", "bf16"])
def test_both_passes_sum_events_in_one_order(storage, target):
    """The backward pass makes the spikes again: a sum laid out otherwise over threads could round to another one."""
    layouts = []
    for way in ("forward", "backward"):
        text = aot.build(VARIANTS[f"lif {way}: LIF, {storage} events"], target).asm["ttgir"]
        (name,) = re.findall(rf"\(tensor<{event_gpu.TOGETHER}x128xf32, (#\w+)>\) -> tensor<128xf32", text)
        layouts.append(re.search(rf"^{name} = (.*)$", text, re.M)[1])
    assert layouts[0] == layouts[1] and "sizePerThread" in layouts[0]


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
    variant = aot.Variant("toy", passes_on, types, {"first": first, "second": second}, "scratch")
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
    for module in (gpu, event_gpu):
        monkeypatch.setattr(module, "check", lambda device: None)
    for kernel in {v.kernel for v in VARIANTS.values()}:
        kernel.device_caches.clear()
    yield seen
    for kernel in {v.kernel for v in VARIANTS.values()}:
        kernel.device_caches.clear()


def launch(case: Case, all_given: bool = True) -> None:
    """A forward and a backward pass, with a state, lengths and all gradients, or with what a plain layer has."""
    p = build(case, torch.float32)
    events = (p.events.indptr, p.events.index, p.events.value) if p.events is not None else (None,) * 3
    state = p.state if all_given else torch.zeros(()).expand_as(p.state)
    lengths = p.lengths if all_given or p.events is not None else None
    given = (p.current, *events, p.weight, p.params, state, lengths)
    flags = p.flags.as_list()
    *_, bits, saved = gpu.forward(*given, case.T, flags, case.trace, True)
    gz, gm, gl = p.gradients
    gpu.backward(
        gz, gm if case.trace else None, gl if all_given else None, *given, bits, saved, case.T, flags,
        p.surrogate.numbers, all_given, all_given,
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


def test_slices_do_not_recompile(compiled):
    p = build(Case("", T=9, B=3, N=33, inputs=17), torch.float32)
    longer = torch.randn(400 * 33 + 1)
    for x in (p.events, p.events[1:]):
        event_gpu.forward(x.indptr, x.index, None, p.weight, x.indptr.numel() - 1)
        event_gpu.forward(x.indptr, x.index, None, longer[1 : 1 + 17 * 33].view(17, 33), x.indptr.numel() - 1)
    assert len(compiled) == 1


@pytest.mark.parametrize(("fused", "all_given"), [(True, False), (False, False), (False, True)])
def test_what_a_layer_launches_is_what_is_compiled_here(compiled, fused, all_given):
    launch(Case("", T=4, B=2, N=256, inputs=9, trace=False, fused=fused, surrogate="fast_sigmoid"), all_given)
    assert compiled
    for (name, _), made in compiled.items():
        kernel = name.split(".")[-1]
        source = made["signature"]
        same = [v for v in VARIANTS.values() if v.kernel.__name__ == kernel and all(
            source[n] == v.types.get(n, "constexpr") for n in v.kernel.arg_names
        )]
        assert same, f"{kernel}: no variant with {source}"


def test_a_cpu_tensor_is_refused():
    with pytest.raises(ValueError, match="'triton' needs tensors on a GPU"):
        lif(torch.zeros(2, 1, 3), dt=1.0, backend="triton")


def test_report_prints_a_row_for_each(capsys):
    spec = importlib.util.spec_from_file_location("compile_report", ROOT / "benchmarks" / "compile_report.py")
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    report.main(["--target", "sm_90", "--only", "event_linear: bf16"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith("| kernel | sm_90 ") and len(lines) == 4
    assert re.fullmatch(r"\| event_linear: bf16 \| \d+ / 0 / 0 \|", lines[2])
