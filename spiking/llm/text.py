"""A text file as tokens: the beginning to train and calibrate on, the end to measure on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PARTS = {"train": (0.0, 0.9), "valid": (0.9, 0.95), "test": (0.95, 1.0)}


@dataclass(frozen=True)
class Text:
    """A part of a text.

    Attributes:
        tokens: (n,) int64.
        bytes: size of the part in bytes.
    """

    tokens: Tensor
    bytes: int


def read(path: str | Path, tokenizer: Any, part: str = "test", limit: int | None = None) -> Text:
    """The tokens of a part of a UTF-8 text.

    Arguments:
        path: the file.
        tokenizer: Hugging Face's; no special tokens are added.
        part: "train", the first 90 %, "valid", the next 5, or "test", the last 5.
        limit: at most this many bytes of the part, from its beginning.

    Returns:
        tokens and size.

    Raises:
        ValueError: naming the file that is too short or of which a hundredth is no text, or the part.
    """
    path = Path(path)
    if part not in PARTS:
        raise ValueError(f"part: expected one of {', '.join(PARTS)}, got {part!r}")
    data = path.read_bytes()
    wrong = data.decode(errors="replace").count("\ufffd")
    if wrong > 0.01 * len(data):
        raise ValueError(f"{path}: not UTF-8 text: {wrong} of {len(data)} bytes are none")
    start, stop = (int(share * len(data)) for share in PARTS[part])
    piece = data[start : stop if limit is None else min(stop, start + limit)]
    words = piece.decode(errors="ignore")  # what is no character is left out, as where a cut falls into one
    tokens = torch.tensor(tokenizer(words, add_special_tokens=False, verbose=False).input_ids, dtype=torch.long)
    if len(tokens) < 64:
        raise ValueError(f"{path}: {len(data)} bytes leave {len(tokens)} tokens for {part}, expected at least 64")
    return Text(tokens, len(words.encode()))
