"""`spiking train tiny-llm --text FILE`: a byte-level linear-attention model, trained in minutes, to convert."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spiking.cli.mistake import Mistake
from spiking.cli.run_folder import release, run_folder

NAME = "tiny-llm"


def main(argv: Sequence[str]) -> int:
    """Run `spiking train tiny-llm`."""
    words = argparse.ArgumentParser(
        prog=f"spiking train {NAME}", allow_abbrev=False,
        description="Train a byte-level language model of Gated DeltaNet and attention layers on a text file.",
        epilog="Overrides: --data.steps 900 --data.context 256 --data.batch_size 16 --model.width 192 --model.layers 4 "
        "--model.lr 0.003 and Lightning's, such as --trainer.accelerator cpu; --options lists all.",
    )  # fmt: skip
    words.add_argument("--text", help="a UTF-8 text file; its last 5 %% is measured at the end")
    words.add_argument("--out", help="the run folder (default: a new one under runs/)")
    words.add_argument("--seed", type=int, default=0, help="of weights and windows")
    words.add_argument("--resume", action="store_true", help="go on with the run in --out")
    words.add_argument("--options", action="store_true", help="list every override and leave")
    given, overrides = words.parse_known_args(argv)
    if given.options:
        _parser().print_help()
        return 0
    if given.text is None:
        raise Mistake("--text: tiny-llm needs a UTF-8 text file of some hundred kilobytes")
    if not Path(given.text).is_file():
        raise Mistake(f"--text: no file {given.text}")
    try:
        folder = run_folder(given.out, NAME, given.resume)
        return _train(given.text, overrides, folder, given.seed, given.resume)
    finally:
        release()


def _parser() -> Any:
    import lightning.pytorch as pl
    from lightning.pytorch.cli import LightningArgumentParser

    from spiking.llm.tiny import TextData, TinyLM

    made = LightningArgumentParser(prog=f"spiking train {NAME}", description="Overrides.")
    made.add_lightning_class_args(TextData, "data")
    made.add_lightning_class_args(TinyLM, "model")
    made.add_lightning_class_args(pl.Trainer, "trainer")
    made.set_defaults({
        "trainer.logger": False, "trainer.enable_progress_bar": False, "trainer.enable_model_summary": False,
        "trainer.gradient_clip_val": 1.0, "trainer.num_sanity_val_steps": 0, "trainer.devices": 1,
    })  # fmt: skip
    return made


def _train(text: str, overrides: list[str], folder: Path, seed: int, resume: bool) -> int:
    import lightning.pytorch as pl

    from spiking.cli.language import hush
    from spiking.llm.tiny import fit
    from spiking.training.fit import quiet

    quiet()
    hush()
    parser = _parser()
    config = parser.parse_args(["--data.text", text, "--data.seed", str(seed), *overrides])
    pl.seed_everything(seed, verbose=False)
    try:
        made = parser.instantiate(config)
        made.data.setup()
    except ValueError as error:
        raise Mistake(str(error)) from error
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(parser.dump(config))
    metrics = fit(made.model, made.data, dict(made.trainer), folder, resume)
    if "test_bits_per_byte" in metrics:
        bits, perplexity = metrics["test_bits_per_byte"], metrics["test_perplexity"]
        print(f"held-out text: {bits:.3f} bits per byte, perplexity {perplexity:.3f}")
        print(f"{metrics['parameters']:,.0f} parameters, {metrics['seconds']:.0f} s")
    else:
        print(f"interrupted; the same command with --out {folder} --resume goes on")
    print(folder)
    return 0 if "test_bits_per_byte" in metrics else 1
