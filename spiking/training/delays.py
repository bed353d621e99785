"""Training of learned delays: their Gaussian narrows, and they have a learning rate of their own.

    sigma(s) = begin (end / begin)^min(1, s / (anneal S))
    lr(s)    = lr (1 + cos(pi s / S)) / 2                        at step s of S

Hammouamri, Khalfaoui-Hassani & Masquelier 2024, "Learning delays in spiking neural networks using dilated convolutions
with learnable spacings": sigma shrinks from half the longest delay to half a step over the first quarter of training,
Adam moves delays by up to a tenth of a step an update. Both follow from the step alone, so a resumed run goes on with
the same numbers. Keeping delays in their range and rounding them in evaluation is the layer's own work
(spiking/neurons/delay.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from spiking.neurons import Delay


@dataclass(frozen=True)
class DelayTraining:
    """How a network's delays train.

    Arguments:
        lr: their highest learning rate, in ms; `None` is a tenth of a step.
        sigma: width of the Gaussian in ms, (at the begin, at the end); `None` is half of each layer's longest delay,
            and half a step.
        anneal: share of training over which sigma shrinks; it then stays.

    Raises:
        ValueError: naming the argument that doesn't fit.
    """

    lr: float | None = None
    sigma: tuple[float, float] | None = None
    anneal: float = 0.25

    def __post_init__(self) -> None:
        if self.lr is not None and not 0 <= self.lr < math.inf:
            raise ValueError(f"delays.lr: expected a finite rate of 0 ms or more, got {self.lr}")
        if self.sigma is not None and not math.inf > self.sigma[0] >= self.sigma[1] > 0:
            raise ValueError(f"delays.sigma: expected two widths above 0 ms, the wider first, got {list(self.sigma)}")
        if not 0 < self.anneal <= 1:
            raise ValueError(f"delays.anneal: expected a share of training above 0 and at most 1, got {self.anneal}")

    def rate(self, dt: float) -> float:
        """The highest learning rate in ms, at a step of `dt` ms."""
        return dt / 10 if self.lr is None else self.lr

    def narrow(self, network: Module, done: float, dt: float) -> None:
        """Give every `Delay` of a network its sigma.

        Arguments:
            network: with any number of them.
            done: share of training that lies behind, 0 to 1.
            dt: step in ms.
        """
        for layer in _layers(network).values():
            begin, end = self.sigma or (layer.max_delay / 2, min(dt, layer.max_delay) / 2)
            layer.sigma.fill_(begin * (end / begin) ** min(1.0, done / self.anneal))


class HalfCosine(LRScheduler):
    """Lets the learning rate of an optimiser's last group fall along half a cosine; the others stay as they are.

    Arguments:
        optimizer: whose group it is.
        lr: where it begins.
        steps: after how many steps it is 0.
    """

    def __init__(self, optimizer: Optimizer, lr: float, steps: int) -> None:
        self.lr, self.steps = lr, steps
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rates of all groups."""
        done = min(1.0, self.last_epoch / self.steps)
        others = [group["lr"] for group in self.optimizer.param_groups[:-1]]
        return [*others, self.lr * (1 + math.cos(math.pi * done)) / 2]


def delay_parameters(network: Module) -> list[Parameter]:
    """What trains of a network's delays."""
    return [layer.raw_delay for layer in _layers(network).values() if layer.raw_delay.requires_grad]


def delays(network: Module) -> dict[str, Tensor]:
    """The delays of each `Delay` of a network in ms, by the layer's name; later training doesn't change them."""
    return {name: layer.delay.detach().clone().cpu() for name, layer in _layers(network).items()}


def _layers(network: Module) -> dict[str, Delay]:
    return {
        name.removesuffix(".delay"): module for name, module in network.named_modules() if isinstance(module, Delay)
    }
