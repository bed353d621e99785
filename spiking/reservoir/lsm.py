"""LSM: a liquid state machine, events in and spike counts out (Maass, Natschlaeger & Markram 2002).

A fixed random network turns recordings into states x; only a linear readout of x is trained. The network is that of a
preset (presets.py), drawn from a seed; `gain` scales its recurrent synapses and `input_gain` those from outside.
`adapt` lets the recurrent synapses or the thresholds learn without labels.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin

from spiking.datasets import EventStore
from spiking.datasets.errors import DataError
from spiking.datasets.progress import progress_bar
from spiking.events import Events
from spiking.kernels.arguments import floating
from spiking.kernels.finite import demand
from spiking.kernels.reservoir import Recorder, ReservoirState
from spiking.reservoir.adapt import Signal, adapt
from spiking.reservoir.calibrate import calibrate
from spiking.reservoir.counts import bin_counts, check_parts
from spiking.reservoir.file import check_name, from_dict, to_dict
from spiking.reservoir.network import Network, build, check
from spiking.reservoir.presets import Preset, preset
from spiking.reservoir.simulate import Circuit

Array = np.ndarray[Any, Any]
BATCH, LOOK = 256, 32  # recordings that are simulated together, and that calibration sees


class Silence(UserWarning):
    """A liquid was silent on all recordings."""


class OtherStep(UserWarning):
    """A liquid's step is not that for which its preset's strengths are meant."""


class Stopped(KeyboardInterrupt):
    """Stopped by hand; `features` are those of the recordings before."""

    def __init__(self, message: str, features: Array) -> None:
        super().__init__(message)
        self.features = features


class LSM(TransformerMixin, BaseEstimator):
    """A liquid; a transformer of scikit-learn, whose `transform` counts spikes.

    Arguments:
        preset: "maass2002", "nalsm", "lin2023", "random" or "shd".
        inputs: channels; `None` takes those of what it is fitted to.
        neurons: N; `None` takes the preset's, as does `dt`.
        dt: step, ms; at another than the preset's, strengths of presets with normalised currents are others, and
            `OtherStep` is warned of.
        seed: of the network.
        gain, input_gain: factors of recurrent and of input synapses.
        bins: parts of time in which spikes are counted.
        parts: "recording" or "time", see `counts.bin_counts`.
        steps: T of the recordings of a store; `None` means as many as each needs.
        washout: steps at the beginning of which nothing is counted.
        branching: factor to which `fit` calibrates; `None` leaves the gains.
        changes: fields of the preset that are to be others, by name.
    """

    def __init__(
        self,
        preset: str = "nalsm",
        inputs: int | None = None,
        neurons: int | None = None,
        dt: float | None = None,
        seed: int = 0,
        gain: float = 1.0,
        input_gain: float = 1.0,
        bins: int = 1,
        parts: str = "recording",
        steps: int | None = None,
        washout: int = 0,
        branching: float | None = None,
        changes: dict[str, Any] | None = None,
    ) -> None:
        self.preset, self.inputs, self.neurons, self.dt, self.seed = preset, inputs, neurons, dt, seed
        self.gain, self.input_gain, self.bins, self.parts = gain, input_gain, bins, parts
        self.steps, self.washout, self.branching, self.changes = steps, washout, branching, changes

    @classmethod
    def from_preset(cls, name: str, **options: Any) -> LSM:
        """A liquid by name; fields of the preset among the options become `changes`.

        Raises:
            ValueError: if there is no such preset, or nothing has an option's name.
        """
        fields = {k: options.pop(k) for k in list(options) if k in Preset.__dataclass_fields__ and k not in _OWN}
        unknown = sorted(set(options) - set(cls().get_params()))
        if unknown:
            raise ValueError(f"{unknown[0]}: no option of a liquid and no field of a preset")
        lsm = cls(preset=name, **options, changes=fields or None)
        lsm.settings()
        if lsm.inputs is not None:
            lsm.network()
        return lsm

    def settings(self) -> Preset:
        """The preset with its changes."""
        base = preset(self.preset)
        try:
            return replace(base, **(self.changes or {}))
        except TypeError as error:
            raise ValueError(f"changes: {error}") from error

    @property
    def step(self) -> float:
        """dt in ms, the preset's where none is given."""
        return self.settings().dt if self.dt is None else self.dt

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.settings().neurons if self.neurons is None else self.neurons

    def network(self) -> Network:
        """The neurons and synapses, drawn when they are first asked for.

        Raises:
            ValueError: naming what can't be drawn, or if the number of inputs is not known yet.
        """
        if self.inputs is None:
            raise ValueError("inputs: expected the number of channels, or a call of fit before, got None")
        key = (self.settings(), self.inputs, self.size, self.step, self.seed)
        if getattr(self, "_key", None) != key:
            self._network, self._key, self._learned = build(*key), key, False
            self._warn_of_step()
        return self._network

    @property
    def learned(self) -> bool:
        """Whether its strengths or thresholds are others than its seed gives; another seed forgets them."""
        self.network()
        return self._learned

    def teach(self, strength: torch.Tensor, threshold: torch.Tensor | None = None) -> None:
        """Give it other strengths or thresholds.

        Arguments:
            strength: (nnz,) of the recurrent synapses, before the gain.
            threshold: (N,), or `None` for the preset's.

        Raises:
            ValueError, TypeError: naming the argument that does not fit.
        """
        network = self.network()
        _row("strength", strength, network.recurrent.nnz)
        if threshold is not None:
            _row("threshold", threshold, self.size)
            low = (threshold <= network.reset).nonzero()[:, 0]
            if len(low):
                n, reset = int(low[0]), float(network.reset[low[0]])
                got = f"{float(threshold[n]):g} for neuron {n}, whose reset is {reset:g}"
                raise ValueError(f"threshold: expected numbers above the reset, got {got}")
            threshold = threshold.detach().float()
        recurrent = network.recurrent.with_values(strength.detach().float())
        self._network, self._learned = network._replace(recurrent=recurrent, threshold=threshold), True
        self.__dict__.pop("_circuit_key", None)

    def adapt(
        self, events: Any, rule: Any, epochs: int = 1, reward: Signal = None, budget: int | None = None,
        progress: bool = False,
    ) -> LSM:  # fmt: skip
        """Let recurrent synapses or thresholds learn in place from unlabelled recordings, one after the other.

        Arguments:
            events: Events (T, B, inputs), or an EventStore.
            rule: of `spiking.plasticity.hebbian`: one for synapses, one for thresholds, or both in a list. Bounds are
                in units of the mean strength that a synapse's kind had when it was drawn, times the gain.
            epochs: passages through them.
            reward: for rules that wait for one, (T,) or (T, B), or a function from a recording's number to (T,).
            budget: spikes that a recording may have; `None` is 250 Hz of each neuron.
            progress: show a bar.

        Returns:
            itself; `history_` has an `adapt.Epoch` for each passage.

        Raises:
            ValueError, TypeError: naming the argument that does not fit.
            Explosion, Halted: past the budget, or on Ctrl-C; what was learned until then stays.
        """
        self._take(events)
        self.history_ = adapt(self, events, rule, epochs, reward, budget, progress)
        return self

    def _warn_of_step(self) -> None:
        """A current that acts at once adds all of itself in every step: twice the steps, twice the charge."""
        settings = self.settings()
        if self.step != settings.dt and settings.normalised and max(settings.tau_syn) > 0:
            warnings.warn(
                f"dt: the strengths of {self.preset} are meant for steps of {settings.dt:g} ms; in steps of "
                f"{self.step:g} ms a synapse moves a membrane about {settings.dt / self.step:.3g} times as far: "
                "calibrate, or set gain and input_gain",
                OtherStep,
                stacklevel=3,
            )

    def check(self) -> None:
        """Raise if no such liquid can be, whatever its inputs.

        Raises:
            ValueError: naming the option.
        """
        for name in ("gain", "input_gain"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: expected a factor of at least 0, got {value!r}")
        if isinstance(self.washout, bool) or not isinstance(self.washout, int) or self.washout < 0:
            raise ValueError(f"washout: expected a number of steps, got {self.washout!r}")
        check(self.settings(), self.inputs or 1, self.size, self.step)

    def circuit(self) -> Circuit:
        """The network at its gains; errors as `check`."""
        self.check()
        network = self.network()
        key = (self._key, self.gain, self.input_gain)
        if getattr(self, "_circuit_key", None) != key:
            self._circuit = Circuit(network, self.settings(), self.step, self.gain, self.input_gain)
            self._circuit_key = key
        return self._circuit

    def simulate(
        self, events: Events, state: ReservoirState | None = None, budget: int | None = None
    ) -> tuple[Events, ReservoirState]:
        """The spikes of a batch of recordings.

        Arguments:
            events: (T, B, inputs) at this liquid's dt.
            state: where to go on from; `None` is the beginning.
            budget: spikes that a recording may have.

        Returns:
            Events (T, B, N), and the state, from which `simulate(more, state)` goes on with the same bits.

        Raises:
            ValueError: if channels or dt don't match.
            Explosion: of the op, with step and rate, if a recording passes its budget.
            Interrupted: of the op, on Ctrl-C, with what was recorded.
        """
        record, state = self.circuit().run(events, state, budget=budget)
        assert record.spikes is not None
        return record.spikes, state

    def features(self, x: Any, bins: int | None = None, progress: bool = False) -> Array:
        """Spike counts, a row for each recording.

        Arguments:
            x: Events, or an EventStore, which is binned batch by batch.
            bins: parts of time; `None` means this liquid's.
            progress: show a bar for a store.

        Returns:
            (B, bins * N) float32, column k*N + n for part k and neuron n.

        Raises:
            Stopped: on Ctrl-C in a store, with the rows that were done.
        """
        bins = self.bins if bins is None else bins
        check_parts(bins, self.parts)
        if bins > 1 and self.parts == "time" and self.steps is None and not isinstance(x, Events):
            raise ValueError("steps: parts of time need a number of steps for all batches and stores, got None")
        if isinstance(x, Events):
            found = self._count(x, bins)
        else:
            found, done = np.empty((len(x), bins * self.size), np.float32), 0
            try:
                for k in progress_bar(range(0, len(x), BATCH), "simulating", progress):
                    events, _ = x.batch(slice(k, k + BATCH), dt=self.step, steps=self.steps)
                    found[k : k + BATCH] = self._count(events, bins)
                    done = min(k + BATCH, len(x))
            except KeyboardInterrupt as stopped:
                raise Stopped(f"after recording {done} of {len(x)}", found[:done]) from stopped
        if len(found) and not found.any():
            warnings.warn("no neuron of the liquid ever fired: raise input_gain, or calibrate", Silence, stacklevel=2)
        return found

    def _count(self, x: Events, bins: int) -> Array:
        state = None
        if self.washout:
            _, state = self.circuit().run(x[: self.washout], record=Recorder(spikes=False))
            x = x[self.washout :]
        record, _ = self.circuit().run(x, state)
        assert record.spikes is not None
        return bin_counts(record.spikes, bins, self.parts)

    def traces(self, events: Events, samples: int, tau: float = 30.0) -> Array:
        """Filtered spikes at the ends of equal parts of time: the state x(t) of the theory.

        Arguments:
            events: (T, B, inputs).
            samples: how many parts.
            tau: of the filter, ms.

        Returns:
            (B, samples, N) float32.
        """
        record, _ = self.circuit().run(events, record=Recorder(spikes=False, traces=samples, tau=tau))
        found: Array = record.traces.numpy()
        return found

    def look(self, store: EventStore) -> Events:
        """LOOK recordings from all of a store, which may lie class by class."""
        chosen = np.unique(np.linspace(0, len(store) - 1, LOOK).round().astype(np.int64))
        return store.batch(chosen, dt=self.step, steps=self.steps)[0]

    def calibrate(self, events: Any, **targets: Any) -> LSM:
        """Choose the gains by activity, without labels; see `calibrate.calibrate` for the targets.

        Arguments:
            events: Events, or an EventStore of which some recordings are taken.

        Returns:
            itself, with `gain` and `input_gain` set.
        """
        self._take(events)
        calibrate(self, events if isinstance(events, Events) else self.look(events), **targets)
        return self

    def fit(self, x: Any, y: Any = None) -> LSM:
        """Draw the network for the channels of x, and calibrate it if `branching` says so."""
        self._take(x)
        if self.branching is not None:
            self.calibrate(x, branching=self.branching)
        return self

    def transform(self, x: Any) -> Array:
        """`features(x)`."""
        return self.features(x)

    def _take(self, x: Any) -> None:
        if not isinstance(x, (Events, EventStore)):
            raise TypeError(f"x: expected Events or an EventStore, got {type(x).__name__}")
        channels = x.shape[2] if isinstance(x, Events) else x.channels
        if self.inputs is None:
            self.inputs = int(channels)
        if channels != self.inputs:
            raise ValueError(f"x: expected {self.inputs} channels, got {channels}")
        self.network()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what rebuilds it: a JSON file of the preset, the seed, the gains, and a checksum of all its numbers.

        What it has learned, its seed can't give: that goes into an .npz file of the same name beside it.

        Raises:
            ValueError: if the name is that of an .npz file.
        """
        path = Path(path)
        check_name(path)
        path.write_text(json.dumps(to_dict(self, path.with_suffix(".npz")), indent=2) + "\n")

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> LSM:
        """A saved liquid, rebuilt bit for bit.

        Raises:
            DataError: if the file is no liquid, what is built from it is another than was saved, or what it has
                learned is not beside it.
        """
        try:
            return from_dict(cls, json.loads(Path(path).read_text()), Path(path).parent)
        except (OSError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: expected a saved liquid ({error})") from error


def _row(name: str, given: torch.Tensor, size: int) -> None:
    floating(name, given, torch.device("cpu"))
    if given.shape != (size,):
        raise ValueError(f"{name}: expected ({size},), got {tuple(given.shape)}")
    demand(name, given, "place")


_OWN = ("neurons", "dt", "branching")
