"""One measurement: an op with a surrogate, all peers that can do it, compared, timed in turn, memory apart."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numba
import torch

from spiking.bench import memory
from spiking.bench.compare import ERROR, FLIPS, Agreement, agree
from spiking.bench.pair import COMPILED, Run
from spiking.bench.peers import peer, version
from spiking.bench.timing import Times, ratios, timed
from spiking.bench.work import Work, problem

GEMM = "dense product alone"
Say = Callable[[str], None]


@dataclass
class Row:
    """One way of running a peer, next to ours that does the same.

    Arguments:
        op, surrogate, peer, mode: what was run.
        agreement: with ours.
        theirs, ours: times.
        ratio: median, least and largest of the rounds.
        their_bytes, our_bytes: peak memory of a pass, where it was measured.
    """

    op: str
    surrogate: str
    peer: str
    mode: str
    agreement: Agreement
    theirs: Times
    ours: Times
    ratio: tuple[float, float, float]
    their_bytes: int | None = None
    our_bytes: int | None = None

    @property
    def key(self) -> str:
        """A name without blanks."""
        words = (self.op, self.surrogate, self.peer, self.mode.replace(",", "").replace(" ", "_"))
        return ".".join(word for word in words if word != "none")


@dataclass
class Result:
    """All rows of an op with a surrogate.

    Arguments:
        work: the op and its sizes.
        surrogate: its name.
        rows: ways that agreed with ours.
        refused: why there is no ratio, by peer and mode.
        gemm: times of the product that the peers' layers begin with.
        failed: ways that raised an error, by peer and mode.
    """

    work: Work
    surrogate: str
    rows: list[Row] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    gemm: Times = field(default_factory=Times)

    @property
    def fastest(self) -> Row | None:
        """Of the libraries' ways the one with the least median time; PyTorch by hand is no library."""
        rows = [row for row in self.rows if row.peer != "torch"] or self.rows
        return min(rows, key=lambda row: row.theirs.median) if rows else None


def measure(
    work: Work, surrogate: str, peers: Iterable[str], rounds: int, *, compiled: bool, remember: bool, device: str,
    quick: bool, say: Say,
) -> Result:
    """Compare, time and weigh one op.

    Arguments:
        work, surrogate: what to run.
        peers: names of installed ones.
        rounds: repetitions.
        compiled: also run what torch.compile makes of each peer.
        remember: measure peak memory, too, in fresh processes.
        device: where.
        quick: the small size.
        say: what to do with a line of text.
    """
    made = problem(work, surrogate, device)
    found, runs, twins = Result(work, surrogate), dict[str, Run](), dict[str, str]()
    dense, weight = made.dense, made.weight
    product = f"torch: {GEMM}"
    runs[product] = lambda: dense @ weight
    agreements: dict[str, Agreement] = {}
    for name in peers:
        pair = peer(name).pair(made, compiled)
        if pair is None:
            say(f"  {name}: has no {work.name}")
            continue
        for mode, agreement in agree(pair, made).items():
            what = f"{name}: {mode}"
            say(f"  {what}: {agreement}")
            if isinstance(agreement, str):
                found.failed[what] = agreement
            elif not agreement.equal:
                found.refused[what] = str(agreement)
            else:
                runs[what], twins[what], agreements[what] = pair.modes[mode], f"ours as {name}", agreement
                runs[twins[what]] = pair.ours
    if found.refused:
        say(f"  the sides disagree (allowed: {FLIPS:.0e} and {ERROR:.0e}): no ratio for {', '.join(found.refused)}")
    taken = timed(runs, made, rounds) if twins else {}
    found.gemm = taken.get(product, Times())
    weighed: dict[str, int] = {}
    for what, twin in twins.items():
        name, mode = what.split(": ", 1)
        row = Row(
            work.name, surrogate, name, mode, agreements[what], taken[what], taken[twin],
            ratios(taken[what], taken[twin]),
        )
        if remember and not mode.endswith(COMPILED):
            row.their_bytes = memory.of_side(work.name, surrogate, name, mode, device, quick)
            if name not in weighed:
                weighed[name] = memory.of_side(work.name, surrogate, name, memory.OURS, device, quick)
            row.our_bytes = weighed[name]
        found.rows.append(row)
    return found


def environment(peers: Iterable[str], device: str) -> dict[str, str | int | float]:
    """What the numbers depend on."""
    names = ["torch", "numba", *(name for name in peers if name != "torch")]
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(), "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(), "dtype": "float32", "python": platform.python_version(),
        **{name: version(name) or "" for name in names}, "load": round(os.getloadavg()[0], 2),
    }


def processor() -> str:
    """The name of the processor."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Run on that many threads, torch's and Numba's."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(number)
    numba.set_num_threads(min(number, before[1]))
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
