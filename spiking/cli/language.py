"""What the commands for language models share: finding a model and its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spiking.cli.mistake import Mistake


def model_and_tokenizer(where: str) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer from a folder, a run, or an RWKV-4 file.

    Raises:
        Mistake: if there is none, or its tokenizer is missing.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from spiking.llm import rwkv4
    from spiking.llm.bytes import tokenizer

    path = Path(where)
    if path.is_file():
        try:
            return rwkv4.load(path), tokenizer()
        except ValueError as error:
            raise Mistake(str(error)) from error
    folder = path / "model" if (path / "model" / "config.json").is_file() else path
    if not (folder / "config.json").is_file():
        raise Mistake(f"{where}: expected a model's folder with config.json, or an RWKV-4 file of rwkv.cpp")
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise Mistake(f"{folder}: can't be loaded as a causal language model: {_first(error)}") from error
    try:
        words = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise Mistake(f"{folder}: no tokenizer can be loaded from it: {_first(error)}") from error
    if not words("a", add_special_tokens=False).input_ids:  # transformers makes an empty one where files are missing
        raise Mistake(f"{folder}: no tokenizer can be loaded from it: its files are missing")
    return model.eval(), words


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def hush() -> None:
    """Hugging Face's bars and its remarks that faster kernels could be installed are not about this run."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
