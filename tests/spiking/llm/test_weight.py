"""One spike weight in every form of product, as a parameter, and where it must refuse."""

import copy
import io

import pytest
import torch
from torch import Tensor

from spiking.kernels.spike_linear import pack, spike_linear
from spiking.llm import FusedError, SpikeConfig, SpikeWeight, UnspikedWarning, watching
from spiking.llm.weight import Matrices

OUT, IN, EXPERTS, TOKENS = 24, 40, 3, 7
CONFIG = SpikeConfig(k=2.5, group=16)


def make(*shape: int, swapped: bool = False, config: SpikeConfig = CONFIG) -> tuple[torch.nn.Parameter, Tensor]:
    """A spike weight, and the float weight (..., out, in) that it was made of."""
    torch.manual_seed(sum(shape))
    plain = torch.randn(*shape) * torch.rand(*shape[:-1], 1)
    return SpikeWeight.parameter(Matrices.of("w", config, plain), swapped, torch.float32), plain


def expected(x: Tensor, plain: Tensor, bias: Tensor | None = None) -> Tensor:
    return spike_linear(x, pack(plain, CONFIG.group), CONFIG.k, bias)


PRODUCTS = {
    "linear": lambda x, w, b: torch.nn.functional.linear(x, w, b),
    "linear by name": lambda x, w, b: torch.nn.functional.linear(x, weight=w, bias=b),
    "matmul": lambda x, w, b: torch.matmul(x, w.t()) + b,
    "operator": lambda x, w, b: x @ w.T + b,
    "to the left": lambda x, w, b: (w @ x.transpose(-1, -2)).transpose(-1, -2) + b,
    "addmm": lambda x, w, b: torch.addmm(b, x.reshape(-1, IN), w.t()).view(*x.shape[:-1], OUT),
    "mm with out": lambda x, w, b: torch.mm(x.view(-1, IN), w.t(), out=torch.empty(0)).view(*x.shape[:-1], OUT) + b,
    "einsum": lambda x, w, b: torch.einsum("...i,oi->...o", x, w) + b,
    "einsum, swapped": lambda x, w, b: torch.einsum("io,bti->bto", w.t(), x) + b,
    "einsum of a batch": lambda x, w, b: torch.einsum("bti, boi -> tbo", x, w.expand(2, -1, -1)).transpose(0, 1) + b,
    "tensordot": lambda x, w, b: torch.tensordot(x, w, dims=([-1], [1])) + b,
    "bmm": lambda x, w, b: torch.bmm(x, w.t().expand(len(x), -1, -1)) + b,
    "baddbmm": lambda x, w, b: torch.baddbmm(b.expand(*x.shape[:-1], -1), x, w.t()[None].expand(len(x), -1, -1)),
    "mv": lambda x, w, b: torch.stack([torch.stack([w.mv(one) for one in row]) for row in x]) + b,
}


@pytest.mark.parametrize("form", PRODUCTS)
def test_every_form_of_product_spikes(form: str) -> None:
    weight, plain = make(OUT, IN)
    x, bias = torch.randn(2, TOKENS, IN), torch.randn(OUT)
    seen: list[tuple[int, ...]] = []
    with watching(lambda matrices, operator, given: seen.append(tuple(given.shape))):
        y = PRODUCTS[form](x, weight, bias)
    assert type(y) is Tensor and y.shape == (2, TOKENS, OUT)
    torch.testing.assert_close(y, expected(x, plain, bias), rtol=1e-5, atol=1e-5)
    assert seen and all(shape[-1] == IN for shape in seen)
    with torch.inference_mode():
        torch.testing.assert_close(PRODUCTS[form](x, weight, bias), y)


def test_conv1d_of_gpt2_and_the_model_around_it() -> None:
    transformers = pytest.importorskip("transformers", reason="spiking.llm needs the extra llm")
    layer = transformers.pytorch_utils.Conv1D(OUT, IN)
    torch.nn.init.normal_(layer.weight), torch.nn.init.normal_(layer.bias)
    plain, x = layer.weight.detach().t().contiguous(), torch.randn(2, TOKENS, IN)
    layer.weight = SpikeWeight.parameter(Matrices.of("w", CONFIG, plain), True, torch.float32)
    torch.testing.assert_close(layer(x), expected(x, plain, layer.bias), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("swapped", [False, True])
def test_experts(swapped: bool) -> None:
    """One by one, gathered for each token, and in groups of tokens."""
    weight, plain = make(EXPERTS, OUT, IN, swapped=swapped)
    x, which = torch.randn(TOKENS, IN), torch.tensor([2, 0, 1, 1, 2, 2, 0])
    one = torch.stack([expected(x[i], plain[e]) for i, e in enumerate(which)])
    turned = weight if swapped else weight.transpose(-1, -2)
    for i, e in enumerate(which):
        torch.testing.assert_close(x[i] @ turned[e], one[i])
        torch.testing.assert_close(x[i] @ turned.unbind()[int(e)], one[i])
    torch.testing.assert_close(torch.bmm(x[:, None], turned[which])[:, 0], one)
    torch.testing.assert_close(torch.bmm(x[:, None], turned.index_select(0, which))[:, 0], one)
    order = which.argsort(stable=True)
    ends = torch.bincount(which, minlength=EXPERTS).cumsum(0).to(torch.int32)
    torch.testing.assert_close(torch.nn.functional.grouped_mm(x[order], turned, offs=ends), one[order])


def test_float_weights_are_kept_and_spike() -> None:
    weight, plain = make(OUT, IN, config=SpikeConfig(k=2.5, weights=None))
    x = torch.randn(TOKENS, IN)
    threshold = x.abs().mean(1, keepdim=True) / 2.5
    torch.testing.assert_close(x @ weight.t(), threshold * ((x / threshold).round() @ plain.t()))
    assert weight.requires_grad
    doubled = 2 * plain
    weight.data.mul_(2)
    assert torch.equal(weight.detach() + 0, doubled)


def test_clipped_counts() -> None:
    clip = SpikeConfig(k=2.5, group=16, saturation="clip")
    x = torch.randn(2, IN)
    x[:, 3] = 1e4
    weight, plain = make(OUT, IN, config=clip)
    wanted = spike_linear(x, pack(plain, 16), 2.5, saturation="clip")
    assert torch.equal(torch.nn.functional.linear(x, weight), wanted)
    floats, _ = make(OUT, IN, config=SpikeConfig(k=2.5, weights=None, saturation="clip"))
    threshold = x.abs().mean(1, keepdim=True) / 2.5
    counts = (x / threshold).round().clamp(-127, 127)
    torch.testing.assert_close(torch.nn.functional.linear(x, floats), threshold * (counts @ plain.t()))


@pytest.mark.parametrize("form", ["linear", "matmul", "to the left"])
def test_rounding_passes_the_gradient_straight_through(form: str) -> None:
    weight, plain = make(OUT, IN)
    x = torch.randn(2, TOKENS, IN, requires_grad=True)
    dy = torch.randn(2, TOKENS, OUT)
    PRODUCTS[form](x, weight, torch.zeros(OUT)).backward(dy)
    torch.testing.assert_close(x.grad, dy @ pack(plain, 16).unpack())


def test_float_weights_train() -> None:
    layer = torch.nn.Linear(IN, 1)
    layer.weight = SpikeWeight.parameter(
        Matrices.of("w", SpikeConfig(weights=None), torch.zeros(1, IN)), False, torch.float32
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    x = torch.randn(64, IN, generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(40):
        loss = (layer(x)[:, 0] - x[:, 0]).square().mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert isinstance(layer.weight, SpikeWeight)


def test_a_sum_over_outputs_does_not_spike_and_says_so() -> None:
    weight, plain = make(OUT, IN)
    x, seen = torch.randn(TOKENS, OUT), []
    with watching(lambda matrices, operator, given: seen.append(given)):
        with pytest.warns(UnspikedWarning, match="mm does not sum over the inputs of w: its products do not sp"):
            y = x @ weight
    assert seen == [None]
    torch.testing.assert_close(y, x @ pack(plain, 16).unpack())


def test_products_that_are_not_known_say_so() -> None:
    weight, plain = make(OUT, IN)
    x, seen = torch.randn(2, TOKENS, IN), []
    with watching(lambda matrices, operator, given: seen.append((operator, given))):
        with pytest.warns(UnspikedWarning, match="addbmm does not sum over the inputs of w"):
            y = torch.addbmm(torch.zeros(TOKENS, OUT), x, weight.t().expand(2, -1, -1))
    assert seen == [("addbmm", None)]
    torch.testing.assert_close(y, (x @ pack(plain, 16).unpack().t()).sum(0), rtol=1e-4, atol=1e-4)


def test_a_foreign_operator_is_refused() -> None:
    with torch.library._scoped_library("spiking_test_foreign", "DEF") as library:
        library.define("fused(Tensor x, Tensor w) -> Tensor")
        library.impl("fused", lambda x, w: x @ w.t(), "CompositeExplicitAutograd")
        weight, plain = make(OUT, IN)
        fused = torch.ops.spiking_test_foreign.fused
        assert fused(torch.randn(2, IN), plain).shape == (2, OUT)
        with pytest.raises(FusedError, match=r"spiking_test_foreign::fused reads w by itself: leave it out by name"):
            fused(torch.randn(2, IN), weight)


def test_a_kernel_that_wants_the_memory_itself_fails() -> None:
    """Triton and others ask for the data pointer: nothing goes past the spikes unseen."""
    weight, _ = make(OUT, IN)
    with pytest.raises(FusedError, match=r"a kernel outside PyTorch.s operators reads w by itself: leave it out"):
        weight.data_ptr()


def test_whole_numbers_are_not_changed_in_place() -> None:
    weight, _ = make(OUT, IN)
    with pytest.raises(RuntimeError, match=r"w: .*mul_.* would change an int8 weight in place"):
        weight.mul_(2)


def test_other_operators_see_the_decoded_weight() -> None:
    weight, plain = make(EXPERTS, OUT, IN)
    decoded = torch.stack([pack(one, 16).unpack() for one in plain])
    torch.testing.assert_close(weight.abs().sum((1, 2)), decoded.abs().sum((1, 2)))
    with pytest.warns(UnspikedWarning, match="slice takes w apart"):
        assert torch.equal(weight[:, :5] * 1, decoded[:, :5])
    with pytest.warns(UnspikedWarning, match="takes w apart"):
        assert torch.equal(weight.flatten() * 1, decoded.flatten())
    assert torch.equal(weight.decode(), decoded)


def test_a_parameter_like_any_other() -> None:
    layer = torch.nn.Linear(IN, OUT)
    layer.weight, plain = make(OUT, IN)
    x = torch.randn(3, IN)
    y = layer(x)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert layer.weight.shape == (OUT, IN) and not layer.weight.requires_grad
    assert repr(layer.weight) == f"SpikeWeight(w, ({OUT}, {IN}), int8, k=2.5)"
    assert layer.weight.matrices.nbytes == pack(plain, 16).nbytes
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), y) and twin.weight.codes is not layer.weight.codes
    other = torch.nn.Linear(IN, OUT)
    other.weight = SpikeWeight.parameter(Matrices.of("other", CONFIG, torch.randn(OUT, IN)), False, torch.float32)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), y)
    kept = io.BytesIO()
    torch.save(layer, kept)
    kept.seek(0)
    assert torch.equal(torch.load(kept, weights_only=False)(x), y)
    half = copy.deepcopy(layer).to(torch.bfloat16)
    assert isinstance(half.weight, SpikeWeight) and half.weight.dtype == torch.bfloat16
    assert half(x.to(torch.bfloat16)).dtype == torch.bfloat16


def test_a_state_that_does_not_fit() -> None:
    small, _ = make(OUT, IN)
    large, _ = make(OUT, IN, config=SpikeConfig(group=8))
    with pytest.raises(ValueError, match="w: expected a weight like SpikeWeight"):
        small.data.copy_(large)


def test_compiled() -> None:
    layer = torch.nn.Linear(IN, OUT)
    layer.weight, _ = make(OUT, IN)
    x = torch.randn(3, IN)
    with torch.no_grad():
        assert torch.equal(torch.compile(layer, backend="eager")(x), layer(x))
