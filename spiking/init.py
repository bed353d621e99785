"""Weights that start a network in the fluctuation-driven regime (Rossbroich, Gygax & Zenke 2022).

Under Poisson input of rate nu, with weights of mean 0 and variance v, the membrane potential of a neuron with n inputs
fluctuates around its mean with the variance

    sigma_u^2 = n v (nu dt) e,      e = sum_k h_k^2

where h is the neuron's response to one unit of input. The paper gives e for continuous time; here it is the exact
one of the recurrence in kernels/lif/op.py, from the discrete Lyapunov equation P = A P A^T + B B^T of its linear part:

    e = s^2 / (1 - a^2)                                          without a synapse
    e = s^2 (1 + a c) / ((1 - a c) (1 - a^2) (1 - c^2))          with one

v follows from sigma_u = threshold / xi: a neuron spikes when its input fluctuates up by xi standard deviations. With
sparse synapses n is each neuron's own fan-in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels.lif.op import Resonance, parameters
from spiking.kernels.lif.rule import A, B, C, P, S

if TYPE_CHECKING:
    from spiking.neurons.connectome import Connectome
    from spiking.neurons.layer import Layer

DOUBLINGS = 24  # the sum over k runs to 2^24 steps, beyond the memory of any neuron here


def filter_energy(layer: Layer, dt: float) -> Tensor:
    """e = sum_k h_k^2 of each neuron's response to one unit of input, below threshold.

    A neuron whose adaptation amplifies its input, up to instability (AdLIF with a < 0), counts without its adaptation;
    a resonating one amplifies it too, but always dies out.

    Arguments:
        layer: a layer of neurons.
        dt: step in ms.

    Returns:
        (N,) float64.
    """
    with torch.no_grad():
        N = layer.out_features
        device = next(iter([*layer.parameters(), *layer.buffers()])).device
        neuron = layer.neuron()
        rows, flags = parameters(N, dt, layer.rule, bias=None, dtype=torch.float64, device=device, **neuron)
        a, s, c, b, p = rows[A], rows[S], rows[C], rows[B], rows[P]
        plain = _energy(a, s, c, b, p, flags.synapse, False, False)
        if flags.adaptation != 1:
            return plain
        adapted = _energy(a, s, c, b, p, flags.synapse, True, bool(flags.adapt_previous))
        return adapted if isinstance(neuron["adaptation"], Resonance) else torch.fmin(plain, adapted)


def _energy(
    a: Tensor, s: Tensor, c: Tensor, b: Tensor, p: Tensor, synapse: int, adapts: bool, previous: bool
) -> Tensor:
    """P[u, u] of P = A P A^T + B B^T for the state (u, i, w) and a unit input."""
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    membrane = [a, (zero, s * c, s)[synapse], -s if adapts else zero]
    drive = zero if synapse == 2 else s
    current, adaptation, charge = [zero, c, zero], [zero, zero, zero], zero
    if adapts and previous:
        adaptation = [p, zero, b]
    elif adapts:
        adaptation, charge = [p * membrane[0], p * membrane[1], p * membrane[2] + b], p * drive
    step = torch.stack([torch.stack(row, 1) for row in (membrane, current, adaptation)], 1)
    kick = torch.stack([drive, one if synapse else zero, charge], 1)
    total = kick[:, :, None] * kick[:, None, :]
    for _ in range(DOUBLINGS):
        total = total + step @ total @ step.mT
        step = step @ step
    return total[:, 0, 0]


def weight_std(layer: Layer, inputs: int | Tensor, rate: float, dt: float, xi: float = 1.0) -> Tensor:
    """The standard deviation of weights that makes each neuron's membrane potential fluctuate by threshold / xi.

    Arguments:
        layer: a layer of neurons.
        inputs: how many inputs a neuron has, a number or (N,).
        rate: of each input, in Hz.
        dt: step in ms.
        xi: distance of the threshold in standard deviations, 1 to 3 in the paper.

    Returns:
        (N,); a neuron without a threshold counts with 1.

    Raises:
        ValueError: naming the argument that is not above 0.
    """
    for name, number in (("rate", rate), ("dt", dt), ("xi", xi)):
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"{name}: expected a finite number above 0, got {number}")
    threshold = torch.as_tensor(layer.neuron()["threshold"], dtype=torch.float64).detach()
    target = torch.where(threshold.isinf(), 1.0, threshold) / xi
    return target.to(layer_device(layer)) / (inputs * rate * dt / 1000 * filter_energy(layer, dt)).sqrt()


def layer_device(layer: Layer) -> torch.device:
    """Where the layer's numbers lie."""
    return next(iter([*layer.parameters(), *layer.buffers()])).device


@torch.no_grad()
def fluctuation_driven_(
    layer: Layer,
    rate: float,
    dt: float | None = None,
    *,
    xi: float = 1.0,
    recurrent_share: float = 0.1,
    recurrent_rate: float | None = None,
    orthogonal: bool = False,
    generator: torch.Generator | None = None,
) -> Layer:
    """Draw the weights of a layer, in place, so that its neurons start to fire from fluctuations of their input.

    Arguments:
        layer: any layer of `spiking.neurons`; one with batch norm gets the norm's scale set instead of its weights'.
        rate: of each input, in Hz.
        dt: step in ms, by default the layer's.
        xi: distance of the threshold in standard deviations.
        recurrent_share: part of the variance that recurrent input makes, in a recurrent layer.
        recurrent_rate: of the neurons themselves, in Hz; by default `rate`.
        orthogonal: make the recurrent matrix orthogonal, at the same variance.
        generator: of the random numbers.

    Returns:
        the layer.

    Raises:
        ValueError: naming the argument that does not fit.
    """
    dt = layer.dt if dt is None else dt
    if dt is None:
        raise ValueError("dt: expected the step in ms, for a layer without its own, got None")
    if not 0 <= recurrent_share < 1:
        raise ValueError(f"recurrent_share: expected 0 or more and below 1, got {recurrent_share}")
    if layer.bias is not None:
        layer.bias.zero_()
    forward = 1.0
    if layer.recurrent is not None:
        forward = 1.0 - recurrent_share
        N = layer.out_features
        wiring, own = layer.recurrent_connectome, rate if recurrent_rate is None else recurrent_rate
        std = weight_std(layer, _fan_in(wiring, N), own, dt, xi) * recurrent_share**0.5
        if orthogonal and wiring is not None:
            raise ValueError("orthogonal: expected a layer without recurrent_fan_out, got a sparse recurrent matrix")
        if orthogonal:
            torch.nn.init.orthogonal_(layer.recurrent, generator=generator).mul_(N**0.5)
        else:
            layer.recurrent.normal_(generator=generator)
        layer.recurrent.mul_(_at_synapses(wiring, std))
    if layer.norm is not None:
        # The norm's output has variance 1 whatever the weights are: as one input of that variance in every step.
        layer.norm.weight.copy_(weight_std(layer, 1, 1000 / dt, dt, xi) * forward**0.5)
        layer.norm.bias.zero_()
    if layer.weight is not None:
        layer.weight.normal_(generator=generator)
        std = weight_std(layer, _fan_in(layer.connectome, layer.in_features), rate, dt, xi) * forward**0.5
        layer.weight.mul_(_at_synapses(layer.connectome, std))
    return layer


def _fan_in(connectome: Connectome | None, senders: int) -> int | Tensor:
    """How many synapses a neuron has, at least 1: all senders', or (N,) what its connections give it."""
    return senders if connectome is None else connectome.fan_in().clamp(min=1)


def _at_synapses(connectome: Connectome | None, std: Tensor) -> Tensor:
    """(N,) numbers of the targets where their synapses stand: the columns of a matrix, or (nnz,)."""
    return std if connectome is None else std[connectome.index.long()]


def poisson(
    rate: float, dt: float, steps: int, samples: int, channels: int, generator: torch.Generator | None = None
) -> Events:
    """Independent Poisson spike trains, as counts per step.

    Arguments:
        rate: in Hz.
        dt: step in ms.
        steps, samples, channels: T, B, N.
        generator: of the random numbers.

    Returns:
        Events (T, B, N).
    """
    mean = torch.full((steps, samples, channels), rate * dt / 1000)
    return Events.from_dense(torch.poisson(mean, generator=generator), dt)
