"""Saving and loading through Hugging Face: importing this registers "spiking" among the quantizers of transformers.

`from_pretrained(folder, quantization_config=SpikeConfig(...))` loads a float model and converts it. A converted model's
`save_pretrained` writes safetensors with `NAME_codes` and `NAME_scales` in place of every int8 weight, the tensors of
kernels/spike_linear/packed.py as they are, and the plan in config.json; `from_pretrained` puts them together again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.core_model_loading import ConversionOps, WeightConverter
from transformers.quantizers import HfQuantizer
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from spiking.llm.config import Plan, SpikeConfig
from spiking.llm.spike import chosen, spike_, untie
from spiking.llm.targets import Target, targets
from spiking.llm.weight import Matrices, SpikeWeight

METHOD = "spiking"
CODES, SCALES = "_codes", "_scales"


@register_quantization_config(METHOD)
class SpikingQuantization(QuantizationConfigMixin):
    """A plan as transformers keeps it in a model's config.

    Arguments:
        patterns: {pattern: the fields of its SpikeConfig, or None}.
        quant_method: "spiking".
    """

    def __init__(self, patterns: Mapping[str, Any], quant_method: str = METHOD) -> None:
        self.quant_method = quant_method  # type: ignore[assignment]  # transformers' own methods are an enumeration
        self.plan = Plan.from_dict({"patterns": patterns})

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds."""
        return self.plan.to_dict()


@register_quantizer(METHOD)
class SpikeQuantizer(HfQuantizer):
    """Loads and saves models that spike; transformers makes it.

    Arguments:
        quantization_config: a SpikeConfig, a Plan, or what transformers read from config.json.
        pre_quantized: whether the files hold a model that spikes already.
    """

    def __init__(self, quantization_config: SpikeConfig | Plan | SpikingQuantization, **words: Any) -> None:
        config = SpikingQuantization(quantization_config.to_dict()["patterns"])
        super().__init__(config, **words)
        self.plan = config.plan
        self.stored: dict[str, tuple[Target, SpikeConfig]] = {}

    def is_serializable(self) -> bool:
        """`save_pretrained` works."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Whole numbers do not train."""
        return False

    def get_state_dict_and_metadata(self, model: torch.nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors to be saved: each int8 weight as its codes and scales, once."""
        state: dict[str, Tensor] = {}
        tied = set(getattr(model, "all_tied_weights_keys", {}))
        written: set[int] = set()
        for name, value in model.state_dict(keep_vars=True).items():
            if not isinstance(value, SpikeWeight):
                state[name] = value.detach()
                continue
            matrices = value.matrices
            if name in tied or id(matrices) in written:
                continue
            written.add(id(matrices))
            if matrices.codes is not None and matrices.scales is not None:
                state[name + CODES], state[name + SCALES] = matrices.codes, matrices.scales
            else:
                state[name] = value.decode().contiguous()
        return state, {}

    def _process_model_before_weight_loading(
        self, model: torch.nn.Module, checkpoint_files: list[str] | None = None, **words: Any
    ) -> None:
        pickles = [file for file in checkpoint_files or [] if not file.endswith(".safetensors")]
        if pickles:
            raise ValueError(
                f"{pickles[0]}: expected safetensors; load a pickle by name, not through quantization_config, "
                "and call spike_"
            )
        if self.pre_quantized:
            found = targets(model)
            configs, _ = chosen(self.plan, model, found)
            for name, config in configs.items():
                if found[name].embedding:
                    untie(model, found[name].names)
                if config.weights is not None:
                    self.stored |= {alias: (found[name], config) for alias in found[name].names}
            shared = getattr(model, "all_tied_weights_keys", {})  # in the file under another name
            _check(checkpoint_files or [], [one for name, one in self.stored.items() if name not in shared])

    def _process_model_after_weight_loading(self, model: torch.nn.Module, **words: Any) -> None:
        spike_(model, self.plan)

    @property
    def serialized_names(self) -> dict[str, list[str]]:  # type: ignore[override]
        """For transformers: which tensors of the file make which parameter."""
        own = sorted({name.rpartition(".")[2] for name in self.stored})
        return {name: [name + CODES, name + SCALES] for name in own}

    def get_load_operations(self) -> dict[str, Any]:
        """For transformers: what puts them together."""
        return {"deserialize": _Join}

    def update_weight_conversions(self, weight_conversions: list[Any], model: torch.nn.Module) -> list[WeightConverter]:
        """Names in our files are the model's own; only float checkpoints of others are renamed and merged."""
        return self.get_weight_conversions() if self.pre_quantized else weight_conversions


def _check(files: list[str], stored: list[tuple[Target, SpikeConfig]]) -> None:
    """Refuse files that lack a weight's tensors or have others, before anything is read but their tables."""
    tables: dict[str, tuple[str, Any]] = {}
    for file in files:
        with safe_open(file, "pt") as opened:
            tables |= {name: (file, opened.get_slice(name)) for name in opened.keys()}
    for target, config in stored:
        found = [name for name in target.names if name + CODES in tables and name + SCALES in tables]
        if not found:
            raise ValueError(f"{files[0]}: expected {target.name}{CODES} and {SCALES}, for it spikes; got none")
        file = tables[found[0] + CODES][0]
        parts = [tables[found[0] + end][1] for end in (CODES, SCALES)]
        try:
            _matrices(target, config, *(_empty(part.get_shape(), part.get_dtype()) for part in parts))
        except ValueError as error:
            raise ValueError(f"{file}: {found[0]}: {error}") from error


def _empty(shape: list[int], kind: str) -> Tensor:
    """A tensor without memory as a file's table describes it; types that we don't write are all the same here."""
    known = {"U8": torch.uint8, "F32": torch.float32}
    return torch.empty(shape, dtype=known.get(kind, torch.bool), device="meta")


def _matrices(target: Target, config: SpikeConfig, codes: Tensor, scales: Tensor) -> Matrices:
    """A weight's content from its two tensors."""
    shape = tuple(target.weight.transpose(-1, -2).shape if target.swapped else target.weight.shape)
    if codes.shape[:-1] != shape[:-2] or scales.shape[:-1] != shape[:-2]:
        raise ValueError(f"codes: expected {shape[:-2]} packed weights, got {tuple(codes.shape)}")
    matrices = Matrices(target.name, config, shape, codes, scales)
    matrices.packed()  # checks the sizes
    return matrices


class _Join(ConversionOps):
    """Codes and scales from a file as a spike weight."""

    def __init__(self, quantizer: SpikeQuantizer) -> None:
        self.hf_quantizer = quantizer  # its presence also tells transformers to leave the tensors' types alone

    @property
    def reverse_op(self) -> ConversionOps:
        """Saving goes through `get_state_dict_and_metadata`."""
        return self

    def convert(  # type: ignore[override]
        self, input_dict: dict[str, Any], *args: Any, full_layer_name: str = "", **words: Any
    ) -> dict[str, Tensor]:
        """{parameter: spike weight} from its two tensors."""
        target, config = self.hf_quantizer.stored[full_layer_name]
        parts = {name: part[0] if isinstance(part, list) else part for name, part in input_dict.items()}
        codes = next(part for name, part in parts.items() if name.endswith(CODES))
        scales = next(part for name, part in parts.items() if name.endswith(SCALES))
        matrices = _matrices(target, config, codes, scales)
        return {full_layer_name: SpikeWeight.parameter(matrices, target.swapped, target.weight.dtype)}


def attach(model: Any, plan: Plan) -> None:
    """Let a model of Hugging Face save and load as one that spikes."""
    quantizer = SpikeQuantizer(plan, pre_quantized=True)
    model.hf_quantizer, model.is_quantized, model.quantization_method = quantizer, True, METHOD
    model.config.quantization_config = quantizer.quantization_config
    model._weight_conversions = []
