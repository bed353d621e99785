"""The artificial cochlea, held to what ears do: places, compression, adaptation, phase locking, silence."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from spiking.datasets import cochlea

Array = np.ndarray[Any, Any]

RATE = 8000


def tone(frequency: float, level: float, seconds: float = 0.5, rate: int = RATE, before: float = 0.0) -> Array:
    """Pascals of a pure tone of that many dB SPL, after some silence."""
    time = np.arange(round(seconds * rate)) / rate
    wave = np.sqrt(2) * 20e-6 * 10 ** (level / 20) * np.sin(2 * np.pi * frequency * time)
    return np.concatenate([np.zeros(round(before * rate)), wave])


def near(heard: cochlea.Cochleagram, frequency: float, width: int = 10) -> tuple[Array, int]:
    """Microseconds of the events of the channels around a frequency, and how many channels these are."""
    best = int(np.abs(heard.frequency - frequency).argmin())
    inside = np.abs(np.arange(len(heard.frequency)) - best) <= width
    return heard.time_us[inside[heard.index]], int(inside.sum())


@pytest.mark.parametrize("frequency", [150.0, 400.0, 1000.0, 2500.0])
def test_a_tone_excites_its_place(frequency: float) -> None:
    heard = cochlea.listen(tone(frequency, 60), level=None)
    count = np.bincount(heard.index, minlength=700)
    erb = 24.7 * (1 + 0.00437 * frequency)
    assert abs(heard.frequency[heard.index].mean() - frequency) < erb
    assert count[np.abs(heard.frequency - frequency) > 4 * erb].sum() < 0.01 * count.sum()


def test_places_are_evenly_spaced_in_erb_from_low_to_high() -> None:
    frequency = cochlea.listen(tone(1000, 60, 0.05)).frequency
    assert len(frequency) == 700 and frequency[0] == pytest.approx(60) and frequency[-1] == pytest.approx(3600)
    spacing = np.diff(frequency) / (24.7 * (1 + 0.00437 * (frequency[1:] + frequency[:-1]) / 2))
    assert spacing == pytest.approx(np.full(699, spacing.mean()), rel=1e-3)


def test_rate_grows_far_slower_than_pressure() -> None:
    heard = [near(cochlea.listen(tone(1000, level), level=None), 1000) for level in range(20, 101, 10)]
    rates = np.array([len(time) / channels / 0.5 for time, channels in heard])
    assert rates[0] < 1 and (np.diff(rates[1:]) > 0).all()
    # pressure grows a hundredfold from 60 to 100 dB
    assert 1.2 < rates[-1] / rates[4] < 3
    assert np.diff(rates)[-3:].max() < np.diff(rates)[:5].max()


def test_the_onset_is_answered_more_than_what_stays() -> None:
    time, _ = near(cochlea.listen(tone(1000, 65, 0.4, before=0.1), level=None), 1000)
    onset, later = ((time >= a) & (time < b) for a, b in ((100_000, 120_000), (300_000, 500_000)))
    assert not (time < 100_000).any()
    assert onset.sum() / 0.02 > 3 * later.sum() / 0.2 > 0


def test_spikes_lock_to_the_phase_of_low_tones_and_less_to_that_of_high_ones() -> None:
    strength = []
    for frequency in (200.0, 1000.0, 3500.0):
        heard = cochlea.listen(tone(frequency, 70, 4.0), level=None)
        best = int(np.abs(heard.frequency - frequency).argmin())
        times = [heard.time_us[heard.index == c] for c in range(best - 3, best + 4)]
        assert all(len(time) > 30 for time in times)
        strength.append(np.mean([abs(np.exp(2j * np.pi * frequency * time / 1e6).mean()) for time in times]))
    assert strength[0] > 0.75 > strength[1] > 0.5 > strength[2]


def test_low_places_answer_later() -> None:
    click = np.zeros(RATE // 2)
    click[800] = 1.0
    heard = cochlea.listen(click, level=70)
    first = [near(heard, frequency, 20)[0].min() for frequency in (300.0, 800.0, 2500.0)]
    assert 100_000 <= first[2] < first[1] < first[0] < 120_000


def test_silence_is_silent() -> None:
    heard = cochlea.listen([np.zeros(RATE), 1e-9 * np.ones(RATE)], level=None)
    assert len(heard.index) == 0 and heard.duration.tolist() == [1_000_000] * 2
    assert len(cochlea.listen(np.zeros(100)).index) == 0


def test_level_makes_loud_and_soft_recordings_alike() -> None:
    wave = tone(500, 60) + tone(1200, 60)
    soft, loud = (cochlea.listen(wave * factor) for factor in (1e-3, 1e3))
    assert np.array_equal(soft.index, loud.index) and len(soft.index) > 1000
    louder = cochlea.listen(wave, level=80)
    assert len(louder.index) > 1.2 * len(soft.index)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 12345])
def test_rates_agree_where_channels_do(rate: int) -> None:
    heard = cochlea.listen(tone(1000, 60, 0.5, rate), rate, high=3500.0, level=None)
    same = cochlea.listen(tone(1000, 60, 0.5), high=3500.0, level=None)
    assert len(heard.index) == pytest.approx(len(same.index), rel=0.15)
    assert heard.frequency[heard.index].mean() == pytest.approx(1000, rel=0.03)
    assert heard.duration[0] == pytest.approx(500_000, abs=1e6 / rate) and heard.time_us.max() < heard.duration[0]


def test_channels_and_their_range() -> None:
    heard = cochlea.listen(tone(6000, 60, 0.3, 16000), 16000, channels=64, level=None)
    assert heard.frequency[-1] == pytest.approx(7200) and heard.index.max() < 64
    assert heard.frequency[heard.index].mean() == pytest.approx(6000, rel=0.05)
    assert cochlea.listen(np.ones(4800), 48000).frequency[-1] == pytest.approx(8000)


def test_what_counts_as_one_recording() -> None:
    noise = np.random.default_rng(0).normal(size=(3, 4000))
    alone = [cochlea.listen(wave, first=i) for i, wave in enumerate(noise)]
    for batch in (noise, list(noise), torch.from_numpy(noise), [torch.from_numpy(wave) for wave in noise]):
        together = cochlea.listen(batch)
        assert np.array_equal(together.index, np.concatenate([heard.index for heard in alone]))
        assert np.array_equal(together.time_us, np.concatenate([heard.time_us for heard in alone]))
    stereo = np.stack([2 * noise[0], np.zeros(4000)], 1)
    for one in (stereo, [stereo], stereo[None]):
        assert np.array_equal(cochlea.listen(one).index, alone[0].index)
    whole = np.round(noise[0] * 5000).astype(np.int16)
    assert np.array_equal(cochlea.listen(whole).index, cochlea.listen(whole / 32767).index)


def test_seeds_and_threads() -> None:
    noise = np.random.default_rng(0).normal(size=8000)
    heard = cochlea.listen(noise)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        again = cochlea.listen(noise)
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(heard.time_us, again.time_us) and np.array_equal(heard.index, again.index)
    other = cochlea.listen(noise, seed=1)
    assert not np.array_equal(heard.index, other.index)
    assert len(other.index) == pytest.approx(len(heard.index), rel=0.05)


def test_events_beyond_the_first_guess_are_kept() -> None:
    noise = 0.3 * np.random.default_rng(0).normal(size=20 * RATE)
    whole, begin = (cochlea.listen(wave, level=None) for wave in (noise, noise[: RATE]))
    per_stretch = np.bincount(whole.index // 100)
    assert per_stretch.max() > 4096 > np.bincount(begin.index // 100).max()
    early = whole.time_us < 1_000_000
    assert np.array_equal(whole.index[early], begin.index) and np.array_equal(whole.time_us[early], begin.time_us)


def test_recordings_become_a_store() -> None:
    noise = np.random.default_rng(0).normal(size=(4, 2000))
    store = cochlea.listen(noise).store([0, 1, 0, 1], ["no", "yes"], speaker=["a", "b", "c", "d"])
    assert store.channels == 700 and store.sensor is None and store.classes == ("no", "yes")
    assert store.duration.tolist() == [250_000] * 4 and store.metadata["speaker"].tolist() == list("abcd")
    time, indptr = store.arrays()[1:]
    assert all((np.diff(time[a:b]) >= 0).all() for a, b in pairwise(indptr))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"audio": []}, "audio: expected at least one recording"),
        ({"audio": np.zeros((0,))}, "audio: expected at least one recording"),
        ({"audio": [np.ones(5), np.ones(0)]}, "audio: number 1: no samples"),
        ({"audio": [np.ones(5), np.array([1.0, np.nan])]}, "audio: number 1: contains NaN or infinite .* sample 1"),
        ({"audio": ["word"]}, "audio: number 0: expected"),
        ({"audio": np.ones((2, 5, 3))}, r"audio: number 0: expected \(samples,\) or \(samples, 2\)"),
        ({"rate": 0}, "rate: expected samples per second, at least 100, got 0"),
        ({"rate": float("nan")}, "rate: expected"),
        ({"channels": 0}, "channels: expected a whole number of at least 1, got 0"),
        ({"high": 5000.0}, "low, high: expected 20 <= low < high <= 4000 Hz"),
        ({"low": 4000.0}, "low, high: expected"),
        ({"level": 200.0}, "level: expected -20 to 140 dB SPL, or None, got 200.0"),
    ],
)
def test_bad_input_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cochlea.listen(**{"audio": np.ones(100), **given})
