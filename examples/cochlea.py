"""An artificial cochlea listens: to a recording, or without one to a gliding vowel between two hisses.

    python examples/cochlea.py [--wav FILE] [--out FOLDER]

Prints how fast one core hears, and writes cochlea.png: the sound wave above the spikes of 700 bushy cells, the low
places of the cochlea below and the high ones above, and beside them how often each place spoke.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import signal

from spiking.datasets import cochlea
from spiking.datasets.formats import audio


def word(rate: int = 16000) -> np.ndarray:
    """A hiss, a voice whose pitch falls while its three formants glide, and a hiss."""
    t = np.arange(round(0.55 * rate)) / rate
    pulses = np.split(signal.sawtooth(2 * np.pi * np.cumsum(150 - 80 * t) / rate), 50)
    states, voice = [np.zeros(2)] * 3, np.zeros((50, len(pulses[0])))
    for part, g in enumerate(np.linspace(0, 1, 50)):
        for k, f in enumerate((300 + 450 * np.sin(np.pi * g), 2300 - 1300 * g, 3200 - 600 * g)):
            peak = signal.iirpeak(f, 8, fs=rate)
            formant, states[k] = signal.lfilter(*peak, pulses[part], zi=states[k])
            voice[part] += formant
    vowel = voice.ravel() * signal.windows.tukey(len(t), 0.3)
    hiss = np.random.default_rng(0).normal(size=round(0.16 * rate)) * signal.windows.hann(round(0.16 * rate))
    hiss = 0.1 * signal.sosfilt(signal.butter(4, (3500, 7000), "bandpass", fs=rate, output="sos"), hiss)
    rest = np.zeros(round(0.03 * rate))
    return np.concatenate([rest, hiss, vowel, hiss, rest])


def main() -> None:
    """Listen, measure and draw."""
    words = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    words.add_argument("--wav", type=Path)
    words.add_argument("--out", type=Path, default=Path("runs"))
    given = words.parse_args()
    wave, rate = audio.read(given.wav.read_bytes(), given.wav.name) if given.wav else (word(), 16000)

    heard = cochlea.listen(wave, rate)
    torch.set_num_threads(1)
    start, long = time.process_time(), np.tile(wave, (8, 1) if wave.ndim > 1 else 8)
    cochlea.listen(long, rate)
    speed = len(long) / rate / (time.process_time() - start)
    seconds = len(wave) / rate
    print(f"{len(heard.index)} spikes in {seconds:.2f} s; one core hears {speed:.0f} times as fast as it is spoken")

    figure = Figure(figsize=(10, 6), dpi=100, layout="constrained")
    axes = figure.subplots(2, 2, height_ratios=[1, 4], width_ratios=[8, 1], sharex="col", sharey="row")
    axes[0, 1].remove()
    axes[0, 0].plot(np.arange(len(wave)) / rate * 1000, wave, color="#101010", linewidth=0.5)
    axes[0, 0].set(yticks=[], ylabel="sound", xlim=(0, seconds * 1000))
    colour = {"c": heard.index, "cmap": "turbo", "vmin": 0, "vmax": 700}
    axes[1, 0].scatter(heard.time_us / 1000, heard.index, s=1.5, linewidths=0, **colour)
    marks = [f for f in (100, 200, 500, 1000, 2000, 4000, 7000) if f < heard.frequency[-1]]
    axes[1, 0].set_yticks(np.interp(marks, heard.frequency, np.arange(700)), [f"{f:,}" for f in marks])
    axes[1, 0].set(xlabel="time (ms)", ylabel="place, by its frequency (Hz)", ylim=(0, 700))
    rates = np.bincount(heard.index, minlength=700).reshape(-1, 10).mean(1) / seconds
    axes[1, 1].barh(np.arange(5, 700, 10), rates, height=10, color="#707070")
    axes[1, 1].set(xlabel="spikes / s")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    given.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.out / "cochlea.png")
    print(given.out / "cochlea.png")


if __name__ == "__main__":
    main()
