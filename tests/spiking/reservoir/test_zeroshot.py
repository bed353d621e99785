"""Heads between two modalities: the loss, the pairs, what is seen and what is not, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spiking.cli.main import main
from spiking.reservoir.zeroshot import Recipe, Side, all_pairs, contrast, hits, pairs, published, train


def side(seed: int, features: int, classes: int = 4, shared: bool = False, n: int = 40) -> Side:
    """Counts round a mean for each class; `shared` means that do not depend on the seed."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(0 if shared else 100 + seed).uniform(0, 6, (classes, features))
    y = np.arange(n) % classes
    return Side(rng.poisson(means[y]).astype(np.float32), y, rng.poisson(means[y]).astype(np.float32), y)


def test_the_loss_is_least_where_pairs_agree() -> None:
    apart = 4 * torch.eye(5)
    assert contrast(apart, apart, 1.0) < contrast(apart, apart.roll(1, 0), 1.0)
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    same = torch.softmax(x @ x.T, 1)
    wanted = -(same * torch.log(same)).sum(1).mean()  # both terms are its own cross-entropy where image = sound
    assert contrast(x, x, 1.0) == pytest.approx(float(wanted))


def test_pairs_are_of_one_class_and_each_used_once() -> None:
    left, right = pairs(np.array([0, 1, 0, 0, 2]), np.array([2, 0, 0, 1]), (0, 2))
    assert left.tolist() == [0, 3, 4] and right.tolist() == [1, 2, 0]
    left, right = pairs(np.zeros(4), np.zeros(10), (0,))  # from all ten, which may be of ten speakers
    assert left.tolist() == [0, 1, 2, 3] and right.tolist() == [0, 3, 6, 9]
    with pytest.raises(ValueError, match="classes: expected images and sounds of class 7, got 0 and 0"):
        pairs(np.zeros(3), np.zeros(3), (7,))


def test_hits_by_hand() -> None:
    image, sound = torch.eye(2), torch.tensor([[1.0, 0.2], [0.9, 0.1]])
    assert hits(image, np.array([3, 4]), sound, np.array([3, 4])) == 0.5


def test_seen_classes_are_learned_and_unseen_ones_only_where_there_is_something_to_transfer() -> None:
    recipe = Recipe(width=16, batch=8, epochs=40)
    table = all_pairs(side(1, 30), side(2, 20), (0,), recipe, classes=4)
    assert table.shape == (6, 1, 2) and table[..., 0].mean() > 0.9
    one, other = (side(k, 20, 30, shared=True, n=300) for k in (1, 2))
    alike = [train(one, other, range(2, 30), (0, 1), Recipe(16, 1e-3, 32, 20), seed) for seed in range(2)]
    assert np.mean(alike, 0)[0] > 3 / 28 and np.mean(alike, 0)[1] > 0.85
    again = train(side(1, 30), side(2, 20), (2, 3), (0, 1), recipe, 0)
    assert again == tuple(table[0, 0])


def test_unseen_sounds_with_each_others_names_hit_what_they_missed() -> None:
    """So the mean over all names is 1/2, and nothing in the procedure can push it below."""
    images, sounds, recipe = side(3, 30, 5), side(4, 20, 5), Recipe(width=8, epochs=10)
    names = np.array([1, 0, 2, 3, 4])
    swapped = sounds._replace(train_labels=names[sounds.train_labels], test_labels=names[sounds.test_labels])
    seen, unseen = train(images, sounds, (2, 3, 4), (0, 1), recipe, 0)
    other_seen, other = train(images, swapped, (2, 3, 4), (0, 1), recipe, 0)
    assert other_seen == seen and other == pytest.approx(1 - unseen, abs=1e-12) and unseen != 0.5


def test_scaling_knows_seen_classes_only() -> None:
    """Unseen recordings of training may say nothing: other ones change no result."""
    images, sounds = side(1, 30), side(2, 20)
    changed = images._replace(train=np.where((images.train_labels < 2)[:, None], 99.0, images.train))
    recipe = Recipe(width=8, epochs=3)
    assert train(images, sounds, (2, 3), (0, 1), recipe, 0) == train(changed, sounds, (2, 3), (0, 1), recipe, 0)


def test_the_published_protocol_says_that_it_selects_on_test() -> None:
    found = published(side(1, 12, 10, n=60), side(2, 12, 10, n=60), recipe=Recipe(width=8, epochs=6))
    assert set(found) == {"seen_selected_on_test", "unseen_selected_on_test", "seen_last", "unseen_last"}
    assert sum(list(found.values())[:2]) >= sum(list(found.values())[2:])


def test_the_command(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, folder = f"folder:{recordings}", tmp_path / "run"
    small = ["--neurons", "30", "--seeds", "1", "--epochs", "1", "--out", str(folder)]
    status = main(["reservoir", "zeroshot", "--images", data, "--sounds", data, *small])
    said = capsys.readouterr()
    assert status == 2 and "classes: expected at least 2 seen ones" in said.err  # two classes leave none to be seen
    digits = ["--images", "digits", "--sounds", "digits", "--limit", "60"]
    folder = tmp_path / "digits"
    assert main(["reservoir", "zeroshot", *digits, *small[:-1], str(folder)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == str(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {"liquids.unseen", "input_counts.unseen_sd", "liquids.seen", "seconds"} <= metrics.keys()
    assert "45 pairs x 1 seeds" in said.out and len((folder / "pairs.csv").read_text().splitlines()) == 1 + 2 * 45
    assert (folder / "pairs.png").stat().st_size > 5_000
    again = [*digits, *small[:-1], str(folder), "--resume"]
    table = (folder / "pairs.csv").read_text()
    kept = json.loads((folder / "pieces.json").read_text())
    for name in list(kept["found"])[-3:]:  # as if stopped before the last 3
        del kept["found"][name]
    (folder / "pieces.json").write_text(json.dumps(kept))
    assert main(["reservoir", "zeroshot", *again]) == 0
    said = capsys.readouterr().out
    assert "input counts: 42 of 45 are there from before" in said and said.count("of 45, input counts, unseen") == 3
    assert (folder / "pairs.csv").read_text() == table  # the same numbers to the last digit
    capsys.readouterr()
    assert main(["reservoir", "zeroshot", *again, "--batch", "7"]) == 2
    assert "has batch 64, not 7" in capsys.readouterr().err
    (folder / "pieces.json").write_text("no")
    assert main(["reservoir", "zeroshot", *again]) == 1
    assert "not what an interrupted run left" in capsys.readouterr().err
    assert main(["reservoir", "zeroshot", "--seeds", "0"]) == 2
