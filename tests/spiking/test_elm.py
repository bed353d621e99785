"""ELM and BranchELM: published weights, sizes and time constants, states, routings, and what they refuse."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from spiking import Events, detach
from spiking.kernels import set_backend
from spiking.neurons import ELM, BranchELM, ELMState

# README of the published code: NeuronIO, 45 branches of 100 synapses.
PUBLISHED = {
    1: 4601, 2: 4708, 3: 4823, 5: 5077, 7: 5363, 10: 5852, 15: 6827, 20: 8002, 25: 9377, 30: 10952, 40: 14702,
    50: 19252, 75: 34127, 100: 54002,
}
STORED = (1, 2, 5, 10, 20, 50)


def neuronio(memory: int, **options: Any) -> BranchELM:
    return BranchELM(
        1278, 2, memory, branches=45, synapses=100, routing="neuronio", tau_memory=(1.0, 150.0), dt=1.0, **options
    )


def parameters(neuron: ELM) -> int:
    return sum(p.numel() for p in neuron.parameters())


def events(T: int = 40, B: int = 3, N: int = 12, lengths: list[int] | None = None, seed: int = 0) -> Events:
    x = torch.rand(T, B, N, generator=torch.Generator().manual_seed(seed)) < 0.2
    return Events.from_dense(x, 1.0, None if lengths is None else torch.tensor(lengths))


def golden(folder: Path) -> tuple[Events, Tensor]:
    kept = np.load(folder / "golden.npz")
    sample, step, channel = (torch.tensor(row.astype(np.int64)) for row in kept["events"].T)
    x = torch.zeros(int(kept["T"]), 2, 1278)
    x.index_put_((step, sample, channel), torch.tensor(kept["sign"], dtype=torch.float32), accumulate=True)
    return Events.from_dense(x, 1.0), torch.tensor(kept["output"]).transpose(0, 1)


@pytest.fixture
def checkpoints(real_data: Path) -> Path:
    folder = real_data / "elm_checkpoints"
    if not folder.exists():
        pytest.skip(f"no published weights at {folder}; set SPIKING_DATA")
    return folder


@pytest.mark.parametrize("memory", PUBLISHED)
def test_every_published_size(memory: int) -> None:
    assert parameters(neuronio(memory)) == PUBLISHED[memory]
    assert parameters(neuronio(memory, learn=("tau_memory",))) == PUBLISHED[memory] + memory


def test_published_sizes_without_branches() -> None:
    assert parameters(ELM(700, 20, memory=100)) == 183_020
    assert parameters(ELM(700, 19, memory=100)) == 182_919
    assert parameters(ELM(1278, 2, memory=20)) == 54_100


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("memory", STORED)
def test_published_weights_reproduce_published_outputs(memory: int, backend: str, checkpoints: Path) -> None:
    folder = checkpoints / f"num_memory_{memory}"
    neuron = ELM.from_checkpoint(folder / "state_dict.pt", config=folder / "config.json", dt=1.0)
    assert isinstance(neuron, BranchELM) and neuron.rule == "v1" and parameters(neuron) == PUBLISHED[memory]
    x, wanted = golden(folder)
    with torch.no_grad(), set_backend(backend):
        out, _ = neuron(x)
    assert float((out - wanted).abs().max()) < 1e-5


def test_the_routing_of_the_published_weights_is_ours(checkpoints: Path) -> None:
    stored = torch.load(checkpoints / "num_memory_5" / "state_dict.pt", map_location="cpu", weights_only=True)
    routing = neuronio(5).routing
    assert routing is not None
    assert torch.equal(routing.index[routing.valid], stored["input_to_synapse_indices"][stored["valid_indices_mask"]])
    assert torch.equal(routing.valid, stored["valid_indices_mask"]) and int(routing.valid.sum()) == 4282


def state_dict(version: str = "v1", memory: int = 3, **changes: Any) -> dict[str, Tensor]:
    """A state dict with the published names: 4 inputs in 2 branches, 2 outputs."""
    g = torch.Generator().manual_seed(0)
    h = 2 * memory
    sizes = {
        "_proto_w_s": (4,), "_proto_tau_m": (memory,), "mlp.network.0.weight": (h, 2 + memory),
        "mlp.network.0.bias": (h,), "mlp.network.2.weight": (memory, h), "mlp.network.2.bias": (memory,),
        "w_y.weight": (2, memory), "w_y.bias": (2,),
    }
    made = {name: torch.randn(*size, generator=g) for name, size in sizes.items()}
    made |= {"tau_s": torch.full((4,), 5.0)} if version == "v1" else {"tau_b": torch.full((2,), 5.0)}
    for name, value in changes.items():
        if value is None:
            del made[name.replace("__", ".")]
        else:
            made[name.replace("__", ".")] = value
    return made


CONFIG = {"num_input": 4, "num_output": 2, "num_memory": 3, "num_branch": 2, "num_synapse_per_branch": 2}


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_checkpoint_says_its_version(version: str, tmp_path: Path) -> None:
    stored = state_dict(version)
    torch.save(stored, tmp_path / "w.pt")
    neuron = ELM.from_checkpoint(tmp_path / "w.pt", config=CONFIG, dt=1.0)
    assert neuron.rule == version and isinstance(neuron, BranchELM)
    torch.testing.assert_close(neuron.tau_memory, 1 + 999 * stored["_proto_tau_m"].sigmoid())
    x = events(30, 2, 4)
    dense, b, m = x.to_dense(), torch.zeros(2, 2), torch.zeros(2, 3)
    decay = torch.exp(-1 / neuron.tau_memory)
    gain = 5 * (1 - decay) if version == "v1" else 1 - torch.exp(-5 / neuron.tau_memory)
    for t in range(30):  # as published, from the stored names
        b = math.exp(-0.2) * b + (dense[t] * stored["_proto_w_s"].relu()).view(2, 2, 2).sum(-1)
        z = torch.cat([b, decay * m], -1) @ stored["mlp.network.0.weight"].t() + stored["mlp.network.0.bias"]
        u = z.relu() @ stored["mlp.network.2.weight"].t() + stored["mlp.network.2.bias"]
        m = decay * m + gain * 1.7159 * torch.tanh(2 * u / 3)
    out, state = neuron(x)
    torch.testing.assert_close(state.memory, m)
    torch.testing.assert_close(state.branch, b)
    torch.testing.assert_close(out[-1], m @ stored["w_y.weight"].t() + stored["w_y.bias"])


def test_a_checkpoint_of_learned_time_constants_goes_on_learning(tmp_path: Path) -> None:
    torch.save(state_dict(_proto_tau_m=torch.tensor([-18.87, 0.0, 16.09])), tmp_path / "w.pt")
    config = {**CONFIG, "learn_memory_tau": True, "memory_tau_max": 150.0}
    neuron = ELM.from_checkpoint(tmp_path / "w.pt", config=config, dt=1.0)
    assert neuron.learn == ("tau_memory",) and neuron.bounds["tau_memory"] == (1.0, 150.0)
    neuron(events(20, 2, 4))[0].sum().backward()
    assert neuron.raw_tau_memory.grad is not None and neuron.raw_tau_memory.grad.abs().min() > 1e-8


def test_a_checkpoint_brings_its_step(tmp_path: Path) -> None:
    torch.save(state_dict(), tmp_path / "w.pt")
    config = {**CONFIG, "delta_t": 2.0}
    assert ELM.from_checkpoint(tmp_path / "w.pt", config=config).dt == 2.0
    assert ELM.from_checkpoint(tmp_path / "w.pt", config=config, dt=1.0).dt == 1.0
    assert ELM.from_checkpoint(tmp_path / "w.pt", config=CONFIG).dt is None


@pytest.mark.parametrize(
    ("stored", "config", "message"),
    [
        (state_dict(tau_s=None), CONFIG, "w.pt: expected an ELM of version v1, with tau_s, or v2, with tau_b, got nei"),
        (state_dict(tau_b=torch.ones(2)), CONFIG, "version v1, with tau_s, or v2, with tau_b, got tau_s and tau_b"),
        (state_dict(w_y__bias=None), CONFIG, "w.pt: expected the keys of an ELM v1 .*, got none of w_y.bias"),
        (state_dict(mlp__network__4__bias=torch.ones(2)), CONFIG, "one hidden layer, got also mlp.network.4.bias"),
        (state_dict(tau_s=torch.arange(1.0, 5)), CONFIG, "w.pt: tau_s: expected one .* for all synapses, got 1..4 ms"),
        (state_dict(), {**CONFIG, "num_memory": 4}, r"_proto_tau_m: expected \(4,\), the config's .*, got \(3,\)"),
        (state_dict(w_y__bias=torch.ones(3)), CONFIG, r"w.pt: b_out: expected \(2,\), the size.* config's, got \(3,\)"),
        (state_dict(), {**CONFIG, "num_branch": 3}, "branches: contiguous ones share out all 4 inputs"),
        (state_dict(), {**CONFIG, "input_to_synapse_routing": "neuronio_routing"}, "got none of input_to_synapse_ind"),
        (state_dict(), {**CONFIG, "input_to_synapse_routing": "no"}, "config: input_to_synapse_routing: expected one"),
        (state_dict(), {**CONFIG, "num_branches": 2}, "config: expected keys among num_input, .*, got num_branches"),
        (state_dict(), {"num_input": 4}, "config: num_output: expected a whole number, got None"),
        ([1], CONFIG, "w.pt: expected a state dict of tensors, got list"),
    ],
)
def test_a_wrong_checkpoint_is_named(stored: Any, config: dict[str, Any], message: str, tmp_path: Path) -> None:
    torch.save(stored, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=message):
        ELM.from_checkpoint(tmp_path / "w.pt", config=config, dt=1.0)


def test_files_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_text("no weights")
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ValueError, match=r"w.pt: expected a state dict saved by PyTorch"):
        ELM.from_checkpoint(tmp_path / "w.pt", config=CONFIG)
    with pytest.raises(ValueError, match=r"config: .*c.json is no JSON"):
        ELM.from_checkpoint(tmp_path / "w.pt", config=tmp_path / "c.json")
    (tmp_path / "c.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match=r"c.json: expected an object with names, got list"):
        ELM.from_checkpoint(tmp_path / "w.pt", config=tmp_path / "c.json")


def test_time_constants_spread_and_one_unit_stands_in_the_middle() -> None:
    spread = ELM(4, 2, memory=5, tau_memory=(1.0, 10_000.0)).tau_memory
    torch.testing.assert_close(spread, torch.tensor([1.0, 10.0, 100.0, 1000.0, 10_000.0]))
    assert float(ELM(4, 2, memory=1, tau_memory=(1.0, 150.0)).tau_memory) == pytest.approx(150**0.5)
    assert ELM(4, 2, memory=3, tau_memory=20.0).tau_memory.tolist() == [20.0] * 3


def test_time_constants_train_over_their_whole_range() -> None:
    """Those at the ends, frozen by the published parametrisation, hear the same error as the others, and move."""
    torch.manual_seed(0)
    neuron = ELM(12, 2, memory=6, tau_memory=(1.0, 150.0), learn=("tau_memory", "tau_branch")).double()
    before, optimizer = neuron.tau_memory.detach().clone(), torch.optim.Adam(neuron.parameters(), lr=0.05)
    x = events()
    for _ in range(20):
        loss = (neuron(x)[0] - 3).square().mean()
        optimizer.zero_grad()
        loss.backward()
        for raw in (neuron.raw_tau_memory, neuron.raw_tau_branch):
            assert raw.grad is not None and raw.grad.abs().min() > 1e-6
        optimizer.step()
    after = neuron.tau_memory.detach()
    assert bool(((after / before).log().abs() > 0.01).all())
    assert 1.0 <= float(after.min()) and float(after.max()) <= 150.0


@pytest.mark.parametrize("rule", ["v1", "v2"])
def test_the_memory_stays_within_its_bound(rule: str) -> None:
    """1.7159 gamma / (1 - kappa): lambda times as much for every unit in v1, for the slow ones only in v2."""
    torch.manual_seed(0)
    neuron = ELM(12, 1, memory=40, rule=rule, tau_memory=(1.0, 2000.0), dt=1.0)
    with torch.no_grad():
        neuron.b_update.fill_(100.0)
        (_, m), _ = neuron(events(3000, 1), trace=True)
        kappa = torch.exp(-1 / neuron.tau_memory)
        gamma = 5 * (1 - kappa) if rule == "v1" else 1 - torch.exp(-5 / neuron.tau_memory)
        bound = 1.7159 * gamma / (1 - kappa)
        assert bool((m <= bound + 1e-3).all())
        torch.testing.assert_close(m[-1, 0, :20], bound[:20], rtol=1e-3, atol=1e-3)
    assert (rule == "v1") == bool((bound > 8.5).all())


def test_a_step_as_long_as_a_time_constant_warns_with_both() -> None:
    with pytest.warns(UserWarning, match=r"a step of 10 ms is longer than tau_memory of 1 of 4 units, from 1 ms on"):
        ELM(4, 2, memory=4, tau_memory=(1.0, 1000.0), tau_branch=20.0, dt=10.0)
    neuron = ELM(4, 2, memory=2, tau_memory=(50.0, 1000.0))
    with pytest.warns(UserWarning, match=r"a step of 10 ms is longer than tau_branch of 1 of 1 units, from 5 ms on"):
        neuron(torch.ones(3, 1, 4), dt=10.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        neuron(torch.ones(3, 1, 4), dt=10.0)  # said once
        neuron(torch.ones(3, 1, 4), dt=5.0)


@pytest.mark.parametrize("filters", [4096.0, (2048.0, 4096.0)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parameters_in_half_precision_forget_as_those_in_float32(dtype: torch.dtype, filters: Any) -> None:
    """Nothing but the leaks move branches and memory: no input, and no update. In bfloat16 exp(-1/4096) is 1."""
    neuron = ELM(4, 2, memory=3, tau_memory=(2.0, 4096.0), tau_branch=filters, dtype=dtype)
    with torch.no_grad():
        neuron.w_update.zero_()
        neuron.b_update.zero_()
        out, after = neuron(torch.zeros(500, 2, 4), ELMState(torch.ones(2, 4), torch.ones(2, 3)), dt=1.0)
    assert out.dtype == dtype
    for found, tau in zip(after, (neuron.tau_branch, neuron.tau_memory), strict=True):
        wanted = torch.exp(-500 / tau.double()).float().expand_as(found)
        assert 0.7 < float(wanted.max()) < 0.9
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", ["v1", "v2"])
def test_what_a_slow_unit_learns_in_a_step_is_not_rounded_away(rule: str) -> None:
    tau = torch.tensor([1e5], dtype=torch.float64)
    neuron = ELM(4, 2, memory=1, tau_memory=tau, scale=3.0, rule=rule)
    with torch.no_grad():
        neuron.w_update.zero_()
        neuron.b_update.fill_(100.0)  # ctanh is 1.7159
        (_, m), _ = neuron(torch.zeros(1, 1, 4), dt=1.0, trace=True)
    gamma = -3 * torch.expm1(-1 / tau) if rule == "v1" else -torch.expm1(-3 / tau)
    torch.testing.assert_close(m[0, 0].double(), 1.7159 * gamma, rtol=1e-6, atol=0)


NEURONS = {
    "plain": lambda **o: ELM(12, 2, memory=4, **o),
    "contiguous": lambda **o: BranchELM(12, 2, memory=4, branches=3, **o),
    "random": lambda **o: BranchELM(12, 2, memory=4, branches=5, synapses=7, routing="random", **o),
    "neuronio": lambda **o: BranchELM(12, 2, memory=4, branches=5, synapses=4, routing="neuronio", **o),
}


@pytest.mark.parametrize("filters", [5.0, (3.0, 9.0)])
@pytest.mark.parametrize("name", NEURONS)
def test_parts_are_the_whole_and_dense_is_events(name: str, filters: Any) -> None:
    torch.manual_seed(0)
    neuron = NEURONS[name](tau_branch=filters, tau_memory=(2.0, 100.0)).double()
    x = events(lengths=[40, 25, 4])
    whole, last = neuron(x)
    first, state = neuron(x[:17])
    second, state = neuron(x[17:], detach(state))
    torch.testing.assert_close(torch.cat([first, second]), whole)
    for a, b in zip(state, last, strict=True):
        torch.testing.assert_close(a, b)
    assert isinstance(state, ELMState) and state.branch.shape == (3, neuron.branches)
    assert whole[25:, 1].abs().sum() == 0 and whole[:25, 1].abs().sum() > 0
    dense, after = neuron(x.to_dense(torch.float64), lengths=x.lengths, dt=1.0)
    torch.testing.assert_close(dense, whole)
    torch.testing.assert_close(after.branch, last.branch)


@pytest.mark.parametrize("name", NEURONS)
def test_filters_of_their_own_that_are_equal_are_a_common_one(name: str) -> None:
    """Two ways through two ops: the filter before the branches' weights, and behind them."""
    torch.manual_seed(0)
    common = NEURONS[name](tau_branch=5.0, learn=("tau_branch",), tau_memory=(2.0, 100.0)).double()
    own = NEURONS[name](tau_branch=torch.full((common.branches,), 5.0), tau_memory=(2.0, 100.0),
                        learn=("tau_branch",)).double()
    own.load_state_dict({**own.state_dict(), **{k: v for k, v in common.state_dict().items() if k != "raw_tau_branch"}})
    x, found = events(lengths=[40, 25, 4]), []
    for neuron in (common, own):
        out, state = neuron(x)
        out.square().sum().backward()
        found.append([out, *state, neuron.weight.grad, neuron.w_branch.grad, neuron.raw_tau_branch.grad.sum()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_what_a_routing_joins() -> None:
    weights = torch.arange(1.0, 13)
    contiguous = NEURONS["contiguous"]().routing
    assert contiguous.matrix(weights)[:, 1].tolist() == [0, 0, 0, 0, 5, 6, 7, 8, 0, 0, 0, 0]
    neuronio_like = NEURONS["neuronio"]().routing  # stride 3, windows of 4, of 0 6 1 7 2 8 3 9 4 10 5 11
    assert neuronio_like.index.view(5, 4).tolist()[:3] == [[0, 6, 1, 7], [7, 2, 8, 3], [3, 9, 4, 10]]
    assert neuronio_like.valid.view(5, 4).sum(1).tolist() == [4, 4, 4, 3, 0]
    assert neuronio_like.matrix(torch.ones(20)).sum() == 15
    first, same, other = (
        BranchELM(12, 2, 4, branches=5, synapses=7, routing="random", routing_seed=seed).routing for seed in (3, 3, 4)
    )
    assert first is not None and same is not None and other is not None
    assert torch.equal(first.index, same.index) and not torch.equal(first.index, other.index)


def test_solvers_and_backends_agree() -> None:
    torch.manual_seed(0)
    neuron, x = NEURONS["random"](tau_memory=(2.0, 100.0), activation="silu").double(), events(lengths=[40, 25, 4])
    wanted, state = neuron(x)
    neuron.solver = "newton"
    found, after = neuron(x)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(after.memory, state.memory)
    with set_backend("reference"):
        torch.testing.assert_close(neuron(x)[0], wanted)


def test_a_state_dict_brings_its_routing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one, two = NEURONS["random"](), BranchELM(12, 2, 4, branches=5, synapses=7, routing="random", routing_seed=9)
    two.load_state_dict(one.state_dict())
    torch.testing.assert_close(two(events())[0], one(events())[0])
    broken = {**one.state_dict(), "routing.index": one.state_dict()["routing.index"] + 12}
    with pytest.raises(ValueError, match=r"routing.index: expected inputs 0 to 11, got 12 to"):
        two.load_state_dict(broken)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ELM(0, 2), "in_features: expected a whole number above 0, got 0"),
        (lambda: ELM(4, 2, memory=2.5), "memory: expected a whole number above 0, got 2.5"),
        (lambda: ELM(4, 2, hidden=0), "hidden: expected a whole number above 0, got 0"),
        (lambda: ELM(4, 2, rule="v3"), "rule: expected one of v2, v1, got 'v3'"),
        (lambda: ELM(4, 2, activation="gelu"), "activation: expected one of relu, silu, got 'gelu'"),
        (lambda: ELM(4, 2, solver="euler"), "solver: expected one of serial, newton, got 'euler'"),
        (lambda: ELM(4, 2, scale=0.0), "scale: expected a finite number above 0, got 0"),
        (lambda: ELM(4, 2, dt=-1.0), "dt: expected a step above 0 ms, got -1"),
        (lambda: ELM(4, 2, learn=("weight",)), "learn: expected names among tau_memory, tau_branch, got 'weight'"),
        (lambda: ELM(4, 2, learn="tau_memory"), "learn: expected a sequence of names"),
        (lambda: ELM(4, 2, ranges={"x": (1.0, 2.0)}), "ranges: expected names among tau_memory, tau_branch, got 'x'"),
        (lambda: ELM(4, 2, tau_memory=(10.0, 1.0)), r"tau_memory: expected \(low, high\), 0 < low < high, got \(10.0"),
        (lambda: ELM(4, 2, tau_branch=-5.0), "tau_branch: expected finite numbers above 0"),
        (lambda: BranchELM(4, 2, branches=5), "branches: expected no more than the 4 synapses, got 5"),
        (lambda: BranchELM(4, 2, branches=3), "branches: contiguous ones share out all 4 inputs, got 3 branches"),
        (lambda: BranchELM(4, 2, branches=2, synapses=3), "all 4 inputs, got 2 branches of 3 synapses"),
        (lambda: BranchELM(4, 2, branches=0), "branches: expected a whole number above 0, got 0"),
        (lambda: BranchELM(4, 2, branches=2, routing="random"), "synapses: expected their number on a branch, for r"),
        (lambda: BranchELM(5, 2, branches=2, synapses=2, routing="neuronio"), "routing: 'neuronio' pairs the two h"),
        (lambda: BranchELM(4, 2, branches=2, routing="tree"), "routing: expected one of contiguous, random, neuronio"),
        (lambda: ELM(4, 2)(torch.ones(3, 1, 5)), r"x: expected \(T, B, 4\), got \(3, 1, 5\)"),
        (lambda: ELM(4, 2)(torch.ones(3, 1, 4)), "dt: a dense tensor needs the length of a step in ms, got None"),
        (lambda: ELM(4, 2, dt=2.0, tau_memory=(5.0, 9.0))(events(3, 1, 4)), "dt: layer 2.0 ms, events 1.0 ms"),
        (
            lambda: ELM(4, 2)(events(3, 1, 4), ELMState(torch.ones(1, 3), torch.ones(1, 100))),
            r"state: branch: expected \(1, 4\), got \(1, 3\)",
        ),
    ],
)
def test_bad_input_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unknown_argument_is_named() -> None:
    with pytest.raises(TypeError, match="ELM: unexpected argument tau"):
        ELM(4, 2, tau=5.0)


def test_a_neuron_says_what_it_is() -> None:
    said = repr(BranchELM(12, 2, 4, branches=3, learn=("tau_memory",), dt=1.0))
    for part in ("12, 2, memory=4, hidden=8", "tau_memory=1..1e+03 ms", "rule='v2'", "branches=3", "dt=1 ms", "learn="):
        assert part in said
