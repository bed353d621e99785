"""Configs, patterns, and everything that can be wrong with them."""

import pytest
import torch
from torch import Tensor, nn

from spiking.llm import Plan, SpikeConfig, SpikeWeight, conversion, coverage, spike_

from .families import build


def test_the_lines_of_the_interface(ids: Tensor) -> None:
    model = build("qwen3_5")
    spike_(model, SpikeConfig(k=3.0, weights="int8", group=128))
    model = build("qwen3_5")
    spike_(model, {"re:.*down_proj": SpikeConfig(k=4.0), "lm_head": None, "_default": SpikeConfig()})
    report = coverage(model, ids)
    assert report.missed == []
    report.check()
    assert model.model.layers[0].mlp.down_proj.weight.matrices.config.k == 4.0
    assert model.model.layers[0].mlp.up_proj.weight.matrices.config.k == 3.0


def test_precedence() -> None:
    """Exact before regular expression before default; the innermost exact name, the first regular expression."""
    a, b, c, d, e = (SpikeConfig(k=k) for k in (1.0, 2.0, 3.0, 4.0, 5.0))
    model = build("qwen3_5")
    spike_(
        model,
        {
            "re:.*up_proj": a, "re:.*_proj": e, "model.layers.0": b, "model.layers.0.mlp.up_proj": c,
            "model.layers.0.mlp.down_proj.weight": d, "_default": a,
        },
    )  # fmt: skip
    ks = {name: config.k for name, config in conversion(model).spiked.items()}
    assert ks["model.layers.0.mlp.up_proj.weight"] == 3.0
    assert ks["model.layers.0.mlp.down_proj.weight"] == 4.0
    assert ks["model.layers.0.mlp.gate_proj.weight"] == 2.0
    assert ks["model.layers.1.mlp.up_proj.weight"] == 1.0
    assert ks["model.layers.1.mlp.down_proj.weight"] == 5.0
    assert "lm_head.weight" not in ks


def test_without_a_default_only_what_is_named() -> None:
    model = build("qwen3_5")
    done = spike_(model, {"re:.*mlp.*": SpikeConfig()})
    assert len(done.spiked) == 6
    assert done.excluded["model.layers.1.self_attn.q_proj.weight"] == "no pattern names it, and '_default' is not given"
    assert "6 weights spike" in str(done) and "kept: model.layers.1.self_attn.q_proj.weight" in str(done)


def test_routers_and_heads_spike_when_named(ids: Tensor) -> None:
    model = build("qwen3_next")
    named = {"lm_head": SpikeConfig(k=6.0), "re:.*mlp.gate": SpikeConfig(k=8.0)}
    done = spike_(model, {**named, "_default": SpikeConfig()})
    assert done.spiked["lm_head.weight"].k == 6.0 and done.spiked["model.layers.1.mlp.gate.weight"].k == 8.0
    report = coverage(model, ids)
    assert list(report.excluded) == ["model.layers.0.linear_attn.conv1d.weight"] and not report.missed


def test_a_tied_output_embedding_gets_its_own_weight(ids: Tensor) -> None:
    model = build("mamba")
    embedding = model.get_input_embeddings().weight
    assert model.lm_head.weight is embedding
    spike_(build("mamba"))  # kept by default: still tied
    done = spike_(model, {"lm_head": SpikeConfig(), "_default": SpikeConfig()})
    assert done.untied == {"lm_head.weight": "backbone.embeddings.weight"}
    assert isinstance(model.lm_head.weight, SpikeWeight) and model.get_input_embeddings().weight is embedding
    model.tie_weights()
    assert isinstance(model.lm_head.weight, SpikeWeight)
    assert coverage(model, ids).spiked["lm_head.weight"] == ["mm"]


def test_shared_blocks_share_their_weight() -> None:
    model = build("zamba2")
    spike_(model)
    blocks = [model.model.layers[i].shared_transformer.self_attn.q_proj.weight for i in (1, 3)]
    assert isinstance(blocks[0], SpikeWeight) and blocks[0] is blocks[1]


def test_other_k_for_a_model_that_spikes() -> None:
    """The whole numbers stay; what would need other ones is refused."""
    model = build("qwen3_5")
    spike_(model)
    before = model.model.layers[0].mlp.up_proj.weight.codes
    spike_(model, SpikeConfig(k=5.0, saturation="clip"))
    weight = model.model.layers[0].mlp.up_proj.weight
    assert weight.matrices.config.k == 5.0 and weight.codes is before
    with pytest.raises(ValueError, match=r"up_proj.weight: expected .weights, group, outliers. as it is stored"):
        spike_(model, {"re:.*up_proj": SpikeConfig(group=64), "_default": SpikeConfig()})
    with pytest.raises(ValueError, match=r"it spikes already; load the model anew"):
        spike_(model, {"re:.*up_proj": None, "_default": SpikeConfig()})
    assert weight is model.model.layers[0].mlp.up_proj.weight


def test_thirty_per_cent() -> None:
    """Codes, scales, and the padding of both, in memory; groups of 128 at an ordinary shape."""
    model = build("qwen3_next", hidden_size=128, intermediate_size=256, moe_intermediate_size=128)
    done = spike_(model)
    floats = sum(one.numel() * 4 for name, one in build("qwen3_next", hidden_size=128, intermediate_size=256,
                 moe_intermediate_size=128).named_parameters() if name in done.spiked)  # fmt: skip
    assert done.bytes_before == floats
    weights = [one for one in model.parameters() if isinstance(one, SpikeWeight)]
    stored = sum(one.codes.nbytes + one.scales.nbytes for one in weights)
    assert stored == done.bytes_after and stored <= 0.3 * floats
    for one in weights:  # no float numbers are kept beside
        with pytest.raises(RuntimeError, match="invalid python storage"):
            one.untyped_storage().data_ptr()


def test_rwkv_keeps_its_numbers_without_rescaling(ids: Tensor) -> None:
    """Hugging Face divides weights in place every few layers, also after a first pass has done it."""
    for first in (False, True):
        model = build("rwkv", num_hidden_layers=4)
        wanted = model(ids).logits if first else build("rwkv", num_hidden_layers=4)(ids).logits
        spike_(model, SpikeConfig(k=5000.0, weights=None))
        assert (model(ids).logits - wanted).norm() < 0.02 * wanted.norm()
        assert model.config.rescale_every == 0 and model.training is False
    fresh, used = build("rwkv", num_hidden_layers=4), build("rwkv", num_hidden_layers=4)
    used(ids)
    spike_(fresh), spike_(used)
    assert torch.equal(fresh(ids).logits, used(ids).logits)


def test_plain_modules() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    done = spike_(model)
    assert set(done.spiked) == {"0.weight", "2.weight"} and model(torch.randn(2, 16)).shape == (2, 4)


BAD = {
    "k": (-1.0, "k: expected a positive number, got -1.0"),
    "queries": (0, "queries: expected a positive number, got 0"),
    "group": (6, "group: expected a multiple of 4, got 6"),
    "weights": ("int4", "weights: expected one of int8, None, got 'int4'"),
    "saturation": ("wrap", "saturation: expected one of exact, clip, got 'wrap'"),
    "mode": ("fast", "mode: expected one of auto, int, event, expand, got 'fast'"),
    "cache": ("int4", "cache: expected one of int8, None, got 'int4'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_configs(name: str) -> None:
    value, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        SpikeConfig(**{name: value})


def test_bad_patterns() -> None:
    model = build("qwen3_next")
    with pytest.raises(ValueError, match=r"'lm_haed' names nothing; there are: .*mlp.experts.down_proj \(2\).*lm_head"):
        spike_(model, {"lm_haed": None, "_default": SpikeConfig()})
    with pytest.raises(ValueError, match=r"'re:.*embed.*' names nothing that multiplies activations"):
        spike_(model, {"re:.*embed.*": SpikeConfig(), "_default": SpikeConfig()})
    with pytest.raises(ValueError, match=r"'re:.*up_proj' names only what other patterns take before it"):
        spike_(model, {"re:.*proj": None, "re:.*up_proj": SpikeConfig(), "_default": SpikeConfig()})
    with pytest.raises(ValueError, match="it leaves every weight as it is; there are"):
        spike_(model, {"_default": None})
    with pytest.raises(ValueError, match="re:\\(: expected a regular expression"):
        spike_(model, {"re:(": None})
    with pytest.raises(TypeError, match="_default: expected a SpikeConfig or None, got float"):
        spike_(model, {"_default": 3.0})
    with pytest.raises(ValueError, match="lm_head: queries, cache and state hold for the model"):
        Plan({"lm_head": SpikeConfig(cache="int8")})
    assert not any(isinstance(one, SpikeWeight) for one in model.parameters()) and conversion(model) is None


def test_bad_models() -> None:
    with pytest.raises(ValueError, match=r"model: nothing to convert: expected linear .* got ReLU, Sequential"):
        spike_(nn.Sequential(nn.ReLU()))
    model = build("qwen3_5")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = torch.nan
    with pytest.raises(ValueError, match=r"model.layers.1.mlp.up_proj.weight: expected finite weights, got 1 that are"):
        spike_(model)
    assert not any(isinstance(one, SpikeWeight) for one in model.parameters())  # all or nothing
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"0.weight: expected numbers, got a tensor on the meta device"):
        spike_(empty)
    with pytest.raises(ValueError, match="queries, cache and state need a model of Hugging Face"):
        spike_(nn.Sequential(nn.Linear(4, 4)), SpikeConfig(cache="int8"))


def test_outputs_that_are_all_zero_are_listed() -> None:
    model = nn.Sequential(nn.Linear(8, 4, bias=False))
    with torch.no_grad():
        model[0].weight[[1, 3]] = 0
    done = spike_(model)
    assert done.dead == {"0.weight": 2} and "outputs all zero: 0.weight: 2" in str(done)
    assert model(torch.randn(5, 8))[:, [1, 3]].eq(0).all()
