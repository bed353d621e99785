"""How fast a batch of recordings reaches the network: this package's loader against tonic's, and with augmentation.

    python benchmarks/loading.py [--recordings 512] [--augmented 8156] [--repeats 5] [--out FOLDER]

Both read one file in the layout of SHD that the script writes (700 channels, about 8,000 events and 1 s a recording)
and make batches of 256 with 100 steps of 10 ms. tonic runs `ToFrame` and `PadTensors` under a DataLoader, without
worker processes and with two; the ratio is against the faster. Frames are compared first, and no ratio is printed
unless every count is equal.

Then as many recordings as SHD has for training are opened, augmented and binned in a new order: as the preset `shd`
does it, without augmentation, and with every change there is for recordings of channels. The ways take turns, so that
all meet what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from spiking.bench.shd_like import tonic_loader, write_file
from spiking.cli.train import preset_file
from spiking.datasets import Augment, EventStore
from spiking.datasets.formats import shd

BATCH, STEPS, DT = 256, 100, 10.0
EVERYTHING = Augment(shift=20, jitter=2.0, drop=0.1, time_warp=0.1, channel_jitter=2.0, blend=0.5, noise=0.2)


def seconds_per_batch(epochs: dict[str, Callable[[], int]], repeats: int) -> dict[str, list[float]]:
    """Seconds a batch in each of `repeats` epochs of each way, which take turns, after a turn that isn't counted."""
    taken: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(repeats + 1):
        for name, epoch in epochs.items():
            begin = time.perf_counter()
            batches = epoch()
            if turn:
                taken[name].append((time.perf_counter() - begin) / batches)
    return taken


def summed(taken: dict[str, list[float]]) -> dict[str, float]:
    """The least and the median of each way."""
    return {f"{name}.{f.__name__}": f(times) for name, times in taken.items() for f in (min, statistics.median)}


def measure(recordings: int, repeats: int) -> dict[str, float]:
    """All timings in seconds a batch, and their ratios.

    Raises:
        SystemExit: if the two make different frames.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "SHD" / "shd_train.h5"
        write_file(source, recordings)
        begin = time.perf_counter()
        shd.read(source).save(folder / "store.h5")
        converting = time.perf_counter() - begin
        loader = EventStore.open(folder / "store.h5").loader(BATCH, dt=DT, steps=STEPS)
        single = tonic_loader(folder, BATCH, STEPS, DT, workers=0)
        for (events, labels), (frames, targets) in zip(loader, single, strict=True):
            want = frames[:, :, 0].transpose(0, 1).to(torch.float32)
            if not torch.equal(events.to_dense(), want) or labels.tolist() != targets.tolist():
                sys.exit("the frames differ: no timings")
        parallel = tonic_loader(folder, BATCH, STEPS, DT, workers=2)
        epochs: dict[str, Callable[[], int]] = {
            "ours": lambda: sum(1 for _ in loader),
            "ours_dense": lambda: sum(1 for events, _ in loader if events.to_dense().numel()),
            "tonic": lambda: sum(1 for _ in single),
            "tonic_2_workers": lambda: sum(1 for _ in parallel),
        }
        result = {"seconds_converting_once": converting, **summed(seconds_per_batch(epochs, repeats))}
    best = min(result["tonic.median"], result["tonic_2_workers.median"])
    result["speedup"] = best / result["ours.median"]
    result["speedup_dense"] = best / result["ours_dense.median"]
    return result


def measure_augmented(recordings: int, repeats: int) -> dict[str, float]:
    """Recordings a second, in the best and the median epoch of each way."""
    preset = yaml.safe_load(preset_file("shd").read_text())["data"]
    ways = {"plain": None, "preset": Augment(**preset["augment"]), "everything": EVERYTHING}
    with tempfile.TemporaryDirectory() as name:
        write_file(Path(name) / "shd_train.h5", recordings)
        shd.read(Path(name) / "shd_train.h5").save(Path(name) / "store.h5")
        store = EventStore.open(Path(name) / "store.h5").pooled(preset["pool"])
        size = preset["batch_size"]
        loaders = {
            way: store.loader(size, dt=preset["dt"], shuffle=True, augment=augment) for way, augment in ways.items()
        }
        epochs = {way: lambda loader=loader: sum(1 for _ in loader) for way, loader in loaders.items()}
        taken = summed(seconds_per_batch(epochs, repeats))
    batches = -(-recordings // size)
    return {f"{name}.recordings_per_second": recordings / (batches * each) for name, each in taken.items()}


def main() -> None:
    """Measure, print, and with --out write metrics.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--recordings", type=int, default=2 * BATCH)
    parser.add_argument("--augmented", type=int, default=8156, help="recordings of the second part")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    import numba
    import tonic

    print(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"numba {numba.__version__}, tonic {tonic.__version__}, load {os.getloadavg()[0]:.1f}"
    )
    result = measure(arguments.recordings, arguments.repeats)
    print(f"batches of {BATCH}, {STEPS} steps of {DT:g} ms: equal frames; ms a batch, min and median")
    for name in ("ours", "ours_dense", "tonic", "tonic_2_workers"):
        print(f"  {name:16s} {1e3 * result[f'{name}.min']:9.1f} {1e3 * result[f'{name}.median']:9.1f}")
    print(f"  {result['speedup']:.0f} x as Events, {result['speedup_dense']:.0f} x as the same dense tensor")
    print(f"converting the file once: {result['seconds_converting_once']:.2f} s; load now {os.getloadavg()[0]:.1f}")
    result |= measure_augmented(arguments.augmented, arguments.repeats)
    print(f"{arguments.augmented:,} recordings as the preset shd bins them; recordings/s, best and median epoch")
    for way in ("plain", "preset", "everything"):
        best, median = (result[f"{way}.{which}.recordings_per_second"] for which in ("min", "median"))
        print(f"  {way:16s} {best:9,.0f} {median:9,.0f}")
    print(f"load now {os.getloadavg()[0]:.1f}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "metrics.json").write_text(json.dumps(result, indent=1))
        print(arguments.out)


if __name__ == "__main__":
    main()
