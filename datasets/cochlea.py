"""An artificial cochlea: sound becomes spikes of 700 bushy cells, from the low end of hearing to the high one.

    ear         first-order high-pass at 500 Hz on pressures in Pa
    membrane    gammatone filter of order 4 at f_c, as four complex one-pole filters in a row (Hohmann 2002), its width
                1.019 ERB (Glasberg & Moore 1990), the places evenly spaced in ERB
                    z_j <- exp(-2 pi b dt + 2 pi i f_c dt) z_j + (1 - exp(-2 pi b dt)) z_{j-1},     z = 2 z_4
    compression y = gain (|z| + Re z) / 2 / (1 + |z|^2 / z_knee^2)^(3/8)
    hair cell   k = g (y + A) / (y + A + B)                         transmitter released from q into the cleft c, taken
                q' = Y (1 - q) + X w - k q                          up again into w (Meddis 1986; numbers of Meddis,
                c' = k q - (L + R) c,    w' = R c - X w             Hewitt & Shackleton 1990, except A)
    nerve       40 fibres fire at H c each, unless one fired in the last ms or so
    bushy cell  v' = -v / tau + weight sum of fibre spikes; at v = 1 a spike, v = 0, and rest for the refractory time

Amplitudes above the knee grow by 0.25 dB for a dB. (|z| + Re z) / 2 rectifies without harmonics, which at 8 samples per
ms would come back as beats. A is so low that silence is silent. The chain is that of Cramer et al. (2020), who have a
hydrodynamic model of the membrane in place of the filters. `spiking.datasets.hearing` is the compiled part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import signal

from spiking.datasets.hearing import STRETCH, hear
from spiking.datasets.progress import progress_bar
from spiking.datasets.rng import streams
from spiking.datasets.store import EventStore
from spiking.kernels.jit import spread

Array = np.ndarray[Any, Any]

CHUNK = 64
EAR = 500.0  # Hz
KNEE, BOOST = 40.0, 10.0  # dB SPL, and what the membrane adds below it
UNIT = 20e-6 * 10 ** (30 / 20)  # Pa of amplitude 1 in Meddis's model
A, B, G, Y, L, R, X, H = 0.5, 300.0, 2000.0, 5.05, 2500.0, 6580.0, 66.31, 50_000.0
FIBRES, RECOVERY = 40, 1.0
TAU, WEIGHT, REFRACTORY = 1.0, 0.125, 1.0


@dataclass(frozen=True)
class Cochleagram:
    """What a cochlea heard.

    Attributes:
        index: (events,) channels.
        time_us: (events,) microseconds, rising within a recording.
        indptr: (n + 1,) recording i has the events indptr[i] to indptr[i + 1].
        duration: (n,) microseconds of each recording.
        frequency: (channels,) Hz, to what each channel answers best, rising.
    """

    index: Array
    time_us: Array
    indptr: Array
    duration: Array
    frequency: Array

    def store(self, labels: Any, classes: Sequence[str] | None = None, **metadata: Any) -> EventStore:
        """The recordings with their labels (n,) and columns, as `EventStore.from_arrays` takes them."""
        return EventStore.from_arrays(
            self.index, self.time_us, self.indptr, labels, None, len(self.frequency), classes, self.duration, **metadata
        )


def frequencies(channels: int, low: float, high: float) -> Array:
    """(channels,) Hz, evenly spaced in ERB: 21.4 log10(1 + 0.00437 f) (Glasberg & Moore 1990)."""
    first, last = (21.4 * np.log10(1 + 0.00437 * f) for f in (low, high))
    return (10 ** (np.linspace(first, last, channels) / 21.4) - 1) / 0.00437


def listen(
    audio: Any,
    rate: float = 8000,
    channels: int = 700,
    low: float = 60.0,
    high: float | None = None,
    level: float | None = 65.0,
    seed: int = 0,
    first: int = 0,
    progress: bool = False,
) -> Cochleagram:
    """Let an artificial cochlea listen to sound.

    Arguments:
        audio: one recording (samples,) or, in stereo, (samples, 2), whose mean is heard; or several, as a list of
            these, (n, samples) or (n, samples, 2). NumPy or torch; whole numbers are divided by their type's largest.
        rate: samples per second, any.
        channels: places along the cochlea.
        low, high: Hz, what the first and the last channel answer best; `None` is 0.45 * rate, 8,000 Hz at most.
        level: dB SPL that each recording as a whole is brought to; `None` takes samples as pascals.
        seed: recording i is the same for the same (seed, first + i), whatever is heard with it.
        first: the number of the first recording.
        progress: show a bar.

    Returns:
        Cochleagram, whose `store(labels)` makes an EventStore.

    Raises:
        ValueError: naming the argument that doesn't fit.
    """
    if not 100 <= rate < np.inf:
        raise ValueError(f"rate: expected samples per second, at least 100, got {rate!r}")
    if isinstance(channels, bool) or channels != int(channels) or channels < 1:
        raise ValueError(f"channels: expected a whole number of at least 1, got {channels!r}")
    high = min(8000.0, 0.45 * rate) if high is None else high
    if not 20 <= low < high <= rate / 2:
        half = f"{rate / 2:g} Hz, half the rate"
        raise ValueError(f"low, high: expected 20 <= low < high <= {half}, got {low!r}, {high!r}")
    if level is not None and not -20 <= level <= 140:
        raise ValueError(f"level: expected -20 to 140 dB SPL, or None, got {level!r}")
    waves = _waves(audio)
    frequency = frequencies(int(channels), low, high)
    step = 1 / min(rate, 2.5 * high)
    model = _model(frequency, step)
    stretches, room = len(model[0]), 4096
    parts, sizes = [], []
    for begin in progress_bar(range(0, len(waves), CHUNK), "listening", progress):
        sounds = [_pressure(wave, rate, 1 / step, level) for wave in waves[begin : begin + CHUNK]]
        ends = np.cumsum([0, *map(len, sounds)])
        states = np.stack([streams(seed, first + begin + i, np.arange(channels)) for i in range(len(sounds))])
        tasks = len(sounds) * stretches
        while True:
            keys, counts = np.empty((tasks, room), np.int64), np.zeros(tasks, np.int64)
            spread(hear, tasks, stretches, channels, np.concatenate(sounds), ends, *model, states.copy(), keys, counts)
            if counts.max() <= room:
                break
            room = int(counts.max())
        for i in range(len(sounds)):
            rows = range(i * stretches, (i + 1) * stretches)
            parts.append(np.sort(np.concatenate([keys[row, : counts[row]] for row in rows])))
        sizes.append(counts.reshape(-1, stretches).sum(1))
    keys = np.concatenate(parts)
    indptr = np.zeros(len(waves) + 1, np.int64)
    np.cumsum(np.concatenate(sizes), out=indptr[1:])
    duration = np.array([np.ceil(len(wave) / rate * 1e6) for wave in waves], np.int64)
    # resampled sound ends up to a sample later than the recording
    time = np.minimum(keys // channels, np.repeat(duration - 1, np.diff(indptr)))
    return Cochleagram(keys % channels, time, indptr, duration, frequency)


def _waves(audio: Any) -> list[Array]:
    """Each recording, (samples,) float64."""
    several = isinstance(audio, (list, tuple)) and len(audio) > 0 and np.ndim(audio[0]) > 0
    if not several:
        audio = np.asarray(audio)
        several = audio.ndim == 3 or (audio.ndim == 2 and audio.shape[1] != 2)
    if not len(audio):
        raise ValueError("audio: expected at least one recording with samples, got none")
    return [_wave(np.asarray(wave), f"audio: number {i}") for i, wave in enumerate(audio if several else [audio])]


def _wave(wave: Array, name: str) -> Array:
    if wave.dtype.kind not in "iuf" or wave.ndim not in (1, 2) or (wave.ndim == 2 and wave.shape[1] > 2):
        raise ValueError(f"{name}: expected (samples,) or (samples, 2) numbers, got {wave.dtype} {wave.shape}")
    if not len(wave):
        raise ValueError(f"{name}: no samples")
    if wave.dtype.kind == "u":
        wave = wave.astype(np.float64) - (np.iinfo(wave.dtype).max // 2 + 1)
    full = np.iinfo(wave.dtype).max if wave.dtype.kind == "i" else 1
    wave = wave.astype(np.float64) / full
    wave = wave if wave.ndim == 1 else wave.mean(1)
    if not np.isfinite(wave).all():
        where = (~np.isfinite(wave)).argmax()
        raise ValueError(f"{name}: contains NaN or infinite values, the first at sample {where}")
    return wave


def _pressure(wave: Array, rate: float, inner: float, level: float | None) -> Array:
    """What reaches the membrane, at its rate."""
    loud = np.sqrt(np.mean(wave**2))
    if level is not None and loud > 0:
        wave = wave * (20e-6 * 10 ** (level / 20) / loud)
    if inner < rate:
        wave = signal.resample_poly(wave, round(inner), round(rate))
    return signal.sosfilt(signal.butter(1, EAR, "highpass", fs=inner, output="sos"), wave).astype(np.float32)


def _model(frequency: Array, dt: float) -> tuple[Array, Array, Array, Array]:
    """What `hear` takes: filters by stretch, the numbers of a step, the hair cell at rest, and the bushy cell."""
    width = 1.019 * 24.7 * (1 + 0.00437 * frequency)
    pole = np.exp(2 * np.pi * (1j * frequency - width) * dt)
    stretches = -(-len(frequency) // STRETCH)
    places = np.zeros((3, stretches * STRETCH), np.float32)
    places[:, : len(frequency)] = pole.real, pole.imag, 1 - np.abs(pole)
    k = G * A / (A + B)
    q = 1 / (1 + L * k / (Y * (L + R)))
    c = k * q / (L + R)
    knee = 20e-6 * 10 ** (KNEE / 20) / np.sqrt(2)  # of z_4, half of a tone's amplitude
    cleft, store = np.exp(-(L + R) * dt), np.exp(-X * dt)
    numbers = [
        10 ** (BOOST / 20) / UNIT, knee**-2, A, B, G, dt * Y, dt * X, 1 + dt * Y, dt, cleft, (1 - cleft) / (L + R),
        store, (1 - store) / X * R, dt * H, FIBRES, np.exp(-dt * 1000 / RECOVERY), np.exp(-dt * 1000 / TAU),
    ]  # fmt: skip
    return (
        places.reshape(3, stretches, STRETCH).swapaxes(0, 1).reshape(stretches, -1).copy(),
        np.array(numbers, np.float32),
        np.array([q, c, R * c / X], np.float32),
        np.array([1e6 * dt, WEIGHT, 1000 * REFRACTORY]),
    )
