"""`spiking train tiny-llm`: trains, resumes, refuses."""

import json
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

pytest.importorskip("transformers", reason="spiking.llm needs the extra llm")

from spiking.cli.main import main
from spiking.llm import tiny
from spiking.llm.tiny import Windows, model

SMALL = [
    "--data.steps", "4", "--data.every", "2", "--data.context", "32", "--data.batch_size", "4", "--model.width", "16",
    "--model.layers", "2", "--model.heads", "2",
]  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text("".join(f"to be or not to be, that is question {n % 7}\n" for n in range(120)))
    return str(path)


def test_a_run_learns_and_can_be_used(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "run"
    steps = ["--data.steps", "60", "--data.every", "30", "--model.lr", "0.02", "--model.warmup", "5"]
    assert main(["train", "tiny-llm", "--text", text, "--out", str(out), *SMALL, *steps]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test_bits_per_byte"] < 4.0 and metrics["steps"] == 60  # 8 is chance
    assert capsys.readouterr().out.strip().endswith(str(out))
    assert (out / "learning_curve.png").stat().st_size > 5_000
    lm, words = AutoModelForCausalLM.from_pretrained(out / "model"), AutoTokenizer.from_pretrained(out / "model")
    ids = torch.tensor([words("to be").input_ids])
    tokens = lm.generate(ids, max_new_tokens=5, do_sample=False)
    assert tokens.shape == (1, 10)
    whole = lm(input_ids=tokens[:, :-1]).logits.argmax(-1)[:, 4:]
    assert torch.equal(whole, tokens[:, 5:])  # with and without the cache


def test_a_resumed_run_has_the_same_bits(text: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = ["train", "tiny-llm", "--text", text, *SMALL]
    assert main([*command, "--out", str(whole)]) == 0
    assert main([*command, "--out", str(parts), "--trainer.max_epochs", "1"]) == 0
    assert main([*command, "--out", str(parts), "--resume"]) == 0
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in (whole, parts))
    del one["seconds"], two["seconds"]
    assert one == two


def test_ctrl_c_leaves_a_run_that_goes_on(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupt(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.current_epoch == 1:
                signal.raise_signal(signal.SIGINT)

    class Interrupted(pl.Trainer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "callbacks": [*options["callbacks"], Interrupt()]})

    out = tmp_path / "run"
    command = ["train", "tiny-llm", "--text", text, "--out", str(out), *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(tiny, "Trainer", Interrupted)
        assert main(command) == 1
    assert "--resume goes on" in capsys.readouterr().out
    assert json.loads((out / "metrics.json").read_text())["interrupted"] == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert main([*command, "--resume"]) == 0
    assert json.loads((out / "metrics.json").read_text())["steps"] == 4


def test_windows_follow_from_the_seed() -> None:
    tokens = torch.arange(100)
    first, again, other = (Windows(tokens, 10, 50, seed) for seed in (1, 1, 2))
    assert torch.equal(first.starts, again.starts) and not torch.equal(first.starts, other.starts)
    assert {len(window) for window in first} == {10} and int(first.starts.max()) <= 90
    assert [int(window[0]) for window in Windows(tokens, 10)] == list(range(0, 100, 10))


def test_layers_alternate() -> None:
    assert model(16, 6, 2).config.layer_types == [
        *["linear_attention"] * 3, "full_attention", "linear_attention", "full_attention",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--text: tiny-llm needs a UTF-8 text file"),
        (["--text", "nowhere.txt"], "--text: no file nowhere.txt"),
        (["--text", "TEXT", "--model.width", "17"], "width: expected a multiple of 2 * heads = 4, got 17"),
        (["--text", "TEXT", "--data.steps", "0"], "data.steps: expected at least 1, got 0"),
        (["--text", "TEXT", "--data.context", "4000"], "bytes to validate on are less than data.context=4000"),
    ],
)
def test_mistakes(
    words: list[str], said: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [text if word == "TEXT" else word for word in words]
    small = SMALL if words else []
    assert main(["train", "tiny-llm", "--out", str(tmp_path / "run"), *small, *words]) == 2
    assert said in capsys.readouterr().err
