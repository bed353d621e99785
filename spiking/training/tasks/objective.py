"""Objectives: what a task asks of the output (T, B, n), as a loss, as figures, and as pictures.

    Value    (y_last - target)^2
    Label    cross entropy of y_last
    Voltage  w BCE(sigmoid(y_0 + offset), spike) + (1 - w) (y_1 - soma)^2, mean over the steps after `burn`

Spieler et al. 2024 take w = 1/2. A neuron fires in one step of some two hundred, so that y_0 begins with an offset,
that of the chance to fire: log(p / (1 - p)). The published figures of the voltage come after the predictions were given
the mean and the spread of the test recordings; these here do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from spiking import plots, readout
from spiking.datasets.tasks.adding import CHANCE
from spiking.datasets.tasks.l5pc import voltage

Array = np.ndarray[Any, Any]
FALSE = {"tp_at_1fp": 0.01, "tp_at_quarter_fp": 0.0025}  # false positives, the share of silent steps


class Objective(ABC):
    """What a task asks for."""

    @abstractmethod
    def loss(self, out: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        """The mean loss of a batch."""

    @abstractmethod
    def answer(self, out: Tensor, lengths: Tensor) -> Tensor:
        """(B, ...) what is measured."""

    def truth(self, target: Tensor) -> Tensor:
        """(B, ...) what it is measured against."""
        return target

    @abstractmethod
    def scores(self, answer: Tensor, truth: Tensor) -> dict[str, float]:
        """Figures over all sequences."""

    @abstractmethod
    def draw(self, folder: Path, answer: Tensor, truth: Tensor) -> None:
        """Pictures into a folder."""

    def right(self, out: Tensor, target: Tensor, lengths: Tensor) -> Tensor | None:
        """(B,) which sequences were named rightly, where they are to be named."""
        return None


class Value(Objective):
    """A number at the end."""

    def loss(self, out: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        """Mean squared error."""
        return mse_loss(self.answer(out, lengths), target)

    def answer(self, out: Tensor, lengths: Tensor) -> Tensor:
        """The last step's output."""
        return readout.last(out, lengths)[:, 0]

    def scores(self, answer: Tensor, truth: Tensor) -> dict[str, float]:
        """Mean squared error, and that of always saying 1."""
        return {"mse": float(mse_loss(answer, truth)), "chance_mse": CHANCE}

    def draw(self, folder: Path, answer: Tensor, truth: Tensor) -> None:
        """What was said against what was asked for."""
        plots.agreement(truth, answer).savefig(folder / "sums.png")


class Label(Objective):
    """A class at the end.

    Arguments:
        classes: their names.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes

    def loss(self, out: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        """Cross entropy."""
        return cross_entropy(self.answer(out, lengths), target)

    def answer(self, out: Tensor, lengths: Tensor) -> Tensor:
        """The last step's logits."""
        return readout.last(out, lengths)

    def right(self, out: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        """Where the highest logit is the class."""
        return self.answer(out, lengths).argmax(1) == target

    def scores(self, answer: Tensor, truth: Tensor) -> dict[str, float]:
        """Accuracy."""
        return {"accuracy": float((answer.argmax(1) == truth).float().mean())}

    def draw(self, folder: Path, answer: Tensor, truth: Tensor) -> None:
        """The confusion matrix."""
        plots.confusion(truth, answer.argmax(1), self.classes).savefig(folder / "confusion.png")


class Voltage(Objective):
    """A neuron's spikes and its soma's voltage in every step.

    Arguments:
        burn: first steps that count for nothing.
        offset: of the spikes' logit.
        share: w, of the spikes in the loss.
    """

    def __init__(self, burn: int = 150, offset: float = 0.0, share: float = 0.5) -> None:
        self.burn, self.offset, self.share = burn, offset, share

    def loss(self, out: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        """Both losses over the steps that count."""
        out, target = out[self.burn :], target[self.burn :]
        spikes = binary_cross_entropy_with_logits(out[..., 0] + self.offset, target[..., 0])
        return self.share * spikes + (1 - self.share) * mse_loss(out[..., 1], target[..., 1])

    def answer(self, out: Tensor, lengths: Tensor) -> Tensor:
        """(B, T - burn, 2) probability of a spike, and mV."""
        out = out[self.burn :].transpose(0, 1)
        return torch.stack([torch.sigmoid(out[..., 0] + self.offset), voltage(out[..., 1])], -1)

    def truth(self, target: Tensor) -> Tensor:
        """The same of the recording."""
        target = target[self.burn :].transpose(0, 1)
        return torch.stack([target[..., 0], voltage(target[..., 1])], -1)

    def scores(self, answer: Tensor, truth: Tensor) -> dict[str, float]:
        """Of the voltage and, where the neuron fires at all, of the spikes."""
        from sklearn.metrics import average_precision_score, explained_variance_score, roc_auc_score, roc_curve

        said, true = answer.double().numpy(), truth.double().numpy()
        error = said[..., 1] - true[..., 1]
        found = {
            "soma_rmse_mv": float(np.sqrt(np.mean(error**2))),
            "soma_explained_variance": float(explained_variance_score(true[..., 1].ravel(), said[..., 1].ravel())),
            "soma_correlation": float(np.corrcoef(true[..., 1].ravel(), said[..., 1].ravel())[0, 1]),
        }
        fired, chance = true[..., 0].ravel(), said[..., 0].ravel()
        if 0 < fired.sum() < len(fired):
            false, hit, _ = roc_curve(fired, chance, drop_intermediate=False)
            found |= {"auc": float(roc_auc_score(fired, chance))}
            found |= {"average_precision": float(average_precision_score(fired, chance))}
            found |= {name: float(np.interp(share, false, hit)) for name, share in FALSE.items()}
        return found

    def draw(self, folder: Path, answer: Tensor, truth: Tensor) -> None:
        """The window with most spikes, and how well spikes are told from silence."""
        said, true = answer.numpy(), truth.numpy()
        k = int(true[..., 0].sum(1).argmax())
        plots.membrane(true[k, :, 1], said[k, :, 1], true[k, :, 0], said[k, :, 0]).savefig(folder / "voltage.png")
        if 0 < true[..., 0].sum() < true[..., 0].size:
            plots.detection(true[..., 0], said[..., 0]).savefig(folder / "detection.png")
