"""Sound files: .wav of 8, 16, 24 or 32 bits, whole numbers or floating ones, and .flac; mono or stereo, any rate."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from scipy.io import wavfile

from spiking.datasets.errors import DataError
from spiking.datasets.webpage import refuse_page

Array = np.ndarray[Any, Any]

SUFFIXES = (".wav", ".flac")
FULL, RUN, CLIPPED = 0.9999, 3, 0.01
STREAM = 2**32 - 1  # what programs write for a size that they don't know yet


def read(content: bytes, name: str) -> tuple[Array, int]:
    """The sound of one file.

    Arguments:
        content: the file's bytes.
        name: what errors call it; its ending says what it is.

    Returns:
        samples between -1 and 1, (samples,) or in stereo (samples, 2), and how many there are in a second.

    Raises:
        DataError: if it can't be read, holds no sound, or is clipped, with what to do.
    """
    refuse_page(content, name)
    wave, rate = (_flac if name.lower().endswith(".flac") else _wav)(content, name)
    if rate <= 0:
        raise DataError(f"{name}: says that it has {rate} samples a second; write the true rate into it")
    if wave.ndim > 1 and wave.shape[1] > 2:
        raise DataError(f"{name}: has {wave.shape[1]} channels; expected mono or stereo, mix it down")
    if not len(wave):
        raise DataError(f"{name}: holds no samples; record it again")
    if not np.isfinite(wave).all():
        where = int((~np.isfinite(wave)).reshape(len(wave), -1).any(1).argmax())
        raise DataError(f"{name}: sample {where} is NaN or infinite; export it again")
    if (wave == wave[:1]).all():
        raise DataError(f"{name}: silent, all {len(wave)} samples are {wave.flat[0]:g}; record it again")
    share = max(_clipped(side) for side in wave.reshape(len(wave), -1).T)
    if share > CLIPPED:
        raise DataError(
            f"{name}: clipped, {100 * share:.0f} % of its samples stand at full scale; record it again more quietly"
        )
    return wave, rate


def _wav(content: bytes, name: str) -> tuple[Array, int]:
    size = int.from_bytes(content[4:8], "little") + 8
    if content[:4] == b"RIFF" and len(content) < size < STREAM:
        raise DataError(f"{name}: was cut off, it says {size} bytes and has {len(content)}; get it again")
    try:
        with warnings.catch_warnings():
            # chunks that it does not know hold no sound
            warnings.filterwarnings("ignore", category=wavfile.WavFileWarning)
            rate, wave = wavfile.read(io.BytesIO(content))
    except Exception as error:  # scipy raises nearly anything on what is no .wav
        raise DataError(f"{name}: can't be read as .wav ({error or type(error).__name__}); get it again") from error
    if wave.dtype == np.uint8:
        return (wave.astype(np.float64) - 128) / 128, int(rate)
    return wave.astype(np.float64) / (2.0 ** (8 * wave.itemsize - 1) if wave.dtype.kind == "i" else 1), int(rate)


def _flac(content: bytes, name: str) -> tuple[Array, int]:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise DataError(f"{name}: .flac needs the package soundfile: pip install soundfile ({error})") from error
    try:
        wave, rate = soundfile.read(io.BytesIO(content), dtype="float64")
    except (RuntimeError, TypeError) as error:
        raise DataError(f"{name}: can't be read as .flac ({error}); get it again") from error
    return wave, int(rate)


def _clipped(side: Array) -> float:
    """The share of samples that stand at full scale for at least RUN of them in a row."""
    at = np.concatenate([[0], np.abs(side) >= FULL, [0]]).astype(np.int8)
    runs = np.flatnonzero(np.diff(at) == -1) - np.flatnonzero(np.diff(at) == 1)
    return float(runs[runs >= RUN].sum() / len(side))
