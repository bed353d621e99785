"""spoken: sound files of every kind, what is wrong with them, the official split, and SHD's layout on the way out."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
from scipy.io import wavfile

from spiking.datasets import DataError, EventStore, cochlea, load
from spiking.datasets.formats import audio
from spiking.datasets.formats import shd as layout
from spiking.datasets.sources import spoken
from spiking.training.data import EventData

Array = np.ndarray[Any, Any]

RATE = 8000


def wave(number: int, seconds: float = 0.15) -> Array:
    """A word: two tones and noise, below full scale."""
    rng = np.random.default_rng(number)
    time = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * f * time) for f in rng.uniform(200, 3000, 2))
    return np.round(0.2 * (tones + 0.3 * rng.normal(size=len(time))) * 32767).astype(np.int16)


def wav(samples: Array, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    return file.getvalue()


def names(speakers: str = "ab", indices: tuple[int, ...] = (0, 4, 5, 12)) -> list[str]:
    return [f"{word}_{speaker}_{index}.wav" for word in "27" for speaker in speakers for index in indices]


def folder(root: Path, below: str = "") -> Path:
    """Words of two speakers."""
    (root / below).mkdir(parents=True)
    for k, name in enumerate(names()):
        (root / below / name).write_bytes(wav(wave(k)))
    return root


def equal(a: EventStore, b: EventStore) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.arrays(), b.arrays(), strict=True))


def test_words_speakers_and_the_official_split(tmp_path: Path) -> None:
    root, cache = folder(tmp_path / "files"), tmp_path / "cache"
    store = load("spoken", "all", root=root, cache=cache)
    assert store.metadata["name"].tolist() == sorted(names()) and store.classes == ("2", "7")
    assert store.labels.tolist() == [0] * 8 + [1] * 8 and store.channels == 700
    assert store.metadata["speaker"].tolist() == (["a"] * 4 + ["b"] * 4) * 2
    assert np.array_equal(store.metadata["split"] == "test", store.metadata["number"] < 5)
    assert len(load("spoken", "test", root=root, cache=cache)) == 8
    assert (store.duration == 150_000).all() and np.diff(store.arrays()[2]).min() > 100
    # recording i is what the cochlea hears of it as number i
    i = store.metadata["name"].tolist().index("7_b_12.wav")
    alone = cochlea.listen(wave(names().index("7_b_12.wav")), RATE, first=i)
    assert np.array_equal(alone.index, store.select([i]).arrays()[0])
    assert not list(cache.glob(".*"))


def test_speakers_are_left_out_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKING_CACHE", str(tmp_path / "cache"))
    data = EventData("spoken", root=str(folder(tmp_path / "files")), valid_by="speaker", fold=1)
    assert data.values() == ["a", "b"]
    data.setup()
    assert data.valid is not None and set(data.valid.metadata["speaker"]) == {"b"}
    assert set(data.train.metadata["speaker"]) == {"a"}
    assert {*data.train.metadata["split"], *data.valid.metadata["split"]} == {"train"}


@pytest.mark.parametrize("kind", ["below", "tar", "archive"])
def test_folders_and_archives_hold_the_same(kind: str, tmp_path: Path) -> None:
    plain = load("spoken", "all", root=folder(tmp_path / "plain"), cache=tmp_path / "cache")
    root = folder(tmp_path / "other", "recordings")
    if kind != "below":
        with tarfile.open(tmp_path / "recordings.tar", "w") as file:
            file.add(root / "recordings", ".")
        root = tmp_path / "recordings.tar" if kind == "archive" else tmp_path / "packed"
        if kind == "tar":
            root.mkdir()
            (tmp_path / "recordings.tar").rename(root / "recordings.tar")
    assert equal(plain, load("spoken", "all", root=root, cache=tmp_path / "cache"))


def test_an_interrupted_conversion_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken, "PART", 6)
    whole = load("spoken", "all", root=folder(tmp_path / "files"), cache=tmp_path / "whole")
    heard: list[int] = []
    listen = cochlea.listen

    def tired(sounds: Any, *more: Any, first: int) -> Any:
        if len(heard) == 2:
            raise KeyboardInterrupt
        heard.append(first)
        return listen(sounds, *more, first=first)

    monkeypatch.setattr(cochlea, "listen", tired)
    with pytest.raises(KeyboardInterrupt):
        load("spoken", root=tmp_path / "files", cache=tmp_path / "cache")
    assert heard == [0, 6] and not list((tmp_path / "cache").glob("*.h5"))
    heard.remove(0)
    assert equal(whole, load("spoken", "all", root=tmp_path / "files", cache=tmp_path / "cache"))
    assert heard == [6, 12]


def test_files_of_several_rates_share_their_channels(tmp_path: Path) -> None:
    time = np.arange(8000) / 16000
    for index, rate in enumerate((16000, 8000)):
        tone = np.round(10000 * np.sin(2 * np.pi * 1000 * time[: rate // 2] * 16000 / rate)).astype(np.int16)
        (tmp_path / f"1_a_{index}.wav").write_bytes(wav(tone, rate))
    store = load("spoken", "all", root=tmp_path, cache=tmp_path / "cache")
    places = [np.median(store.select([i]).arrays()[0]) for i in range(2)]
    assert abs(places[0] - places[1]) < 5 and store.duration.tolist() == [500_000, 500_000]


@pytest.mark.parametrize(
    "kind", [np.uint8, np.int16, np.int32, np.float32, np.float64, "PCM_24", "flac", "FLAC24"]
)
def test_every_kind_of_file_gives_the_same_sound(kind: Any) -> None:
    true = wave(3).astype(np.float64) / 32768
    file, name = io.BytesIO(), "1_a_0.wav"
    if isinstance(kind, str):
        name = name if kind == "PCM_24" else "1_a_0.flac"
        subtype = "PCM_16" if kind == "flac" else "PCM_24"
        soundfile.write(file, true, RATE, format=name[6:].upper(), subtype=subtype)
    else:
        scaled = {np.uint8: true * 128 + 128, np.int16: true * 32768, np.int32: true * 2.0**31}.get(kind, true)
        wavfile.write(file, RATE, (scaled if kind in (np.float32, np.float64) else np.round(scaled)).astype(kind))
    samples, rate = audio.read(file.getvalue(), name)
    assert rate == RATE and samples.shape == true.shape
    assert np.abs(samples - true).max() <= (1 / 256 if kind == np.uint8 else 1e-6)


def test_stereo_stays_two_and_a_third_channel_is_refused() -> None:
    both = np.stack([wave(0), wave(1)], 1)
    samples, _ = audio.read(wav(both), "1_a_0.wav")
    assert np.array_equal(samples, both / 32768)
    with pytest.raises(DataError, match=r"1_a_0.wav: has 3 channels; expected mono or stereo, mix it down"):
        audio.read(wav(np.stack([wave(0)] * 3, 1)), "1_a_0.wav")


def no_rate(content: bytes) -> bytes:
    return content[:24] + bytes(8) + content[32:]


LOUD = np.clip(wave(0).astype(int) * 6, -32768, 32767).astype(np.int16)
FAULTS = [
    (wav(np.zeros(800, np.int16)), "silent, all 800 samples are 0; record it again"),
    (wav(LOUD), r"clipped, \d+ % of its samples stand at full scale; record it again more quietly"),
    (wav(np.zeros(0, np.int16)), "holds no samples; record it again"),
    (wav(np.array([0.1, np.nan, 0.2], np.float32)), "sample 1 is NaN or infinite; export it again"),
    (no_rate(wav(wave(0))), "says that it has 0 samples a second; write the true rate into it"),
    (b"", r"can't be read as .wav .*; get it again"),
    (b"<html>not found</html>", "a web page was saved in place of the file. Delete it; get the file itself"),
    (wav(wave(0))[:-500], r"was cut off, it says 2444 bytes and has 1944; get it again"),
]


@pytest.mark.parametrize(("content", "message"), FAULTS)
def test_bad_sound_is_named_and_left_out_on_request(content: bytes, message: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "files")
    (root / "7_b_5.wav").write_bytes(content)
    with pytest.raises(DataError, match=rf"^7_b_5.wav: {message}.*; --skip-corrupt"):
        load("spoken", root=root, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.h5"))
    with pytest.warns(UserWarning, match=r"left out 1 of 16 recordings: 7_b_5.wav"):
        store = load("spoken", "all", root=root, cache=tmp_path / "cache", skip_corrupt=True)
    assert "7_b_5.wav" not in store.metadata["name"] and len(store) == 15


def test_a_split_without_recordings(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "7_b_5.wav").write_bytes(wav(wave(0)))
    with pytest.raises(DataError, match="no recordings in 'test', only in train; recordings of index 0 to 4 are these"):
        load("spoken", "test", root=tmp_path / "files", cache=tmp_path / "cache")


def test_a_broken_flac_and_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"1_a_0.flac: can't be read as .flac .*; get it again"):
        audio.read(b"fLaC nothing", "1_a_0.flac")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError, match=r"1_a_0.flac: .flac needs the package soundfile: pip install soundfile"):
        audio.read(b"", "1_a_0.flac")


def test_what_is_not_there_or_has_no_name(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for root in (None, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"root: expected the folder or archive .*put <word>_<speaker>_<index>.wav"):
            load("spoken", root=root, cache=cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no recordings here; put <word>"):
        load("spoken", root=tmp_path / "empty", cache=cache)
    with tarfile.open(tmp_path / "empty" / "a.tar", "w"):
        pass
    with pytest.raises(DataError, match=r"a.tar: no recordings inside; put <word>"):
        load("spoken", root=tmp_path / "empty", cache=cache)
    (folder(tmp_path / "files") / "hello.wav").write_bytes(wav(wave(0)))
    with pytest.raises(DataError, match=r"hello.wav: expected a name such as 7_george_12.wav"):
        load("spoken", root=tmp_path / "files", cache=cache)


def test_shd_s_layout_holds_the_recordings_up_to_its_grid(tmp_path: Path) -> None:
    store = load("spoken", "all", root=folder(tmp_path / "files"), cache=tmp_path / "cache")
    path = tmp_path / "spoken_train.h5"
    layout.save(store, path)
    index, time, indptr = store.arrays()
    with h5py.File(path) as file:
        # the layout's publication: vlen float16 seconds, vlen whole units, labels, names and speakers
        assert h5py.check_vlen_dtype(file["spikes/times"].dtype) == np.float16
        assert np.issubdtype(h5py.check_vlen_dtype(file["spikes/units"].dtype), np.integer)
        assert file["labels"][...].tolist() == store.labels.tolist()
        assert [key.decode() for key in file["extra/keys"][...]] == ["2", "7"]
        assert file["extra/speaker"][...].tolist() == ([0] * 4 + [1] * 4) * 2
        for i in range(len(store)):
            row = slice(indptr[i], indptr[i + 1])
            assert np.array_equal(file["spikes/units"][i], index[row])
            assert np.array_equal(file["spikes/times"][i], (time[row] / 1e6).astype(np.float16))
    back = layout.read(path)
    assert np.array_equal(back.arrays()[0], index) and np.array_equal(back.arrays()[2], indptr)
    # half of a step of float16 below 0.25 s, 122 us, and the microsecond that is cut off
    assert np.abs(back.arrays()[1] - time).max() <= 62
    assert back.labels.tolist() == store.labels.tolist() and back.classes == store.classes
    with pytest.raises(DataError, match="store: SHD's layout has 700 channels, these recordings have 16"):
        layout.save(cochlea.listen(wave(0), channels=16).store([0], ["a"]), path)


def test_real_digits(tmp_path: Path, real_data: Path) -> None:
    archive = real_data / "fsdd" / "recordings.tar"
    if not archive.is_file():
        pytest.skip(f"no real recordings at {archive}")
    with tarfile.open(archive) as file:
        for word in range(10):
            for index in (0, 7):
                name = f"{word}_theo_{index}.wav"
                (tmp_path / name).write_bytes(file.extractfile(f"./{name}").read())
    store = load("spoken", "all", root=tmp_path, cache=tmp_path / "cache")
    assert len(store) == 20 and store.classes == tuple("0123456789")
    assert len(load("spoken", "test", root=tmp_path, cache=tmp_path / "cache")) == 10
    assert 5 < store.rate < 30 and np.diff(store.arrays()[2]).min() > 1000
