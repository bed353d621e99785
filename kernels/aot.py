"""Compile Triton kernels for GPUs that are not there, and read what they need.

Each gpu module lists in `AOT` the variants of its kernels that a default layer launches; `variants` collects them.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

from spiking.kernels.tile import OPTIONS

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
# Shared memory of one block in bytes; the compiler does not check it, a launch would fail.
SHARED_LIMIT = {"sm_80": 166_912, "sm_90": 232_448, "sm_100": 232_448, "gfx942": 65_536}


@dataclass(frozen=True)
class Variant:
    """One compilation of a kernel.

    Arguments:
        name: how reports call it.
        kernel: the function under `triton.jit`.
        types: argument name -> type, "*fp32" for a pointer and "i32" for a number; arguments not named are None.
        constants: argument name -> value of the constexprs.
        scratch: the pointer arguments through which a program's threads pass data to each other.
        options: how it is launched.
    """

    name: str
    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any] = field(default_factory=dict)
    scratch: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=lambda: dict(OPTIONS))


@dataclass(frozen=True)
class Resources:
    """What one compiled kernel takes: registers a thread, bytes of shared memory, bytes of spilled registers."""

    registers: int
    shared: int
    spills: int


def variants() -> Iterator[Variant]:
    """The variants of every op in the folder."""
    import spiking.kernels

    for module in pkgutil.walk_packages(spiking.kernels.__path__, "spiking.kernels."):
        if module.name.rpartition(".")[2].startswith("gpu"):
            yield from getattr(importlib.import_module(module.name), "AOT", [])


def build(variant: Variant, target: str, aligned: bool = True) -> CompiledKernel:
    """Compile a variant for one of `TARGETS`, with pointers known to start on 16 bytes or not."""
    names = variant.kernel.arg_names
    constants = {n: variant.constants.get(n) for n in names if n not in variant.types}
    signature = {n: variant.types.get(n, "constexpr") for n in names}
    hints: dict[Any, Any] = {}
    if aligned:
        loose = variant.kernel.do_not_specialize_on_alignment or ()
        hints = {
            (k,): [["tt.divisibility", 16]]
            for k, n in enumerate(names) if signature[n].startswith("*") and n not in loose
        }  # fmt: skip
    source = ASTSource(variant.kernel, signature, constants, hints)
    return triton.compile(source, target=TARGETS[target], options=variant.options)


def resources(compiled: CompiledKernel) -> Resources:
    """Registers, shared memory and spills, read from the binary."""
    shared = int(compiled.metadata.shared)
    if "cubin" in compiled.asm:
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(compiled.asm["cubin"])
            file.flush()
            tool = triton.knobs.nvidia.cuobjdump.path
            text = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
        used = {key: int(n) for key, n in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
        return Resources(used["REG"], shared, used["STACK"] + used["LOCAL"])
    used = {
        key: int(n)
        for key, n in re.findall(r"\.(vgpr_count|private_segment_fixed_size):\s*(\d+)", compiled.asm["amdgcn"])
    }
    return Resources(used["vgpr_count"], shared, used["private_segment_fixed_size"])


def unguarded(compiled: CompiledKernel, argument: str) -> list[str]:
    """Loads from, and stores to, a pointer argument that no barrier parts from the other, following loops round.

    Threads pass data through such memory; the interpreter runs programs one element after the other and can't tell.

    Arguments:
        compiled: the kernel.
        argument: name of the pointer.

    Returns:
        The offending lines of the Triton GPU IR; also one line for every barrier that the final code has lost.
    """
    text = compiled.asm["ttgir"]
    pointers = {f"%{argument}"}
    trail: list[tuple[str, str]] = []
    for line in text[text.index("tt.func") :].splitlines()[1:]:
        line = line.split(" loc(")[0].strip()
        if re.match(r"(ttg|gpu)\.barrier\b", line):
            trail.append(("barrier", line))
            continue
        for inner, outer in re.findall(r"(%[\w#]+) = (%[\w#]+)", line):  # what a loop carries
            if outer in pointers:
                pointers.add(inner)
        made = re.match(r"(%\w+) = ", line)
        used = set(re.findall(r"%[\w#]+", line.split("=", 1)[-1] if made else line)) & pointers
        operation = re.search(r"(?:\btt\.|\.buffer_)(load|store)\b", line)
        if used and operation:
            trail.append((operation[1], line))
        if made:  # numbers of values return in regions that stand side by side
            passes = used and not operation and "!tt.ptr" in line
            pointers = pointers | {made[1]} if passes else pointers - {made[1]}

    assert {"load", "store"} <= {kind for kind, _ in trail}, f"{argument}: no load and store found in the IR"
    missing, last = [], "barrier"
    for kind, line in trail + trail:
        if {kind, last} == {"load", "store"} and line not in missing:
            missing.append(line)
        last = kind
    kept = len(re.findall(r"barrier\.cta|amdgcn\.s\.barrier\(\)|nvvm\.barrier0", compiled.asm["llir"]))
    planned = sum(kind == "barrier" for kind, _ in trail)
    return missing + ["a barrier is gone from the final code"] * max(0, planned - kept)
