"""A recording's way through a network: input events, each layer's spikes, the readout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from spiking.events import Events
from spiking.plots.style import BLUE, GREY, INK, RED, figure, quiet

Array = np.ndarray[Any, Any]
ROWS = 300
SPIKES = LinearSegmentedColormap.from_list("spikes", [BLUE, "white", INK])


def raster(
    events: Events,
    layers: Sequence[Any] = (),
    output: Any = None,
    classes: Sequence[str] = (),
    label: int | None = None,
    said: int | None = None,
) -> Figure:
    """One recording in time, from the input to the readout; what comes after its last valid step is not shown.

    Arguments:
        events: (T, 1, N); with a sensor, polarity 0 is drawn in blue.
        layers: spikes of each hidden layer, (T, N) or (T, ...), tensors or arrays.
        output: (T, classes) readout membrane.
        classes: names of the classes.
        label: the right class, drawn heavier than the others.
        said: the class that the network names, drawn so too; `None` takes the one with the highest membrane.

    Raises:
        ValueError: if there is more than one recording or a layer has other steps.
    """
    T, B, N = events.shape
    if B != 1:
        raise ValueError(f"events: expected one recording, (T, 1, N), got {events.shape}; x[:, [0]] picks one")
    trains = [np.asarray(layer).reshape(len(layer), -1) for layer in layers]
    for k, train in enumerate(trains):
        if len(train) != T:
            raise ValueError(f"layers: expected {T} steps as in events, layer {k} has {len(train)}")
    panels = 1 + len(trains) + (output is not None)
    end = int(events.lengths[0])
    chart = figure(8, 1.2 + 1.7 * panels)
    axes = chart.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for panel in axes:
        quiet(panel)
    signed = np.zeros((T, N), dtype=np.float32)
    np.add.at(signed, (events.rows().cpu().numpy(), events.index.cpu().numpy()), 1)
    if events.sensor is not None and events.sensor[2] == 2:
        signed[:, : N // 2] *= -1
    draw_spikes(axes[0], signed, events.dt, f"input\n{N} channels")
    for k, train in enumerate(trains):
        draw_spikes(axes[1 + k], train, events.dt, f"layer {k + 1}\n{train.shape[1]} neurons")
    if output is not None:
        _readout(axes[-1], np.asarray(output)[:end], events.dt, classes, label, said)
    axes[-1].set_xlabel("time (ms)")
    axes[-1].set_xlim(0, max(end, 1) * events.dt)
    return chart


def draw_spikes(axes: Any, train: Array, dt: float, name: str) -> Any:
    """(T, N) spikes as an image, a row for each neuron, or for a few where there are more than rows to see.

    Arguments:
        axes: where to draw.
        train: (T, N), negative where they are to be blue.
        dt: step in ms.
        name: beside the image.

    Returns:
        matplotlib's image.
    """
    T, N = train.shape
    group = -(-N // ROWS)
    rows = np.pad(train, ((0, 0), (0, -N % group))).reshape(T, -1, group).sum(2).T
    high = max(1.0, float(np.percentile(np.abs(rows[rows != 0]), 90)) if rows.any() else 1.0)
    extent = (0, T * dt, -0.5, rows.shape[0] * group - 0.5)
    image = axes.imshow(
        rows, aspect="auto", origin="lower", interpolation="nearest", cmap=SPIKES, vmin=-high, vmax=high, extent=extent
    )
    axes.set_ylabel(name)
    axes.set_yticks([0, N - 1])
    return image


def _readout(
    axes: Any, output: Array, dt: float, classes: Sequence[str], label: int | None, said: int | None
) -> None:
    steps = np.arange(len(output)) * dt
    final = int(output.max(0, initial=-np.inf).argmax()) if said is None else said
    meaning = "highest" if said is None else "said"
    for c in range(output.shape[1]):
        name = classes[c] if c < len(classes) else str(c)
        if c == label:
            style = {"color": BLUE, "linewidth": 2.2, "zorder": 3, "label": f"{name} (right)"}
        elif c == final:
            style = {"color": RED, "linewidth": 2.2, "zorder": 2, "label": f"{name} ({meaning})"}
        else:
            rest = "others" if c == _first(label, final) else None
            style = {"color": GREY, "linewidth": 0.7, "alpha": 0.6, "label": rest}
        axes.plot(steps, output[:, c], **style)
    axes.set_ylabel("readout\nmembrane")
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)


def _first(*taken: int | None) -> int:
    """The first class that is none of these, which stands for all others in the legend."""
    return next(c for c in range(len(taken) + 1) if c not in taken)
