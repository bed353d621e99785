"""Which parameters of a model are matrices that multiply activations, and which of them stay as they are unless named.

Known by their module: linear layers, GPT-2's Conv1D (in, out), experts and routers of mixtures, and what KNOWN lists.
Whatever else multiplies an activation is found by `coverage`, as missed. Embeddings are looked up and never multiplied;
norms, gates' biases and decays act on each channel by itself; a depth-wise convolution sums over time, not over
channels: none of them is a matrix product.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

ROUTER = re.compile(r"(Router|TopKGate|MoEGate)$")
HEAD = "the output embedding, kept unless named"
ROUTERS = "a router, kept unless named"
DEPTHWISE = "depth-wise convolution, no matrix product"
# Module class: {parameter: whether it is (..., in, out) instead of (..., out, in)}.
KNOWN: dict[str, dict[str, bool]] = {
    "RecurrentGemmaRglru": {"input_gate_weight": True, "recurrent_gate_weight": True},
}


@dataclass
class Target:
    """A parameter that multiplies activations.

    Arguments:
        name: of the parameter; names: all of them, where modules share it.
        weight: the parameter itself.
        swapped: it is (in, out) or (experts, in, out).
        kept: why it stays as it is unless a pattern names it.
        embedding: the name under which it is also an embedding.
    """

    name: str
    weight: Tensor
    swapped: bool
    kept: str | None = None
    embedding: str | None = None
    names: list[str] = field(default_factory=list)


def targets(model: torch.nn.Module) -> dict[str, Target]:
    """All of them by name, in the order of the model."""
    head = head_of(model)
    found: dict[int, Target] = {}
    lookups: dict[int, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, torch.nn.Embedding):
            lookups[id(module.weight)] = f"{path}.weight"
        for name, weight, swapped, router in _matrices(module):
            full = f"{path}.{name}" if path else name
            target = found.setdefault(id(weight), Target(full, weight, swapped))
            target.names.append(full)
            if module is head:
                target.kept = HEAD
            elif router:
                target.kept = ROUTERS
    for one, target in found.items():
        target.embedding = lookups.get(one)
    return {target.name: target for target in found.values()}


def depthwise(model: torch.nn.Module) -> dict[str, str]:
    """The weights of depth-wise convolutions by name, with the reason why they do not spike."""
    convolutions = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    return {
        f"{path}.weight": DEPTHWISE
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, convolutions) and module.groups == module.in_channels and module.groups > 1
    }


def head_of(model: Any) -> torch.nn.Module | None:
    """The module that makes logits: Hugging Face's output embedding, or one called lm_head."""
    if hasattr(model, "get_output_embeddings"):
        head = model.get_output_embeddings()
        if isinstance(head, torch.nn.Module):
            return head
    for path, module in torch.nn.Module.named_modules(model):
        if path.rpartition(".")[2] == "lm_head":
            return module
    return None


def _matrices(module: torch.nn.Module) -> Iterator[tuple[str, Tensor, bool, bool]]:
    """(name, parameter, swapped, router) of a module's own matrices."""
    own = module._parameters
    kind = type(module).__name__
    known = KNOWN.get(kind, {})
    experts = hasattr(module, "num_experts") or hasattr(module, "is_transposed")
    for name, weight in own.items():
        if weight is None or not weight.is_floating_point():
            continue
        if isinstance(module, torch.nn.Linear) and name == "weight":
            yield name, weight, False, False
        elif kind == "Conv1D" and hasattr(module, "nf") and name == "weight":
            yield name, weight, True, False
        elif name in known:
            yield name, weight, known[name], False
        elif experts and weight.ndim == 3 and not name.endswith("bias"):
            yield name, weight, bool(getattr(module, "is_transposed", False)), False
        elif ROUTER.search(kind) and weight.ndim == 2:
            yield name, weight, False, True
