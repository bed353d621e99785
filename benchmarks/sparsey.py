"""What a frame costs a Sparsey memory: processor microseconds, beside those of the op `csa` alone.

    python benchmarks/sparsey.py

One sequence at a time, as learning must have it, and fifty together, as recognition may; small nets, in which the
wiring in Python costs most.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from spiking.kernels.csa import Draw, Evidence, Wiring, csa, pack
from spiking.plasticity.sparsey import LevelPlan, Sparsey, around, tiles
from spiking.plasticity.sparsey.study import sequences

SEQUENCES, FRAMES, REPEATS = 50, 10, 5


def two_levels() -> Sparsey:
    """Four macs that hear each other and a fifth above them."""
    low = LevelPlan(
        tiles((12, 12), (6, 6), (6, 6)), 5, 12, beside=around((2, 2), 1), above=torch.zeros(4, 1, dtype=torch.long)
    )
    return Sparsey(144, [low, LevelPlan(torch.arange(4)[None], 7, 8, beside=around((1, 1)))])


def least(work: Callable[[], object], frames: int) -> float:
    """Processor microseconds a frame, the least of some repeats."""
    work()
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return 1e6 * min(found) / frames


def main() -> dict[str, float]:
    """Print a table and return it."""
    items, found = sequences(SEQUENCES, FRAMES), dict[str, float]()
    x = pack(items.flatten(0, 1)[:, None])
    weight, used = torch.zeros(1, x.shape[2], 144, dtype=torch.int32), torch.zeros(1, 1, dtype=torch.int32)
    wiring, evidence = Wiring(9), Evidence([[4.0]])
    learn = {"draw": Draw(), "learn": True, "used": used}
    found["csa, 500 items learned in a call"] = least(lambda: csa(x, weight, wiring, evidence, **learn), len(x))
    found["csa, one item in a call"] = least(
        lambda: [csa(row[None], weight, wiring, evidence, **learn) for row in x], len(x)
    )
    for name, make in (("Rinkus' net", lambda: Sparsey.from_preset("capacity")), ("two levels", two_levels)):
        memory, frames = make(), SEQUENCES * FRAMES
        found[f"{name}, learning"] = least(lambda memory=memory: memory.learn(items), frames)
        found[f"{name}, one recognised"] = least(lambda memory=memory: memory.recognise(items[0]), FRAMES)
        found[f"{name}, fifty recognised"] = least(lambda memory=memory: memory.recognise(items), frames)
    for name, cost in found.items():
        print(f"{name:<36}{cost:8.1f} us a frame")
    return found


if __name__ == "__main__":
    main()
