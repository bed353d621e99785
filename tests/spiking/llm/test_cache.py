"""Keys, values and states in whole numbers; queries that spike."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spiking.llm import SpikeConfig, spike_

from .families import build, transformers

cache_module = pytest.importorskip("spiking.llm.cache", reason="spiking.llm needs the extra llm")
from_bytes, store, to_bytes = cache_module.from_bytes, cache_module.store, cache_module.to_bytes
FINE: dict[str, Any] = {"k": 5000.0, "weights": None}  # rounding of the products is negligible
WITH_KEYS = ["falcon_h1", "kimi_linear", "minimax", "olmo_hybrid", "qwen3_5", "qwen3_next", "recurrent_gemma", "zamba2"]
WITH_STATES = ["falcon_h1", "falcon_mamba", "kimi_linear", "mamba", "mamba2", "olmo_hybrid", "qwen3_5", "qwen3_next",
               "zamba2"]  # fmt: skip


def steps(model: torch.nn.Module, ids: Tensor) -> tuple[Tensor, Any]:
    """Logits of a prompt and of four more tokens that are given, through the cache; and the cache."""
    own = "MiniMax" in type(model).__name__  # it makes a cache of its own kind
    cache = None if own else transformers.DynamicCache(config=model.config)
    found = []
    with torch.no_grad():
        for part in (ids[:, :6], *ids[:, 6:].split(1, 1)):
            out = model(part, use_cache=True, cache=cache)
            cache = out.cache if own else cache
            found.append(out.logits[:, -1])
    return torch.stack(found), cache


def alike(found: Tensor, wanted: Tensor) -> float:
    """The cosine of all logits; random networks amplify rounding from layer to layer and step to step."""
    return float((found * wanted).sum() / found.norm() / wanted.norm())


@given(st.integers(0, 2**32 - 1), st.sampled_from([torch.float32, torch.bfloat16]))
def test_bytes(seed: int, dtype: torch.dtype) -> None:
    """Half a step of the largest number at most, and the same bytes when stored once more."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(2, 3, 8, generator=generator) * 10 ** torch.randn(2, 3, 1, generator=generator)).to(dtype)
    x[0, 0] = 0
    stored = to_bytes(x)
    assert stored.dtype == torch.int8 and stored.shape == (2, 3, 12)
    step = x.float().abs().amax(-1, keepdim=True) / 127
    back = from_bytes(stored, torch.float32)
    assert ((back - x.float()).abs() <= 0.5001 * step).all()
    assert torch.equal(to_bytes(back)[..., :8], stored[..., :8])
    assert from_bytes(stored, dtype).dtype == dtype


@pytest.mark.parametrize("name", WITH_KEYS)
def test_keys_and_values(name: str, ids: Tensor) -> None:
    wanted, _ = steps(build(name), ids)
    model = build(name)
    spike_(model, SpikeConfig(**FINE, cache="int8"))
    found, cache = steps(model, ids)
    assert not torch.equal(found, wanted) and alike(found, wanted) > 0.99
    kept = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None and layer.keys.numel()]
    assert kept and all(layer.keys.dtype == layer.values.dtype == torch.int8 for layer in kept)


@pytest.mark.parametrize("name", WITH_STATES)
def test_states(name: str, ids: Tensor) -> None:
    wanted, _ = steps(build(name), ids)
    model = build(name)
    spike_(model, SpikeConfig(**FINE, state="int8"))
    found, cache = steps(model, ids)
    assert not torch.equal(found, wanted) and alike(found, wanted) > 0.99
    states = [one for layer in cache.layers for one in getattr(layer, "recurrent_states", {}).values()]
    assert states and all(one.dtype == torch.int8 for one in states)


def test_the_layer_itself() -> None:
    """Appending, sliding, cropping and selecting leave every vector with its scale."""
    for kind, words in (("DynamicLayer", {}), ("DynamicSlidingWindowLayer", {"sliding_window": 4})):
        plain = getattr(transformers.cache_utils, kind)(**words)
        layer = getattr(transformers.cache_utils, kind)(**words)
        assert store([layer], keys=True, states=False) == (1, 0)
        for length in (3, 1, 2):
            keys, values = torch.randn(2, 2, length, 8), torch.randn(2, 2, length, 8)
            for found, wanted in zip(layer.update(keys, values), plain.update(keys, values), strict=True):
                assert found.shape == wanted.shape
                assert ((found - wanted).abs() <= 0.51 * wanted.abs().amax(-1, keepdim=True) / 127).all()
        for one in (layer, plain):
            one.reorder_cache(torch.tensor([1, 0]))
            one.batch_repeat_interleave(2)
        assert layer.get_seq_length() == plain.get_seq_length()
        error = (from_bytes(layer.keys, torch.float32) - plain.keys).abs()
        assert (error <= 0.51 * plain.keys.abs().amax(-1, keepdim=True) / 127).all()


def test_queries(ids: Tensor) -> None:
    """Counts times threshold for each head and token: with many spikes as without."""
    wanted, _ = steps(build("qwen3_5"), ids)
    errors = []
    for queries in (1.0, 4.0, 500.0):
        model = build("qwen3_5")
        spike_(model, SpikeConfig(**FINE, queries=queries))
        errors.append(float((steps(model, ids)[0] - wanted).norm() / wanted.norm()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.01


def test_all_together_saved_and_loaded(ids: Tensor, tmp_path: Path) -> None:
    model = build("falcon_h1")
    spike_(model, SpikeConfig(queries=3.0, cache="int8", state="int8"))
    wanted = model.generate(ids, max_new_tokens=6, do_sample=False)
    beams = model.generate(ids, max_new_tokens=4, num_beams=2, do_sample=False)  # reorders the cache
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again.generate(ids, max_new_tokens=6, do_sample=False), wanted)
    assert torch.equal(again.generate(ids, max_new_tokens=4, num_beams=2, do_sample=False), beams)


def test_options_are_taken_back(ids: Tensor) -> None:
    model = build("qwen3_5")
    spike_(model)
    wanted, _ = steps(model, ids)
    spike_(model, SpikeConfig(queries=1.0, cache="int8"))
    assert not torch.equal(steps(model, ids)[0], wanted)
    spike_(model)
    torch.testing.assert_close(steps(model, ids)[0], wanted)


@pytest.mark.parametrize(
    ("name", "option", "error"),
    [
        ("mamba", {"cache": "int8"}, "cache: MambaForCausalLM keeps none in transformers' cache layers"),
        ("minimax", {"state": "int8"}, "state: MiniMaxForCausalLM keeps none in transformers' cache layers"),
        ("recurrent_gemma", {"state": "int8"}, "state: RecurrentGemmaForCausalLM keeps none"),
        ("xlstm", {"queries": 3.0}, "queries: xLSTMForCausalLM has no softmax attention"),
        ("rwkv", {"cache": "int8"}, "cache: RwkvForCausalLM keeps none"),
    ],
)
def test_an_option_without_effect_is_an_error(name: str, option: dict[str, Any], error: str, ids: Tensor) -> None:
    model = build(name)
    spike_(model, SpikeConfig(**option))
    with pytest.raises(RuntimeError, match=error):
        model.generate(ids, max_new_tokens=2, do_sample=False)


def test_attention_that_cannot_be_exchanged() -> None:
    with pytest.raises(ValueError, match="queries: expected attention that can be exchanged, RwkvForCausalLM has none"):
        spike_(build("rwkv"), SpikeConfig(queries=3.0))


def test_a_cache_of_fixed_size_is_refused(ids: Tensor) -> None:
    model = build("qwen3_5")
    spike_(model, SpikeConfig(cache="int8"))
    with pytest.raises(ValueError, match="cache: expected a dynamic cache for int8, got Static"):
        model.generate(ids, max_new_tokens=2, do_sample=False, cache_implementation="static")
