"""The proof itself: it must see every way past the spikes."""

import pytest
import torch
from torch import Tensor, nn

from spiking.llm import MissedError, SpikeConfig, coverage, spike_

from .families import build


class Fused(torch.autograd.Function):
    """As fla's and SpikingBrain's SwiGLU: activation and down-projection in one function that is handed the weight."""

    @staticmethod
    def forward(ctx: object, gate: Tensor, up: Tensor, weight: Tensor) -> Tensor:
        return torch.nn.functional.linear(torch.nn.functional.silu(gate) * up, weight)


class MLP(nn.Module):
    """Two linear layers, the second never called: its weight is read."""

    def __init__(self, how: str = "fused") -> None:
        super().__init__()
        self.how = how
        self.up, self.down = nn.Linear(16, 32, bias=False), nn.Linear(32, 16, bias=False)
        self.own = nn.Parameter(torch.randn(16, 16))
        self.copy = [self.down.weight.detach().clone()]

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(x)
        if self.how == "fused":
            return Fused.apply(up, up, self.down.weight)
        if self.how == "own":
            return self.down(up) @ self.own
        if self.how == "cast":
            return self.down(up) @ self.own.to(torch.float64).neg().float().t()[:, :8]
        if self.how == "copy":
            return up @ self.copy[0].t()
        if self.how == "foreign":
            return torch.ops.spiking_test_coverage.fused(up, self.down.weight)
        if self.how == "backwards":
            return up + self.down(up) @ self.down.weight
        return self.down(up) * self.own[0]


X = torch.randn(3, 16)


def test_a_fused_call_that_reads_the_weight_spikes() -> None:
    """Where hooks and exchanged modules see nothing."""
    model = MLP()
    called: list[int] = []
    model.down.register_forward_hook(lambda *_: called.append(1))
    plain = model(X)
    spike_(model)
    report = coverage(model, X)
    assert not called and set(report.spiked) == {"up.weight", "down.weight"} and report.unused == ["own"]
    report.check()
    assert not torch.equal(model(X), plain)


@pytest.mark.parametrize(
    ("how", "missed", "operator"),
    [
        ("own", "own", "mm"),
        ("cast", "own", "mm"),
        ("copy", "a tensor (32, 16) that is no parameter", "mm"),
    ],
)
def test_a_planted_bypass_is_caught(how: str, missed: str, operator: str) -> None:
    model = MLP(how)
    spike_(model)
    report = coverage(model, X)
    assert report.missed == [missed]
    with pytest.raises(MissedError, match=f"1 weights multiply activations that are no spikes:\n  .*: {operator}"):
        report.check()
    assert f"missed: {missed}" in str(report)


def test_what_was_left_out_by_name_is_excluded() -> None:
    model = MLP("own")
    spike_(model, {"own": None, "_default": SpikeConfig()})
    report = coverage(model, X)
    assert report.excluded == {"own": "left out by 'own'"} and report.missed == []
    report.check()


@pytest.mark.filterwarnings("ignore:mm does not sum over the inputs:spiking.llm.UnspikedWarning")  # it shall be missed
def test_a_weight_used_backwards_is_missed() -> None:
    model = MLP("backwards")
    spike_(model)
    report = coverage(model, X)
    assert report.missed == ["down.weight"] and report.spiked["down.weight"] == ["mm"]


def test_an_operator_of_another_library_counts_as_a_product() -> None:
    with torch.library._scoped_library("spiking_test_coverage", "DEF") as library:
        library.define("fused(Tensor x, Tensor w) -> Tensor")
        library.impl("fused", lambda x, w: x @ w.t(), "CompositeExplicitAutograd")
        report = coverage(MLP("foreign"), X)
        assert report.how_missed["down.weight"] == "spiking_test_coverage::fused"


def test_channelwise_state_and_convolutions() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(9, 16)
            self.norm = nn.LayerNorm(16)
            self.depthwise = nn.Conv1d(16, 16, 3, groups=16, padding=1)
            self.pointwise = nn.Conv1d(16, 16, 1)
            self.out = nn.Linear(16, 16)
            self.spare = nn.Linear(16, 16)

        def forward(self, ids: Tensor) -> Tensor:
            x = self.norm(self.embed(ids))
            x = self.pointwise(self.depthwise(x.transpose(1, 2))).transpose(1, 2)
            y: Tensor = self.out((x @ x.transpose(1, 2)) @ x)
            return y

    model = Mixer()
    spike_(model)
    report = coverage(model, torch.zeros(2, 5, dtype=torch.int64))
    assert set(report.spiked) == {"out.weight"}
    assert report.excluded == {"depthwise.weight": "depth-wise convolution, no matrix product"}
    assert report.missed == ["pointwise.weight"]
    biases = ["norm.bias", "depthwise.bias", "pointwise.bias", "out.bias"]
    assert report.channelwise == ["embed.weight", "norm.weight", *biases]
    assert report.unused == ["spare.weight", "spare.bias"]
    assert sum(report.state.values()) == 2 and all(how.startswith("bmm") for how in report.state)


def test_keyword_inputs_and_print(ids: Tensor) -> None:
    model = build("qwen3_5")
    spike_(model)
    report = coverage(model, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    text = str(report)
    assert text.startswith("15 spiked, 2 excluded, 0 missed")
    assert "spiked: model.layers.*.mlp.down_proj.weight (2): mm" in text
    assert "excluded: lm_head.weight: the output embedding, kept unless named" in text


def test_nothing_to_see() -> None:
    with pytest.raises(ValueError, match="multiplied no weight"):
        coverage(nn.ReLU(), X)
