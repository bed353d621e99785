"""The simulated camera: crossings where the equation puts them, and recordings like real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spiking.datasets import camera, pixel

QUIET: dict[str, Any] = {"mismatch": 0.0, "leak": 0.0, "noise": 0.0}


def ramp(levels: list[float], dark: float = 0.1) -> Any:
    """A video of one pixel whose log(I + dark) takes these values."""
    return (np.exp(np.array(levels)) - dark).reshape(1, -1, 1, 1)


@pytest.mark.parametrize("dark", [0.1, 0.9])
def test_crossings_lie_where_the_ramp_meets_the_thresholds(dark: float) -> None:
    film = camera.record(ramp([0.0, 1.0], dark), interval=100.0, threshold=0.2, dark=dark, refractory=0.0, **QUIET)
    gaps = np.diff(film.time_us)
    assert len(film.index) in (4, 5) and (film.index == 1).all()
    # the log rises by 0.2 every 20 ms, the memory begins within half a threshold of the first level
    assert np.abs(gaps - 20_000).max() <= 2 and 10_000 <= film.time_us[0] <= 30_000
    assert film.duration == 100_000 and film.sensor == (1, 1, 2)


def test_darker_is_polarity_zero_and_frames_join() -> None:
    film = camera.record(ramp([0.0, 0.5, 0.0]), interval=50.0, threshold=0.2, refractory=0.0, **QUIET)
    polarity = film.index.tolist()
    assert polarity == sorted(polarity, reverse=True) and set(polarity) == {0, 1}
    assert (film.time_us[film.index == 1] < 50_000).all() and (film.time_us[film.index == 0] > 50_000).all()
    fine = camera.record(
        ramp(np.interp(np.arange(201), [0, 100, 200], [0, 0.5, 0]).tolist()), interval=0.5, threshold=0.2,
        refractory=0.0, **QUIET,
    )
    assert fine.index.tolist() == polarity and np.abs(fine.time_us - film.time_us).max() <= 2


def test_refractory_time_separates_events() -> None:
    for refractory in (0.0, 3.0, 30.0):
        film = camera.record(ramp([0.0, 5.0]), interval=100.0, threshold=0.2, refractory=refractory, **QUIET)
        gaps = np.diff(film.time_us)
        # on waking the memory takes the present level, so one gap is the refractory time and a full climb
        assert np.abs(gaps - (4000 + 1000 * refractory)).max() <= 2


def test_the_photoreceptor_follows_light_by_its_time_constant() -> None:
    dark_to_light = ramp([0.0] + [1.0] * 400)
    film = camera.record(dark_to_light, interval=0.5, threshold=0.05, refractory=0.0, cutoff=20.0, **QUIET)
    # v = 1 - exp(-t / tau) from t = 0.5 ms on; at e - 0.1 the light is e / 1.1 times as fast as at 1
    tau = 1000 / (2 * np.pi * 20.0 * np.e / 1.1)
    level = 1 - np.exp(-(film.time_us / 1000 - 0.25) / tau)
    assert 17 <= len(level) <= 20 and np.abs(np.diff(level)[1:] - 0.05).max() < 0.003
    light_to_dark = camera.record(
        ramp([1.0] + [0.0] * 400), interval=0.5, threshold=0.05, refractory=0.0, cutoff=20.0, **QUIET
    )
    assert np.median(light_to_dark.time_us) == pytest.approx(np.e * np.median(film.time_us), rel=0.15)


def test_a_fast_photoreceptor_is_none() -> None:
    images = np.random.default_rng(0).random((2, 8, 8))
    film = camera.record(images, motion="saccades")
    assert np.array_equal(film.time_us, camera.record(images, motion="saccades", cutoff=1e12).time_us)
    slow = camera.record(images, motion="saccades", cutoff=5.0)
    assert len(slow.index) < 0.9 * len(film.index)


def test_polarities_have_their_own_thresholds_and_noise() -> None:
    there_and_back = ramp([0.0, 3.0, 0.0])
    film = camera.record(there_and_back, interval=100.0, threshold=(0.3, 0.1), refractory=0.0, **QUIET)
    assert (film.index == 0).sum() in (9, 10) and (film.index == 1).sum() in (29, 30)
    still = np.full((4, 2, 20, 20), 0.5)
    noise = camera.record(still, interval=2000.0, mismatch=0.0, leak=0.0, noise=(1.0, 3.0))
    rates = np.bincount(noise.index // 400, minlength=2) / (4 * 400 * 2.0)
    assert np.abs(rates - [1, 3]).max() < 0.2


def test_a_path_of_one_s_own_moves_the_image() -> None:
    images = np.random.default_rng(0).random((2, 8, 8))
    film = camera.record(images, motion=camera.saccades(2.0), seed=1)
    assert np.array_equal(film.time_us, camera.record(images, motion="saccades", seed=1).time_us)
    step = np.zeros((1, 9, 9))
    step[:, :, :4] = 1.0
    right = camera.record(step, motion=np.array([[0.0, 0.0], [3.0, 0.0]]), interval=50.0, **QUIET)
    assert set(right.index.tolist()) <= set(range(81, 162)) and set(right.index % 9) == {4, 5, 6}
    assert right.duration == 50_000


def test_parts_of_a_set_are_numbered_on() -> None:
    images = np.random.default_rng(0).random((5, 8, 8))
    film = camera.record(images, motion="saccades", seed=3)
    part = camera.record(images[2:], motion="saccades", seed=3, first=2)
    assert np.array_equal(part.time_us, film.time_us[film.indptr[2] :])


def test_noise_keeps_the_refractory_time() -> None:
    still = np.full((1, 2, 1, 1), 0.5)
    film = camera.record(still, interval=1000.0, refractory=3.0, mismatch=0.0, leak=0.0, noise=2000.0)
    gaps = np.diff(film.time_us)
    assert len(gaps) > 200 and gaps.min() >= 2999 and gaps.mean() < 4000


def test_events_lie_within_a_duration_of_whole_microseconds() -> None:
    """The last frame is 0.4 us later."""
    still = np.full((1, 2, 30, 30), 0.5)
    film = camera.record(still, interval=1.0004, refractory=0.0, mismatch=0.0, leak=0.0, noise=1e6)
    assert film.duration == 1000 and len(film.time_us) > 800_000 and film.time_us.max() == 999


def test_light_is_interpolated_and_goes_on_beyond_the_edge() -> None:
    image = np.array([[0.0, 1.0], [2.0, 7.0]], np.float32)
    for y, x, light in ((0, 0.25, 0.25), (0.5, 0, 1.0), (0.5, 0.5, 2.5), (1, 1, 7.0), (-3, 0.5, 0.5), (9, 9, 7.0)):
        assert pixel._intensity(image, float(y), float(x)) == light


def test_a_bright_dot_is_seen_wherever_the_path_takes_it() -> None:
    images = np.zeros((1, 15, 15))
    images[0, 7, 7] = 1.0
    film = camera.record(images, motion="saccades", refractory=0.0, **QUIET)
    x, y = film.index % 15, film.index // 15 % 15
    assert (x.min(), x.max(), y.min(), y.max()) == (7 - 3, 7 + 3, 7 - 2, 7 + 2)
    brighter = film.index >= 225
    early, late = (x[brighter & (film.time_us // 100_000 == leg)] for leg in (0, 1))
    assert early.mean() < 7 < late.mean()  # the image moves along the path, to the right


def test_a_still_scene_makes_only_leak_and_noise() -> None:
    still = np.full((4, 2, 20, 20), 0.5)
    seconds = 4 * 400 * 2.0
    assert not len(camera.record(still, interval=2000.0, **QUIET).index)
    noise = camera.record(still, interval=2000.0, mismatch=0.0, leak=0.0, noise=5.0)
    assert abs(len(noise.index) / seconds - 5) < 0.3 and abs((noise.index >= 400).mean() - 0.5) < 0.03
    leak = camera.record(still, interval=2000.0, mismatch=0.0, leak=3.0, noise=0.0)
    assert abs(len(leak.index) / seconds - 3) < 0.3 and (leak.index >= 400).all()
    # a pixel's leak is in units of its own threshold
    uneven = camera.record(still[:1], interval=2000.0, mismatch=0.3, leak=3.0, noise=0.0)
    assert set(np.bincount(uneven.index - 400, minlength=400)) <= {2, 3, 4, 5, 6, 7, 8}


def test_mismatch_spreads_thresholds() -> None:
    video = np.broadcast_to(ramp([0.0, 3.0]), (1, 2, 30, 30))
    even = camera.record(video, interval=100.0, mismatch=0.0, leak=0.0, noise=0.0)
    uneven = camera.record(video, interval=100.0, mismatch=0.2, leak=0.0, noise=0.0)
    spread = [np.bincount(film.index - 900, minlength=900).std() for film in (even, uneven)]
    assert spread[1] > 2 * spread[0]
    wild = camera.record(video, interval=100.0, mismatch=5.0, leak=0.0, noise=0.0, refractory=0.0)
    assert 50 <= np.bincount(wild.index - 900).max() <= 3.0 / (0.2 * 0.28) + 1  # no threshold falls below a fifth


def test_recordings_depend_on_seed_and_number_only() -> None:
    images = np.random.default_rng(0).random((70, 8, 8))
    film = camera.record(images, motion="saccades", seed=3)
    part = camera.record(images[:66], motion="saccades", seed=3)
    assert np.array_equal(part.index, film.index[: film.indptr[66]])
    assert np.array_equal(part.time_us, film.time_us[: film.indptr[66]])
    other = camera.record(images, motion="saccades", seed=4)
    assert not np.array_equal(other.indptr, film.indptr)
    twins = camera.record(np.repeat(images[:1], 2, 0), motion="saccades", **QUIET)
    first, second = np.split(twins.time_us, twins.indptr[1:-1])
    assert first.tolist() != second.tolist()


def test_more_events_than_room_are_kept() -> None:
    video = ramp([0.0, 6.0, 0.0, 6.0, 0.0])
    film = camera.record(video, interval=1000.0, threshold=0.05, refractory=0.0, **QUIET)
    assert len(film.index) >= 470
    # one busy recording does not change the others
    videos = np.concatenate([ramp([0.0, 0.1, 0.0, 0.1, 0.0])] * 2 + [video])
    busy = camera.record(videos, interval=1000.0, threshold=0.05)
    calm = camera.record(videos[:2], interval=1000.0, threshold=0.05)
    assert 0 < len(calm.index) <= 16 and len(busy.index) > 100
    assert np.array_equal(busy.time_us[: busy.indptr[2]], calm.time_us)


def test_bytes_are_read_as_intensities() -> None:
    images = (np.random.default_rng(0).random((1, 8, 8)) * 255).astype(np.uint8)
    film = camera.record(images, motion="saccades")
    assert np.array_equal(film.time_us, camera.record(images / np.float32(255), motion="saccades").time_us)


def test_saccades_return_to_where_they_began() -> None:
    path = camera.saccades(1.0, width=6.0, height=4.0)
    assert path.shape == (301, 2) and np.allclose(path[0], path[-1])
    assert np.allclose(path.min(0), [-3, -2]) and np.allclose(path.max(0), [3, 2])
    speed = np.hypot(*np.diff(path, axis=0).T).reshape(3, 100)
    assert (speed[:, 45:55].min(1) > 5 * speed[:, :5].max(1)).all()


def test_digits_are_like_real_recordings(digits: Any) -> None:
    assert len(digits) == 1797 and digits.sensor == (34, 34, 2) and digits.classes == tuple("0123456789")
    index, time, indptr = digits.arrays()
    sizes = np.diff(indptr)
    assert 1000 < sizes.min() and 3500 < sizes.mean() < 4700 and sizes.max() < 7500
    assert 0.45 < (index >= 1156).mean() < 0.55
    rate = np.bincount(time // 10_000, minlength=30).reshape(3, 10)
    assert (rate[:, 3:6].min(1) > 3 * rate[:, [0, 9]].max(1)).all()


def test_digits_are_split_by_writer(digits: Any) -> None:
    split, writer = digits.metadata["split"], digits.metadata["writer"]
    assert (split == "train").sum() == 1438 and (split[:1438] == "train").all()
    assert len(set(writer)) == 18 and (np.diff(writer) >= 0).all()
    assert np.ptp(np.bincount(writer)) <= 1


@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (np.zeros((2, 1, 8, 8)), {}, "images: expected videos of at least 2 frames"),
        (np.zeros((8, 8)), {}, "images: expected videos"),
        (np.zeros((2, 8, 8)), {}, "images: expected videos"),
        (np.zeros((8, 8)), {"motion": "saccades"}, r"images: expected \(n, H, W\)"),
        (np.zeros((2, 3, 8, 8)), {"motion": "saccades"}, r"images: expected \(n, H, W\)"),
        (np.zeros((0, 8, 8)), {"motion": "saccades"}, "images: expected at least one"),
        (np.full((2, 8, 8), np.nan), {"motion": "saccades"}, "images: number 0 contains NaN"),
        (
            np.stack([np.zeros((8, 8)), -np.ones((8, 8))]),
            {"motion": "saccades"},
            "images: number 1 contains .* below 0",
        ),
        (np.full((2, 8, 8), "a"), {"motion": "saccades"}, "images: expected numbers"),
        (np.zeros((2, 8, 8)), {"motion": "circle"}, "motion: expected 'saccades', a path or None"),
        (np.zeros((2, 8, 8)), {"motion": np.zeros((1, 2))}, r"motion: expected a path of at least 2 places .*\(1, 2\)"),
        (np.zeros((2, 8, 8)), {"motion": np.full((3, 2), np.nan)}, "motion: expected a path"),
        (np.zeros((2, 8, 8)), {"motion": "saccades", "threshold": (0.1, 0.2, 0.3)}, "threshold: expected a number, or"),
        (np.zeros((2, 8, 8)), {"motion": "saccades", "threshold": (0.1, 0.0)}, "threshold: expected a number of at"),
        (np.zeros((2, 8, 8)), {"motion": "saccades", "noise": (0.1, -1.0)}, "noise: expected a number of at least 0"),
        (np.zeros((2, 8, 8)), {"motion": "saccades", "cutoff": 0.0}, "cutoff: expected a frequency"),
        (np.zeros((2, 8, 8)), {"motion": "saccades", "interval": 0.0}, "interval: expected"),
        (np.zeros((2, 8, 8)), {"motion": "saccades", "threshold": 0.0}, "threshold: expected"),
        (np.zeros((2, 8, 8)), {"motion": "saccades", "noise": -1.0}, "noise: expected"),
        (np.zeros((2, 8, 8)), {"motion": "saccades", "dark": float("nan")}, "dark: expected"),
    ],
)
def test_bad_scenes_are_named(images: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        camera.record(images, **arguments)
