"""`spiking convert MODEL --text FILE`: a language model into a spiking one, with a report."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from spiking.cli.mistake import Mistake
from spiking.cli.run_folder import release, run_folder


def main(argv: Sequence[str]) -> int:
    """Run `spiking convert`."""
    words = argparse.ArgumentParser(
        prog="spiking convert", allow_abbrev=False,
        description="Convert a language model to spikes: prove what was converted, calibrate, measure perplexity "
        "beside plain quantisation, save. The text's first 90 % calibrate, the last 5 % are measured.",
    )  # fmt: skip
    words.add_argument("model", help="a folder of Hugging Face, a run of `spiking train tiny-llm`, or an RWKV-4 file")
    words.add_argument("--text", required=True, help="a UTF-8 text file")
    words.add_argument("--out", help="the run folder (default: a new one under runs/)")
    words.add_argument("--k", type=float, default=3.0, help="spikes a channel (default 3)")
    words.add_argument("--budget", type=float, default=0.01, help="rise of perplexity for calibration (default 0.01)")
    words.add_argument("--no-calibrate", action="store_true", help="keep one k for all weights")
    words.add_argument("--group", type=int, default=128, help="inputs that share a scale of a weight (default 128)")
    words.add_argument("--outliers", type=float, default=8.0, help="times the median that makes a channel an outlier")
    words.add_argument("--no-outliers", action="store_true", help="give every channel the same threshold")
    words.add_argument("--context", type=int, default=256, help="tokens of a window (default 256)")
    words.add_argument("--limit", type=int, default=32768, help="bytes of each part of the text (default 32768)")
    words.add_argument("--exclude", action="append", default=[], metavar="NAME", help="leave a weight, or re:...")
    given = words.parse_args(argv)
    if not Path(given.text).is_file():
        raise Mistake(f"--text: no file {given.text}")
    from spiking.cli.language import hush, model_and_tokenizer
    from spiking.llm import conversion
    from spiking.llm.convert import Settings, convert, table

    hush()
    model, tokenizer = model_and_tokenizer(given.model)
    try:
        folder = run_folder(given.out, "convert", None)
        settings = Settings(
            given.k, None if given.no_calibrate else given.budget, given.group, given.context, given.limit,
            None if given.no_outliers else given.outliers, given.exclude,
        )  # fmt: skip
        metrics = convert(model, tokenizer, given.text, folder, settings)
    except ValueError as error:
        raise Mistake(str(error)) from error
    finally:
        release()
    print(conversion(model))
    print(table(json.loads((folder / "table.json").read_text())))
    share = 100 * metrics["converted_weights_share"]
    print(f"mean k {metrics['mean_k']:.2f}; nothing missed; converted weights take {share:.1f} % of float32")
    if metrics["silent_weights"]:
        print(f"{metrics['silent_weights']:.0f} weights received no spike at all: their inputs are below 1e-5")
    if metrics.get("calibration_met") == 0:
        print(f"the budget of {100 * given.budget:g} % was not met even with the largest k")
    print(folder)
    return 0
