"""Keys, values and recurrent states in whole numbers, and spiking queries, for models of Hugging Face.

    scale = max |x| over the last dimension / 127        code = round(x / scale)

SpikingBrain spikes the queries of softmax attention after their rotation and keeps keys and values in int8 (Pan et al.
2025, arXiv 2509.05276). A vector is stored as its codes followed by the four bytes of its scale, so that whatever
transformers does with a cache along its other dimensions (append, crop, reorder, slide) keeps the two together. States
of linear attention are decoded for the length of a forward pass, for models change them in place, and stored after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, LinearAttentionCacheLayerMixin, StaticLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from spiking.kernels.spike_linear import encode
from spiking.llm.config import SpikeConfig

LARGEST = 127
ATTENTION = "spiking"
OPTIONS, ATTENDED, BYTES = "_spike_options", "_spike_attended", "_spike_bytes"


def to_bytes(x: Tensor) -> Tensor:
    """Vectors (..., n) as int8 (..., n + 4): codes, then the scale's bytes."""
    scale = x.abs().amax(-1, keepdim=True).to(torch.float32) / LARGEST
    codes = (x / scale.clamp_min(torch.finfo(torch.float32).tiny)).round().to(torch.int8)
    return torch.cat([codes, scale.contiguous().view(torch.int8)], -1)


def from_bytes(stored: Tensor, dtype: torch.dtype) -> Tensor:
    """Vectors (..., n) from `to_bytes`, in a type."""
    scale = stored[..., -4:].contiguous().view(torch.float32)
    return (stored[..., :-4] * scale).to(dtype)


@cache
def _int8_class(kind: Any) -> type:
    """A cache layer's class whose own code handles bytes; single inheritance, so that a layer may change to it."""

    def update(self: Any, key_states: Tensor, value_states: Tensor, *args: Any, **words: Any) -> tuple[Tensor, Tensor]:
        keys, values = kind.update(self, to_bytes(key_states), to_bytes(value_states), *args, **words)
        return from_bytes(keys, key_states.dtype), from_bytes(values, value_states.dtype)

    # With a _layer_type transformers would list it as the class to use for all models.
    return type(f"Int8{kind.__name__}", (kind,), {"update": update, "_layer_type": None, BYTES: True})


def store(layers: Iterable[Any], keys: bool, states: bool) -> tuple[int, int]:
    """Let cache layers keep keys and values as bytes from now on; put their recurrent states into bytes.

    Returns:
        How many layers keep keys so, and how many states are so.

    Raises:
        ValueError: for a layer of fixed size, which has no room for the scales.
    """
    count = [0, 0]
    for layer in layers:
        kind = type(layer)
        if keys and issubclass(kind, StaticLayer):
            raise ValueError(f"cache: expected a dynamic cache for int8, got {kind.__name__}")
        if keys and issubclass(kind, DynamicLayer):
            count[0] += 1
            if not hasattr(layer, BYTES):
                if layer.is_initialized and layer.keys.numel():
                    layer.keys, layer.values = to_bytes(layer.keys), to_bytes(layer.values)
                layer.__class__ = _int8_class(kind)
        if states and issubclass(kind, LinearAttentionCacheLayerMixin):
            for index, state in layer.recurrent_states.items():
                count[1] += state is not None
                if state is not None and state.dtype != torch.int8:
                    layer.recurrent_states[index], layer.spike_dtype = to_bytes(state), state.dtype
    return count[0], count[1]


def recall(layers: Iterable[Any]) -> None:
    """Decode recurrent states for a forward pass."""
    for layer in layers:
        if issubclass(type(layer), LinearAttentionCacheLayerMixin):
            for index, state in layer.recurrent_states.items():
                if state is not None and state.dtype == torch.int8:
                    layer.recurrent_states[index] = from_bytes(state, layer.spike_dtype)


@dataclass
class _Options:
    """What the hooks of a model do; `proven` once a pass has shown that every option had something to act on."""

    keys: bool
    states: bool
    queries: bool
    proven: bool = False


def attach(model: Any, config: SpikeConfig | None) -> None:
    """Give a model the options of its plan: how it caches and how its queries are encoded.

    The first pass that caches, or attends, raises a RuntimeError if an option has nothing to act on.

    Raises:
        ValueError: if the model's attention can't be exchanged.
    """
    config = config or SpikeConfig()
    options = _Options(bool(config.cache), bool(config.state), bool(config.queries))
    first = not hasattr(model, OPTIONS)
    if first and not (options.keys or options.states or options.queries):
        return
    if options.queries:
        model.set_attn_implementation(ATTENTION)
        if model.config.get_text_config()._attn_implementation != ATTENTION:
            raise ValueError(f"queries: expected attention that can be exchanged, {type(model).__name__} has none")
    for module in model.modules():
        module._spike_queries = config.queries  # the attention function below is handed its module
    setattr(model, OPTIONS, options)
    if first:
        model.register_forward_pre_hook(_before, with_kwargs=True)
        model.register_forward_hook(_after, with_kwargs=True)


def _caches(*places: Any) -> list[Cache]:
    found = [value for place in places if isinstance(place, Mapping) for value in place.values()]
    return list({id(value): value for value in found if isinstance(value, Cache)}.values())


def _before(model: Any, args: Any, words: dict[str, Any]) -> None:
    for one in _caches(words):
        recall(one.layers)
        store(one.layers, getattr(model, OPTIONS).keys, False)


def _after(model: Any, args: Any, words: dict[str, Any], output: Any) -> None:
    options: _Options = getattr(model, OPTIONS)
    caches = _caches(words, output)
    counts = [store(one.layers, options.keys, options.states) for one in caches]
    if options.proven:
        return
    if options.queries and not any(hasattr(module, ATTENDED) for module in model.modules()):
        raise RuntimeError(f"queries: {type(model).__name__} has no softmax attention that transformers hands out")
    if caches or words.get("use_cache"):
        for name, wanted, place in (("cache", options.keys, 0), ("state", options.states, 1)):
            if wanted and not any(count[place] for count in counts):
                raise RuntimeError(f"{name}: {type(model).__name__} keeps none in transformers' cache layers")
        options.proven = True


def attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **words: Any
) -> tuple[Tensor, None]:
    """Softmax attention whose queries (B, heads, T, d) are spike counts times their threshold."""
    k = getattr(module, "_spike_queries", None)
    if k:
        setattr(module, ATTENDED, True)
        counts, threshold = encode(query, k)
        query = (counts * threshold).to(query.dtype)
    result: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **words)
    return result


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, sdpa_mask)
