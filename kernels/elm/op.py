"""The expressive leaky memory (ELM) neuron's memory over a whole recording.

    I_t = kappa_b I_{t-1} + x_t W                                        filtered current, (B, h)
    z_t = I_t + b_h + (kappa m_{t-1}) W_m
    m_t = kappa m_{t-1} + gamma ctanh(act(z_t) W_u + b_u)                memory, (B, d)
    ctanh(x) = 1.7159 tanh(2x/3)

Spieler, Rahaman, Martius, Schölkopf & Levina 2024, "The Expressive Leaky Memory neuron" (ICLR), eqs. 1-4. There the
filter stands before the input weights of the hidden layer; a filter with one constant commutes with them, so that W
here is the product of synapses, branches and input weights, an event pays for h numbers, and the filter runs on h.
kappa = exp(-dt/tau); gamma = lambda (1 - kappa) in their first version, 1 - exp(-dt lambda/tau) in their second.

Only m is kept for the backward pass, which computes the hidden layer again. With a readout y_t = m_t W_y inside the op
the gradient of m is never stored either: on CPUs a step's share comes from that of y when it is needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from spiking.events import Events
from spiking.kernels import finite
from spiking.kernels.arguments import floating, number, whole
from spiking.kernels.backend import fall_back, resolve
from spiking.kernels.delay.reference import within
from spiking.kernels.elm import flat, newton, reference
from spiking.kernels.elm.rule import ACTIVATIONS, LARGEST, MLP, SOLVERS, MemoryState
from spiking.kernels.event_linear.op import DENSITY, compress, event_linear


def elm(
    x: Events | Tensor,
    state: MemoryState | None = None,
    *,
    mlp: MLP,
    decay: Tensor,
    gain: Tensor,
    weight: Tensor | None = None,
    leak: float | Tensor = 0.0,
    readout: Tensor | None = None,
    activation: str = "relu",
    solver: str = "serial",
    lengths: Tensor | None = None,
    backend: str | None = None,
    check_finite: bool = False,
) -> tuple[Any, MemoryState]:
    """The memory of expressive leaky memory neurons at every step of a batch.

    Arguments:
        x: Events (T, B, in) or a dense (T, B, in); without `weight` the currents (T, B, h) before the filter.
        state: where to go on from; `None` is zeros.
        mlp: the weights of the update, h hidden and d memory units.
        decay: kappa (d,), what a step leaves of the memory.
        gain: gamma (d,), what an update counts.
        weight: (in, h).
        leak: kappa_b, what a step leaves of the currents; 0 filters nothing.
        readout: W_y (d, out); return `(y, m)` for m, with y = m W_y (T, B, out).
        activation: of the hidden layer, "relu" or "silu".
        solver: "serial", step by step, or "newton", all steps at once by Newton's method with a parallel scan.
        lengths: (B,) valid steps of a dense batch; Events bring their own.
        backend: "reference", "numba", "triton"; `None` follows `set_backend` and the device.
        check_finite: look for NaN and infinity in input, output and gradients.

    Returns:
        m (T, B, d) in the dtype of mlp, 0 beyond the valid steps, and the state after each sample's last
        valid step.

    Raises:
        ValueError: naming the argument that does not fit.
        TypeError: naming the argument that is no tensor.
        FloatingPointError: with `check_finite`, naming the step, sample and neuron where a result is not finite.
    """
    B = _check_shapes(x, state, mlp, decay, gain, weight, leak, readout, lengths)
    for name, value, known in (("activation", activation, ACTIVATIONS), ("solver", solver, SOLVERS)):
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    if check_finite:
        m, after = _watched(
            x, state, mlp, decay, gain, weight, leak, activation=activation, solver=solver, lengths=lengths,
            backend=backend,
        )
        return _read(m, readout, m.dtype), after
    device, storage = decay.device, mlp.memory.dtype
    dtype = torch.float64 if decay.dtype == torch.float64 else torch.float32
    mlp = MLP(*(w.to(dtype) for w in mlp))
    decay, gain = decay.to(dtype), gain.to(dtype)
    leak = torch.as_tensor(leak, dtype=dtype, device=device).reshape(1)
    weight = None if weight is None else weight.to(dtype)
    if state is None:
        state = MemoryState(*(decay.new_zeros(B, n) for n in mlp.memory.shape[::-1]))
    state = MemoryState(*(s.to(dtype) for s in state))
    lengths = x.lengths if isinstance(x, Events) else lengths
    if isinstance(x, Tensor):
        x = within(x.to(dtype), lengths)
    weights = [*mlp, decay.new_empty(0) if readout is None else readout, *([] if weight is None else [weight])]
    decay = flat.checked(decay, gain, leak, weights, lengths, x.shape[0])
    chosen = resolve(backend, device)
    if chosen == "triton" and decay.shape[0] > LARGEST:
        chosen = fall_back("elm", f"the kernel holds {LARGEST} units of memory, not {decay.shape[0]}")
    if solver == "newton":
        drive = event_linear(x, weight, chosen) if weight is not None else x
        assert isinstance(drive, Tensor)  # _check_shapes has refused Events without a weight
        m, after = _at_once(drive, state, mlp, decay, gain, leak, activation, lengths)
        return _read(m, readout, storage), after
    if chosen == "reference":
        drive = x.to_dense(dtype) if isinstance(x, Events) else x
        drive = drive if weight is None else drive @ weight
        m, after = reference.elm(drive, state, mlp, decay, gain, leak, activation, lengths)
        return _read(m, readout, storage), after
    events, currents = _arriving(x, weight, chosen)
    inputs = [*state, *mlp, decay, gain, leak]
    kept = [t for t in (weight, currents, *inputs) if t is not None]
    save = torch.is_grad_enabled() and any(t.requires_grad for t in kept)
    read = None if readout is None else readout.to(dtype)
    m, current, memory, _, y = flat.memory(
        *events, currents, *inputs, read, lengths, x.shape[0], ACTIVATIONS.index(activation), save, chosen
    )
    m = m.to(storage)
    return (m if read is None else (y.to(storage), m)), MemoryState(current, memory)


def _read(m: Tensor, readout: Tensor | None, storage: torch.dtype) -> Any:
    """m, or y and m, in the dtype of mlp."""
    if readout is None:
        return m.to(storage)
    y = torch.matmul(m, readout.to(m.dtype))
    return y.to(storage), m.to(storage)


def _at_once(
    drive: Tensor, state: MemoryState, mlp: MLP, decay: Tensor, gain: Tensor, leak: Tensor, activation: str,
    lengths: Tensor | None,
) -> tuple[Tensor, MemoryState]:
    """Newton's method on all steps; what lies beyond a recording's end is computed, too, and left out."""
    currents = newton.filtered(drive, state.current, leak)
    m = newton.memory(currents, state.memory, mlp, decay, gain, activation)
    last = torch.full(drive.shape[1:2], drive.shape[0], device=drive.device) if lengths is None else lengths
    sample = torch.arange(drive.shape[1], device=drive.device)
    ends = (torch.cat([first[None], rows])[last, sample] for first, rows in zip(state, (currents, m), strict=True))
    return within(m, lengths), MemoryState(*ends)


def _watched(
    x: Events | Tensor, state: MemoryState | None, mlp: MLP, decay: Tensor, gain: Tensor, weight: Tensor | None,
    leak: float | Tensor, **options: Any,
) -> tuple[Tensor, MemoryState]:
    """The same with a look at what comes, what goes, and the gradients."""
    finite.demand("x", x, *finite.INPUTS)
    for name, part in zip(MemoryState._fields, state or (), strict=False):
        finite.demand(f"state.{name}", part, *finite.NEURONS[1:])
    x = finite.watched("x", x, *finite.INPUTS)
    mlp = MLP(*(finite.watched(f"mlp.{n}", w, *finite.WEIGHTS) for n, w in zip(MLP._fields, mlp, strict=True)))
    m, after = elm(
        x, state, mlp=mlp, decay=finite.watched("decay", decay, "neuron"), gain=finite.watched("gain", gain, "neuron"),
        weight=finite.watched("weight", weight, *finite.WEIGHTS), leak=leak, **options,
    )
    finite.demand("memory", m, *finite.NEURONS, error=FloatingPointError)
    return finite.watched("memory", m, *finite.NEURONS), after


def _arriving(
    x: Events | Tensor, weight: Tensor | None, backend: str
) -> tuple[tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None], Tensor | None]:
    """Events with their weights, which are never made currents, or the currents."""
    none = (None, None, None, None)
    if isinstance(x, Events):
        return (x.indptr, x.index, x.value, weight), None
    if weight is None:
        return none, x
    if x.requires_grad:
        return none, event_linear(x, weight, backend)
    found = compress(x.flatten(0, 1), DENSITY, backend)
    if found is None:
        return none, x @ weight
    indptr, index, value = found
    return (indptr, index, value if value.numel() else None, weight), None


def _check_shapes(
    x: Any, state: Any, mlp: Any, decay: Any, gain: Any, weight: Any, leak: Any, readout: Any,
    lengths: Tensor | None,
) -> int:
    if not isinstance(x, (Tensor, Events)):
        raise TypeError(f"x: expected Events or a tensor, got {type(x).__name__}")
    if isinstance(x, Tensor) and (x.is_complex() or x.ndim != 3):
        raise ValueError(f"x: expected real numbers (T, B, in), got {x.dtype} {tuple(x.shape)}")
    if isinstance(x, Events) and weight is None:
        raise ValueError("weight: Events need the weights of their channels, got None")
    if not isinstance(mlp, tuple) or len(mlp) != 4:
        raise TypeError(f"mlp: expected an MLP of four tensors, got {type(mlp).__name__}")
    _, B, inputs = x.shape
    floating("decay", decay, x.device)
    d = decay.shape[0] if decay.ndim == 1 else -1
    floating("mlp.memory", mlp[0], x.device)
    h = mlp[0].shape[1] if mlp[0].ndim == 2 else -1
    wanted: dict[str, tuple[Any, str, tuple[int, ...]]] = {
        "decay": (decay, "(d,)", (d,)),
        "gain": (gain, "(d,)", (d,)),
        "mlp.memory": (mlp[0], "(d, h)", (d, h)),
        "mlp.bias": (mlp[1], "(h,)", (h,)),
        "mlp.update": (mlp[2], "(h, d)", (h, d)),
        "mlp.update_bias": (mlp[3], "(d,)", (d,)),
    }
    if weight is not None:
        wanted["weight"] = (weight, "(in, h)", (inputs, h))
    elif inputs != h:
        raise ValueError(f"x: expected currents (T, B, h={h}), as there is no weight, got {tuple(x.shape)}")
    if readout is not None:
        floating("readout", readout, x.device)
        if readout.ndim != 2 or readout.shape[0] != d:
            raise ValueError(f"readout: expected (d={d}, out), got {tuple(readout.shape)}")
    if state is not None:
        if not isinstance(state, tuple) or len(state) != 2:
            raise TypeError(f"state: expected a MemoryState, got {type(state).__name__}")
        wanted["state.current"] = (state[0], "(B, h)", (B, h))
        wanted["state.memory"] = (state[1], "(B, d)", (B, d))
    for name, (tensor, axes, shape) in wanted.items():
        floating(name, tensor, x.device)
        if tensor.shape != shape:
            raise ValueError(f"{name}: expected {axes}, here {shape}, got {tuple(tensor.shape)}")
    number("leak", leak, 1, x.device)
    if lengths is not None:
        if isinstance(x, Events):
            raise ValueError("lengths: Events bring their own, got a second one")
        whole("lengths", lengths, B)
    return B
