"""SpikingConvNet: convolutions of spikes, batch norm over time and batch, spiking neurons.

    z_k = neurons(BN(K_k * x_k) + shortcut(x_k)),   x_{k+1} = pool(z_k),   out = LI(x W_out)

A convolution runs over all steps of all samples at once; only the neurons walk through time. Steps outside the
recordings are left out of both. Sparse Events are convolved event by event, which costs less than their frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spiking.events import Events, Sensor
from spiking.init import weight_std
from spiking.kernels import LIFState, event_conv
from spiking.kernels.event_conv import from_torch
from spiking.networks.network import HeldDropout, Network, neuron_class
from spiking.neurons import LI, Layer
from spiking.neurons.norm import inside, normalise, scatter

Shape = tuple[int, int, int]

# Share of pixels that fire up to which `event_conv` costs a CPU less than making frames and convolving them, forward
# and backward: 2 to 5 % at 16 output channels, 5 to 8 % at 8, beyond 20 % at 32 (`benchmarks/conv.py --crossover`).
DENSITY = 0.04


class SpikingConv2d(nn.Module):
    """A convolution and the spiking neurons of its output.

    Arguments:
        shape: (C, H, W) of the input; channel (c*H + y)*W + x of a flat input is [c, y, x].
        channels: of the output.
        neuron: a name or a class.
        kernel, stride: of the convolution; the kernel is odd, and padded by half of it.
        norm: "batch" or `None`.
        skip: add the input to the currents, through a 1x1 convolution where the shapes differ.
        dt: step in ms; `None` takes that of the call.
        **options: of the neuron class.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self,
        shape: Shape,
        channels: int,
        neuron: str | type[Layer] = "lif",
        *,
        kernel: int = 3,
        stride: int = 1,
        norm: str | None = "batch",
        skip: bool = False,
        dt: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        for name, number in (("channels", channels), ("kernel", kernel), ("stride", stride), ("shape", min(shape))):
            if number < 1:
                raise ValueError(f"{name}: expected whole numbers above 0, got {number}")
        if norm not in (None, "batch"):
            raise ValueError(f"norm: expected None or 'batch', got {norm!r}")
        if options.get("recurrent"):
            raise ValueError("recurrent: a convolution's neurons have no recurrent synapses")
        place: dict[str, Any] = {name: options[name] for name in ("device", "dtype") if name in options}
        if kernel % 2 == 0:
            raise ValueError(f"kernel: expected an odd number, which has a centre, got {kernel}")
        C, H, W = shape
        pad = kernel // 2
        self.shape: Shape = shape
        self.out_shape: Shape = (channels, (H - 1) // stride + 1, (W - 1) // stride + 1)
        self.in_features = C * H * W
        self.out_features = channels * self.out_shape[1] * self.out_shape[2]
        self.conv = nn.Conv2d(C, channels, kernel, stride, pad, bias=False, **place)
        self.norm = nn.BatchNorm2d(channels, **place) if norm else None
        self.shortcut: nn.Module | None = None
        if skip and self.out_shape == shape:
            self.shortcut = nn.Identity()
        elif skip:
            self.shortcut = nn.Conv2d(C, channels, 1, stride, bias=False, **place)
        self.neurons = neuron_class(neuron)(self.out_features, dt=dt, **options)

    def forward(
        self,
        x: Events | Tensor,
        state: LIFState | None = None,
        *,
        lengths: Tensor | None = None,
        dt: float | None = None,
        trace: bool = False,
    ) -> tuple[Any, LIFState]:
        """Run the layer over a batch; arguments and returns as in `Layer.forward`."""
        if len(x.shape) != 3 or x.shape[2] != self.in_features:
            raise ValueError(f"x: expected (T, B, {self.in_features}), got {tuple(x.shape)}")
        if isinstance(x, Events):
            lengths, dt = x.lengths, x.dt
        T, B, _ = x.shape
        valid = inside(lengths, T)
        frames = self._frames(x, valid)
        current = _convolve(self.conv, frames)
        if self.norm is not None:
            current = normalise(self.norm, current)
        if self.shortcut is not None:
            current = current + _convolve(self.shortcut, frames)
        current = current.flatten(1)
        if valid is not None:
            current = scatter(current, valid)
        return self.neurons.fire(current.view(T, B, -1), state, lengths=lengths, dt=dt, trace=trace)

    def _frames(self, x: Events | Tensor, valid: Tensor | None) -> Events | Tensor:
        """The steps inside the recordings: Events (M, 1, C*H*W) if they are sparse, or dense (M, C, H, W)."""
        T, B, N = x.shape
        if isinstance(x, Events):
            M = T * B if valid is None else int(valid.sum())
            direct = x.device.type == "cpu" and not isinstance(self.shortcut, nn.Identity)
            if direct and x.nnz <= DENSITY * M * N:
                # No event lies outside the recordings: a frame ends where the next one inside begins.
                indptr = x.indptr if valid is None else torch.cat([x.indptr[:-1][valid], x.indptr[-1:]])
                C, H, W = self.shape
                return Events(indptr, x.index, (M, 1, N), x.dt, x.value, sensor=(W, H, C), check=False)
            x = x.to_dense(self.conv.weight.dtype)
        frames = x.to(self.conv.weight.dtype).reshape(T * B, *self.shape)
        return frames if valid is None else frames[valid]

    @torch.no_grad()
    def init_(
        self, rate: float, dt: float, xi: float = 1.0, generator: torch.Generator | None = None
    ) -> SpikingConv2d:
        """Draw the weights as `spiking.init.fluctuation_driven_` does, for inputs of that rate in Hz."""
        C = self.out_shape[0]
        inputs = self.conv.weight[0].numel()

        def per_channel(std: Tensor) -> Tensor:
            return std.view(C, -1).mean(1)

        std = per_channel(weight_std(self.neurons, inputs, rate, dt, xi))
        self.conv.weight.normal_(generator=generator).mul_(std.view(C, 1, 1, 1))
        if self.norm is not None:
            self.norm.weight.copy_(per_channel(weight_std(self.neurons, 1, 1000 / dt, dt, xi)))
            self.norm.bias.zero_()
        return self

    def fan_out(self) -> Tensor:
        """(in,) how many neurons each input reaches, fewer at the borders."""
        weight, stride = self.conv.weight.detach(), int(self.conv.stride[0])
        ones = weight.new_ones(1, *self.out_shape)
        rest = [(n - 1) % stride for n in self.shape[1:]]
        reach = nn.functional.conv_transpose2d(
            ones, torch.ones_like(weight), stride=stride, padding=weight.shape[2] // 2, output_padding=rest
        )[0]
        if isinstance(self.shortcut, nn.Identity):
            reach += 1
        elif self.shortcut is not None:
            reach[:, ::stride, ::stride] += self.out_shape[0]
        return reach.flatten()


class SpikingConvNet(Network):
    """A convolutional network of spiking neurons with a leaky integrator as readout.

    Arguments:
        sensor: (W, H, P) of the camera.
        channels: of each convolution.
        classes: outputs.
        kernel, stride, pool: of each convolution, one number for all or one for each; `pool` averages the spikes over
            squares of that many pixels on their way to the next layer.
        hidden: neurons of fully connected layers behind the convolutions.
        neuron: a name ("lif", "cuba", "alif", "adlif", "seadlif", "silif", "csilif") or a class.
        norm: "batch", batch normalisation over time and batch, or `None`.
        dropout: probability with which a neuron is silenced for a sample, while training.
        skip: shortcuts around the convolutions, through a 1x1 convolution where shapes differ.
        dt: step in ms; `None` takes that of the Events.
        tau_out: time constant of the readout in ms.
        **options: of the neuron class.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self,
        sensor: Sensor,
        channels: Sequence[int] = (16, 32),
        classes: int = 10,
        *,
        kernel: int | Sequence[int] = 5,
        stride: int | Sequence[int] = 2,
        pool: int | Sequence[int] = 1,
        hidden: Sequence[int] = (),
        neuron: str | type[Layer] = "lif",
        norm: str | None = "batch",
        dropout: float = 0.0,
        skip: bool = False,
        dt: float | None = None,
        tau_out: float = 20.0,
        **options: Any,
    ) -> None:
        if len(sensor) != 3:
            raise ValueError(f"sensor: expected (W, H, P), got {tuple(sensor)}")
        W, H, P = sensor
        kernels, strides, pools = (
            _each(name, given, len(channels))
            for name, given in (("kernel", kernel), ("stride", stride), ("pool", pool))
        )
        shape: Shape = (P, H, W)
        layers: list[nn.Module] = []
        links: list[nn.Module] = []
        for k, width in enumerate(channels):
            layer = SpikingConv2d(
                shape, width, neuron, kernel=kernels[k], stride=strides[k], norm=norm, skip=skip, dt=dt, **options
            )
            link = Pool(layer.out_shape, pools[k])
            layers.append(layer)
            links.append(nn.Sequential(link, HeldDropout(dropout)))
            shape = link.out_shape
        size = shape[0] * shape[1] * shape[2]
        for width in hidden:
            layers.append(neuron_class(neuron)(size, width, norm=norm, dt=dt, **options))
            links.append(HeldDropout(dropout))
            size = width
        place = {name: options[name] for name in ("check_finite", "device", "dtype") if name in options}
        super().__init__(layers, links, LI(size, classes, tau_mem=tau_out, dt=dt, **place), P * H * W, dt)
        self.sensor = (W, H, P)

    def open(
        self, x: Events | Tensor, lengths: Tensor | None, dt: float | None
    ) -> tuple[Events | Tensor, Tensor | None, float | None]:
        if isinstance(x, Events) and x.sensor is not None and x.sensor != self.sensor:
            raise ValueError(f"sensor: network (W, H, P) = {self.sensor}, events {x.sensor}")
        return super().open(x, lengths, dt)

    def fan_out(self, k: int) -> Tensor | int:
        layer = self.layers[k] if k < len(self.layers) else self.readout
        if isinstance(layer, SpikingConv2d):
            reach: Tensor | int = layer.fan_out()
        else:
            reach = super().fan_out(k)
        link = self.links[k - 1] if k else None
        return link[0].spread(reach) if isinstance(link, nn.Sequential) else reach  # type: ignore[operator]

    def draw_(self, k: int, rate: float, dt: float, options: dict[str, Any]) -> None:
        layer = self.layers[k]
        if isinstance(layer, SpikingConv2d):
            chosen = {name: options[name] for name in ("xi", "generator") if name in options}
            layer.init_(rate, dt, **chosen)
        else:
            super().draw_(k, rate, dt, options)


class Pool(nn.Module):
    """Average spikes (T, B, C*H*W) over squares of pixels; what is left over at the far borders goes nowhere.

    Arguments:
        shape: (C, H, W).
        size: side of a square; 1 leaves the spikes as they are.
    """

    def __init__(self, shape: Shape, size: int) -> None:
        super().__init__()
        C, H, W = shape
        if not 1 <= size <= min(H, W):
            raise ValueError(f"pool: expected 1 to {min(H, W)} pixels for a map of {H} x {W}, got {size}")
        self.shape, self.size = shape, size
        self.out_shape: Shape = (C, H // size, W // size)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (T, B, C*H*W) to means (T, B, C*(H//size)*(W//size))."""
        if self.size == 1:
            return x
        T, B, _ = x.shape
        return nn.functional.avg_pool2d(x.reshape(T * B, *self.shape), self.size).view(T, B, -1)

    def spread(self, reach: Tensor | int) -> Tensor:
        """(C*H*W,) fan-out of each pixel from that of the squares."""
        _, H, W = self.shape
        c, h, w = self.out_shape
        coarse = torch.as_tensor(reach, dtype=torch.float32).expand(c * h * w).view(c, h, w)
        fine = coarse.repeat_interleave(self.size, 1).repeat_interleave(self.size, 2)
        return nn.functional.pad(fine, (0, W - w * self.size, 0, H - h * self.size)).flatten()

    def extra_repr(self) -> str:
        return f"{self.shape}, size={self.size}"


def _convolve(conv: nn.Module, frames: Events | Tensor) -> Tensor:
    """The output (M, channels, H', W') of a convolution for M frames."""
    if isinstance(frames, Tensor):
        dense: Tensor = conv(frames)
        return dense
    assert isinstance(conv, nn.Conv2d)
    stride, padding = tuple(conv.stride), tuple(int(n) for n in conv.padding)
    return event_conv(frames, from_torch(conv.weight), None, stride, padding).squeeze(1)  # type: ignore[arg-type]


def _each(name: str, given: int | Sequence[int], count: int) -> list[int]:
    chosen = [given] * count if isinstance(given, int) else list(given)
    if len(chosen) != count or min(chosen, default=1) < 1:
        raise ValueError(f"{name}: expected a number above 0, or {count} of them, got {given}")
    return chosen
