"""In and out through Hugging Face: quantization_config, safetensors, and files that are not as they should be."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from spiking.llm import Plan, SpikeConfig, SpikeWeight, coverage, spike_

from .families import build, transformers

safetensors = pytest.importorskip("safetensors.torch", reason="spiking.llm needs the extra llm")
load_file, save_file = safetensors.load_file, safetensors.save_file
Auto = transformers.AutoModelForCausalLM


def test_a_float_model_is_converted_while_it_loads(ids: Tensor, tmp_path: Path) -> None:
    model = build("qwen3_next")
    model.save_pretrained(tmp_path)
    spike_(model, SpikeConfig(k=4.0))
    loaded = Auto.from_pretrained(tmp_path, quantization_config=SpikeConfig(k=4.0))
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    patterns = {"re:.*down_proj": SpikeConfig(k=6.0), "_default": SpikeConfig(k=2.0)}
    loaded = Auto.from_pretrained(tmp_path, quantization_config=Plan(patterns))
    assert loaded.model.layers[0].mlp.experts.down_proj.matrices.config.k == 6.0
    assert loaded.config.quantization_config.to_dict()["patterns"]["_default"]["k"] == 2.0
    coverage(loaded, ids).check()


def test_what_the_files_hold(tmp_path: Path) -> None:
    model = build("qwen3_next", hidden_size=128, intermediate_size=256, moe_intermediate_size=128)
    floats = {name: one.numel() * 4 for name, one in model.named_parameters()}
    done = spike_(model)
    model.save_pretrained(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir() if path.stat().st_size > 1e5] == [".safetensors"]
    saved = load_file(tmp_path / "model.safetensors")
    for name in done.spiked:
        assert name not in saved
        assert saved[name + "_codes"].dtype == torch.uint8 and saved[name + "_scales"].dtype == torch.float32
    stored = sum(saved[name + end].nbytes for name in done.spiked for end in ("_codes", "_scales"))
    assert stored <= 0.3 * sum(floats[name] for name in done.spiked)
    config = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "spiking" and config["patterns"]["_default"]["k"] == 3.0


def test_shards_bfloat16_and_a_second_round(ids: Tensor, tmp_path: Path) -> None:
    build("zamba2").to(torch.bfloat16).save_pretrained(tmp_path)
    plan = Plan({"lm_head": SpikeConfig(), "_default": SpikeConfig()})
    model = Auto.from_pretrained(tmp_path, quantization_config=plan)  # from a file: .to rounds rotary tables as well
    with torch.no_grad():
        wanted = model(ids).logits
    model.save_pretrained(tmp_path / "one", max_shard_size="40KB")
    assert len(list((tmp_path / "one").glob("*.safetensors"))) > 1
    again = Auto.from_pretrained(tmp_path / "one")
    again.save_pretrained(tmp_path / "two")
    last = Auto.from_pretrained(tmp_path / "two")
    for one in (again, last):
        assert one.dtype == torch.bfloat16 and isinstance(one.lm_head.weight, SpikeWeight)
        assert not isinstance(one.get_input_embeddings().weight, SpikeWeight)
        with torch.no_grad():
            assert torch.equal(one(ids).logits, wanted)


def test_gpt2_with_conv1d(ids: Tensor, tmp_path: Path) -> None:
    config = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=96, n_positions=32)
    model = Auto.from_config(config).eval()
    done = spike_(model)
    assert done.spiked["transformer.h.0.mlp.c_fc.weight"] and len(done.spiked) == 8
    coverage(model, ids, new_tokens=2).check()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(Auto.from_pretrained(tmp_path)(ids).logits, model(ids).logits)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    model = build("qwen3_5")
    model.save_pretrained(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"pytorch_model.bin: expected safetensors; load a pickle by name"):
        Auto.from_pretrained(tmp_path, quantization_config=SpikeConfig())


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    model = build("qwen3_5")
    spike_(model)
    model.save_pretrained(tmp_path)
    path, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    good, text = load_file(path), config.read_text()
    name = "model.layers.0.mlp.up_proj.weight"
    save_file({**good, name + "_scales": good[name + "_scales"][:-16]}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"safetensors: .*up_proj.weight: scales: expected \(64,\) .* got \(48,\)"):
        Auto.from_pretrained(tmp_path)
    save_file({key: one for key, one in good.items() if key != name + "_codes"}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"model.safetensors: expected .*up_proj.weight_codes and _scales"):
        Auto.from_pretrained(tmp_path)
    save_file(good, path, {"format": "pt"})
    config.write_text(text.replace('"saturation"', '"saturatoin"'))
    with pytest.raises(ValueError, match=r"quantization_config: _default: .*'saturatoin'"):
        Auto.from_pretrained(tmp_path)


def test_a_float_model_saved_before_is_left_alone(ids: Tensor, tmp_path: Path) -> None:
    """Registering the quantizer changes nothing for others."""
    model = build("qwen3_5")
    model.save_pretrained(tmp_path)
    loaded = Auto.from_pretrained(tmp_path)
    assert not any(isinstance(one, SpikeWeight) for one in loaded.parameters())
