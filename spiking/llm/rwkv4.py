"""RWKV-4 weights in rwkv.cpp's file format, read into Hugging Face's `RwkvForCausalLM`.

A file is little-endian int32: magic 0x67676d66, version 100 or 101, vocabulary, width, layers, type; then for each
tensor the number of dimensions, the length of its name, its type (0 is float32, 1 is float16), its dimensions from the
last to the first, its name and its numbers. The file holds the decay w as -exp(w), which the model makes itself.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAGIC, VERSIONS = 0x67676D66, (100, 101)
TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}
PARTS = {"att": "attention", "ffn": "feed_forward", "ln0": "pre_ln", "emb": "embeddings"}
MIXES = {"k": "key", "v": "value", "r": "receptance"}


def load(path: str | Path) -> Any:
    """A model with the weights of a file.

    Arguments:
        path: an RWKV-4 model of rwkv.cpp, float32 or float16, not quantised.

    Returns:
        `transformers.RwkvForCausalLM` in float32, in evaluation mode. Its hidden states are not rescaled every few
        layers, which guards float16 and would change weights in place.

    Raises:
        ValueError: naming the file, what came and what was wanted.
    """
    from transformers import RwkvConfig, RwkvForCausalLM

    path = Path(path)
    (vocabulary, width, layers), tensors = read(path)
    state = {_name(key): _fit(key, value) for key, value in tensors.items()}
    try:
        feed_forward = state["rwkv.blocks.0.feed_forward.key.weight"].shape[0]
    except KeyError:
        raise ValueError(f"{path}: no tensor blocks.0.ffn.key.weight; expected an RWKV-4 model") from None
    config = RwkvConfig(
        vocab_size=vocabulary, hidden_size=width, attention_hidden_size=width, num_hidden_layers=layers,
        intermediate_size=feed_forward, rescale_every=0, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = RwkvForCausalLM(config)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if wanted != found:
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        first = wrong[0]
        raise ValueError(
            f"{path}: {len(wrong)} tensors do not fit RWKV-4; {first}: expected {wanted.get(first, 'none')}, "
            f"got {found.get(first, 'none')}"
        )
    model.load_state_dict(state)
    return model.eval()


def read(path: Path) -> tuple[tuple[int, int, int], dict[str, Tensor]]:
    """Vocabulary, width and layers, and the tensors by their names in the file."""
    data = path.read_bytes()
    if len(data) < 24:
        raise ValueError(f"{path}: {len(data)} bytes; expected a header of 24")
    magic, version, vocabulary, width, layers, _ = struct.unpack_from("<6i", data)
    if magic != MAGIC:
        raise ValueError(f"{path}: begins with {magic:#x}, expected {MAGIC:#x} of rwkv.cpp")
    if version not in VERSIONS:
        raise ValueError(f"{path}: version {version}, expected one of {VERSIONS}")
    tensors, place = {}, 24
    while place < len(data):
        try:
            dimensions, length, kind = struct.unpack_from("<3i", data, place)
            shape = struct.unpack_from(f"<{dimensions}i", data, place + 12)[::-1]
            place += 12 + 4 * dimensions
            name = data[place : place + length].decode()
            if kind not in TYPES:
                raise ValueError(f"{path}: {name} has type {kind}; expected 0 (float32) or 1 (float16), not quantised")
            count = int(np.prod(shape))
            numbers = np.frombuffer(data, TYPES[kind], count, place + length)
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: ends within a tensor at byte {place} ({error})") from error
        except ValueError as error:
            if str(error).startswith(str(path)):
                raise
            raise ValueError(f"{path}: ends within a tensor at byte {place} ({error})") from error
        tensors[name] = torch.from_numpy(numbers.astype(np.float32)).view(*shape)
        place += length + count * TYPES[kind].itemsize
    return (vocabulary, width, layers), tensors


def _name(key: str) -> str:
    """blocks.0.att.time_mix_k is rwkv.blocks.0.attention.time_mix_key."""
    if key.startswith("head."):
        return key
    parts = [PARTS.get(part, part) for part in key.split(".")]
    if parts[-1].startswith("time_mix_"):
        parts[-1] = f"time_mix_{MIXES.get(parts[-1][9:], parts[-1][9:])}"
    return ".".join(["rwkv", *parts])


def _fit(key: str, value: Tensor) -> Tensor:
    if key.endswith("time_decay"):
        return value.neg().log()
    return value.view(1, 1, -1) if "time_mix" in key else value
