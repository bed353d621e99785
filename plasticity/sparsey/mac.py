"""One mac: Q modules of K units that see all inputs, a memory of items or, hearing itself, of sequences."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from spiking.kernels.csa import Rule
from spiking.plasticity.arguments import whole
from spiking.plasticity.sparsey import check
from spiking.plasticity.sparsey.fields import around
from spiking.plasticity.sparsey.network import Sparsey
from spiking.plasticity.sparsey.plan import LevelPlan


class Mac:
    """A memory of one mac.

    Arguments:
        inputs, modules, units: N, Q and K.
        seed: of every draw.
        horizontal: whether it hears its own last code, and so learns sequences.
        exponents: lambda by letter, such as {"U": 2.0, "H": 2.0}.
        rule: of the choice.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.
        plan: anything else of `LevelPlan`, such as band=(9, 12), freeze=0.5, normalise="band".

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self, inputs: int, modules: int, units: int, seed: int = 0, *, horizontal: bool = False,
        exponents: dict[str, float] | None = None, rule: Rule = Rule(), backend: str | None = None,  # noqa: B008
        **plan: Any,
    ) -> None:
        field = torch.arange(whole("inputs", inputs, 1))[None]
        level = LevelPlan(
            field, modules, units, beside=around((1, 1)) if horizontal else None,
            exponents={} if exponents is None else exponents, rule=rule, **plan,
        )
        self.memory = Sparsey(inputs, [level], seed, backend)

    @property
    def synapses(self) -> int:
        """How many binary weights there are."""
        return self.memory.synapses

    def learn(self, item: Any, label: Any = None) -> Tensor:
        """Learn an item, or a whole sequence, once.

        Arguments:
            item: (N,), (T, N), or (S, T, N) sequences in their order; of 0 and 1.
            label: where the mac has labels.

        Returns:
            (Q,), (T, Q) or (S, T, Q) winners of the modules.

        Raises:
            ValueError: if it is not binary or outside the band; then nothing has been learned.
        """
        return _like(item, self.memory.learn(item, label).winners[0][:, :, 0])

    def recognise(self, item: Any) -> tuple[Tensor, Tensor]:
        """The code that fits best, and how familiar the item is.

        Returns:
            winners as from `learn`, and G from 0 to 1 without the last axis.

        Raises:
            ValueError: if it is not binary or outside the band.
        """
        trace = self.memory.recognise(self._in_band(item))
        return _like(item, trace.winners[0][:, :, 0]), _like(item, trace.familiarity[0][:, :, 0])

    def recall(self, prompt: Any, frames: int, threshold: float = 0.9) -> Tensor:
        """Replay a sequence from its first frames; as `Sparsey.recall`."""
        return self.memory.recall(self._in_band(prompt, "prompt"), frames, threshold)

    def classify(self, items: Any) -> Tensor:
        """(S,) the label under which an item is most familiar; as `Sparsey.classify`."""
        return self.memory.classify(self._in_band(items))

    def familiarity(self, items: Any) -> Tensor:
        """(S,) how familiar items or sequences are; as `Sparsey.familiarity`."""
        return self.memory.familiarity(self._in_band(items))

    def _in_band(self, items: Any, name: str = "item") -> Any:
        x = check.frames(items, self.memory.inputs, self.memory.device, name)
        check.in_band(x, self.memory.plans[0], name)
        return items

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it into one HDF5 file; as `Sparsey.save`."""
        self.memory.save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Mac:
        """What `save` wrote; as `Sparsey.load`.

        Raises:
            ValueError: if the file has more than one mac.
        """
        memory = Sparsey.load(path)
        if len(memory.plans) != 1 or len(memory.plans[0].fields) != 1:
            macs = sum(len(plan.fields) for plan in memory.plans)
            raise ValueError(f"path: {path} has {macs} macs; load it by Sparsey.load")
        mac = cls.__new__(cls)
        mac.memory = memory
        return mac


def _like(item: Any, found: Tensor) -> Tensor:
    """Without the axes that the item did not have."""
    axes = torch.as_tensor(item).ndim
    return found[0, 0] if axes == 1 else found[0] if axes == 2 else found
