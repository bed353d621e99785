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
    words.add_argument("--text", help="for a language model: the text whose last 5 %% are measured")
    given = words.parse_args(argv)
    folder = Path(given.run)
    if given.text is not None:
        return _language(given.run, given.text)
    if (folder / "model").is_dir():
        raise Mistake(f"{folder} holds a language model; give the --text to measure it on")
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
    from spiking.training import tasks
    from spiking.training.controls import controls
    from spiking.training.fit import restore
    from spiking.training.measure import measure
    from spiking.training.report import numbers

    overrides = [] if given.root is None else ["--data.root", given.root]
    if given.skip_corrupt:
        overrides += ["--data.skip_corrupt", "true"]
    config = parse("evaluate", overrides, config_file)
    model, data, _ = instantiate(config)
    restore(model, checkpoint, data.train.classes)
    if isinstance(model, tasks.TaskModel):
        return _report(folder, tasks.evaluate(model, data, folder))
    found = measure(model, data.whole_loader(data.test), "cuda" if torch.cuda.is_available() else "cpu")
    assert data.whole is not None
    return _report(folder, numbers(found, "test") | controls(data.whole, data.test))


def _report(folder: Path, metrics: dict[str, float]) -> int:
    """Write and print what was found."""
    from spiking.training.report import write_metrics
    from spiking.training.run import summary

    write_metrics(folder / "evaluation.json", metrics)
    print(summary(metrics))
    print(folder)
    return 0


def _language(where: str, text: str) -> int:
    """Perplexity of a language model on the end of a text."""
    from spiking.cli.language import hush, model_and_tokenizer
    from spiking.llm.perplexity import perplexity
    from spiking.llm.text import read
    from spiking.training.report import write_metrics

    if not Path(text).is_file():
        raise Mistake(f"--text: no file {text}")
    hush()
    model, tokenizer = model_and_tokenizer(where)
    try:
        held_out = read(text, tokenizer, "test")
    except ValueError as error:
        raise Mistake(str(error)) from error
    score = perplexity(model, held_out.tokens, size=held_out.bytes, progress="held-out text")
    metrics = {"perplexity": score.perplexity, "bits_per_byte": score.bits_per_byte, "tokens": score.tokens}
    print(f"{score.tokens} tokens: perplexity {score.perplexity:.4f}, {score.bits_per_byte:.4f} bits per byte")
    if Path(where).is_dir():
        write_metrics(Path(where) / "evaluation.json", metrics)
    print(where)
    return 0
