"""What a frame costs a Sparsey memory: processor microseconds, beside those of the op `csa` alone.

    python benchmarks/sparsey.py

One sequence at a time, as learning must have it, and fifty together, as recognition may; small nets, in which the
wiring in Python costs most. Before anything is timed both ways must have made the same synapses and the same codes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

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


NETS: dict[str, Callable[[], Sparsey]] = {
    "Rinkus' net": lambda: Sparsey.from_preset("capacity"), "two levels": two_levels,
}  # fmt: skip


def least(work: Callable[[], object], frames: int) -> float:
    """Processor microseconds a frame, the least of some repeats."""
    work()
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return 1e6 * min(found) / frames


class Mac:
    """The op alone, with the synapses of one mac."""

    def __init__(self, words: int) -> None:
        self.weight = torch.zeros(1, words, 144, dtype=torch.int32)
        self.used = torch.zeros(1, 1, dtype=torch.int32)

    def learn(self, x: Tensor, step: int = 0) -> Tensor:
        """Winners of items in one call."""
        wiring, evidence = Wiring(9), Evidence([[4.0]])
        return csa(x, self.weight, wiring, evidence, draw=Draw(0, step), learn=True, used=self.used).winners

    def learn_apart(self, x: Tensor) -> Tensor:
        """The same, a call for each."""
        return torch.cat([self.learn(row[None], step) for step, row in enumerate(x)])


def check(x: Tensor, items: Tensor) -> None:
    """Stop unless what is timed side by side gives the same.

    Raises:
        SystemExit: naming what differs.
    """
    one, other = Mac(x.shape[2]), Mac(x.shape[2])
    if not (torch.equal(one.learn(x), other.learn_apart(x)) and torch.equal(one.weight, other.weight)):
        raise SystemExit("csa: items in one call and one by one are not learned alike")
    for name, make in NETS.items():
        memory, apart = make(), make()
        learned = memory.learn(items), [apart.learn(item) for item in items]
        known = memory.recognise(items), [memory.recognise(item) for item in items]
        for together, alone in (learned, known):
            for k, winners in enumerate(together.winners):
                if not torch.equal(winners, torch.cat([trace.winners[k] for trace in alone])):
                    raise SystemExit(f"{name}: sequences together and one by one have other codes in level {k}")


def main() -> dict[str, float]:
    """Print a table and return it."""
    items, found = sequences(SEQUENCES, FRAMES), dict[str, float]()
    x = pack(items.flatten(0, 1)[:, None])
    check(x, items)
    mac = Mac(x.shape[2])
    found["csa, 500 items learned in a call"] = least(lambda: mac.learn(x), len(x))
    found["csa, one item in a call"] = least(lambda: mac.learn_apart(x), len(x))
    for name, make in NETS.items():
        memory, frames = make(), SEQUENCES * FRAMES
        found[f"{name}, learning"] = least(lambda memory=memory: memory.learn(items), frames)
        found[f"{name}, one recognised"] = least(lambda memory=memory: memory.recognise(items[0]), FRAMES)
        found[f"{name}, fifty recognised"] = least(lambda memory=memory: memory.recognise(items), frames)
    for name, cost in found.items():
        print(f"{name:<36}{cost:8.1f} us a frame")
    return found


if __name__ == "__main__":
    main()
