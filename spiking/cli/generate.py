"""`spiking generate MODEL --prompt "..."`: let a language model, spiking or not, go on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from spiking.cli.mistake import Mistake


def main(argv: Sequence[str]) -> int:
    """Run `spiking generate`."""
    words = argparse.ArgumentParser(prog="spiking generate", allow_abbrev=False, description="Continue a text.")
    words.add_argument("model", help="a converted model, any folder of Hugging Face, or an RWKV-4 file")
    words.add_argument("--prompt", required=True, help="how the text begins")
    words.add_argument("--tokens", type=int, default=200, help="how many to add (default 200)")
    words.add_argument("--temperature", type=float, default=0.0, help="0, the default, takes the likeliest token")
    words.add_argument("--seed", type=int, default=0, help="of the dice")
    given = words.parse_args(argv)
    if given.tokens < 1:
        raise Mistake(f"--tokens: expected at least 1, got {given.tokens}")
    if given.temperature and not 1e-3 <= given.temperature < float("inf"):
        raise Mistake(f"--temperature: expected a number of at least 0.001, or 0, got {given.temperature}")
    if not 0 <= given.seed < 2**63:
        raise Mistake(f"--seed: expected 0 to 2^63 - 1, got {given.seed}")
    if not given.prompt:
        raise Mistake("--prompt: expected some text, got none")
    import torch

    from spiking.cli.language import hush, model_and_tokenizer

    hush()
    model, tokenizer = model_and_tokenizer(given.model)
    torch.manual_seed(given.seed)
    ids = tokenizer(given.prompt, return_tensors="pt").input_ids
    how = {"do_sample": True, "temperature": given.temperature} if given.temperature else {"do_sample": False}
    with torch.no_grad():
        made = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=given.tokens, pad_token_id=0, **how
        )
    print(tokenizer.decode(made[0], skip_special_tokens=True))
    return 0
