"""A layer of N small expressive leaky memory (ELM) neurons, each with weights of its own, over a whole recording.

    z_t = I_t + b_h + (kappa m_{t-1}) W_m [+ a_{t-1} R]                  hidden, (B, N, h)
    m_t = kappa m_{t-1} + gamma ctanh(act(z_t) W_u + b_u)                memory, (B, N, d)
    p_t = m_t . w_y,   r_t = k r_{t-1} + (1 - k) p_t                       what is read, and its slow part, (B, N)
    a_t = out(p_t - r_t + b)                                             activity, (B, N)

Spieler, Martius & Levina 2026, "The ELM Network" (arXiv:2605.12049): neurons that pass on what changes, to others and,
through R, to each other. `out` is relu, the identity, or a spike, 1 above 0, with a surrogate gradient. I is what the
inputs bring to the hidden layer, branches included; R is the same for the layer's own activity one step before.

Only m, r and a are kept. The backward pass computes the hidden layer of all steps at once; step by step runs only what
depends on the step after.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spiking.kernels import finite
from spiking.kernels.arguments import floating, number, whole
from spiking.kernels.backend import fall_back, resolve
from spiking.kernels.elm.rule import MLP
from spiking.kernels.elm_layer import reference
from spiking.kernels.elm_layer.flat import ACTIVATIONS, OUTPUTS
from spiking.kernels.surrogate.reference import Surrogate, never
from spiking.kernels.surrogate.reference import resolve as surrogate_of


class LayerState(NamedTuple):
    """Where a recording goes on: memory (B, N, d), the slow part of what is read (B, N) and activity (B, N)."""

    memory: Tensor
    slow: Tensor
    activity: Tensor


def elm_layer(
    drive: Tensor,
    state: LayerState | None = None,
    *,
    mlp: MLP,
    decay: Tensor,
    gain: Tensor,
    read: Tensor,
    bias: Tensor,
    high_pass: float | Tensor | None = None,
    recurrent: Tensor | None = None,
    activation: str = "relu_squared",
    output: str = "relu",
    surrogate: str | Surrogate = "fast_sigmoid",
    lengths: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, LayerState]:
    """The activity of a layer of ELM neurons at every step of a batch.

    Arguments:
        drive: I (T, B, N, h).
        state: where to go on from; `None` is zeros.
        mlp: W_m (N, d, h), b_h (N, h), W_u (N, h, d), b_u (N, d).
        decay: kappa (N, d), what a step leaves of the memory.
        gain: gamma (N, d), what an update counts.
        read: w_y (N, d).
        bias: b (N,).
        high_pass: k, what a step leaves of the slow part; `None` takes nothing off.
        recurrent: R (N, N, h), from the activity of the first to the hidden layer of the second; `None` is none.
        activation: of the hidden layer, "relu_squared", "relu" or "silu".
        output: "relu", "identity" or "spike".
        surrogate: derivative of the spike.
        lengths: (B,) valid steps.
        backend: "reference" or "numba"; `None` follows `set_backend` and the device.

    Returns:
        a (T, B, N), 0 beyond the valid steps, and the state after each sample's last valid step.

    Raises:
        ValueError: naming the argument that does not fit.
        TypeError: naming the argument that is no tensor.
    """
    T, B, N, d = _check(drive, state, mlp, decay, gain, read, bias, high_pass, recurrent, lengths)
    for name, value, known in (("activation", activation, ACTIVATIONS), ("output", output, OUTPUTS)):
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    kind = surrogate_of(surrogate) if output == "spike" else never()
    if not isinstance(kind, Surrogate):
        raise TypeError("surrogate: expected a name or a Surrogate, got a function")
    # without a high pass the slow part never moves from zero: k = 1
    slow = torch.as_tensor(1.0 if high_pass is None else high_pass, dtype=drive.dtype, device=drive.device).reshape(1)
    if state is None:
        state = LayerState(drive.new_zeros(B, N, d), drive.new_zeros(B, N), drive.new_zeros(B, N))
    name = resolve(backend, drive.device)
    if name == "triton":
        name = fall_back("elm_layer", "it has no Triton kernel")
    weights = (*mlp, decay, gain, read, bias, slow)
    if name == "reference":
        run = reference.elm_layer(drive, state, weights, recurrent, lengths, activation, output, kind)
    else:
        flags = [float(ACTIVATIONS.index(activation)), float(OUTPUTS.index(output)), *kind.numbers]
        run = torch.ops.spiking.elm_layer(drive, *state, *weights, recurrent, lengths, flags)
    a, m, r = run
    after = LayerState(m[-1], r[-1], a[-1]) if T else state
    if lengths is not None:
        a = torch.where((torch.arange(T, device=a.device)[:, None] < lengths)[:, :, None], a, 0.0)
    return a, after


def _check(
    drive: Any, state: Any, mlp: Any, decay: Any, gain: Any, read: Any, bias: Any, high_pass: Any, recurrent: Any,
    lengths: Any,
) -> tuple[int, int, int, int]:
    if not isinstance(drive, Tensor):
        raise TypeError(f"drive: expected a tensor, got {type(drive).__name__}")
    if drive.ndim != 4:
        raise ValueError(f"drive: expected (T, B, N, h), got {tuple(drive.shape)}")
    if not isinstance(mlp, tuple) or len(mlp) != 4:
        raise TypeError(f"mlp: expected an MLP of four tensors, got {type(mlp).__name__}")
    T, B, N, h = drive.shape
    floating("drive", drive, drive.device)
    floating("decay", decay, drive.device)
    if decay.ndim != 2:
        raise ValueError(f"decay: expected (N, d), got {tuple(decay.shape)}")
    d = decay.shape[1]
    wanted: dict[str, tuple[Any, str, tuple[int, ...]]] = {
        "decay": (decay, "(N, d)", (N, d)), "gain": (gain, "(N, d)", (N, d)), "read": (read, "(N, d)", (N, d)),
        "bias": (bias, "(N,)", (N,)), "mlp.memory": (mlp[0], "(N, d, h)", (N, d, h)),
        "mlp.bias": (mlp[1], "(N, h)", (N, h)), "mlp.update": (mlp[2], "(N, h, d)", (N, h, d)),
        "mlp.update_bias": (mlp[3], "(N, d)", (N, d)),
    }  # fmt: skip
    if recurrent is not None:
        wanted["recurrent"] = (recurrent, "(N, N, h)", (N, N, h))
    if state is not None:
        if not isinstance(state, tuple) or len(state) != 3:
            raise TypeError(f"state: expected a LayerState, got {type(state).__name__}")
        for name, part, axes, shape in zip(
            LayerState._fields, state, ("(B, N, d)", "(B, N)", "(B, N)"), ((B, N, d), (B, N), (B, N)), strict=True
        ):
            wanted[f"state.{name}"] = (part, axes, shape)
    for name, (tensor, axes, shape) in wanted.items():
        floating(name, tensor, drive.device)
        if tensor.shape != shape:
            raise ValueError(f"{name}: expected {axes}, here {shape}, got {tuple(tensor.shape)}")
        if tensor.dtype != drive.dtype:
            raise ValueError(f"{name}: expected {drive.dtype} as drive has, got {tensor.dtype}")
        if not name.startswith("state.") and tensor.device.type == "cpu" and not torch.compiler.is_compiling():
            finite.demand(name, tensor, "neuron")
    if high_pass is not None:
        number("high_pass", high_pass, 1, drive.device)
    if lengths is not None:
        whole("lengths", lengths, B)
        if lengths.device.type == "cpu" and B and not 0 <= int(lengths.min()) <= int(lengths.max()) <= T:
            raise ValueError(f"lengths: expected 0 to {T} steps, got {lengths.tolist()}")
    return T, B, N, d
