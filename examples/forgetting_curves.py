"""What a spiking network keeps of five pairs of clothes, by method, in three settings.

    python examples/forgetting_curves.py --root FOLDER [--out FOLDER] [--images N] [--seeds N]

The root holds Fashion-MNIST's four idx files. A pair is learned, then the next. In the setting "task" the number
of the pair is known when it is tested, in "domain" the network only says first or second of its pair, in "class" it has
to choose among all ten. Prints mean accuracy and backward transfer after the last pair, and writes
forgetting_<setting>.png: the accuracy on each pair against the pairs learned.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from spiking import plots
from spiking.plasticity.continual import Task, run, streams
from spiking.plasticity.continual.models import default

METHODS = ("joint", "sequential", "hlop", "gpm", "owm", "ewc", "si", "replay", "dendrites")
WIDTHS = (400, 400)


def some(task: Task, count: int) -> Task:
    """A task with fewer images."""
    train = task.train.part(np.arange(min(count, len(task.train.labels))))
    return Task(task.name, train, task.test.part(np.arange(min(count // 3, len(task.test.labels)))))


def main() -> dict[tuple[str, str], float]:
    """Learn, print and draw; the mean accuracy of each setting and method."""
    words = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    words.add_argument("--root", required=True)
    words.add_argument("--out", type=Path, default=Path("runs"))
    words.add_argument("--images", type=int, default=3000, help="training images of a pair; a third as many are tested")
    words.add_argument("--seeds", type=int, default=1)
    given = words.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    found = {}
    for setting in streams.SETTINGS:
        stream = streams.split("fashion", classes=2, setting=setting, root=given.root)
        stream = replace(stream, tasks=tuple(some(task, given.images) for task in stream.tasks))
        curves, before = {}, {}
        for method in METHODS:
            brings = method == "dendrites"  # a network of its own, without spikes
            how = {"options": {"widths": WIDTHS}} if brings else {"model": partial(default, widths=WIDTHS)}
            results = [run(stream, method, epochs=2, seed=seed, **how) for seed in range(given.seeds)]
            curves[method] = [result.R for result in results]
            before[method] = [result.before for result in results]
            mean = {name: np.mean([result.metrics.get(name, 0) for result in results]) for name in ("ACC", "BWT")}
            print(f"{setting:<8}{method:<12}accuracy {100 * mean['ACC']:5.1f} %  BWT {100 * mean['BWT']:+6.1f}")
            found[setting, method] = float(mean["ACC"])
        plots.forgetting(curves, before).savefig(given.out / f"forgetting_{setting}.png", dpi=100)
    return found


if __name__ == "__main__":
    main()
