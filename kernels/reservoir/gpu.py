"""The reservoir in Triton; op.py gives the equations.

A program owns a recording and runs its loop over time: it adds one spike's fan-out after the other to what is pending,
with a barrier between (the targets of one spike differ, so no two threads meet), steps the neurons a tile at a time,
and lists those that fired for all its threads to read. State and pending arrivals stay in memory, which the caches
nearest to the program hold for the populations that it suits. Nothing is added atomically: the same inputs give the
same bits. A single large network has one program only and is better served by the CPU's threads.

Proven under the interpreter and compiled ahead of time; not yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from spiking.kernels.aot import Variant
from spiking.kernels.reservoir.gpu_step import currents, izhikevich, leaky
from spiking.kernels.tile import check

WARPS = 4
OPTIONS = {"num_warps": WARPS, "enable_fp_fusion": False}
SYNAPSES = 128  # that a program takes at once
TILE = 1024  # neurons that it steps at once

GIVEN = (
    "indptr", "index", "value", "lengths", "in_indptr", "in_word", "in_weight", "in_numbers", "re_indptr", "re_word",
    "re_weight", "re_numbers", "rows", "hold", "table", "group", "fade",
)  # fmt: skip
CHANGING = (
    "clock", "v", "slow", "current", "refractory", "pending", "use", "resources", "last", "done", "fill", "buffer",
    "spikes", "total", "final", "counts", "traces",
)  # fmt: skip
NUMBERS = ("T", "B", "N", "size", "room", "bins", "parts", "slots", "stop", "budget", "dt")


@triton.jit
def mix(x):
    """The hash of synapses.py, of uint32."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def draw(numbers, source, k, N):
    """Targets, delays and weights of synapses k of a source, and which are there."""
    K = tl.load(numbers + 1).to(tl.int64)
    excites = source < tl.load(numbers + 6).to(tl.int64)
    low = tl.where(excites, tl.load(numbers + 2), tl.load(numbers + 4)).to(tl.float32)
    span = tl.where(excites, tl.load(numbers + 3), tl.load(numbers + 5)).to(tl.float32)
    first = tl.load(numbers + 7).to(tl.int64)
    delays = tl.load(numbers + 8).to(tl.int64)
    start = tl.load(numbers).to(tl.int64).to(tl.uint32)
    step = tl.full((1,), 0x9E3779B9, tl.uint32)
    row = mix(tl.full((1,), 0, tl.uint32) + (source.to(tl.uint32) ^ start))
    g = mix(row + k.to(tl.uint32) * step)
    left = k * N // K
    target = left + (g.to(tl.int64) * ((k + 1) * N // K - left) >> 32)
    u = (mix(g ^ 1) >> 8).to(tl.float32) * 5.960464477539063e-08
    delay = first + (mix(g ^ 2).to(tl.int64) * delays >> 32)
    skipped = tl.where(tl.load(numbers + 9).to(tl.int64) == 1, -1, source)
    there = (k < K) & (target != skipped)
    return target, delay, low + span * u, there


@triton.jit
def deliver(  # type: ignore[no-untyped-def]
    source, strength, use, resources, group, pending, slot, slots, N, indptr, word, weight, numbers,
    RECEPTORS: tl.constexpr, GROUPS: tl.constexpr, DRAWN: tl.constexpr, SYN: tl.constexpr,
):  # fmt: skip
    """Add the fan-out of a spike to what is pending; use and resources are those of the source."""
    if DRAWN:
        begin = tl.zeros((), tl.int64)
        end = tl.load(numbers + 1).to(tl.int64)
    else:
        begin = tl.load(indptr + source)
        end = tl.load(indptr + source + 1)
    for some in range(begin, end, SYN):
        place = some + tl.arange(0, SYN)
        if DRAWN:
            target, delay, w, there = draw(numbers, source, place, N)
            w = w.to(pending.dtype.element_ty)
        else:
            there = place < end
            packed = tl.load(word + place, there, 0)
            target = (packed & 0xFFFFFF).to(tl.int64)
            delay = ((packed >> 24) & 255).to(tl.int64)
            w = tl.load(weight + place, there, 0.0).to(pending.dtype.element_ty)
        if GROUPS > 0:
            at = tl.load(group + target, there, 0)
            p = tl.load(use + at, there, 0.0) * tl.load(resources + at, there, 0.0) * w
        else:
            p = strength * w
        row = (slot + delay) & (slots - 1)
        if RECEPTORS == 2:
            row = row * 2 + (p < 0).to(tl.int64)
        at = pending + row * N + target
        tl.store(at, tl.load(at, there, 0.0) + p, there)
    tl.debug_barrier()  # the next spike may reach the same targets through other threads


@triton.jit(
    do_not_specialize=["T", "B", "N", "size", "room", "bins", "parts", "slots", "stop", "budget"],
    do_not_specialize_on_alignment=[
        "indptr", "index", "value", "lengths", "in_indptr", "in_word", "in_weight", "in_numbers", "re_indptr",
        "re_word", "re_weight", "re_numbers", "rows", "hold", "table", "group", "fade", "clock", "v", "slow",
        "current", "refractory", "pending", "use", "resources", "last", "done", "fill", "buffer", "spikes", "total",
        "final", "counts", "traces", "queue",
    ],
)
def run(  # type: ignore[no-untyped-def]
    indptr, index, value, lengths, in_indptr, in_word, in_weight, in_numbers, re_indptr, re_word, re_weight,
    re_numbers, rows, hold, table, group, fade, clock, v, slow, current, refractory, pending, use, resources, last,
    done, fill, buffer, spikes, total, final, counts, traces, queue, T, B, N, size, room, bins, parts, slots, stop,
    budget, dt, NEURON: tl.constexpr, SYNAPSE: tl.constexpr, RECEPTORS: tl.constexpr, AT_ONCE: tl.constexpr,
    SUBTRACT: tl.constexpr, SUBSTEPS: tl.constexpr, GROUPS: tl.constexpr, SYN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Bring a recording to step `stop`; less far where its buffer is full or its budget spent."""
    b = tl.program_id(0).to(tl.int64)
    own = b * N
    pending += b * slots * RECEPTORS * N
    current += b * RECEPTORS * SYNAPSE * N
    t = tl.load(done + b)
    now = tl.load(clock + b)
    written = tl.load(fill + b)
    seen = tl.load(total + b)
    latest = tl.load(final + b)
    length = tl.load(lengths + b)
    end = tl.minimum(length, stop)
    more = (t < end) & (seen <= budget) & (written <= room)
    while more:
        slot = now & (slots - 1)
        for event in range(tl.load(indptr + t * B + b), tl.load(indptr + t * B + b + 1)):
            strength = tl.full((), 1.0, pending.dtype.element_ty)
            if value is not None:
                strength = tl.load(value + event)
            deliver(
                tl.load(index + event).to(tl.int64), strength, use, resources, group, pending, slot, slots, N,
                in_indptr, in_word, in_weight, in_numbers, RECEPTORS, 0, in_numbers is not None, SYN,
            )
        found = tl.zeros((), tl.int64)
        for tile in range(0, N, BLOCK):
            j = tile + tl.arange(0, BLOCK)
            there = j < N
            felt = pending + slot * RECEPTORS * N + j
            if SYNAPSE == 0:
                jump = tl.load(felt, there, 0.0)
                tl.store(felt, tl.zeros((BLOCK,), pending.dtype.element_ty), there)
                drive = tl.zeros((BLOCK,), pending.dtype.element_ty)
            else:
                jump = tl.zeros((BLOCK,), pending.dtype.element_ty)
                drive = currents(rows, current + j, felt, there, j, N, SYNAPSE, RECEPTORS, AT_ONCE)
            left = tl.load(refractory + own + j, there, 1)
            old = tl.load(v + own + j, there, 0.0)
            w = tl.load(slow + own + j, there, 0.0)
            if NEURON == 2:
                z, new, w = izhikevich(rows + j, old, w, left, drive, jump, there, N, dt, SUBSTEPS)
            else:
                z, new, w = leaky(rows + j, old, w, left, drive, jump, there, N, SUBTRACT)
            tl.store(v + own + j, new, there)
            tl.store(slow + own + j, w, there)
            left = tl.where(z, tl.load(hold + j, there, 0), tl.maximum(left - 1, 0))
            tl.store(refractory + own + j, left, there)
            before = tl.load(last + own + j, there, 0)
            for g in tl.static_range(GROUPS):
                at = (own + j) * GROUPS + g
                U = tl.load(table + j * GROUPS + g, z, 0.0)
                interval = (now - before).to(pending.dtype.element_ty)
                fall = tl.exp(-interval * tl.load(table + (N + j) * GROUPS + g, z, 0.0))
                rest = tl.exp(-interval * tl.load(table + (2 * N + j) * GROUPS + g, z, 0.0))
                u = tl.load(use + at, z, 0.0)
                R = tl.load(resources + at, z, 0.0)
                tl.store(use + at, tl.where(before < 0, U, U + u * (1 - U) * rest), z)
                tl.store(resources + at, tl.where(before < 0, 1.0, 1 + (R - u * R - 1) * fall), z)
            tl.store(last + own + j, tl.zeros((BLOCK,), tl.int64) + now, z)
            fired = z.to(tl.int32)
            to = found + tl.cumsum(fired, 0) - 1
            entry = queue + own + to
            tl.store(entry, j, z)
            if buffer is not None:
                tl.store(buffer + b * size + written + to, j, z)
            if counts is not None:
                at = counts + (b * bins + t * bins // T) * N + j
                tl.store(at, tl.load(at, z, 0.0) + 1, z)
            if traces is not None:
                part = t * parts // T
                stays = tl.minimum(((part + 1) * T + parts - 1) // parts, length) - 1 - t
                at = traces + (b * parts + part) * N + j
                tl.store(at, tl.load(at, z, 0.0) + tl.load(fade + stays), z)
            found += tl.sum(fired, 0)
        tl.debug_barrier()
        for m in range(0, found):
            j = tl.load(queue + own + m).to(tl.int64)
            deliver(
                j, tl.full((), 1.0, pending.dtype.element_ty), use + (own + j) * GROUPS, resources + (own + j) * GROUPS,
                group, pending, slot, slots, N, re_indptr, re_word, re_weight, re_numbers, RECEPTORS, GROUPS,
                re_numbers is not None, SYN,
            )
        tl.debug_barrier()  # the queue is read, and what is pending stands
        tl.store(spikes + t * B + b, found.to(tl.int32))
        latest = tl.where(found > 0, t, latest)
        seen += found
        if buffer is not None:
            written += found
        t += 1
        now += 1
        more = (t < end) & (seen <= budget) & (written <= room)
    tl.store(done + b, t)
    tl.store(clock + b, now)
    tl.store(fill + b, written)
    tl.store(total + b, seen)
    tl.store(final + b, latest)


def advance(
    given: list[Tensor], changing: list[Tensor], flags: list[int], stop: int, budget: int, dt: float
) -> None:
    """Bring all recordings to step `stop`, or as far as the buffers of their spikes reach; op.py names the tensors."""
    a = dict(zip(GIVEN + CHANGING, [*given, *changing], strict=True))
    check(a["index"].device)
    T, B = a["spikes"].shape
    if not T * B:
        return
    optional = ("value", "in_numbers", "re_numbers", "buffer", "counts", "traces")
    tensors = {name: None if name in optional and not x.numel() else x for name, x in a.items()}
    N, groups = a["hold"].numel(), a["table"].shape[2]
    queue = torch.empty(B, N, dtype=torch.int32, device=a["index"].device)
    size = a["buffer"].shape[1]
    neuron, synapse, receptors, at_once, subtract, substeps, slots = flags
    with torch.cuda.device_of(queue):
        run[(B,)](
            **tensors, queue=queue, T=T, B=B, N=N, size=size, room=size - N if size else 0, bins=a["counts"].shape[1],
            parts=a["traces"].shape[1], slots=slots, stop=stop, budget=budget, dt=dt, NEURON=neuron, SYNAPSE=synapse,
            RECEPTORS=receptors, AT_ONCE=at_once, SUBTRACT=subtract, SUBSTEPS=substeps, GROUPS=groups, SYN=SYNAPSES,
            BLOCK=TILE, **OPTIONS,
        )  # fmt: skip


def _variants() -> Iterator[Variant]:
    whole, real = {"index", "in_word", "re_word", "hold", "refractory", "buffer", "spikes", "queue"}, "*fp32"
    types = {name: real for name in GIVEN + CHANGING} | {name: "*i32" for name in whole}
    types |= {name: "*i64" for name in ("indptr", "lengths", "in_indptr", "re_indptr", "clock", "last", "done", "fill",
                                        "total", "final")}  # fmt: skip
    types |= {"group": "*u8", "dt": "fp32"} | {name: "i32" for name in NUMBERS[:-1]}
    for name in ("value", "in_numbers", "re_numbers", "counts", "traces"):
        types.pop(name)
    flags = {"NEURON": 0, "SYNAPSE": 0, "RECEPTORS": 1, "AT_ONCE": 0, "SUBTRACT": 0, "SUBSTEPS": 1, "GROUPS": 0}
    flags |= {"SYN": SYNAPSES, "BLOCK": TILE}
    drawn = {"in_numbers": "*fp64", "re_numbers": "*fp64", "value": real, "counts": real, "traces": real}
    izhikevich = {"NEURON": 2, "SYNAPSE": 2, "RECEPTORS": 2, "SUBSTEPS": 2}
    for name, more, switches in (
        ("LIF", {}, {}), ("drawn", drawn, {"NEURON": 1}),
        ("short-term", {}, {"SYNAPSE": 1, "RECEPTORS": 2, "GROUPS": 2}),
        ("Izhikevich, alpha", {"counts": real}, izhikevich),
    ):  # fmt: skip
        yield Variant(f"reservoir: {name}", run, {**types, **more}, {**flags, **switches}, ("queue",), dict(OPTIONS))


AOT = list(_variants())
