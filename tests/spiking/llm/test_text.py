"""Bytes as tokens, parts of a text, perplexity, and RWKV-4's file format."""

import math
import struct
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("transformers", reason="spiking.llm needs the extra llm")

from spiking.llm import rwkv4
from spiking.llm.bytes import tokenizer
from spiking.llm.perplexity import perplexity
from spiking.llm.text import read

BYTES = tokenizer()


@given(st.text(max_size=40))
def test_tokens_are_bytes(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    ids = BYTES(text).input_ids
    assert ids == list(text.encode()) and BYTES.decode(ids) == text


def test_tokenizer_survives_a_file(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    BYTES.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("Zürich \0\n").input_ids == list("Zürich \0\n".encode()) and len(again) == 256


def test_parts_do_not_overlap(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    text = "".join(f"{n} é\n" for n in range(3000))
    path.write_text(text)
    parts = [read(path, BYTES, part) for part in ("train", "valid", "test")]
    assert "".join(BYTES.decode(part.tokens) for part in parts).replace("\n", "")[:99] == text.replace("\n", "")[:99]
    size = len(text.encode())
    assert size - 4 <= sum(part.bytes for part in parts) <= size  # a character at a cut may go
    assert abs(parts[0].bytes - 0.9 * size) <= 2 and abs(parts[2].bytes - 0.05 * size) <= 2
    assert read(path, BYTES, "train", limit=100).bytes <= 100
    with pytest.raises(ValueError, match="part: expected one of train, valid, test, got 'all'"):
        read(path, BYTES, "all")
    path.write_text("short")
    with pytest.raises(ValueError, match=r"text.txt: 5 bytes leave \d tokens for test, expected at least 64"):
        read(path, BYTES)
    path.write_bytes(b"abc\xff" * 900)
    with pytest.raises(ValueError, match=r"text.txt: not UTF-8 text: 900 of 3600 bytes are none"):
        read(path, BYTES)
    path.write_bytes((b"abc" * 90 + b"\xbd") * 90)
    assert set(read(path, BYTES).tokens.tolist()) == set(b"abc")


class Bigram(torch.nn.Module):
    """Knows the distribution of the next token from the last one."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table)

    def forward(self, input_ids: Tensor, use_cache: bool) -> Any:
        """Log-probabilities."""
        return SimpleNamespace(logits=self.table[input_ids])


@given(st.integers(2, 60), st.integers(2, 9), st.integers(1, 4), st.integers(0, 99))
def test_perplexity_by_hand(n: int, context: int, batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(5, 5, generator=generator).log_softmax(-1)
    tokens = torch.randint(0, 5, (n,), generator=generator)
    expected, count = 0.0, 0
    for start in range(0, n, context):
        window = tokens[start : start + context].tolist()
        for before, after in pairwise(window):
            expected, count = expected - float(table[before, after]), count + 1
    model = Bigram(table).train()
    score = perplexity(model, tokens, context, batch, size=2 * n)
    assert score.tokens == count and math.isclose(score.nll, expected, rel_tol=1e-4, abs_tol=1e-5)
    assert math.isclose(score.perplexity, math.exp(expected / count), rel_tol=1e-4)
    assert math.isclose(score.bits_per_byte, expected / count / math.log(2) / 2, rel_tol=1e-4, abs_tol=1e-6)
    assert model.training


def test_perplexity_bad_input() -> None:
    model = Bigram(torch.zeros(2, 2))
    with pytest.raises(ValueError, match=r"tokens: expected \(n,\) with n >= 2, got \(1,\)"):
        perplexity(model, torch.zeros(1, dtype=torch.long))
    with pytest.raises(ValueError, match="context: expected at least 2, got 1"):
        perplexity(model, torch.zeros(9, dtype=torch.long), context=1)


def rwkv_file(path: Path, change: Any = None, magic: int = rwkv4.MAGIC, version: int = 101) -> Path:
    """A tiny model in rwkv.cpp's format, written from its description."""
    rng = np.random.default_rng(0)
    width, hidden, vocabulary = 8, 12, 11
    shapes: dict[str, tuple[int, ...]] = {"emb.weight": (vocabulary, width), "blocks.0.ln0.weight": (width,)}
    shapes |= {"blocks.0.ln0.bias": (width,), "ln_out.weight": (width,), "ln_out.bias": (width,)}
    for block in ("blocks.0", "blocks.1"):
        norms = [f"{place}.{kind}" for place in ("ln1", "ln2") for kind in ("weight", "bias")]
        mixes = [f"att.time_{kind}" for kind in ("decay", "first", "mix_k", "mix_v", "mix_r")]
        shapes |= {f"{block}.{name}": (width,) for name in [*norms, *mixes, "ffn.time_mix_k", "ffn.time_mix_r"]}
        square = [*(f"att.{name}" for name in ("key", "value", "receptance", "output")), "ffn.receptance"]
        shapes |= {f"{block}.{name}.weight": (width, width) for name in square}
        shapes |= {f"{block}.ffn.key.weight": (hidden, width), f"{block}.ffn.value.weight": (width, hidden)}
    shapes["head.weight"] = (vocabulary, width)
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name in ("blocks.0.att.time_decay", "blocks.1.att.time_decay"):
        tensors[name] = -np.exp(tensors[name])
    if change is not None:
        change(tensors)
    data = struct.pack("<6i", magic, version, vocabulary, width, 2, 0)
    for name, value in tensors.items():
        kind = {np.dtype("<f4"): 0, np.dtype("<f2"): 1}[value.dtype]
        data += struct.pack("<3i", value.ndim, len(name), kind)
        data += struct.pack(f"<{value.ndim}i", *value.shape[::-1]) + name.encode() + value.tobytes()
    path.write_bytes(data)
    return path


def test_rwkv_file_reads_back_and_runs(tmp_path: Path) -> None:
    kept: dict[str, Any] = {}
    model = rwkv4.load(rwkv_file(tmp_path / "model.bin", kept.update))
    attention = model.rwkv.blocks[0].attention
    assert np.allclose(-np.exp(attention.time_decay.detach().numpy()), kept["blocks.0.att.time_decay"])
    assert np.array_equal(attention.key.weight.detach().numpy(), kept["blocks.0.att.key.weight"])
    half = rwkv_file(tmp_path / "half.bin", lambda t: t.update({k: v.astype("<f2") for k, v in t.items()}))
    ids = torch.tensor([[1, 2, 3]])
    assert torch.allclose(rwkv4.load(half)(ids).logits, model(ids).logits, atol=0.02)
    with torch.no_grad():
        whole = model(ids).logits[:, -1]
        state = model(ids[:, :2], use_cache=True).state
        assert torch.allclose(model(ids[:, 2:], state=state, use_cache=True).logits[:, -1], whole, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "cut", "words"),
    [
        ({"magic": 1}, None, "begins with 0x1, expected 0x67676d66"),
        ({"version": 7}, None, r"version 7, expected one of \(100, 101\)"),
        ({}, 10, "10 bytes; expected a header of 24"),
        ({}, 1000, "ends within a tensor"),
        ({"change": lambda t: t.pop("ln_out.bias")}, None, "1 tensors do not fit RWKV-4; rwkv.ln_out.bias: expected"),
        ({"change": lambda t: t.pop("blocks.0.ffn.key.weight")}, None, "no tensor blocks.0.ffn.key.weight"),
    ],
)
def test_rwkv_bad_files(tmp_path: Path, arguments: dict[str, Any], cut: int | None, words: str) -> None:
    path = rwkv_file(tmp_path / "bad.bin", **arguments)
    if cut is not None:
        path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=rf"bad.bin: .*{words}"):
        rwkv4.load(path)


def test_rwkv_golden_logits(real_data: Path) -> None:
    """The published weights give the published logits."""
    folder = real_data / "rwkv4_tiny"
    if not folder.is_dir():
        pytest.skip(f"no RWKV-4 weights at {folder}")
    model = rwkv4.load(folder / "tiny-rwkv-4v0-660K-FP32.bin")
    golden = np.fromfile(folder / "expected-logits-4v0-660K.bin", "<f4")
    with torch.no_grad():
        logits = model(torch.tensor([list(b'"in')])).logits[0, -1].numpy()
    assert np.abs(logits - golden).max() < 1e-4
