"""From a model and a text to a spiking model and a report: convert, prove, measure, compare, save.

The text's first 90 % give the calibration's probes, the next 5 hold its budget, the last 5 are measured. Rows of the
table, all on the same held-out text: the float model, its int8 weights alone, plain absmax activations of 8 and 4 bits
on the same weights, spikes with one k for all, and spikes with the k that calibration chose.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from spiking import plots
from spiking.kernels.spike_linear import encode
from spiking.llm.activity import Layer, activity
from spiking.llm.calibrate import GRID, Calibration, calibrate, mean_k
from spiking.llm.config import SpikeConfig
from spiking.llm.control import exchanged, plain, spikes, weights_of
from spiking.llm.coverage import coverage
from spiking.llm.energy import estimate
from spiking.llm.outliers import FACTOR, find
from spiking.llm.perplexity import Score, perplexity
from spiking.llm.spike import spike_
from spiking.llm.text import Text, read
from spiking.llm.weight import Matrices, scaled, watching
from spiking.training.report import write_metrics

CURVE = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
MARGIN = 0.8  # of the budget is spent on the text that chooses: another text costs more
PROBED = 4096  # tokens
STATISTICS = 4096  # tokens


@dataclass(frozen=True)
class Settings:
    """What to do.

    Attributes:
        k: spikes a channel of the uniform row.
        budget: relative rise of perplexity that calibration may cost; `None` leaves it out and saves the uniform k.
        group: inputs that share a scale of the int8 weights.
        context: tokens of a window.
        limit: bytes of each of the three parts of the text.
        outliers: how many times as loud as the median channel a channel must be to get a threshold of its own (see
            `spiking.llm.outliers`); `None` gives all the same.
        exclude: names of weights, or "re:...", that are left as they are.
    """

    k: float = 3.0
    budget: float | None = 0.01
    group: int = 128
    context: int = 256
    limit: int = 32768
    outliers: float | None = FACTOR
    exclude: Sequence[str] = ()


def convert(model: Any, tokenizer: Any, text: str | Path, out: Path, settings: Settings) -> dict[str, float]:
    """Convert a model in place, write it and its report into a folder.

    Arguments:
        model: a float causal language model of Hugging Face; one in half precision is taken in single.
        tokenizer: its tokenizer, saved beside it.
        text: UTF-8 file.
        out: a folder; it receives `model/`, `metrics.json`, `table.json`, `layers.csv`, `coverage.txt`, `spikes.png`,
            `planes.png` and `k.png`.
        settings: what to do.

    Returns:
        the metrics.

    Raises:
        ValueError: from `spike_`, `read` and `calibrate`.
        MissedError: if a product of the converted model does not spike.
    """
    began = time.perf_counter()
    if settings.budget is not None and not settings.budget > 0:
        raise ValueError(f"budget: expected more than 0, got {settings.budget}")
    if weights_of(model):
        raise ValueError("model: it spikes already; convert the float model that it was made from")
    model.float()
    part = {name: read(text, tokenizer, name, settings.limit) for name in ("train", "valid", "test")}

    def score(name: str, what: str) -> Score:
        return perplexity(model, part[name].tokens, settings.context, 8, part[name].bytes, progress=what)

    rows = {"float32": score("test", "float")}
    before = score("valid", "float").perplexity
    size = sum(p.numel() * 4 for p in model.parameters())
    common = SpikeConfig(settings.k, group=settings.group)
    plan: dict[str, SpikeConfig | None] = {"_default": common, **dict.fromkeys(settings.exclude)}
    if settings.outliers is not None:
        spike_(model, {**plan, "_default": replace(common, weights=None)})
        loud = find(model, part["train"].tokens[:STATISTICS], settings.outliers, settings.context, progress="outliers")
        plan |= {name: replace(common, outliers=found) for name, found in loud.items() if found}
    done = spike_(model, plan)
    report = coverage(model, part["test"].tokens[None, : min(64, settings.context)])
    out.mkdir(parents=True, exist_ok=True)
    (out / "coverage.txt").write_text(f"{report}\n")
    report.check()
    for name, change in (
        ("int8 weights", plain(0)), ("absmax int8", plain(8)), ("absmax int4", plain(4)),
        (f"spikes k={settings.k:g}", spikes(settings.k)),
    ):  # fmt: skip
        with exchanged(model, change):
            rows[name] = score("test", name)
    curve = []
    for k in CURVE:
        with exchanged(model, spikes(k)):
            curve.append((k, score("test", f"k={k:g}").perplexity))
    chosen = None
    if settings.budget is not None:
        chosen = calibrate(
            model, part["train"].tokens[:PROBED], part["valid"].tokens, before, MARGIN * settings.budget, GRID,
            settings.context, progress="calibration",
        )  # fmt: skip
        for name, weight in weights_of(model).items():
            k = chosen.k.get(name, weight.matrices.config.k)
            weight.matrices = replace(weight.matrices, config=replace(weight.matrices.config, k=k))
        rows["spikes, calibrated"] = score("test", "calibrated")
    layers, _ = activity(model, part["test"].tokens[:STATISTICS], settings.context, progress="statistics")
    _save(model, tokenizer, out)
    metrics = _metrics(rows, layers, chosen, model, size, done.bytes_before, done.bytes_after)
    metrics |= {f"perplexity.curve_k{k:g}": value for k, value in curve}
    metrics["coverage_missed"] = len(report.missed)
    metrics["outlier_channels"] = sum(len(weight.matrices.config.outliers) for weight in weights_of(model).values())
    metrics["silent_weights"] = sum(layer.stats.spikes == 0 for layer in layers.values())
    _write(out, layers, rows, curve, chosen, model, part["test"], settings)
    metrics["seconds"] = round(time.perf_counter() - began, 3)
    write_metrics(out / "metrics.json", metrics)
    return metrics


def _save(model: Any, tokenizer: Any, out: Path) -> None:
    """The plan that is saved names every weight with its own k, so that loading finds them."""
    plan: dict[str, SpikeConfig | None] = {name: weight.matrices.config for name, weight in weights_of(model).items()}
    spike_(model, {**plan, "_default": None})
    model.save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")


def _metrics(
    rows: Mapping[str, Score], layers: Mapping[str, Layer], chosen: Calibration | None, model: Any, size: int,
    weights_before: int, weights_after: int,
) -> dict[str, float]:  # fmt: skip
    names = list(rows)
    first, last = rows[names[0]], rows[names[-1]]
    metrics: dict[str, float] = {
        "perplexity_before": first.perplexity, "perplexity_after": last.perplexity,
        "perplexity_rise": last.perplexity / first.perplexity - 1, "bits_per_byte_before": first.bits_per_byte,
        "bits_per_byte_after": last.bits_per_byte, "tokens": first.tokens,
    }  # fmt: skip
    for name, score in rows.items():
        key = name.replace(" ", "_").replace("=", "").replace(",", "").replace(".", "_")
        metrics[f"perplexity.{key}"] = score.perplexity
    k = {name: weight.matrices.config.k for name, weight in weights_of(model).items()}
    metrics["mean_k"] = mean_k(model, k)
    if chosen is not None:
        metrics["calibration_met"] = int(chosen.met)
    stored = sum(p.matrices.nbytes for p in weights_of(model).values())
    metrics |= {
        "float32_bytes": size, "converted_weights_share": weights_after / max(weights_before, 1),
        "model_share": (size - weights_before + stored) / max(size, 1),
    }  # fmt: skip
    metrics |= estimate(layers).summary()
    total = sum((layer.stats for layer in list(layers.values())[1:]), next(iter(layers.values())).stats)
    return metrics | {f"spikes.{name}": value for name, value in total.summary().items()}


def _write(
    out: Path, layers: Mapping[str, Layer], rows: Mapping[str, Score], curve: Sequence[tuple[float, float]],
    chosen: Calibration | None, model: Any, text: Text, settings: Settings,
) -> None:  # fmt: skip
    k = {name: weight.matrices.config.k for name, weight in weights_of(model).items()}
    loud = {name: weight.matrices.config.outliers for name, weight in weights_of(model).items()}
    with (out / "layers.csv").open("w", newline="") as file:
        columns = ["weight", "k", *next(iter(layers.values())).stats.summary(), "outlier_channels", "synops_per_token"]
        writer = csv.writer(file)
        writer.writerow(columns)
        for name, layer in layers.items():
            values = layer.stats.summary().values()
            writer.writerow([name, k[name], *values, len(loud[name]), layer.synops])
    (out / "table.json").write_text(
        json.dumps({name: [s.perplexity, s.bits_per_byte, s.tokens] for name, s in rows.items()}, indent=2) + "\n"
    )
    plots.spike_counts({name: layer.stats.magnitude for name, layer in layers.items()}, k).savefig(out / "spikes.png")
    levels = {name: score.perplexity for name, score in rows.items() if "k=" not in name and "calibrated" not in name}
    point = None
    if chosen is not None:
        point = (mean_k(model, k), rows["spikes, calibrated"].perplexity)
    plots.perplexity_curve(curve, levels, point).savefig(out / "k.png")
    active = [name for name, layer in layers.items() if layer.stats.spikes > 0] or list(layers)
    name, counts = _one_token(model, text.tokens[: settings.context], active)
    plots.bit_planes(counts, name).savefig(out / "planes.png")


@torch.no_grad()
def _one_token(model: Any, tokens: torch.Tensor, names: list[str]) -> tuple[str, torch.Tensor]:
    """The counts of the last token at the input of a weight in the middle."""
    wanted, kept = names[len(names) // 2], list[torch.Tensor]()

    def watch(matrices: Matrices, operator: str, x: torch.Tensor | None) -> None:
        if matrices.name == wanted and x is not None:
            token = scaled(x.reshape(-1, x.shape[-1])[-1:], matrices.config, -1)
            kept.append(encode(token, matrices.config.k)[0][0])

    with watching(watch):
        model(input_ids=tokens[None].to(next(model.parameters()).device), use_cache=False)
    return wanted, kept[-1].cpu()


def table(rows: Mapping[str, Sequence[float]]) -> str:
    """The rows of `table.json` as text."""
    first = next(iter(rows.values()))[0]
    lines = [f"{'':<20}{'perplexity':>11}{'bits/byte':>11}{'against float':>15}"]
    for name, (value, bits, _) in rows.items():
        lines.append(f"{name:<20}{value:>11.4f}{bits:>11.4f}{100 * (value / first - 1):>+14.2f}%")
    return "\n".join(lines)
