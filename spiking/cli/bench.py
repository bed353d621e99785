"""`spiking bench`: times and memory of the ops next to every other library that is installed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from spiking.cli.mistake import Mistake


def main(argv: Sequence[str]) -> int:
    """Run `spiking bench`."""
    words = argparse.ArgumentParser(
        prog="spiking bench", allow_abbrev=False,
        description="Time forward and backward of lif, event_linear, delay_linear and the readouts, and their peak "
        "memory, next to every library that is installed; in one process, after spikes and gradients were found equal. "
        "The other ops have scripts in benchmarks/.",
    )  # fmt: skip
    words.add_argument("--op", action="append", help="lif, lif-recurrent, ...; several by repeating it (default: all)")
    words.add_argument("--against", help="libraries, such as snntorch,norse (default: all that are installed)")
    words.add_argument("--surrogate", help="triangle or arctan (default: both)")
    words.add_argument("--rounds", type=int, default=15, help="repetitions")
    words.add_argument("--threads", type=int, help="threads (default: as many as torch takes)")
    words.add_argument("--device", default="cpu", help="cpu or cuda")
    words.add_argument("--compile", action="store_true", help="also run what torch.compile makes of each library")
    words.add_argument("--memory", action="store_true", help="also measure peak memory, each in a fresh process")
    words.add_argument("--quick", action="store_true", help="a small size, for a first look")
    words.add_argument("--out", help="folder for metrics.json, results.json and the picture")
    given = words.parse_args(argv)

    from spiking.bench.work import SURROGATES, WORKS

    ops = given.op or list(WORKS)
    for op in ops:
        if op not in WORKS:
            raise Mistake(f"--op: there is no {op!r}; there are {', '.join(WORKS)}")
    if given.surrogate is not None and given.surrogate not in SURROGATES:
        raise Mistake(f"--surrogate: there is no {given.surrogate!r}; there are {', '.join(SURROGATES)}")
    peers = _peers(given.against)
    for name in ("rounds", "threads"):
        value = getattr(given, name)
        if value is not None and value < 1:
            raise Mistake(f"--{name}: expected a number of at least 1, got {value}")
    _check_device(given.device)

    import torch

    from spiking.bench import environment, measure, threads
    from spiking.bench.report import table, write
    from spiking.cli.run_folder import release, run_folder

    folder = run_folder(given.out, "bench") if given.out else None
    release()
    with threads(given.threads or torch.get_num_threads()):
        about = environment(peers, given.device)
        print(", ".join(f"{name} {value}" for name, value in about.items()), flush=True)
        results = []
        for op in ops:
            work = WORKS[op].quick() if given.quick else WORKS[op]
            for surrogate in work.surrogates:
                if given.surrogate not in (None, surrogate) and len(work.surrogates) > 1:
                    continue
                print(f"\n{op}, {surrogate}: comparing", flush=True)
                result = measure(
                    work, surrogate, peers, given.rounds, compiled=given.compile, remember=given.memory,
                    device=given.device, quick=given.quick, say=lambda line: print(line, flush=True),
                )
                results.append(result)
                print(f"\n{table(result)}", flush=True)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in write(folder, results, about):
            print(path)
    return 1 if any(result.refused for result in results) else 0


def _peers(against: str | None) -> list[str]:
    """The installed ones among those asked for."""
    from spiking.bench.peers import PEERS, version

    wanted = list(PEERS) if against is None else against.split(",")
    for name in wanted:
        if name not in PEERS:
            raise Mistake(f"--against: there is no {name!r}; there are {', '.join(PEERS)}")
    for name in wanted:
        if version(name) is None:
            print(f"{name}: not installed, left out")
    return [name for name in wanted if version(name) is not None]


def _check_device(device: str) -> None:
    import torch

    if device not in ("cpu", "cuda"):
        raise Mistake(f"--device: expected cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise Mistake("--device: torch finds no GPU here")
