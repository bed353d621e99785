"""A tokenizer whose tokens are the 256 bytes: token number = byte value, nothing to train, nothing unknown."""

from __future__ import annotations

from typing import Any


def tokenizer() -> Any:
    """Hugging Face's fast tokenizer over bytes.

    Returns:
        `transformers.PreTrainedTokenizerFast`; `tokenizer("ab").input_ids` is [97, 98], and a text's bytes come back.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE(vocab={_symbol(byte): byte for byte in range(256)}, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bare.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=bare, clean_up_tokenization_spaces=False)


def _symbol(byte: int) -> str:
    """The character by which `ByteLevel` writes a byte: itself, or where that can't be seen, one past 255."""
    return chr(byte) if _shown(byte) else chr(256 + sum(not _shown(other) for other in range(byte)))


def _shown(byte: int) -> bool:
    return 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255
