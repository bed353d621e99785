"""How well a language model predicts a text.

    nll        = -sum_i log p(token_i | tokens before it in its window)     natural logarithm
    perplexity = exp(nll / tokens)
    bits/byte  = nll / (log 2 * bytes)                                     comparable over tokenizers

Windows of `context` tokens lie side by side; in each the first token is only read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spiking.datasets.progress import progress_bar


@dataclass(frozen=True)
class Score:
    """What a text cost.

    Attributes:
        nll: sum of the negative log-likelihoods in nats.
        tokens: tokens that were predicted.
        bytes: bytes of text that they stand for; 0 if unknown.
    """

    nll: float
    tokens: int
    bytes: float = 0

    @property
    def perplexity(self) -> float:
        """exp of the mean over tokens."""
        return math.exp(min(self.nll / max(self.tokens, 1), 700.0))

    @property
    def bits_per_byte(self) -> float:
        """Bits needed for a byte of the text."""
        return self.nll / math.log(2) / self.bytes if self.bytes else math.nan


@torch.no_grad()
def perplexity(
    model: Any, tokens: Tensor, context: int = 256, batch: int = 8, size: int = 0, progress: str | None = None
) -> Score:
    """Score a causal language model on a text.

    Arguments:
        model: a Hugging Face causal language model; it is put into evaluation mode and left in its own.
        tokens: (n,) token numbers of the text, n >= 2.
        context: tokens of a window.
        batch: windows of one forward pass.
        size: bytes of the text, of which the tokens that are predicted take their share; 0 leaves `bits_per_byte` out.
        progress: what to call the bar on a terminal; `None` shows none.

    Returns:
        the score.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    if tokens.ndim != 1 or len(tokens) < 2:
        raise ValueError(f"tokens: expected (n,) with n >= 2, got {tuple(tokens.shape)}")
    if context < 2:
        raise ValueError(f"context: expected at least 2, got {context}")
    windows = list(tokens.split(context))
    if len(windows[-1]) < 2:
        windows.pop()
    whole = [window for window in windows if len(window) == context]
    batches = [torch.stack(whole[i : i + batch]) for i in range(0, len(whole), batch)]
    if len(windows) > len(whole):
        batches.append(windows[-1][None])
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    try:
        for ids in progress_bar(batches, progress or "", shown=progress is not None):
            logits = model(input_ids=ids.to(device), use_cache=False).logits[:, :-1].float()
            target = ids[:, 1:].to(device)
            losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")
            total, count = total + float(losses), count + target.numel()
    finally:
        model.train(was_training)
    return Score(total, count, size * count / len(tokens))
