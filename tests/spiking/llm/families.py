"""The thirteen linear-attention families of Hugging Face as small random models."""

from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="spiking.llm needs the extra llm")

BASE: dict[str, Any] = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2}
TOKENS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
HEADS: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
DELTA: dict[str, Any] = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA2: dict[str, Any] = {"state_size": 16, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8}
FALCON_H1: dict[str, Any] = {
    "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
}
ZAMBA2: dict[str, Any] = {
    "num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "num_mem_blocks": 1,
    "mamba_d_state": 16, "mamba_ngroups": 1, "n_mamba_heads": 4, "mamba_headdim": 16, "chunk_size": 8,
    "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 64,
    "use_shared_mlp_adapter": True, "use_shared_attention_adapter": True, "adapter_rank": 8, "use_mem_rope": True,
}
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "mamba": ("MambaConfig", {"state_size": 8, "time_step_rank": 8}),
    "mamba2": ("Mamba2Config", MAMBA2),
    "falcon_mamba": ("FalconMambaConfig", {"state_size": 8, "time_step_rank": 8}),
    "rwkv": ("RwkvConfig", {"attention_hidden_size": 32, "context_length": 64, "rescale_every": 1}),
    "qwen3_next": (
        "Qwen3NextConfig",
        {**HEADS, **DELTA, **EXPERTS, "intermediate_size": 64, "shared_expert_intermediate_size": 32},
    ),
    "qwen3_5": ("Qwen3_5TextConfig", {**HEADS, **DELTA, "intermediate_size": 64}),
    "minimax": (
        "MiniMaxConfig",
        {**HEADS, "intermediate_size": 32, "num_local_experts": 4, "num_experts_per_tok": 2, "block_size": 8,
         "layer_types": ["linear_attention", "full_attention"]},
    ),
    "olmo_hybrid": (
        "OlmoHybridConfig",
        {**HEADS, **DELTA, "linear_num_key_heads": 4, "intermediate_size": 64},
    ),
    "kimi_linear": (
        "KimiLinearConfig",
        {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16, "intermediate_size": 64,
         "moe_intermediate_size": 32, "kv_lora_rank": 16, "q_lora_rank": None, "qk_nope_head_dim": 8,
         "qk_rope_head_dim": 8, "v_head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2,
         "mlp_layer_types": ["dense", "sparse"], "linear_head_dim": 16, "linear_num_heads": 4,
         "layer_types": ["linear_attention", "full_attention"]},
    ),
    "recurrent_gemma": (
        "RecurrentGemmaConfig",
        {"num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16,
         "intermediate_size": 64, "lru_width": 32, "attention_window_size": 16},
    ),
    "xlstm": (
        "xLSTMConfig",
        {"hidden_size": 64, "embedding_dim": 64, "num_heads": 2, "num_blocks": 2, "chunk_size": 16,
         "qk_dim_factor": 1.0},
    ),
    "falcon_h1": ("FalconH1Config", {**HEADS, **FALCON_H1, "intermediate_size": 64}),
    "zamba2": ("Zamba2Config", ZAMBA2),
}
NAMES = sorted(CONFIGS)


def build(name: str, seed: int = 0, **changes: Any) -> Any:
    """A small random model of a family, in evaluation mode."""
    kind, config = CONFIGS[name]
    torch.manual_seed(seed)
    config = getattr(transformers, kind)(**{**BASE, **TOKENS, **config, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # freshly initialised weights are so small that attention would be nearly uniform
        for path, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and "head" not in path:
                module.weight.mul_(4)
    return model
