"""y[t, b, o] = sum over the events (t', i, v) of sample b of v * W[i, o] * k(t - t' - d[i, o]): late arrivals.

d is the delay of a synapse (in, out), or of an axon (in,), in steps; k is 1 spread over the steps round it, so that a
delay between two steps has a gradient. window.py gives the three kernels k and where the Gaussian is cut. Weight and
kernel make the taps W k, (in, K, out), in plain PyTorch, through which W and d get their gradients; the backends add
the taps of an event at the steps where they arrive.

Events carry no gradient; a dense x does, from every output and position, because a silent neuron near its threshold
must receive an error: one matrix product a position. Where x is so dense that its events cost more than that, the
forward pass is the same, and keeps x in place of its events for the backward pass.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels import finite
from spiking.kernels.arguments import floating, whole
from spiking.kernels.backend import resolve
from spiking.kernels.delay import flat, reference
from spiking.kernels.delay.window import window


def delay_linear(
    x: Events | Tensor,
    weight: Tensor,
    delay: Tensor,
    max_delay: int,
    state: Tensor | None = None,
    *,
    sigma: float = 0.0,
    rounded: bool = False,
    lengths: Tensor | None = None,
    backend: str | None = None,
    check_finite: bool = False,
) -> tuple[Tensor, Tensor]:
    """The product of a batch of delayed spike trains with a weight matrix, at the cost of its events.

    Arguments:
        x: Events (T, B, in), or a dense (T, B, in).
        weight: (in, out); row n is the fan-out of input n.
        delay: of each synapse, (in, out), or of each input, (in,); in steps, 0 to `max_delay`.
        max_delay: P, the longest delay in steps.
        state: (P, B, out), the currents still under way from a former part of the recordings; `None` starts them.
        sigma: width of the Gaussian in steps; 0 interpolates between the two nearest steps.
        rounded: take the nearest step, which leaves the delay without a gradient.
        lengths: (B,) valid steps; Events bring their own. What would arrive after them stays in the state.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.
        check_finite: look for NaN and infinity in input, output and gradients, too.

    Returns:
        y (T, B, out) in the dtype of `weight`, and the currents still under way after each sample's last valid step,
        (P, B, out).

    Raises:
        ValueError: naming the argument that does not fit; a delay that is negative, not finite, above `max_delay`, or,
            without a state, longer than the recording is found before a kernel runs.
        TypeError: if x is neither Events nor a tensor.
        FloatingPointError: with `check_finite`, naming the step, sample and neuron where a result is not finite.
    """
    T, B = _check_shapes(x, weight, delay, max_delay, state, lengths)
    if check_finite:
        finite.demand("x", x, *finite.INPUTS)
        finite.demand("state", state, *finite.NEURONS)
        x, weight = finite.watched("x", x, *finite.INPUTS), finite.watched("weight", weight, *finite.WEIGHTS)
        y, state = delay_linear(
            x, weight, finite.watched("delay", delay, *finite.WEIGHTS), max_delay, state, sigma=sigma,
            rounded=rounded, lengths=lengths, backend=backend,
        )
        finite.demand("output", y, *finite.NEURONS, error=FloatingPointError)
        return finite.watched("output", y, *finite.NEURONS), state
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"sigma: expected a finite number of steps, 0 or more, got {sigma}")
    name = resolve(backend, weight.device)
    storage = weight.dtype
    dtype = torch.float64 if storage == torch.float64 else torch.float32
    weight, state = weight.to(dtype), None if state is None else state.to(dtype)
    lengths = x.lengths if isinstance(x, Events) else lengths
    longest = max_delay if state is not None or T == 0 else min(max_delay, T)
    d = delay.to(dtype)[:, None] if delay.ndim == 1 else delay.to(dtype)
    d = flat.checked(d, weight, lengths, max_delay, longest, T)
    if not isinstance(x, Events):
        x = reference.within(x.to(dtype), lengths)
    if name == "reference":
        dense = x.to_dense(dtype) if isinstance(x, Events) else x
        y, state = reference.delay_linear(dense, weight, d, max_delay, state, sigma, rounded, lengths)
        return y.to(storage), state
    k, first = window(d, max_delay, sigma, rounded)
    taps = weight[:, None] * k
    if isinstance(x, Events):
        arriving = flat.events(x.indptr, x.index, x.value, taps, first, T, B, max_delay, name)
    else:
        arriving, _, _, _, _ = flat.dense(x, taps, first, max_delay, name)
    y, state = reference.finish(arriving, state, lengths, T)
    return y.to(storage), state


def _check_shapes(
    x: Events | Tensor, weight: Tensor, delay: Tensor, max_delay: int, state: Tensor | None, lengths: Tensor | None
) -> tuple[int, int]:
    if not isinstance(x, (Tensor, Events)):
        raise TypeError(f"x: expected Events or a tensor, got {type(x).__name__}")
    if isinstance(x, Tensor) and x.is_complex():
        raise ValueError(f"x: expected real numbers, got {x.dtype}")
    if len(x.shape) != 3:
        raise ValueError(f"x: expected (T, B, in), got {tuple(x.shape)}")
    T, B, inputs = x.shape
    for name, tensor in (("weight", weight), ("delay", delay), ("state", state)):
        if tensor is not None:
            floating(name, tensor, x.device)
    if weight.ndim != 2 or weight.shape[0] != inputs:
        raise ValueError(f"weight: expected (in={inputs}, out), got {tuple(weight.shape)}")
    out = weight.shape[1]
    if delay.shape not in ((inputs, out), (inputs,)):
        raise ValueError(f"delay: expected ({inputs}, {out}) or ({inputs},), got {tuple(delay.shape)}")
    if isinstance(max_delay, bool) or not isinstance(max_delay, int) or max_delay < 0:
        raise ValueError(f"max_delay: expected a whole number of steps, 0 or more, got {max_delay!r}")
    if state is not None and state.shape != (max_delay, B, out):
        raise ValueError(f"state: expected ({max_delay}, {B}, {out}), got {tuple(state.shape)}")
    if lengths is not None:
        if isinstance(x, Events):
            raise ValueError("lengths: Events bring their own, got a second one")
        whole("lengths", lengths, B)
    return T, B
