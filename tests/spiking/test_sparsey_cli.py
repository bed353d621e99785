"""`spiking sparsey` from end to end on tiny data, and what a user's mistakes come to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from spiking.cli.main import main
from spiking.datasets.errors import DataError
from spiking.datasets.silhouettes import ACTIONS, centred, read
from spiking.datasets.thin import strokes, thin
from spiking.plasticity.sparsey import Sparsey
from spiking.plasticity.sparsey.study import moved, sequences
from tests.datasets.mnist import as_idx


def metrics(out: Path) -> dict[str, float]:
    found = json.loads((out / "metrics.json").read_text())
    assert all(isinstance(value, float) for value in found.values())
    return found


def pictures(out: Path, *names: str) -> None:
    for name in names:
        assert (out / name).read_bytes().startswith(b"\x89PNG"), name


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty training and twenty test digits, each class a bar in a place of its own."""
    root = tmp_path_factory.mktemp("mnist")
    for name, n in (("train", 40), ("t10k", 20)):
        labels = (np.arange(n) % 10).astype(np.uint8)
        images = np.zeros((n, 28, 28), np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[5:23, 5 + 2 * (label % 5) : 8 + 2 * (label % 5)] = 255
            image[6 + 9 * (label // 5) : 9 + 9 * (label // 5), 6:22] = 255
        (root / f"{name}-images-idx3-ubyte").write_bytes(as_idx(images))
        (root / f"{name}-labels-idx1-ubyte").write_bytes(as_idx(labels))
    return root


def test_mnist(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["sparsey", "mnist", "--root", str(digits), "--out", str(out), "--per-class", "4"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == str(out) and "learned 40 of 40 images" in said
    found = metrics(out)
    assert found["test_accuracy"] == 1 and found["test_nearest_lines_accuracy"] == 1
    assert found["synapses"] == 12 * 2 * 2048 * (96 + 96 + 10)
    pictures(out, "confusion.png")
    assert Sparsey.load(out / "memory.h5").labels == 10


def masks(path: Path) -> None:
    """Three people, each action a bar of a height and a lean of its own, and one done twice."""
    clips = {}
    for k, person in enumerate(("a", "b", "c")):
        for j, action in enumerate((*ACTIONS, "run1") if person == "a" else ACTIONS):
            clip = np.zeros((60, 80, 6), np.uint8)
            for t in range(6):
                for y in range(40):
                    x = 30 + k + t + (j - 5) * y // 8
                    clip[10 + y, x : x + 5] = 1
            clips[f"{person}_{action}"] = clip
    savemat(path, {"original_masks": clips})


def test_weizmann(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks(tmp_path / "original_masks.mat")
    clips = read(tmp_path)
    assert len(clips.frames) == 31 and clips.frames[0].shape == (6, 32, 24)
    assert sorted(set(clips.person)) == ["a", "b", "c"] and (np.bincount(clips.action) >= 3).all()
    out = tmp_path / "run"
    assert main(["sparsey", "weizmann", "--root", str(tmp_path), "--out", str(out)]) == 0
    assert "c: " in capsys.readouterr().out
    assert metrics(out)["leave_one_person_out_accuracy"] > 0.8
    pictures(out, "confusion.png")


def test_capacity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["sparsey", "capacity", "--out", str(out), "--sequences", "3"]) == 0
    assert "all 3 are held" in capsys.readouterr().out
    found = metrics(out)
    assert found["random.active.K16.synapses"] == 39_168 and found["random.active.K16.sequences"] == 3
    assert np.isclose(found["random.active.K16.bits_per_synapse"], 30 * 53.18 / 39_168, rtol=1e-4)
    pictures(out, "capacity.png")
    again = ["sparsey", "capacity", "--out", str(out), "--sequences", "3", "--seeds", "2", "--resume"]
    assert main(again) == 0 and "   3.0 sequences (3 to 3)  0.041 bits" in capsys.readouterr().out
    found = metrics(out)
    low, mean, high = (found[f"random.band.K4.{key}sequences"] for key in ("least_", "", "most_"))
    assert low + high == 2 * mean and low <= high <= 3


def test_interrupted_studies_go_on(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured before an interruption is kept, and the whole is the same."""
    for name, module, words in (
        ("capacity", "capacity", ["--sequences", "2"]),
        ("mnist", "digits", ["--root", str(digits), "--per-class", "2", "--seeds", "2"]),
    ):
        place = sys.modules[f"spiking.plasticity.sparsey.study.{module}"]
        real, calls = getattr(place, module), list[int]()

        def count(*given: Any, real: Any = real, calls: list[int] = calls, **more: Any) -> Any:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return real(*given, **more)

        monkeypatch.setattr(place, module, count)
        out = tmp_path / name
        asked = ["sparsey", name, *words, "--out", str(out)]
        assert main(asked) == 1 and "--resume goes on" in capsys.readouterr().err
        before = len(calls)
        assert main([*asked, "--resume"]) == 0
        assert len(calls) == before + (19 if name == "capacity" else 1)
        found = metrics(out)
        assert found["random.active.K4.sequences"] == 2 if name == "capacity" else found["test_accuracy"] == 1
    before = len(calls)  # of the digits, which were learned with two seeds

    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # all is measured, not all is written
        patch.setattr("spiking.training.report.write_metrics", stop)
        assert main([*asked, "--resume"]) == 1 and "--resume goes on" in capsys.readouterr().err
    assert main([*asked[:-3], "3", *asked[-2:], "--resume"]) == 0 and len(calls) == before + 1
    capsys.readouterr()
    for words, said in (
        (["sparsey", "noise"], "has command sparsey mnist, not sparsey noise"),
        (["sdr"], "has command sparsey mnist, not sdr"), (asked[:4], "has per-class 2, not 200"),
    ):  # fmt: skip
        assert main([*words, "--out", str(out), "--resume"]) == 2 and said in capsys.readouterr().err


def test_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(["sparsey", "noise", "--out", str(out), "--draws", "50"]) == 0
    found = metrics(out)
    assert found["active.exponent4.moved0.recall"] == 1
    assert found["active.exponent4.moved2.recall"] > 0.9 > found["active.exponent4.moved6.recall"]
    assert abs(found["overlap.2014.8"] - found["overlap.2014.8.theory"]) < 0.5
    pictures(out, "overlap.png", "noise.png", "codes.png")


def test_mistakes(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    valid = ["mnist", "--root", str(digits), "--on", "valid", "--out", str(tmp_path / "o")]
    for words, status, said in (
        ([], 2, "usage"), (["no"], 2, "there are mnist, weizmann"), (["mnist", "--seeds", "0"], 2, "--seeds"),
        (["mnist", "--per-class", "0"], 2, "--per-class: expected at least 1"),
        (["noise", "--draws", "1"], 2, "--draws: expected at least 2"),
        (["noise", "--resume"], 2, "--resume needs --out"),
        (["weizmann"], 2, "--root: expected the folder"),
        (["weizmann", "--root", str(tmp_path)], 1, "no original_masks"),
        (["mnist", "--root", str(tmp_path)], 1, "no train-images"),
        (valid, 2, "--on valid: expected more"),
    ):  # fmt: skip
        assert main(["sparsey", *words]) == status
        out, err = capsys.readouterr()
        assert said in out + err
    assert not (tmp_path / "o").exists()
    (tmp_path / "original_masks.mat").write_text("no")
    with pytest.raises(DataError, match="not the file of silhouettes"):
        read(tmp_path)


def test_thinning_leaves_lines_of_one_pixel() -> None:
    image = np.zeros((1, 20, 20), bool)
    image[0, 3:17, 3:8] = image[0, 12:17, 3:17] = True
    line = thin(image)[0]
    assert line.any() and not (line & ~image[0]).any()
    blocks = line[:-1, :-1] & line[1:, :-1] & line[:-1, 1:] & line[1:, 1:]
    assert not blocks.any() and line.sum() < 0.25 * image.sum()
    assert np.array_equal(thin(line[None])[0], line)
    for wrong in (image[0], image.astype(int)):
        with pytest.raises(ValueError, match="images: expected bool"):
            thin(wrong)
    with pytest.raises(ValueError, match="images: expected bytes"):
        strokes(image)


def test_silhouettes_are_centred_on_one_scale() -> None:
    masks = np.zeros((3, 50, 60), bool)
    masks[0, 10:40, 5:15] = masks[1, 25:40, 40:50] = True
    found = centred(masks, 32, 24)
    assert found.shape == (2, 32, 24)  # the empty frame is left out
    tall, low = found.any(2).sum(1)
    assert tall == 30 and abs(low - 15) <= 1
    for image in found:
        assert np.allclose(np.mean(image.nonzero(), 1), (15.5, 11.5), atol=0.6)


def test_noise_keeps_the_number_of_active_features() -> None:
    items = sequences(3, active=(9, 12))
    assert set(items.sum(2).unique().tolist()) <= set(range(9, 13))
    noisy = moved(items, 4)
    assert (noisy.sum(2) == items.sum(2)).all() and ((noisy & ~items).sum(2) == 4).all()
    assert len(sequences(20, lexicon=5).flatten(0, 1).unique(dim=0)) == 5
    with pytest.raises(ValueError, match="active: expected"):
        sequences(1, inputs=5)
