"""Turn a language model's matrix products into spiking ones, in place: y = x W^T becomes y = V_th W s.

SpikingBrain's conversion after training (Pan et al. 2025, arXiv 2509.05276, section 3.3): every input of a linear
projection becomes whole-number spike counts by an adaptive threshold, weights become int8. Nothing is trained. Unlike
the released code, the conversion sits in the weights (weight.py), so that fused calls spike as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch

from spiking.llm.config import DEFAULT, Plan, SpikeConfig
from spiking.llm.targets import Target, depthwise, targets
from spiking.llm.weight import Matrices, SpikeWeight

KEY = "_spike_conversion"
Config = SpikeConfig | Mapping[str, SpikeConfig | None]


@dataclass
class Conversion:
    """What `spike_` did: printed, it says so.

    Arguments:
        plan: the patterns.
        spiked: {parameter: its config}.
        excluded: {parameter: why it does not spike}, depth-wise convolutions among them.
        untied: {parameter: the embedding it was shared with}; each now has numbers of its own.
        dead: {parameter: how many of its outputs are all zero}; they stay zero.
        bytes_before, bytes_after: of the spiked weights, as float32 and now.
    """

    plan: Plan
    spiked: dict[str, SpikeConfig] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    untied: dict[str, str] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)
    bytes_before: int = 0
    bytes_after: int = 0

    def __str__(self) -> str:
        share = self.bytes_after / max(self.bytes_before, 1)
        lines = [
            f"{len(self.spiked)} weights spike; {self.bytes_before / 1e6:.2f} MB as float32, "
            f"{self.bytes_after / 1e6:.2f} MB now ({share:.1%})"
        ]
        for title, named in (("kept", self.excluded), ("untied from", self.untied), ("outputs all zero", self.dead)):
            lines += [f"  {title}: {name}: {what}" for name, what in collapsed(named).items()]
        return "\n".join(lines)


def spike_(model: torch.nn.Module, config: Config | Plan | None = None) -> Conversion:
    """Make a model's matrix products spike, in place.

    The output embedding and the routers of mixtures stay as they are unless a pattern names them, as in SpikingBrain;
    an output embedding that shares its weight with the input's gets one of its own. A model that spikes already can be
    given other k, saturation and modes.

    Arguments:
        model: any causal language model of Hugging Face, or any module with linear layers.
        config: a SpikeConfig for all weights, or {name or "re:...": SpikeConfig or None, "_default": ...}; see Plan.

    Returns:
        What was done, to be printed or read; `coverage` proves it.

    Raises:
        ValueError: if there is nothing to convert, a pattern names nothing (with what there is), or a weight is not
            finite.
    """
    plan = config if isinstance(config, Plan) else Plan(SpikeConfig() if config is None else config)
    found = targets(model)
    if not found:
        kinds = sorted({type(module).__name__ for module in model.modules()})
        raise ValueError(f"model: nothing to convert: expected linear layers or experts, got {', '.join(kinds)}")
    picked, done = chosen(plan, model, found)
    if not picked:
        raise ValueError(f"config: it leaves every weight as it is; there are: {listed(found)}")
    _rescale_off(model)
    made = {name: _matrices(found[name], one) for name, one in picked.items()}
    for name, matrices in made.items():
        _replace(model, found[name], matrices, done)
    setattr(model, KEY, done)
    _tell_transformers(model, plan)
    return done


def conversion(model: torch.nn.Module) -> Conversion | None:
    """What `spike_` did to a model; None if it was never called."""
    found: Conversion | None = getattr(model, KEY, None)
    return found


def chosen(
    plan: Plan, model: torch.nn.Module, found: dict[str, Target]
) -> tuple[dict[str, SpikeConfig], Conversion]:
    """The config of each weight that is to spike, and a record with the reasons of the others."""
    done, used, picked = Conversion(plan, excluded=depthwise(model)), set(), {}
    for name, target in found.items():
        pattern = plan.choose(target.names)
        used.add(pattern)
        config = plan.default if pattern is None else plan.patterns[pattern]
        if pattern is None and target.kept:
            config, reason = None, target.kept
        elif pattern is None:
            reason = f"no pattern names it, and {DEFAULT!r} is " + ("None" if DEFAULT in plan.patterns else "not given")
        else:
            reason = f"left out by {pattern!r}"
        if config is not None:
            picked[name] = config
        elif isinstance(target.weight, SpikeWeight):
            raise ValueError(f"{name}: {reason}, but it spikes already; load the model anew")
        else:
            done.excluded[name] = reason
    for pattern in plan.patterns:
        if pattern in used or pattern == DEFAULT:
            continue
        alone = Plan({pattern: None})
        others = [name for name, _ in model.named_parameters() if name not in found and alone.choose([name])]
        taken = any(alone.choose(target.names) for target in found.values())
        if taken or not others or plan.patterns[pattern] is not None:
            what = "names only what other patterns take before it" if taken else "names nothing"
            what += " that multiplies activations" if others and not taken else ""
            raise ValueError(f"config: {pattern!r} {what}; there are: {listed(found)}")
        done.excluded |= {name: f"left out by {pattern!r}" for name in others if name not in done.excluded}
    return picked, done


def _matrices(target: Target, config: SpikeConfig) -> Matrices:
    """The weight's new content."""
    if isinstance(target.weight, SpikeWeight):
        old = target.weight.matrices
        if old.floats is not None and (config.weights or config.outliers != old.config.outliers):
            return Matrices.of(target.name, config, old.floats)
        if _stored(old.config) != _stored(config):
            raise ValueError(
                f"{target.name}: expected (weights, group, outliers) as it is stored, {_stored(old.config)}, "
                f"got {_stored(config)}; load the float model anew"
            )
        return replace(old, config=config)
    weight = target.weight.transpose(-1, -2) if target.swapped else target.weight
    if weight.is_meta:
        raise ValueError(f"{target.name}: expected numbers, got a tensor on the meta device; load the weights first")
    return Matrices.of(target.name, config, weight)


def _stored(config: SpikeConfig) -> tuple[object, ...]:
    """What the numbers of a packed weight depend on."""
    return config.weights, config.group, config.outliers


def _replace(model: torch.nn.Module, target: Target, matrices: Matrices, done: Conversion) -> None:
    """Put the spike weight wherever the parameter was, except where it is an embedding."""
    parameter = SpikeWeight.parameter(matrices, target.swapped, target.weight.dtype)
    for name in target.names:
        path, _, own = name.rpartition(".")
        setattr(model.get_submodule(path), own, parameter)
    done.spiked[target.name] = matrices.config
    done.bytes_before += target.weight.numel() * 4
    done.bytes_after += matrices.nbytes
    zero = _zero_outputs(matrices)
    if zero:
        done.dead[target.name] = zero
    if target.embedding:
        done.untied[target.name] = target.embedding
        untie(model, target.names)


def untie(model: Any, names: list[str]) -> None:
    """Keep transformers from tying an output embedding to the input's again."""
    tied = getattr(model, "all_tied_weights_keys", {})
    for name in names:
        tied.pop(name, None)
    if hasattr(model, "config") and not tied:  # other ties, of shared blocks, hang on the same flag
        for config in {id(one): one for one in (model.config, model.config.get_text_config())}.values():
            config.tie_word_embeddings = False


def _zero_outputs(matrices: Matrices) -> int:
    if matrices.floats is not None:
        return int((matrices.floats == 0).all(-1).sum())
    experts = matrices.shape[0] if len(matrices.shape) == 3 else 1
    return sum(int((matrices.packed(one).scale() == 0).all(-1).sum()) for one in range(experts))


def _rescale_off(model: torch.nn.Module) -> None:
    """RWKV halves weights and states every few layers, for float16; whole numbers need no such thing."""
    for module in cast("list[Any]", list(model.modules())):
        if hasattr(module, "_rescale_layers") and getattr(module.config, "rescale_every", False):
            training, module.training = module.training, True
            module._rescale_layers()  # multiplies what evaluation may have divided
            module.training, module.layers_are_rescaled = training, not training
            module.config.rescale_every = 0


def _tell_transformers(model: torch.nn.Module, plan: Plan) -> None:
    """A Hugging Face model saves, and thereby loads, through the quantizer; its attention and cache may change."""
    if hasattr(model, "save_pretrained"):
        from spiking.llm import cache, quantizer  # they import transformers, which this model came from

        quantizer.attach(model, plan)
        cache.attach(model, plan.default)
    elif plan.default and (plan.default.queries or plan.default.cache or plan.default.state):
        raise ValueError("config: queries, cache and state need a model of Hugging Face")


def collapsed(named: Mapping[str, Any]) -> dict[str, Any]:
    """Names that differ by the numbers of layers as one, `layers.*`, where they say the same."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, what in named.items():
        groups.setdefault((re.sub(r"(?<=\.)\d+(?=\.)", "*", name), str(what)), []).append(name)
    return {
        (names[0] if len(names) == 1 else f"{short} ({len(names)})"): named[names[0]]
        for (short, _), names in groups.items()
    }


def listed(named: Mapping[str, Any]) -> str:
    """Names for an error."""
    return ", ".join(collapsed(dict.fromkeys(named, "")))
