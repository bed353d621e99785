"""EWC: elastic weight consolidation, springs as stiff as the Fisher information of old tasks.

    loss + lambda / 2 sum_k sum_i F_ki (theta_i - theta*_ki)^2
    F_i = E_x E_{y ~ p(y | x)} (d log p(y | x) / d theta_i)^2                 at the end of a task

Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks". The sum over tasks k is one spring:
its stiffness is the sum of the F_k, its anchor their weighted mean; the constant that differs moves no weight. Ways to
estimate F that are all called EWC, and differ (van de Ven 2025, "On the computation of the Fisher information in
continual learning"):

    "exact"      the sum over all classes, weighted by p
    "sampled"    one class for each sample, drawn from p
    "empirical"  the label instead of a class from p
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from spiking.plasticity.arguments import whole
from spiking.plasticity.method import Batches, Forward, logits, pick
from spiking.plasticity.regularise.penalty import Spring

FISHERS = ("exact", "sampled", "empirical")


class EWC(Spring):
    """Elastic weight consolidation.

    Arguments:
        model: whose parameters that train are held.
        strength: lambda.
        forward: inputs -> logits (B, classes); `None` is `logits(model)`.
        fisher: "exact", "sampled" or "empirical".
        samples: of a task, one backward pass each (one for each class with "exact").
        batch_axis: axis of the samples in tensors, 0, or 1 for (T, B, in).
        seed: of the draw of classes.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self, model: nn.Module, strength: float, *, forward: Forward | None = None, fisher: str = "sampled",
        samples: int = 200, batch_axis: int = 0, seed: int = 0,
    ) -> None:
        if fisher not in FISHERS:
            raise ValueError(f"fisher: expected one of {', '.join(FISHERS)}, got {fisher!r}")
        whole("samples", samples, 1)
        super().__init__(model, strength, 0.5)
        self.model, self.forward, self.fisher, self.samples = model, forward or logits(model), fisher, samples
        self.axis = batch_axis
        self.generator = torch.Generator().manual_seed(seed)

    def next_task(self, batches: Batches | None = None, **options: Any) -> None:
        """Measure the Fisher information of the task that is over.

        Arguments:
            batches: its inputs and labels.

        Raises:
            ValueError: without batches.
        """
        if batches is None:
            raise ValueError("batches: EWC looks at the task that is over; expected its inputs and labels, got None")
        measured = self.information(batches)
        super().next_task(batches, **options)
        for name, p in self.parameters.items():
            old, new = self.importance[name], measured[name]
            total = old + new
            mean = (old * self.anchor[name] + new * p.detach()) / total.clamp(min=torch.finfo(p.dtype).tiny)
            self.anchor[name] = torch.where(total > 0, mean, p.detach())
            self.importance[name] = total

    def information(self, batches: Batches) -> dict[str, Tensor]:
        """Parameter -> diagonal of the Fisher information, over the first `samples` of the batches."""
        F = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        training, count = self.model.training, 0
        self.model.eval()
        for inputs, labels in batches:
            for b in range(min(len(labels), self.samples - count)):
                one = pick(inputs, torch.tensor([b]), self.axis)
                self._add(F, log_softmax(self.forward(one)[0], 0), int(labels[b]))
                count += 1
            if count >= self.samples:
                break
        self.model.train(training)
        return {name: f / max(count, 1) for name, f in F.items()}

    def _add(self, F: dict[str, Tensor], score: Tensor, label: int) -> None:
        p = score.detach().exp()
        if not bool(p.isfinite().all()):
            raise FloatingPointError(
                "EWC: the model's outputs are not finite; training is unstable where the learning rate times strength "
                f"({2 * self.factor:g}) times the largest importance is above 2"
            )
        if self.fisher == "exact":
            classes = [(c, float(p[c])) for c in range(len(p))]
        elif self.fisher == "sampled":
            classes = [(int(torch.multinomial(p.cpu(), 1, generator=self.generator)), 1.0)]
        else:
            classes = [(label, 1.0)]
        for place, (c, weight) in enumerate(classes):
            grads = torch.autograd.grad(
                score[c], list(self.parameters.values()), allow_unused=True, retain_graph=place + 1 < len(classes)
            )
            for name, grad in zip(self.parameters, grads, strict=True):
                if grad is not None:
                    F[name] += weight * grad.square()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "draw": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.generator.set_state(state["draw"])
