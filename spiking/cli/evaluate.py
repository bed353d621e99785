"""`spiking evaluate RUN`: measure a run's best checkpoint on its test recordings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spiking.cli.mistake import Mistake


def main(argv: Sequence[str]) -> int:
    """Run `spiking evaluate`."""
    words = argparse.ArgumentParser(
        prog="spiking evaluate", allow_abbrev=False,
        description="Measure a run's best checkpoint (the last where nothing was held out) on its test recordings; "
        "writes evaluation.json into the run folder.",
    )  # fmt: skip
    words.add_argument("run", help="a run folder, or one seed's folder in it")
    words.add_argument("--root", help="where the data set's own files lie (default: where they lay in training)")
    words.add_argument("--skip-corrupt", action="store_true", help="leave out recordings that can't be read")
    given = words.parse_args(argv)
    folder = Path(given.run)
    config_file, checkpoint = folder / "config.yaml", folder / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file():
        checkpoint = checkpoint.with_name("last.ckpt")
    for wanted in (config_file, checkpoint):
        if not wanted.is_file():
            seeds = sorted(p.parent.name for p in folder.glob("seed*/config.yaml"))
            more = f"; it holds {', '.join(seeds)}: name one of these" if seeds else ""
            raise Mistake(f"{folder} is not a finished run folder: no {wanted.relative_to(folder)}{more}")

    import torch

    from spiking.cli.config import instantiate, parse
    from spiking.training.controls import controls
    from spiking.training.measure import measure
    from spiking.training.report import numbers, write_metrics
    from spiking.training.run import restore, summary

    overrides = [] if given.root is None else ["--data.root", given.root]
    if given.skip_corrupt:
        overrides += ["--data.skip_corrupt", "true"]
    config = parse("evaluate", overrides, config_file)
    model, data, _ = instantiate(config)
    restore(model, checkpoint, data.train.classes)
    found = measure(model, data.whole_loader(data.test), "cuda" if torch.cuda.is_available() else "cpu")
    assert data.whole is not None
    metrics = numbers(found, "test") | controls(data.whole, data.test)
    write_metrics(folder / "evaluation.json", metrics)
    print(summary(metrics))
    print(folder)
    return 0
