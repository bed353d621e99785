"""Fit the screen, the saccades and the camera of `spiking.datasets.nmnist_camera` to real N-MNIST recordings.

    python benchmarks/fit_nmnist_camera.py --real ../shared/data/nmnist_small --images ../shared/data/mnist

Indirect inference (Gourieroux, Monfort & Renault 1993): the same estimators look at real and at simulated recordings of
the same pictures, MNIST's training images 0 to 499, and what is simulated is changed until they agree.

    velocity    of the picture in each 5 ms: least squares of (events of polarity 1 - of polarity 0) on its gradient
    position    in each 10 ms: where all events fit the size of the gradient best

The path takes its shape from the velocities, its size and place from the positions, and the thresholds' level comes
from the number of events, all of them a little further in each round. Around that, Levenberg-Marquardt changes blur,
dark, cutoff, refractory time, the thresholds' ratio, mismatch and noise until the statistics of
`spiking.datasets.fidelity` agree. Gamma stays at a screen's 2.2. Prints the Rig.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from spiking.datasets import EventStore, fidelity, load
from spiking.datasets.formats import idx
from spiking.datasets.nmnist_camera import NMNIST, SIZE, Rig

Array = np.ndarray[Any, Any]

STEPS, REACH = 63, 8
NAMES = ("blur", "dark", "cutoff", "refractory", "asymmetry", "mismatch", "noise")
LOW = np.log([0.2, 0.05, 15, 0.02, 0.8, 0.02, 0.1])
HIGH = np.log([1.4, 5, 5000, 4, 1.25, 0.5, 0.8])
TRIAL = np.array([0.12, 0.4, 0.4, 0.4, 0.08, 0.25, 0.15])


class Estimator:
    """Velocity and position of the pictures (n, 28, 28) in recordings of them."""

    def __init__(self, images: Array) -> None:
        edge = (SIZE - images.shape[1]) // 2
        padded = np.pad(images / 255.0, ((0, 0), (edge, edge), (edge, edge)))
        self.slope = np.gradient(gaussian_filter(padded, (0, 0.7, 0.7)), axis=(2, 1))
        size = np.hypot(*self.slope)
        self.n, self.room = len(images), (48, 48)
        self.wanted = np.conj(np.fft.rfft2(size - size.mean((1, 2), keepdims=True), self.room))

    def velocity(self, store: EventStore, places: Array) -> Array:
        """(63, 2) events per unit of gradient, the picture being at places (63, 2)."""
        index, time, indptr = store.arrays()
        polarity, pixel = np.divmod(index.astype(np.int64), SIZE * SIZE)
        cell = np.repeat(np.arange(self.n), np.diff(indptr)) * SIZE * SIZE + pixel
        found = np.empty((STEPS, 2))
        for k, step in enumerate(_windows(time, STEPS)):
            x, y = (_moved(slope, *places[k]).ravel() for slope in self.slope)
            sign = 2.0 * polarity[step] - 1
            square = [[x @ x, x @ y], [x @ y, y @ y]]
            found[k] = np.linalg.solve(square, [sign @ x[cell[step]], sign @ y[cell[step]]])
        return found

    def position(self, store: EventStore) -> Array:
        """(31, 2) displacements (x, y)."""
        index, time, indptr = store.arrays()
        cell = np.repeat(np.arange(self.n), np.diff(indptr)) * SIZE * SIZE + index.astype(np.int64) % (SIZE * SIZE)
        steps, found = _windows(time, STEPS), np.empty((STEPS // 2, 2))
        for k in range(STEPS // 2):
            both = np.concatenate(steps[2 * k : 2 * k + 2])
            events = np.bincount(cell[both], minlength=self.n * SIZE * SIZE).reshape(self.n, SIZE, SIZE)
            match = np.fft.irfft2((np.fft.rfft2(events, self.room) * self.wanted).sum(0), self.room)
            match = np.roll(match, (REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]
            y, x = np.clip(np.unravel_index(match.argmax(), match.shape), 1, 2 * REACH - 1)
            found[k] = x - REACH + _peak(match[y, x - 1 : x + 2]), y - REACH + _peak(match[y - 1 : y + 2, x])
        return found


def _windows(time: Array, steps: int) -> list[Array]:
    """Of each 5 ms, which events lie in it."""
    step = np.minimum(time // 5000, steps - 1)
    return np.split(np.argsort(step, kind="stable"), np.cumsum(np.bincount(step, minlength=steps))[:-1])


def _moved(image: Array, x: float, y: float) -> Array:
    """Images (n, H, W), moved by bilinear interpolation."""
    down, right = int(np.floor(y)), int(np.floor(x))
    moved = np.roll(image, (down, right), (1, 2))
    moved = moved + (y - down) * (np.roll(moved, 1, 1) - moved)
    return moved + (x - right) * (np.roll(moved, 1, 2) - moved)


def _peak(three: Array) -> float:
    """Where a parabola through three equidistant values has its top, from the middle."""
    bend = three[0] - 2 * three[1] + three[2]
    return float((three[0] - three[2]) / (2 * bend)) if bend else 0.0


class Fit:
    """Real recordings of the images and what the estimators say of them."""

    def __init__(self, real: EventStore, images: Array) -> None:
        self.real, self.images, self.see = real, images, Estimator(images)
        self.horizon = 315_200
        self.statistics, self.rate = fidelity.statistics(real, self.horizon), fidelity.rate(real, 32)
        self.position = self.see.position(real)
        weight = self.rate.sum(0)[: STEPS // 2]
        self.weight = (weight / weight.sum())[:, None]
        middle = (NMNIST.places[1:] + NMNIST.places[:-1]) / 2
        self.velocity = self.see.velocity(real, middle)

    def simulate(self, rig: Rig, seed: int) -> EventStore:
        return rig.record(self.images, seed).store(np.zeros(len(self.images), int))

    def path(self, rig: Rig, rounds: int) -> Rig:
        """The rig with the path and the level of the thresholds that agree with the real recordings."""
        for seed in range(rounds):
            store, places = self.simulate(rig, seed), rig.places
            middle, speed = (places[1:] + places[:-1]) / 2, np.diff(places, axis=0)
            velocity, position = self.see.velocity(store, middle), self.see.position(store)
            gain = (velocity * speed).sum() / (speed * speed).sum()
            scale = np.abs(velocity).sum() / np.abs(self.velocity).sum()
            away = (self.weight * (self.position - position)).sum(0)
            a, b = (p - (self.weight * p).sum(0) for p in (self.position, position))
            larger = (self.weight * a * b).sum() / (self.weight * b * b).sum()
            speed = (speed + 0.6 * (self.velocity * scale - velocity) / gain) * np.clip(larger, 0.8, 1.2) ** 0.6
            moved = np.vstack([[0, 0], np.cumsum(speed, 0)])
            share = np.repeat(self.weight, 2, 0) / 2
            shift = (share * (middle[:-1] - (moved[1:] + moved[:-1])[:-1] / 2)).sum(0) + 0.6 * away
            more = np.clip(store.arrays()[2][-1] / self.real.arrays()[2][-1], 0.7, 1.4) ** 0.8
            off, on = rig.threshold
            rig = replace(rig, places=moved + shift, threshold=(off * more, on * more))
        return rig

    def residuals(self, rig: Rig) -> Array:
        """Logarithms of the statistics' ratios, and the rate over time, its difference as a share of the highest."""
        store = self.simulate(rig, 99)
        found = fidelity.statistics(store, self.horizon)
        ratios = [np.log(found[name] / self.statistics[name]) for name in found]
        rate = (fidelity.rate(store, 32) - self.rate) / self.rate.max()
        return np.concatenate([ratios, 0.5 * rate.ravel()])

    def run(self, rig: Rig, rounds: int) -> Rig:
        """Levenberg-Marquardt around `path`."""
        z = np.clip(_numbers(rig), LOW, HIGH)
        rig = self.path(_rig(rig, z), 8)
        r, damping = self.residuals(rig), 0.3
        for _ in range(rounds):
            columns = []
            for k, trial in enumerate(TRIAL):
                step = np.zeros(len(z))
                step[k] = trial if z[k] + trial < HIGH[k] else -trial
                columns.append((self.residuals(self.path(_rig(rig, z + step), 4)) - r) / step[k])
            jacobian = np.array(columns).T
            square, slope = jacobian.T @ jacobian, jacobian.T @ r
            while damping < 100:
                step = np.linalg.solve(square + damping * np.diag(np.diag(square) + 1e-3), -slope)
                there = np.clip(z + np.clip(step, -0.8, 0.8), LOW, HIGH)
                tried = self.path(_rig(rig, there), 6)
                new = self.residuals(tried)
                numbers = ", ".join(f"{name} {x:.3g}" for name, x in zip(NAMES, np.exp(there), strict=True))
                print(f"{new @ new:.4f} ({r @ r:.4f} so far): {numbers}", flush=True)
                if new @ new < r @ r:
                    z, r, rig, damping = there, new, tried, damping / 2
                    break
                damping *= 4
        return self.path(rig, 4)


def _numbers(rig: Rig) -> Array:
    """Logarithms of what Levenberg-Marquardt changes."""
    off, on = rig.threshold
    return np.log([rig.blur, rig.dark, rig.cutoff, rig.refractory, on / off, rig.mismatch, rig.noise[1]])


def _rig(rig: Rig, z: Array) -> Rig:
    """A rig with those numbers, its thresholds following the contrast."""
    blur, dark, cutoff, refractory, asymmetry, mismatch, noise = np.exp(z).tolist()
    level = np.sqrt(np.prod(rig.threshold)) * np.log1p(1 / dark) / np.log1p(1 / rig.dark)
    return Rig(
        rig.gamma, blur, rig.places, (level / np.sqrt(asymmetry), level * np.sqrt(asymmetry)), mismatch, dark,
        refractory, (0.0, noise), cutoff,
    )  # fmt: skip


def main() -> None:
    """Fit and print."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--real", required=True, help="N-MNIST in the official layout, a folder or an archive")
    words.add_argument("--images", type=Path, required=True, help="the folder with train-images-idx3-ubyte.gz")
    words.add_argument("--every", type=int, default=4, help="images 0 to 499 in steps of this (default %(default)s)")
    words.add_argument("--rounds", type=int, default=4, help="of Levenberg-Marquardt (default %(default)s)")
    given = words.parse_args()
    store = load("nmnist", "all", root=given.real)
    number = np.array([int(Path(name).stem) - 1 for name in store.metadata["name"]])
    chosen = np.arange(0, 500, given.every)
    images = idx.read(given.images / "train-images-idx3-ubyte.gz")[chosen]
    real = store.select([int(np.flatnonzero(number == image)[0]) for image in chosen])
    rig = Fit(real, images).run(NMNIST, given.rounds)
    print(replace(rig, places=rig.places.round(2)).__repr__().replace("array", "np.array"))
    print(rig.places.round(2).tolist())


if __name__ == "__main__":
    main()
