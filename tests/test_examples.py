"""Every script in examples/ runs, in small form."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "examples"


def camera(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """A picture, and about as many events as such a video gives."""
    example.main()
    *_, out = words
    assert (Path(out) / "camera.png").stat().st_size > 10_000
    assert re.match(r"\d{4} events in 480 ms", printed())


def own_neuron(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """Half the steps learn most of it."""
    assert example.main(steps=25) > 0.8


def own_recordings(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """A few recordings, one epoch."""
    example.RECORDINGS, example.EPOCHS = 10, 1
    words[1:] = []
    example.main()
    assert re.search(r"test accuracy \d\.\d{3}", printed())


def train_digits(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """One epoch is far from chance."""
    assert example.main(epochs=1) > 0.5
    assert printed().startswith("epoch 1: loss")


SMALL = {check.__name__: check for check in (camera, own_neuron, own_recordings, train_digits)}


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert name in SMALL, f"examples/{name}.py has no small form here"
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    words = [f"{name}.py", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    SMALL[name](example, words, lambda: capsys.readouterr().out)
