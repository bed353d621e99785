"""Classifier: a spiking network that learns to name recordings, as a LightningModule.

    loss = 1/B sum_b cross_entropy(readout(membrane_b), label_b) + bounds_b

The readout reduces the output membrane (T, B, classes) over a recording's valid steps; the bounds keep firing rates in
range (spiking/training/regularise.py).
"""

from __future__ import annotations

import math
import random
import warnings
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from spiking import readout as readouts
from spiking.datasets.passes import Passes
from spiking.events import Events
from spiking.neurons import ELM
from spiking.training.build import build_network, network_class
from spiking.training.data import EventData
from spiking.training.delays import DelayTraining, HalfCosine, delay_parameters
from spiking.training.regularise import RateBounds

LEFT_OUT = 20  # batches in a row without a gradient that end a run
Readout = Literal["max", "mean", "last", "sum", "softmax_sum", "rate"]


class Classifier(pl.LightningModule):
    """A network, its loss and its optimiser.

    Arguments:
        network: `SpikingMLP`, `SpikingConvNet`, the dotted path of one's own class, or a module. It maps Events to
            (membrane (T, B, classes), states) and, with `trace=True`, to ((membrane, spikes of each layer), states).
        options: arguments of the class; sizes, sensor, classes and dt come from the data.
        readout: how the membrane becomes one number per class.
        optimizer: "adamw", "adam" or "sgd" (momentum 0.9).
        lr: learning rate, the highest of the schedule.
        weight_decay: of weights; not of biases, norms, time constants and delays.
        schedule: "one-cycle" (up, then down), "cosine" (down) or "constant".
        label_smoothing: share of the target spread over all classes.
        rates: bounds on firing rates.
        initialise: draw weights so that membranes fluctuate at the training recordings' event rate; off keeps the
            network's own.
        delays: how learned delays train; `None` leaves them their sigma and the learning rate of the weights.
        synapse_rate: share of the learning rate with which the synapses of an `ELM` or `BranchELM` train. Adam moves
            every weight by about the learning rate, also where its gradient is noise: at the full rate thousands of
            synapses learn few recordings by heart.

    Raises:
        ValueError: naming the argument that doesn't fit.
    """

    def __init__(
        self,
        network: str | Module = "SpikingMLP",
        options: dict[str, Any] | None = None,
        readout: Readout = "max",
        optimizer: Literal["adamw", "adam", "sgd"] = "adamw",
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle",
        label_smoothing: float = 0.0,
        rates: RateBounds | None = None,
        initialise: bool = True,
        delays: DelayTraining | None = None,
        synapse_rate: float = 1.0,
    ) -> None:
        super().__init__()
        for name, number, most in (
            ("lr", lr, math.inf), ("weight_decay", weight_decay, math.inf), ("label_smoothing", label_smoothing, 1.0),
            ("synapse_rate", synapse_rate, 1.0),
        ):  # fmt: skip
            if not 0 <= number <= most or math.isinf(number):
                raise ValueError(f"{name}: expected at least 0{' and at most 1' if most == 1 else ''}, got {number}")
        if isinstance(network, str):
            network_class(network)
        self.network: Module | None = network if isinstance(network, Module) else None
        self.name, self.options = network, options or {}
        self.reduce = getattr(readouts, readout)
        self.optimizer, self.lr, self.weight_decay = optimizer, lr, weight_decay
        self.schedule, self.label_smoothing = schedule, label_smoothing
        self.rates, self.initialise, self.delays = rates or RateBounds(), initialise, delays
        self.synapse_rate = synapse_rate
        self.steps, self.dt = 0, 0.0  # of the whole training, and ms of one in a recording
        self.left_out = 0  # batches in a row

    def build(self, data: EventData) -> None:
        """Make the network for a data set, unless there is one.

        Raises:
            ValueError: if the options don't fit the class or the data, or there are no delays or synapses to train.
        """
        self.dt = data.dt
        if self.network is None:
            assert isinstance(self.name, str)
            self.network = build_network(self.name, self.options, data.train, data.dt)
            if self.initialise and hasattr(self.network, "init_"):
                self.network.init_(rate=data.rate, dt=data.dt)  # type: ignore[operator]
        if self.delays is not None and not delay_parameters(self.network):
            raise ValueError("delays: the network has none that train; give it some (options.delays) or leave this out")
        if self.synapse_rate != 1 and not self._synapses():
            raise ValueError(
                "synapse_rate: expected 1 for a network without ELM neurons whose synapses train, got "
                f"{self.synapse_rate}"
            )

    def configure_model(self) -> None:
        """Lightning's moment for it: the data are there, the checkpoint's weights not yet."""
        self.build(self.trainer.datamodule)  # type: ignore[attr-defined]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Names of the classes, so that the weights are never taken for others."""
        checkpoint["classes"] = list(self.trainer.datamodule.train.classes)  # type: ignore[attr-defined]

    def on_train_epoch_start(self) -> None:
        """Begin every epoch from an order and generators that depend on (seed, epoch, process) alone.

        A resumed run needs no saved generator to go on with the same bits, and processes draw apart.
        """
        loader = self.trainer.train_dataloader
        if isinstance(loader, Passes):
            loader.set_epoch(self.current_epoch)
        seed = (self.trainer.datamodule.seed, self.current_epoch, self.global_rank)  # type: ignore[attr-defined]
        first, second, third = (int(n) for n in np.random.SeedSequence(seed).generate_state(3))
        torch.manual_seed(first)
        np.random.seed(second)  # noqa: NPY002  one's own augmentation may use the global generator
        random.seed(third)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Narrow the delays' Gaussians."""
        if self.delays is not None:
            assert self.network is not None
            self.delays.narrow(self.network, self.trainer.global_step / self.steps, self.dt)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Leave a batch out whose gradient overflowed on its way through the steps, before it is clipped to NaN.

        Processes have averaged their gradients by now, so that all of them leave out the same batch.

        Raises:
            FloatingPointError: if that happens `LEFT_OUT` times in a row.
        """
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        if torch.nn.utils.get_total_norm(gradients).isfinite():
            self.left_out = 0
            return
        self.left_out += 1
        if self.left_out == LEFT_OUT:
            raise FloatingPointError(
                f"gradient: not finite in {LEFT_OUT} batches in a row, the last of them {self.global_step}: nothing is "
                "learned any more; a lower lr may help"
            )
        warnings.warn(f"gradient: not finite in batch {self.global_step}, which is left out", stacklevel=2)
        optimizer.zero_grad()

    def forward(self, events: Events) -> tuple[Tensor, list[Tensor]]:
        """The readout's logits (B, classes) and the spikes of each hidden layer (T, B, ...)."""
        assert self.network is not None
        (membrane, spikes), _ = self.network(events, trace=True)
        return self.reduce(membrane, events.lengths), spikes

    def training_step(self, batch: tuple[Events, Tensor], _: int) -> Tensor:
        """The loss of a batch, logged with its accuracy."""
        events, labels = batch
        logits, spikes = self(events)
        loss = cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if self.rates.active:
            loss = loss + self.rates(spikes, events.lengths, events.dt).mean()
        count = self._count(events)
        self._log("loss", loss, count)
        self._log("train_accuracy", (logits.argmax(1) == labels).float().mean(), count)
        return self._weighted(loss, count)

    def validation_step(self, batch: tuple[Events, Tensor], _: int) -> None:
        """Loss and accuracy on held-out recordings."""
        events, labels = batch
        logits, spikes = self(events)
        count = self._count(events)
        self._log("valid_loss", cross_entropy(logits, labels), count)
        self._log("valid_accuracy", (logits.argmax(1) == labels).float().mean(), count)
        if spikes:
            fired = torch.stack([layer.sum() for layer in spikes]).sum() / len(labels)
            self._log("spikes_per_sample", fired.float(), count)

    def _weighted(self, loss: Tensor, count: int) -> Tensor:
        """The loss of this many recordings, so that the processes' mean gradient is that of all recordings alike.

        At an epoch's end not all processes have the same number of them.
        """
        if self.trainer.world_size == 1:
            return loss
        share = torch.tensor(float(count), device=self.device)
        return loss * (share / self.trainer.strategy.reduce(share.clone(), reduce_op="mean"))

    def _count(self, events: Events) -> int:
        """How many recordings count: not the one of no steps that a process gets where there is none left for it."""
        return events.shape[1] if self.trainer.world_size == 1 else int((events.lengths > 0).sum())

    def _log(self, name: str, value: Tensor, count: int) -> None:
        # Lightning averages these weights over the processes in whole numbers: multiples leave nothing to round down.
        weight = count * self.trainer.world_size
        self.log(name, value, on_step=False, on_epoch=True, batch_size=weight, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """The optimiser and, step by step, its schedule."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        delays = delay_parameters(self)
        synapses = self._synapses() if self.synapse_rate != 1 else []
        apart = {id(p) for p in (*delays, *synapses)}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1 and id(p) not in apart], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1 and id(p) not in apart], "weight_decay": 0.0},
        ]
        if synapses:
            groups.append({"params": synapses, "weight_decay": 0.0, "lr": self.lr * self.synapse_rate})
        if delays:
            groups.append({"params": delays, "weight_decay": 0.0})
        optimizer: torch.optim.Optimizer
        if self.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=0.9)
        else:
            optimizer = (torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam)(groups, lr=self.lr)
        if self.schedule == "constant" and self.delays is None:
            return optimizer
        total = self.trainer.estimated_stepping_batches
        if not 0 < total < math.inf:
            what = "delays" if self.schedule == "constant" else f"schedule: {self.schedule!r}"
            raise MisconfigurationException(f"{what} needs a known end, got {total} steps")
        self.steps = int(total)
        most = [group["lr"] for group in optimizer.param_groups]
        schedules: list[torch.optim.lr_scheduler.LRScheduler] = []
        if self.schedule == "cosine":
            schedules.append(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps))
        elif self.schedule == "one-cycle":
            schedules.append(torch.optim.lr_scheduler.OneCycleLR(optimizer, most, self.steps, pct_start=0.2))
        if self.delays is not None:
            schedules.append(HalfCosine(optimizer, self.delays.rate(self.dt), self.steps))
        together = schedules[0] if len(schedules) == 1 else torch.optim.lr_scheduler.ChainedScheduler(schedules)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": together, "interval": "step"}}

    def _synapses(self) -> list[torch.nn.Parameter]:
        """Those of ELM neurons that train."""
        return [m.weight for m in self.modules() if isinstance(m, ELM) and m.weight.requires_grad]
