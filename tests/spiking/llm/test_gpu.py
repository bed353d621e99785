"""Families of flash-linear-attention, whose kernels run on GPUs only: nothing missed, same tokens after a round."""

from pathlib import Path
from typing import Any

import pytest
import torch

from spiking.llm import SpikeConfig, coverage, spike_

from .families import transformers

SIZES: dict[str, Any] = {"vocab_size": 256, "hidden_size": 128, "num_hidden_layers": 2, "num_heads": 2}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gla": ("GLAConfig", {}),
    "delta_net": ("DeltaNetConfig", {}),
    "gated_deltanet": ("GatedDeltaNetConfig", {"head_dim": 64}),
    "gated_deltaproduct": ("GatedDeltaProductConfig", {"head_dim": 64}),
    "mom": ("MomConfig", {"head_dim": 64}),
    "hgrn2": ("HGRN2Config", {}),
    "retnet": ("RetNetConfig", {}),
    "lightnet": ("LightNetConfig", {}),
    "rwkv7": ("RWKV7Config", {"head_dim": 64}),
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", CONFIGS)
def test_flash_linear_attention(name: str, tmp_path: Path) -> None:
    models = pytest.importorskip("fla.models", reason="needs flash-linear-attention and a GPU")
    kind, changes = CONFIGS[name]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(getattr(models, kind)(**SIZES, **changes)).cuda().eval()
    ids = torch.randint(1, 256, (1, 80), device="cuda")
    spike_(model, SpikeConfig())
    coverage(model, ids).check()
    coverage(model, ids, new_tokens=2).check()
    wanted = model.generate(ids, max_new_tokens=6, do_sample=False)
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).cuda().eval()
    assert torch.equal(again.generate(ids, max_new_tokens=6, do_sample=False), wanted)
