"""All thirteen families: what spikes, proof that nothing is missed, and the same tokens after saving and loading."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from spiking.llm import SpikeConfig, SpikeWeight, conversion, coverage, spike_

from .families import NAMES, build, transformers

ROUTED = {"kimi_linear": 1, "minimax": 2, "qwen3_next": 2}  # routers that stay as they are
EXPERTS = {"kimi_linear": 2, "minimax": 4, "qwen3_next": 4, "recurrent_gemma": 4}  # weights of three dimensions


def tokens(model: torch.nn.Module, ids: Tensor) -> Tensor:
    found: Tensor = model.generate(ids, max_new_tokens=6, do_sample=False)
    return found


def logits(model: torch.nn.Module, ids: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(ids).logits
    return found


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_missed(name: str, ids: Tensor) -> None:
    """In the parallel form and, generating, in the form with a cache; every parameter turns up in the report."""
    model = build(name)
    done = spike_(model, SpikeConfig())
    for new_tokens in (0, 3):
        report = coverage(model, ids, new_tokens=new_tokens)
        report.check()
        assert report.missed == [] and report.unused == []
        assert set(report.spiked) == set(done.spiked)
        assert set(report.excluded) <= set(done.excluded)
        listed = {*report.spiked, *report.excluded, *report.channelwise}
        seen = {id(one) for path, one in model.named_parameters(remove_duplicate=False) if path in listed}
        assert seen == {id(one) for one in model.parameters()}
    linear = {id(one.weight) for one in model.modules() if isinstance(one, torch.nn.Linear)}
    assert len(done.spiked) == len(linear) - 1 + EXPERTS.get(name, 0)  # all but the output embedding
    assert sum("router" in why for why in done.excluded.values()) == ROUTED.get(name, 0)


@pytest.mark.parametrize("name", NAMES)
def test_without_conversion_all_is_missed(name: str, ids: Tensor) -> None:
    model = build(name)
    report = coverage(model, ids)
    missed = {path for path in report.missed if "router" not in path}
    assert missed >= set(spike_(build(name), {"_default": SpikeConfig()}).spiked)


@pytest.mark.parametrize("name", NAMES)
def test_many_spikes_come_close_to_the_float_model(name: str, ids: Tensor) -> None:
    """With 5,000 spikes a channel and float weights only rounding is left: the right products in the right places."""
    model = build(name)
    before = logits(model, ids)
    spike_(model, SpikeConfig(k=5000.0, weights=None))
    after = logits(model, ids)
    assert 0 < (after - before).norm() / before.norm() < 2e-2


@pytest.mark.parametrize("name", NAMES)
def test_the_same_tokens_after_saving_and_loading(name: str, ids: Tensor, tmp_path: Path) -> None:
    model = build(name)
    spike_(model, {"re:.*head": SpikeConfig(k=5.0), "_default": SpikeConfig()})
    wanted, numbers = tokens(model, ids), logits(model, ids)
    model.save_pretrained(tmp_path)
    again, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert torch.equal(tokens(again, ids), wanted)
    assert torch.equal(logits(again, ids), numbers)
    assert {path: str(one) for path, one in again.named_parameters() if isinstance(one, SpikeWeight)} == {
        path: str(one) for path, one in model.named_parameters() if isinstance(one, SpikeWeight)
    }
    assert conversion(again).spiked == conversion(model).spiked
    coverage(again, ids).check()
