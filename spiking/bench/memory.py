"""Peak memory of one forward and backward pass in a fresh process, the data apart.

    python -m spiking.bench.memory lif triangle snntorch Leaky [--device cuda] [--quick]

The process makes the tensors of the work and runs the same layer once in a small size, so that libraries are loaded and
kernels compiled. Then it gives free memory back, has Linux forget the largest resident size so far
(/proc/self/clear_refs), and runs forward and backward once: the largest resident size since then, less the resident
size before. Elsewhere the growth of the whole process's largest size stands in. On a GPU the numbers are those of
torch's allocator. `ours` in the place of a mode is this toolkit's side.

How much of what a loop frees it gets again is the C library's business: glibc before 2.38 seldom finds room for a
tensor, which is aligned, in memory of the same size, and a loop over steps grows by what it ever asked for. So by
default tensors of 16 KB or more get pages of their own, which go when they go: what is alive at once.

Resident pages of libraries count, too, and a kernel may take them back at any time: then the measurement says so and
is made again.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from spiking.bench.compare import results
from spiking.bench.peers import peer
from spiking.bench.work import WORKS, problem

OURS = "ours"
TRIES, SPARED = 5, 1_000_000  # measurements at most; bytes of files that a kernel may take during one
MALLOC = {"given back": {"MALLOC_MMAP_THRESHOLD_": "16384"}, "as it comes": dict[str, str]()}


def resident(field: str = "VmRSS") -> int:
    """Bytes that this process has in memory, or, as VmHWM, had at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status: no {field}")


class Disturbed(RuntimeError):
    """While memory was measured the kernel took pages of files from this process."""


def peak(work: Callable[[], object], device: str = "cpu", tries: int = 1) -> int:
    """Bytes that a call adds at most to what this process has in memory, or has on a GPU.

    Arguments:
        work: what is called.
        device: "cpu" or "cuda".
        tries: calls at most, of work that takes as much each time; one more after every disturbed one.

    Raises:
        Disturbed: if the kernel took pages of libraries each time, so that the number is too low.
    """
    gc.collect()
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if sys.platform != "linux":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    taken = 0
    for _ in range(tries):
        if trim is not None:
            trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before, files = resident(), resident("RssFile")
        work()
        most, taken = resident("VmHWM"), files - resident("RssFile")
        if taken <= SPARED:
            return most - before
    raise Disturbed(f"the kernel took {taken / 1e6:.1f} MB of libraries while memory was measured")


def in_fresh_process(words: list[str], malloc: str = "given back") -> int:
    """The number that Python prints last, run in a process of its own with these words; `malloc` is one of MALLOC.

    Raises:
        RuntimeError: with what the process said, if it failed, or was disturbed TRIES times.
    """
    variables = {**os.environ, **MALLOC[malloc]}
    for _ in range(TRIES):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=variables)
        if Disturbed.__name__ not in done.stderr:
            break
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return int(done.stdout.split()[-1])


def of_side(op: str, surrogate: str, name: str, mode: str, device: str = "cpu", quick: bool = False) -> int:
    """`peak` of one side of a comparison in a fresh process, in bytes.

    Raises:
        RuntimeError: with what the process said, if it failed.
    """
    words = ["-m", "spiking.bench.memory", op, surrogate, name, mode, "--device", device]
    return in_fresh_process([*words, "--quick"] if quick else words)


def main() -> int:
    """Print the bytes of one side."""
    words = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("op", "surrogate", "peer", "mode"):
        words.add_argument(name)
    words.add_argument("--device", default="cpu")
    words.add_argument("--quick", action="store_true")
    given = words.parse_args()
    small = WORKS[given.op].quick()
    runs = []
    for work in (small, small if given.quick else WORKS[given.op]):
        made = problem(work, given.surrogate, given.device)
        pair = peer(given.peer).pair(made, False)
        runs.append((pair.ours if given.mode == OURS else pair.modes[given.mode], made))
    results(*runs[0])
    print(peak(lambda: results(*runs[1]), given.device))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
