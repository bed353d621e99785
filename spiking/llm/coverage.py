"""Proof of a conversion: one forward pass in which every product of a weight with an activation is accounted for.

Below autograd (a TorchDispatchMode) every operator of the pass goes by. A tensor comes from the input as soon as one of
its sources does; it is a weight if its sources are parameters (or saved buffers) and the input is not among them. Any
operator that multiplies matrices with a weight on one side is a product, and so is any operator of another library that
takes a weight of two or more dimensions, for it may do anything with it. So is a product with a tensor from before the
pass that the model does not list, such as a fused copy of weights. Products without any of these (queries times keys,
keys times values, scans) are listed as state. Parameters that met activations channel by channel only, and those that
the pass never touched, are listed too, so that every parameter of the model appears in the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from spiking.llm.products import MULTIPLIES
from spiking.llm.spike import collapsed, conversion
from spiking.llm.targets import DEPTHWISE
from spiking.llm.weight import Matrices, SpikeWeight, watching

LOOKUPS = ("embedding", "embedding_bag")
FROM_INPUT, MADE = "<input>", "<made>"  # sources beside the names of parameters: the input, or nothing but constants


class MissedError(RuntimeError):
    """A weight multiplied activations that were no spikes."""


@dataclass
class Coverage:
    """What happened to every parameter in one forward pass; `print` it.

    Arguments:
        spiked: {parameter: operators that multiplied it with spikes}.
        excluded: {parameter: why it multiplied plain activations}.
        missed: parameters that multiplied plain activations for no reason known, with the operator.
        state: {operator and shapes: how often}: products of activations with activations.
        channelwise: parameters that met activations channel by channel, or were looked up.
        unused: parameters that this pass did not touch.
    """

    spiked: dict[str, list[str]] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    state: dict[str, int] = field(default_factory=dict)
    channelwise: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    how_missed: dict[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Nothing if every product spiked or was left out by name.

        Raises:
            MissedError: with the names and operators of those that were not.
        """
        if self.missed:
            lines = "".join(f"\n  {name}: {how}" for name, how in self.how_missed.items())
            raise MissedError(f"{len(self.missed)} weights multiply activations that are no spikes:{lines}")

    def __str__(self) -> str:
        lines = [
            f"{len(self.spiked)} spiked, {len(self.excluded)} excluded, {len(self.missed)} missed, "
            f"{sum(self.state.values())} products of state"
        ]
        parts: tuple[tuple[str, Mapping[str, Any]], ...] = (
            ("missed", self.how_missed),
            ("excluded", self.excluded),
            ("spiked", {name: ", ".join(how) for name, how in self.spiked.items()}),
            ("state", {how: f"{often} times" for how, often in self.state.items()}),
            ("channel by channel", dict.fromkeys(self.channelwise, "")),
            ("unused", dict.fromkeys(self.unused, "")),
        )
        for title, named in parts:
            lines += [f"  {title}: {name}{f': {what}' if what else ''}" for name, what in collapsed(named).items()]
        return "\n".join(lines)


def coverage(
    model: torch.nn.Module, inputs: Tensor | Mapping[str, Any] | tuple[Any, ...], new_tokens: int = 0
) -> Coverage:
    """Run a model once and say what every parameter multiplied.

    Activations are held until the end of the pass: a short input will do.

    Arguments:
        model: after `spike_`, or before.
        inputs: what it is called with: input_ids (B, T), a mapping of keyword arguments, or a tuple.
        new_tokens: generate that many tokens instead, which takes the way with the cache as well.

    Returns:
        The report; `report.check()` raises if a weight was missed.

    Raises:
        ValueError: if the pass multiplied no weight at all.
    """
    words: Mapping[str, Any] = inputs if isinstance(inputs, Mapping) else {}
    args: tuple[Any, ...] = () if words else inputs if isinstance(inputs, tuple) else (inputs,)
    done = conversion(model)
    watch = _Watch(model, [leaf for leaf in tree_leaves((args, dict(words))) if isinstance(leaf, Tensor)])
    run: Any = model.generate if new_tokens else model
    more: dict[str, Any] = {"max_new_tokens": new_tokens, "do_sample": False} if new_tokens else {}
    with torch.no_grad(), watching(watch.spiked_product), watch:
        run(*args, **words, **more)
    report = watch.report(done.excluded if done else {})
    if not (report.spiked or report.excluded or report.missed):
        raise ValueError("model: the pass multiplied no weight with an activation")
    return report


class _Watch(TorchDispatchMode):
    """Follows weights and activations through every operator."""

    def __init__(self, model: torch.nn.Module, inputs: list[Tensor]) -> None:
        super().__init__()
        self.sources: dict[int, tuple[str, Tensor]] = {}  # of each storage; the tensor keeps it from being used anew
        self.spiked: dict[str, set[str]] = {}
        self.plain: dict[str, set[str]] = {}
        self.strangers: dict[str, set[str]] = {}
        self.state: dict[str, int] = {}
        self.met: set[str] = set()
        self.named: dict[str, list[str]] = {}
        saved = set(model.state_dict(keep_vars=True))
        buffers = [(name, one) for name, one in model.named_buffers(remove_duplicate=False) if name in saved]
        for name, one in [*model.named_parameters(remove_duplicate=False), *buffers]:
            if not one.is_floating_point():
                continue
            first = one.matrices.name if isinstance(one, SpikeWeight) else self._known(one) or name
            self.named.setdefault(first, []).append(name)
            if not isinstance(one, SpikeWeight):
                self._mark(one, first)
        for name, one in model.named_buffers():
            if name not in saved:
                self._mark(one, MADE)
        for one in inputs:
            self._mark(one, FROM_INPUT)

    def _known(self, tensor: Tensor) -> str | None:
        found = self.sources.get(tensor.untyped_storage()._cdata)
        return found[0] if found else None

    def _mark(self, tensor: Tensor, source: str) -> None:
        self.sources[tensor.untyped_storage()._cdata] = (source, tensor)

    def source(self, tensor: Tensor) -> str | None:
        """The parameter a tensor comes from, FROM_INPUT, MADE, or None: from before the pass, not of the model."""
        if isinstance(tensor, SpikeWeight):
            return tensor.matrices.name
        return self._known(tensor)

    def spiked_product(self, matrices: Matrices, operator: str, x: Tensor | None) -> None:
        """A spike weight's own word."""
        where = self.plain if x is None else self.spiked
        where.setdefault(matrices.name, set()).add(operator)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "aten" and (whole := func.decompose(*args, **kwargs)) is not NotImplemented:
            return whole
        result = func(*args, **kwargs)
        self._look(func, args, kwargs)
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        sources = [source for leaf in leaves if (source := self.source(leaf)) != MADE]
        looked_up = func.overloadpacket.__name__ in LOOKUPS
        made = FROM_INPUT if FROM_INPUT in sources or looked_up else sources[0] if sources else MADE
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and not isinstance(leaf, SpikeWeight) and made:
                self._mark(leaf, made)
        return result

    def _look(self, func: Any, args: Any, kwargs: Any) -> None:
        name = func.overloadpacket.__name__
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        weights = [(leaf, source) for leaf in leaves if (source := self.source(leaf)) not in (None, FROM_INPUT, MADE)]
        if func.namespace == "spiking":  # our products: spike weights speak for themselves, what is left are biases
            self.met |= {source for _, source in weights}
            return
        foreign = func.namespace not in ("aten", "prim", "prims")
        if not MULTIPLIES.search(name) and not (foreign and any(leaf.ndim > 1 for leaf, _ in weights)):
            if len(leaves) > len(weights) or name in LOOKUPS:
                self.met |= {source for _, source in weights}
            return
        added = name.startswith(("add", "badd"))  # the first operand is added
        operands = leaves[1:3] if added else leaves[:2] if not foreign else leaves
        multiplied = [(leaf, source) for leaf, source in weights if any(leaf is one for one in operands)]
        self.met |= {source for leaf, source in weights if all(leaf is not one for one in operands)}
        for leaf in operands:
            if leaf.ndim > 1 and self.source(leaf) is None:
                self.strangers.setdefault(f"a tensor {tuple(leaf.shape)} that is no parameter", set()).add(name)
        if not multiplied and len(operands) > 1:
            shapes = " x ".join(str(tuple(one.shape)) for one in operands)
            self.state[f"{name} {shapes}"] = self.state.get(f"{name} {shapes}", 0) + 1
        for leaf, source in multiplied:
            if isinstance(leaf, SpikeWeight):
                continue  # it speaks for itself
            if name == "convolution" and args[8] > 1 and leaf.shape[1] == 1:
                how = DEPTHWISE
            else:
                how = func.name().removeprefix("aten::")
            self.plain.setdefault(source, set()).add(how)

    def report(self, excluded: Mapping[str, str]) -> Coverage:
        """Everything by name."""
        out = Coverage(state=dict(self.state), missed=sorted(self.strangers))
        out.how_missed |= {what: ", ".join(sorted(hows)) for what, hows in self.strangers.items()}
        for first, names in self.named.items():
            reason = next((excluded[name] for name in names if name in excluded), None)
            hows = self.plain.get(first, set())
            shown = next((name for name in names if name in excluded), names[0])
            if first in self.spiked:
                out.spiked[shown] = sorted(self.spiked[first])
            if hows and (reason or hows == {DEPTHWISE}):
                out.excluded[shown] = reason or DEPTHWISE
            elif hows:
                out.missed.append(shown)
                out.how_missed[shown] = ", ".join(sorted(hows))
            if not hows and first not in self.spiked:
                (out.channelwise if first in self.met else out.unused).append(shown)
        return out
