"""`spiking convert`, `generate`, `evaluate` on a tiny model; calibration, controls, statistics and energy by hand."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="spiking.llm needs the extra llm")

from spiking.cli.main import main
from spiking.coding import Stats, adaptive
from spiking.kernels.spike_linear import encode
from spiking.llm import SpikeConfig, spike_, watching
from spiking.llm.activity import Layer, activity
from spiking.llm.calibrate import calibrate, mean_k
from spiking.llm.control import exchanged, plain, spikes, weights_of
from spiking.llm.energy import DRAM_BYTE, INT8_ADD, estimate
from spiking.llm.outliers import find, outliers
from spiking.llm.perplexity import perplexity
from spiking.llm.tiny import TinyLM


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text and a model that has learned a little of it."""
    place = tmp_path_factory.mktemp("tiny")
    text = "".join(f"to be or not to be, that is question {n % 7}\n" for n in range(400))
    (place / "text.txt").write_text(text)
    torch.manual_seed(0)
    module = TinyLM(width=32, layers=2, heads=2)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    bytes_ = torch.tensor(list(text.encode()))
    for step in range(40):
        loss = module._bits(torch.stack([bytes_[n : n + 48] for n in range(step, step + 400, 100)]))
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    module.save(place / "model")
    return place


def load(folder: Path) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    return model


def tokens(n: int = 600, start: int = 0) -> torch.Tensor:
    text = "".join(f"to be or not to be, that is question {n % 7}\n" for n in range(400))
    return torch.tensor(list(text.encode()))[start : start + n]


def test_commands_end_to_end(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, text = tmp_path / "out", str(folder / "text.txt")
    words = ["--text", text, "--out", str(out), "--context", "48", "--limit", "600", "--group", "16"]
    assert main(["convert", str(folder), *words, "--budget", "0.02"]) == 0
    said = capsys.readouterr().out
    assert "spikes, calibrated" in said and "nothing missed" in said and said.strip().endswith(str(out))
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["coverage_missed"] == 0 and metrics["converted_weights_share"] < 0.45  # small groups cost scales
    assert metrics["perplexity_before"] == metrics["perplexity.float32"]
    assert metrics["perplexity_after"] == metrics["perplexity.spikes_calibrated"]
    assert all(isinstance(value, (int, float)) for value in metrics.values())
    for name in ("spikes.png", "planes.png", "k.png"):
        assert (out / name).stat().st_size > 8_000
    patterns = json.loads((out / "model" / "config.json").read_text())["quantization_config"]["patterns"]
    assert (out / "layers.csv").read_text().count("\n") == len(patterns)  # a header there, a default here
    assert main(["evaluate", str(out), "--text", text]) == 0
    evaluated = json.loads((out / "evaluation.json").read_text())
    assert evaluated["perplexity"] > 1
    capsys.readouterr()
    assert main(["generate", str(out), "--prompt", "to be", "--tokens", "12"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("to be") and len(first.encode()) >= 12
    assert main(["generate", str(out), "--prompt", "to be", "--tokens", "12"]) == 0
    assert capsys.readouterr().out == first
    assert main(["generate", str(folder), "--prompt", "to be", "--tokens", "5", "--temperature", "0.8"]) == 0


def test_saved_model_is_the_measured_one(folder: Path, tmp_path: Path) -> None:
    out, text = tmp_path / "out", str(folder / "text.txt")
    words = ["--text", text, "--out", str(out), "--context", "48", "--limit", "600", "--group", "16", "--no-calibrate"]
    assert main(["convert", str(folder), *words, "--k", "2"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    again, part = load(out), (folder / "text.txt").read_bytes()
    held_out = torch.tensor(list(part[int(0.95 * len(part)) :][:600]))
    assert math.isclose(perplexity(again, held_out, 48).perplexity, metrics["perplexity_after"], rel_tol=1e-6)
    assert {weight.matrices.config.k for weight in weights_of(again).values()} == {2.0} and metrics["mean_k"] == 2.0
    assert metrics["perplexity.spikes_k2"] == metrics["perplexity_after"]


def test_controls_by_hand(folder: Path) -> None:
    model = load(folder)
    before = perplexity(model, tokens(), 48).nll
    spike_(model, SpikeConfig(group=16))
    weight = next(iter(weights_of(model).values()))
    x = torch.randn(3, weight.matrices.shape[-1])
    decoded = weight.matrices.decoded()
    with exchanged(model, plain(0)):
        assert torch.allclose(torch.nn.functional.linear(x, weight), x @ decoded.T, atol=1e-5)
        whole = perplexity(model, tokens(), 48).nll
    assert abs(whole / before - 1) < 0.01  # int8 weights alone
    with exchanged(model, plain(4)):
        step = x.abs().amax(-1, keepdim=True) / 7
        assert torch.allclose(torch.nn.functional.linear(x, weight), (x / step).round() * step @ decoded.T, atol=1e-4)
    with exchanged(model, spikes(5.0)):
        assert weight.matrices.config.k == 5.0
        counts, threshold = encode(x, 5.0)
        assert torch.allclose(torch.nn.functional.linear(x, weight), counts * threshold @ decoded.T, atol=1e-4)
    assert weight.matrices.config.k == 3.0


def test_both_encoders_agree() -> None:
    x = torch.randn(40, 96) / torch.rand(40, 96).sqrt()
    counts, threshold = encode(x, 3.0)
    code = adaptive(x, 3.0)
    assert torch.allclose(code.threshold, threshold, rtol=1e-6)
    assert (code.counts != counts).float().mean() < 1e-3  # halves may fall either way


def test_activity_and_energy_by_hand(folder: Path) -> None:
    model = load(folder)
    spike_(model, SpikeConfig(k=2.0, group=16))
    seen: dict[str, list[torch.Tensor]] = {}
    ids = tokens(96)
    with watching(lambda m, operator, x: seen.setdefault(m.name, []).append(encode(x, 2.0)[0])), torch.no_grad():
        model(input_ids=ids.view(2, 48), use_cache=False)
    layers, _ = activity(model, ids, 48)
    assert layers.keys() == seen.keys() and len(layers) > 8
    synops = fetched = 0.0
    for name, parts in seen.items():
        counts = torch.cat([part.flatten() for part in parts])
        stats, out = Stats.of(counts), weights_of(model)[name].matrices.shape[-2]
        assert torch.equal(layers[name].stats.magnitude, stats.magnitude) and layers[name].tokens == 96
        ones = sum(int(((counts.abs() >> bit) & 1).sum()) for bit in range(20))
        assert math.isclose(layers[name].synops, ones * out / 96)
        synops += ones * out / 96
        fetched += int((counts != 0).sum()) * out / 96
    energy = estimate(layers)
    assert math.isclose(energy.spikes, synops * INT8_ADD * 1e-6)
    assert math.isclose(energy.spikes_memory, fetched * DRAM_BYTE * 1e-6)
    assert energy.fp16_memory == 2 * energy.int8_memory


def test_calibration_keeps_its_budget_and_spends_it(folder: Path) -> None:
    model = load(folder)
    before = perplexity(model, tokens(600, 700), 48).perplexity
    spike_(model, SpikeConfig(group=16))
    grid = (0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 4.0, 8.0)
    found = calibrate(model, tokens(), tokens(600, 700), before, 0.002, grid, context=48)
    assert found.met and found.perplexity <= found.limit and len(set(found.k.values())) > 1
    with exchanged(model, spikes(found.k)):
        assert math.isclose(perplexity(model, tokens(600, 700), 48).perplexity, found.perplexity, rel_tol=1e-9)
    looser = calibrate(model, tokens(), tokens(600, 700), before, 0.5, grid, context=48)
    assert mean_k(model, looser.k) < mean_k(model, found.k) < max(k for k, _ in found.tried)
    assert not calibrate(model, tokens(), tokens(600, 700), before, 1e-9, grid=[0.5, 1.0], context=48).met
    for words, arguments in (
        ("budget: expected more than 0", {"budget": 0.0}), ("before: expected a perplexity", {"before": 0.5}),
        ("grid: expected rising", {"grid": [2.0, 1.0]}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            calibrate(model, tokens(), tokens(), **{"before": before, **arguments})
    with pytest.raises(ValueError, match="model: no weight spikes"):
        calibrate(load(folder), tokens(), tokens(), before)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["convert", "MODEL", "--text", "nowhere"], "--text: no file nowhere"),
        (["convert", "nowhere", "--text", "TEXT"], "nowhere: expected a model's folder with config.json, or an RWKV-4"),
        (["convert", "TEXT", "--text", "TEXT"], "begins with"),
        (["convert", "MODEL", "--text", "TEXT", "--exclude", "nothing"], "'nothing' names nothing; there are"),
        (["convert", "MODEL", "--text", "TEXT", "--k", "0"], "k: expected a positive number, got 0.0"),
        (["convert", "MODEL", "--text", "TEXT", "--budget", "-1"], "budget: expected more than 0, got -1.0"),
        (["generate", "MODEL", "--prompt", ""], "--prompt: expected some text"),
        (["generate", "MODEL", "--prompt", "a", "--tokens", "0"], "--tokens: expected at least 1, got 0"),
        (["generate", "MODEL", "--prompt", "a", "--temperature", "nan"], "expected a number of at least 0.001"),
        (["evaluate", "MODEL"], "holds a language model; give the --text"),
        (["evaluate", "MODEL", "--text", "nowhere"], "--text: no file nowhere"),
    ],
)
def test_mistakes(
    words: list[str], said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [{"MODEL": str(folder), "TEXT": str(folder / "text.txt")}.get(word, word) for word in words]
    out = ["--out", str(tmp_path / "out"), "--limit", "600", "--context", "48"] if words[0] == "convert" else []
    assert main([*words, *out]) == 2
    assert said in capsys.readouterr().err


def test_broken_files_are_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, text = tmp_path / "broken", str(folder / "text.txt")
    shutil.copytree(folder / "model", broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert main(["convert", str(broken), "--text", text, "--out", str(tmp_path / "out")]) == 2
    assert "can't be loaded as a causal language model" in capsys.readouterr().err


def test_what_spikes_already_is_not_converted_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load(folder)
    spike_(model, SpikeConfig(group=16))
    shutil.copytree(folder / "model", tmp_path / "spiking")
    model.save_pretrained(tmp_path / "spiking")
    words = ["convert", str(tmp_path / "spiking"), "--text", str(folder / "text.txt"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "model: it spikes already; convert the float model" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main([*words[:4], "--out", str(tmp_path / "full")]) == 2
    assert "choose another folder\n" in capsys.readouterr().err  # and no word of --resume, which there is not


def test_a_missing_tokenizer_is_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(folder).save_pretrained(tmp_path / "bare")
    assert main(["generate", str(tmp_path / "bare"), "--prompt", "a"]) == 2
    assert "no tokenizer can be loaded" in capsys.readouterr().err


def test_loud_channels_get_their_own_threshold() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 40, bias=False)
    x = torch.randn(200, 64)
    x[:, 5] *= 40
    exact = linear(x).detach()
    loud = ((5, round((float(x[:, 5].abs().mean()) / float(x.abs().mean(0).median())) ** (1 / 3), 3)),)
    assert 2.5 < loud[0][1] < 4.5
    errors = {}
    for name, given in (("one", ()), ("own", loud), ("equal", ((5, loud[0][1] ** 3),))):
        model = torch.nn.Sequential(torch.nn.Linear(64, 40, bias=False))
        model.load_state_dict({"0.weight": linear.weight.detach()})
        spike_(model, {"0": SpikeConfig(k=2.0, group=16, outliers=given)})
        if name != "equal":  # a column forty times as large takes its group's whole range of codes
            assert torch.allclose(weights_of(model)["0.weight"].matrices.decoded(), linear.weight, atol=2e-3)
            with exchanged(model, plain(0)):
                assert torch.allclose(model(x), exact, atol=0.3)
        errors[name] = float((model(x) - exact).detach().norm() / exact.norm())
    # as many spikes, fewer errors, and the cube root is better than making all channels equally loud
    assert errors["own"] < 0.9 * errors["one"] and errors["own"] < 0.5 * errors["equal"]
    layer = Layer(Stats.of(torch.zeros(64)[:0].int()), 40, 200, x.abs().mean(0))
    assert outliers(layer) == loud and outliers(layer, 100.0) == ()
    assert outliers(Layer(layer.stats, 40, 1, torch.tensor([1.0, 1.0, 1.0, 50.0]))) == ()  # a quarter is no exception
    with pytest.raises(ValueError, match="factor: expected more than 1"):
        outliers(layer, 1.0)
    with pytest.raises(ValueError, match="outliers: expected channels 0 to 63, got 64"):
        spike_(torch.nn.Sequential(torch.nn.Linear(64, 8)), {"0": SpikeConfig(outliers=((64, 2.0),))})
    with pytest.raises(ValueError, match="outliers: expected"):
        SpikeConfig(outliers=((1, 0.0),))


def test_outliers_survive_a_file(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    spike_(model, SpikeConfig(weights=None))
    name = next(iter(weights_of(model)))
    assert set(find(model, tokens(96), 2.0, 48)) == set(weights_of(model))
    spike_(model, {name: SpikeConfig(group=16, outliers=((3, 4.0), (7, 16.0))), "_default": SpikeConfig(group=16)})
    ids = tokens(40)[None]
    with torch.no_grad():
        logits = model(input_ids=ids).logits
        model.save_pretrained(tmp_path / "model")
        again = load(tmp_path)
        assert weights_of(again)[name].matrices.config.outliers == ((3, 4.0), (7, 16.0))
        assert torch.equal(again(input_ids=ids).logits, logits)
