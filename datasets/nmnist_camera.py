"""What recorded N-MNIST (Orchard et al. 2015), as its recordings show it: a screen, a moving camera, its pixels.

    I = 1 - blur(grey^gamma)     what the screen shows: the digit's negative, or else polarity 1 means darker
    places                       where the picture is, every 5 ms, in pixels: there, across and back, three saccades
    the rest                     arguments of `camera.record`

All numbers were fitted to real recordings of MNIST's training images 0 to 499 by `benchmarks/fit_nmnist_camera.py`;
`examples/fidelity.py` compares on 500 to 999. Dark is large beside the screen's 1: contrast was low, and the pixels'
logarithm nearly a straight line, which is why negative pictures and exchanged polarities can't be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter

from spiking.datasets import camera

Array = np.ndarray[Any, Any]

# raise it when the recordings change, so that nobody goes on with cached ones
VERSION = 1
SIZE, STEP, INTERVAL = 34, 5.0, 2.5


@dataclass(frozen=True)
class Rig:
    """A screen, the path of its picture over a camera's pixels, and the camera.

    Attributes:
        gamma: the screen's intensity is grey to this power.
        blur: of the optics, standard deviation in pixels.
        places: (k, 2) displacements (x, y) of the picture in pixels, one every 5 ms, smooth between them.
        threshold, mismatch, dark, refractory, noise, cutoff: as `camera.record` takes them.
    """

    gamma: float
    blur: float
    places: Array
    threshold: tuple[float, float]
    mismatch: float
    dark: float
    refractory: float
    noise: tuple[float, float]
    cutoff: float

    def screen(self, images: Array) -> Array:
        """What the camera sees of grey bytes (n, H, W): (n, 34, 34) intensities with the picture in the middle."""
        light = (images / np.float32(255)) ** np.float32(self.gamma)
        above, left = ((SIZE - size) // 2 for size in images.shape[1:])
        below, right = SIZE - images.shape[1] - above, SIZE - images.shape[2] - left
        padded = np.pad(light, ((0, 0), (above, below), (left, right)))
        return np.clip(1 - gaussian_filter(padded, (0, self.blur, self.blur)), 0, 1)

    def path(self) -> Array:
        """(places, 2) displacements every 2.5 ms."""
        knots = np.arange(len(self.places)) * STEP
        return PchipInterpolator(knots, self.places)(np.arange(0, knots[-1] + 1e-9, INTERVAL))

    def record(self, images: Array, seed: int = 0, first: int = 0, progress: bool = False) -> camera.Film:
        """Show grey bytes (n, H, W) of at most 34 x 34 pixels; the other arguments are those of `camera.record`."""
        return camera.record(
            self.screen(images), self.path(), INTERVAL, self.threshold, self.mismatch, self.dark, self.refractory,
            leak=0.0, noise=self.noise, cutoff=self.cutoff, seed=seed, first=first, progress=progress,
        )  # fmt: skip


# fmt: off
PLACES = (
    (-2.45, -2.08), (-2.5, -1.85), (-2.51, -1.78), (-2.53, -1.64), (-2.56, -1.44), (-2.59, -1.17), (-2.61,
    -0.67), (-2.62, -0.18), (-2.61, 0.51), (-2.57, 1.15), (-2.48, 1.81), (-2.24, 2.45), (-1.86, 2.84), (-1.56,
    3.27), (-1.26, 3.51), (-1.04, 3.61), (-0.95, 3.65), (-0.89, 3.68), (-0.84, 3.61), (-0.8, 3.49), (-0.73,
    3.43), (-0.67, 3.39), (-0.58, 3.37), (-0.48, 3.39), (-0.36, 3.38), (-0.18, 3.3), (0.17, 3.1), (0.5, 2.67),
    (0.82, 2.26), (1.16, 1.64), (1.36, 1.1), (1.46, 0.44), (1.54, -0.11), (1.7, -0.68), (1.92, -1.14), (2.12,
    -1.46), (2.27, -1.62), (2.37, -1.72), (2.45, -1.73), (2.54, -1.65), (2.64, -1.6), (2.75, -1.57), (2.86,
    -1.57), (2.93, -1.59), (2.96, -1.62), (2.97, -1.64), (2.51, -1.7), (2.23, -1.64), (1.66, -1.58), (1.22,
    -1.56), (0.66, -1.57), (0.2, -1.58), (-0.42, -1.61), (-0.85, -1.64), (-1.38, -1.67), (-1.67, -1.73), (-1.91,
    -1.77), (-2.21, -1.78), (-2.4, -1.78), (-2.51, -1.75), (-2.55, -1.74), (-2.56, -1.73), (-2.56, -1.72),
    (-2.56, -1.72),
)
# fmt: on
NMNIST = Rig(
    gamma=2.2,
    blur=0.581,
    places=np.array(PLACES),
    threshold=(0.0583, 0.0609),
    mismatch=0.191,
    dark=1.89,
    refractory=0.129,
    noise=(0.0, 0.428),
    cutoff=259.0,
)
