"""Zero-shot transfer between images and sounds by two fixed liquids (Lin et al. 2023).

Each modality's liquid counts spikes; a head, one linear layer and GELU, takes the counts into a shared space. Only the
heads are trained, on pairs of an image and a sound of the same class, with A and I the embeddings (B, d) of a batch:

    L = (H(P, softmax(A I^T / tau)) + H(P, softmax(I A^T / tau))) / 2,    P = softmax((A A^T + I I^T) / 2 tau)

H the cross-entropy of rows: the soft targets of "Simple CLIP", which Lin et al.'s names point to; theirs is not public.
Afterwards a sound of a class that the heads have never seen looks for the nearest image among those of all unseen
classes, and hits if it is of its own class.

Nothing ties the look of an unseen digit to its sound, so with two unseen classes an arbitrary map hits either mostly
right or mostly wrong. One pair of classes says little; `all_pairs` gives the distribution over every pair. Had the two
sounds each other's names, the same heads would hit 1 minus what they hit, having seen neither: whatever they do, the
mean over all ways to name the sounds is 1/2 (with as many sounds of each class). All pairs of a data set are one draw.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize, softmax

Array = np.ndarray[Any, Any]
Trial = tuple[int, int, int]  # two unseen classes and a seed
Report = Callable[[Trial, tuple[float, float]], None]


class Side(NamedTuple):
    """One modality: counts (n, features) and labels (n,), to train with and to test."""

    train: Array
    train_labels: Array
    test: Array
    test_labels: Array


class Recipe(NamedTuple):
    """How heads are trained.

    Attributes:
        width: d of the shared space.
        lr: of Adam.
        batch: pairs of a step.
        epochs: through all pairs.
        temperature: tau.
        cosine: sounds are looked up by the cosine of embeddings, not by their dot product, by which images of large
            embeddings are near to everything.
    """

    width: int = 64
    lr: float = 1e-3
    batch: int = 8
    epochs: int = 100
    temperature: float = 1.0
    cosine: bool = True


class Heads(nn.Module):
    """The two projections.

    Arguments:
        images, sounds: features of each modality.
        width: of the shared space.
    """

    def __init__(self, images: int, sounds: int, width: int) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(images, width), nn.GELU())
        self.sound = nn.Sequential(nn.Linear(sounds, width), nn.GELU())

    def forward(self, image: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (B, d) of both."""
        return self.image(image), self.sound(sound)


def contrast(image: Tensor, sound: Tensor, temperature: float) -> Tensor:
    """The contrastive loss of a batch of pairs; see the head of this file."""
    logits = sound @ image.T / temperature
    targets = softmax((image @ image.T + sound @ sound.T) / (2 * temperature), 1)
    one = -(targets * log_softmax(logits, 1)).sum(1)
    other = -(targets * log_softmax(logits.T, 1)).sum(1)
    return ((one + other) / 2).mean()


def pairs(image_labels: Array, sound_labels: Array, classes: Sequence[int]) -> tuple[Array, Array]:
    """Which image goes with which sound: of each class as many as both have, those of the larger side from all of it.

    Stores lie speaker by speaker: the first sounds would be those of a few speakers.

    Raises:
        ValueError: if a class is missing on one side.
    """
    left, right = list[Array](), list[Array]()
    for c in classes:
        i, s = np.flatnonzero(image_labels == c), np.flatnonzero(sound_labels == c)
        n = min(len(i), len(s))
        if not n:
            raise ValueError(f"classes: expected images and sounds of class {c}, got {len(i)} and {len(s)}")
        for chosen, at in ((left, i), (right, s)):
            chosen.append(at[np.linspace(0, len(at) - 1, n).round().astype(np.int64)])
    return np.concatenate(left), np.concatenate(right)


def scaled(side: Side, classes: Sequence[int]) -> Side:
    """Square roots of counts, standardised by the training recordings of the seen classes only."""
    train, test = np.sqrt(side.train), np.sqrt(side.test)
    seen = np.isin(side.train_labels, classes)
    mean, spread = train[seen].mean(0), np.maximum(train[seen].std(0), 0.1)
    return side._replace(train=(train - mean) / spread, test=(test - mean) / spread)


def hits(image: Tensor, image_labels: Array, sound: Tensor, sound_labels: Array) -> float:
    """Share of sounds whose nearest image, by the dot product, is of their class."""
    nearest = (sound @ image.T).argmax(1).numpy()
    return float((image_labels[nearest] == sound_labels).mean())


def train(
    images: Side, sounds: Side, seen: Sequence[int], unseen: Sequence[int], recipe: Recipe, seed: int,
    watch: Callable[[int, float, float], None] | None = None,
) -> tuple[float, float]:  # fmt: skip
    """Train heads on the seen classes and measure them on both groups' test recordings.

    Arguments:
        images, sounds: counts, not scaled yet.
        seen, unseen: classes.
        recipe: how.
        seed: of heads and of the order of pairs.
        watch: called after each epoch with its number and both measurements, which the published protocol chooses
            by; nothing is measured in between without it.

    Returns:
        top-1 accuracies among the seen and among the unseen classes, after the last epoch.

    Raises:
        ValueError: if fewer than two classes are seen, or a class is missing on one side.
    """
    if len(seen) < 2:
        raise ValueError(f"classes: expected at least 2 seen ones besides {len(unseen)} unseen ones, got {len(seen)}")
    images, sounds = scaled(images, seen), scaled(sounds, seen)
    left, right = pairs(images.train_labels, sounds.train_labels, seen)
    x, y = (torch.from_numpy(side.train[at]).float() for side, at in ((images, left), (sounds, right)))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = Heads(x.shape[1], y.shape[1], recipe.width)
    optimizer = torch.optim.Adam(heads.parameters(), lr=recipe.lr)

    def measure() -> tuple[float, float]:
        with torch.no_grad():
            image, sound = heads(torch.from_numpy(images.test).float(), torch.from_numpy(sounds.test).float())
        found = []
        for group in (seen, unseen):
            if recipe.cosine:
                image, sound = normalize(image), normalize(sound)
            i, s = np.isin(images.test_labels, group), np.isin(sounds.test_labels, group)
            found.append(hits(image[i], images.test_labels[i], sound[s], sounds.test_labels[s]))
        return found[0], found[1]

    for epoch in range(recipe.epochs):
        for at in torch.randperm(len(x), generator=generator).split(recipe.batch):
            image, sound = heads(x[at], y[at])
            value = contrast(image, sound, recipe.temperature)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        if watch is not None:
            watch(epoch, *measure())
    return measure()


def published(images: Side, sounds: Side, seed: int = 10, recipe: Recipe | None = None) -> dict[str, float]:
    """The published protocol: heads see 1 to 7, 8 and 9 are unseen, the epoch is chosen on both test sets.

    Arguments:
        images, sounds: counts.
        seed: of the heads.
        recipe: `None` is the published one, which looks up by dot products.

    Returns:
        `seen` and `unseen` of the chosen epoch, which is selected on test data and says so by its name, and `*_last`
        of the last epoch, which is not.
    """
    recipe = Recipe(cosine=False) if recipe is None else recipe
    rows: list[tuple[float, float]] = []
    seen, unseen = tuple(range(1, 8)), (8, 9)
    last = train(images, sounds, seen, unseen, recipe, seed, lambda _, a, b: rows.append((a, b)))
    best = max(rows, key=sum)
    return {
        "seen_selected_on_test": best[0], "unseen_selected_on_test": best[1], "seen_last": last[0],
        "unseen_last": last[1],
    }  # fmt: skip


def all_pairs(
    images: Side, sounds: Side, seeds: Sequence[int], recipe: Recipe, report: Report | None = None, classes: int = 10,
    known: Mapping[Trial, tuple[float, float]] | None = None,
) -> Array:  # fmt: skip
    """Every pair of classes as the unseen ones, the heads trained on all others, nothing chosen.

    Arguments:
        images, sounds: counts, not scaled yet.
        seeds: of heads.
        recipe: how they are trained.
        report: called with each new trial, its two unseen classes and its seed, and the two accuracies.
        classes: how many there are.
        known: trials of an earlier run, which are not made again.

    Returns:
        (pairs, seeds, 2) top-1 accuracies of seen and unseen classes after the last epoch, pairs in the order of
        itertools.combinations.
    """
    found = dict(known or {})
    for unseen in itertools.combinations(range(classes), 2):
        seen = [c for c in range(classes) if c not in unseen]
        for seed in seeds:
            trial = (*unseen, seed)
            if trial not in found:
                found[trial] = train(images, sounds, seen, unseen, recipe, seed)
                if report is not None:
                    report(trial, found[trial])
    pairs_of = itertools.combinations(range(classes), 2)
    return np.array([[found[(a, b, seed)] for seed in seeds] for a, b in pairs_of])
