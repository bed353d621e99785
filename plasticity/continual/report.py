"""What runs over a stream leave behind: `R.csv`, pictures, and one page that holds all of it.

The page is one file without references to others or to the network: pictures are inside, as base64.
"""

from __future__ import annotations

import base64
import csv
import html
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spiking import plots
from spiking.plasticity.continual.result import Result

Results = Mapping[str, Mapping[int, Result]]  # by method and seed
PER_CENT = ("ACC", "BWT", "FWT", "forgetting", "learning", "incremental", "A", "BWT_DR", "intransigence", "min_ACC")
SAYS = {
    "ACC": "mean accuracy after the last task (GEM)", "BWT": "backward transfer (GEM)",
    "FWT": "forward transfer against the untrained network (GEM)", "forgetting": "Chaudhry et al. 2018",
    "learning": "accuracy on each task right after it (Riemer et al. 2019)",
    "incremental": "average incremental accuracy (Rebuffi et al. 2017)", "A": "Diaz-Rodriguez et al. 2018",
    "BWT_DR": "backward transfer, Diaz-Rodriguez et al. 2018", "intransigence": "Chaudhry et al. 2018",
    "min_ACC": "worst accuracy once learned (De Lange et al. 2023)", "seconds": "of training",
    "stored": "numbers that the method keeps, at most",
}  # fmt: skip
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:1150px;margin:2em auto;padding:0 1em;color:#101010}img{max-width:100%}"
    "table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}"
    "th,td{padding:.3em .35em;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap;font-size:13px}"
    "th:first-child,td:first-child,.said td{text-align:left;white-space:normal}"
)


def write_matrix(path: Path, results: Results) -> None:
    """`R.csv`, a row an accuracy: method, seed, tasks learned (0 is before training), task, accuracy."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "seed", "learned", "task", "accuracy"])
        for method, seeds in results.items():
            for seed, result in seeds.items():
                for learned, row in enumerate([result.before, *result.rows]):
                    writer.writerows([method, seed, learned, j + 1, value] for j, value in enumerate(row))
    os.replace(temporary, path)


def write_inside(path: Path, results: Results) -> None:
    """`inside.csv`, a row an accuracy inside a task: method, seed, the task that is learned, step, task, accuracy."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "seed", "learning", "step", "task", "accuracy"])
        for method, seeds in results.items():
            for seed, result in seeds.items():
                for learning, step, *row in result.within:
                    begun = enumerate(row[: int(learning) + 1], 1)
                    writer.writerows([method, seed, int(learning) + 1, int(step), j, value] for j, value in begun)
    os.replace(temporary, path)


def draw(folder: Path, results: Results) -> list[Path]:
    """`curves.png`, `matrix.png`, `inside.png` where there is a look inside tasks, `rank.png` where a method has
    subspaces; returns those it drew."""
    matrices = {method: [result.R for result in seeds.values()] for method, seeds in results.items()}
    before = {method: [result.before for result in seeds.values()] for method, seeds in results.items()}
    charts = {"curves": plots.forgetting(matrices, before), "matrix": plots.accuracy_matrix(matrices)}
    looks = {
        method: [result.within for result in seeds.values()] for method, seeds in results.items()
        if all(result.within for result in seeds.values())
    }  # fmt: skip
    if looks:
        charts["inside"] = plots.stability_gap(looks)
    ranks = {
        method: {layer: _stack(seeds.values(), layer) for layer in next(iter(seeds.values())).rank}
        for method, seeds in results.items() if next(iter(seeds.values())).rank
    }  # fmt: skip
    if ranks:
        charts["rank"] = plots.subspaces(ranks)
    for name, chart in charts.items():
        chart.savefig(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in charts]


def write_page(
    path: Path, title: str, metrics: Mapping[str, float], methods: Sequence[str], about: Mapping[str, Any],
    pictures: Sequence[Path],
) -> None:
    """`report.html`.

    Arguments:
        path: the file.
        title: its heading.
        metrics: flat, `hlop.ACC` and `hlop.ACC_ci95`.
        methods: a row of the table each.
        about: what was run, by name.
        pictures: PNG files.
    """
    names = [name for name in SAYS if any(f"{method}.{name}" in metrics for method in methods)]
    units = {name: "<br>(%)" if name in PER_CENT else "" for name in names}
    head = "".join(f'<th title="{html.escape(SAYS[name])}">{name}{units[name]}</th>' for name in names)
    body = "".join(
        f"<tr><td>{html.escape(method)}</td>"
        + "".join(f"<td>{under(shown(metrics, f'{method}.{name}', name))}</td>" for name in names) + "</tr>"
        for method in methods
    )  # fmt: skip
    key = "".join(f"<li><b>{name}</b>: {html.escape(SAYS[name])}</li>" for name in names)
    told = "".join(
        f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(str(value))}</td></tr>" for name, value in about.items()
    )
    inside = {picture.stem: base64.b64encode(picture.read_bytes()).decode() for picture in pictures}
    seen = "".join(f'<p><img alt="{name}" src="data:image/png;base64,{data}"></p>' for name, data in inside.items())
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1><table><tr><th>method</th>{head}</tr>{body}"
        f"</table><p>Means over seeds, with half of Student's 95 % interval where there are several.</p>{seen}"
        f"<ul>{key}</ul><h2>What was run</h2><table class='said'>{told}</table></body></html>\n"
    )
    temporary = path.with_suffix(".tmp")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, path)


def table(metrics: Mapping[str, float], methods: Sequence[str]) -> str:
    """The lines that the command ends with."""
    names = [n for n in ("ACC", "BWT", "forgetting", "learning") if any(f"{m}.{n}" in metrics for m in methods)]
    lines = ["  ".join(["method".ljust(16), *(name.rjust(16) for name in [*names, "stored", "seconds"])])]
    for method in methods:
        cells = [shown(metrics, f"{method}.{name}", name).rjust(16) for name in [*names, "stored", "seconds"]]
        lines.append("  ".join([method.ljust(16), *cells]))
    return "\n".join(lines)


def shown(metrics: Mapping[str, float], key: str, name: str) -> str:
    """A metric with its interval, accuracies in per cent."""
    if key not in metrics:
        return ""
    if name not in PER_CENT:
        return f"{metrics[key]:,.0f}"
    spread = f" ± {100 * metrics[f'{key}_ci95']:.2f}" if f"{key}_ci95" in metrics else ""
    return f"{round(100 * metrics[key], 2) + 0.0:.2f}{spread}"  # adding 0 leaves no -0.00


def under(said: str) -> str:
    """The interval under its mean, so that the columns of all metrics fit on a page."""
    return said.replace(" ± ", "<br>± ")


def _stack(results: Iterable[Result], layer: str) -> np.ndarray[Any, Any]:
    return np.stack([np.asarray(result.rank[layer], float) for result in results])
