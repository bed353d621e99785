"""A recording's way through a network: input events, each layer's spikes, the readout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from spiking.events import Events
from spiking.plots.style import BLUE, GREY, RED, figure, quiet

Array = np.ndarray[Any, Any]


def raster(
    events: Events,
    layers: Sequence[Any] = (),
    output: Any = None,
    classes: Sequence[str] = (),
    label: int | None = None,
) -> Figure:
    """One recording as dots in time, from the input to the readout.

    Arguments:
        events: (T, 1, N); with a sensor, its two polarities are told apart by colour.
        layers: spikes of each hidden layer, (T, N) or (T, ...), tensors or arrays.
        output: (T, classes) readout membrane.
        classes: names of the classes.
        label: the right class, drawn heavier than the others.

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
    chart = figure(8, 1.2 + 1.7 * panels)
    axes = chart.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
    for panel in axes:
        quiet(panel)
    channel = events.index.cpu().numpy()
    when = events.rows().cpu().numpy() * events.dt
    colour: Any = BLUE
    if events.sensor is not None and events.sensor[2] == 2:
        colour = np.where(channel < N // 2, BLUE, RED)
    _dots(axes[0], when, channel, colour, N, f"input\n{N} channels")
    for k, train in enumerate(trains):
        step, neuron = train.nonzero()
        _dots(axes[1 + k], step * events.dt, neuron, "black", train.shape[1], f"layer {k + 1}\n{train.shape[1]} neurons")
    if output is not None:
        _readout(axes[-1], np.asarray(output), events.dt, classes, label)
    axes[-1].set_xlabel("time (ms)")
    axes[-1].set_xlim(-0.01 * T * events.dt, T * events.dt)
    return chart


def _dots(axes: Any, when: Array, who: Array, colour: Any, count: int, name: str) -> None:
    # a dot covers about one of the panel's rows, and fades where there are more events than rows can show
    size = float(np.clip(250 / max(count, 1), 0.4, 12))
    axes.scatter(when, who, s=size, c=colour, linewidths=0, alpha=0.9 if who.size < 3000 else 0.6, rasterized=True)
    axes.set_ylim(-0.5 - 0.01 * count, count - 0.5 + 0.01 * count)
    axes.set_ylabel(name)
    axes.set_yticks([0, count - 1])


def _readout(axes: Any, output: Array, dt: float, classes: Sequence[str], label: int | None) -> None:
    steps = np.arange(len(output)) * dt
    final = int(output.max(0).argmax())
    for c in range(output.shape[1]):
        name = classes[c] if c < len(classes) else str(c)
        if c == label:
            style = {"color": BLUE, "linewidth": 2.2, "zorder": 3, "label": f"{name} (right)"}
        elif c == final:
            style = {"color": RED, "linewidth": 2.2, "zorder": 2, "label": f"{name} (highest)"}
        else:
            style = {"color": GREY, "linewidth": 0.7, "alpha": 0.6, "label": "others" if c == _first(label, final) else None}
        axes.plot(steps, output[:, c], **style)
    axes.set_ylabel("readout\nmembrane")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _first(*taken: int | None) -> int:
    return next(c for c in range(len(taken) + 1) if c not in taken)
