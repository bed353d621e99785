"""Every script in examples/ runs, in small form."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from spiking.datasets.nmnist_camera import NMNIST
from tests.datasets.mnist import TRAIN, as_idx, idx_files, images, nmnist_files
from tests.scripts import script

FOLDER = Path(__file__).parents[1] / "examples"


def camera(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """A picture, and about as many events as such a video gives."""
    example.main()
    *_, out = words
    assert (Path(out) / "camera.png").stat().st_size > 10_000
    assert re.match(r"\d{4} events in 480 ms", printed())


def cochlea(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """A picture, and thousands of spikes."""
    example.main()
    assert (Path(words[2]) / "cochlea.png").stat().st_size > 50_000
    assert re.match(r"[5-9]\d{3} spikes in 0\.93 s; one core hears \d+ times as fast", printed())


def convert_llm(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """A model that has learned nothing, but all its products spike, and it survives being saved."""
    from spiking.llm.tiny import TinyLM

    folder = Path(words[2])
    (folder / "text.txt").write_text("to be or not to be, that is the question\n" * 60)
    TinyLM(width=16, layers=2, heads=2).save(folder / "tiny")
    words[1:] = [str(folder / "tiny"), "--text", str(folder / "text.txt"), "--out", str(folder / "spiking")]
    found = example.main(limit=1000)
    said = printed()
    assert 0.8 < found["spikes, k=3"] / found["float32"] < 1.25
    assert "0 missed" in said and "the same tokens after saving and loading: True" in said


def delays(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """Two thirds of the steps; before the first no neuron fires."""
    assert example.main(steps=0) < 0.05
    assert example.main(steps=100) > 0.7
    *_, out = words
    assert (Path(out) / "delays.png").stat().st_size > 10_000


def elm_neuron(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """Fewer updates and lengths are enough to add better than by chance, without one it is no better."""
    example.STEPS, example.SHARES = (32,), (1.0,)
    assert example.main(updates=0)[0] > 0.1
    assert example.main(updates=900)[0] < 0.1
    *_, out = words
    assert (Path(out) / "elm_neuron.png").stat().st_size > 10_000


def fidelity(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """Eight recordings of the simulated camera pass for real ones among others of it."""
    folder = Path(words[2])
    real = nmnist_files(folder / "real", NMNIST.record(images(TRAIN, 0), seed=1))
    words += ["--real", str(real), "--images", str(idx_files(folder / "files")), "--from", "3", "--to", "11"]
    example.main()
    said = printed()
    assert "8 recordings, images 3 to 10" in said
    assert float(re.search(r"worst ([0-9.]+)", said)[1]) < 0.15
    assert (folder / "fidelity.png").stat().st_size > 20_000
    assert "| place |" in (folder / "fidelity.md").read_text()


def forgetting_curves(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """Sixty bright rows: three settings, all methods, one small network."""
    folder = Path(words[2])
    root, labels = folder / "fashion", np.arange(60, dtype=np.uint8) % 10
    root.mkdir()
    pictures = np.zeros((60, 28, 28), np.uint8)
    pictures[np.arange(60), 2 * labels + 3] = 255
    for name in ("train", "t10k"):
        (root / f"{name}-images-idx3-ubyte").write_bytes(as_idx(pictures))
        (root / f"{name}-labels-idx1-ubyte").write_bytes(as_idx(labels))
    words += ["--root", str(root), "--images", "60"]
    example.WIDTHS = (12, 10)
    found = example.main()
    assert len(found) == 3 * len(example.METHODS) == printed().count("accuracy")
    assert all((folder / f"forgetting_{setting}.png").stat().st_size > 20_000 for setting, _ in found)


def nir_exchange(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """Out to a file and back, and into Norse, without a spike that differs."""
    pytest.importorskip("nir", reason="spiking.nir needs the extra nir")
    example.main()
    said = printed()
    assert re.match(r"(\d{3,}) spikes here, \1 after network.nir, 0 differ; readout differs by 0", said)
    if importlib.util.find_spec("norse"):
        assert re.search(r"\d{3,} spikes of the last hidden layer in Norse, 0 differ", said)


def own_neuron(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """Half the steps learn most of it."""
    assert example.main(steps=25) > 0.8


def own_recordings(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """A few recordings, one epoch."""
    example.RECORDINGS, example.EPOCHS = 10, 1
    words[1:] = []
    example.main()
    assert re.search(r"test accuracy \d\.\d{3}", printed())


def sdr(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """Sparser patterns, more of them; what is simulated lies near theory."""
    fit = example.main(pairs=30_000)
    assert fit[20] > fit[40] > fit[80] > 0
    rows = [line.split() for line in printed().splitlines() if line.count("e-") == 2]
    often = [(float(theory), float(seen)) for *_, theory, seen in rows if float(theory) > 5e-3]
    assert len(often) >= 4 and all(abs(seen / theory - 1) < 0.3 for theory, seen in often)
    assert (Path(words[2]) / "sdr.png").stat().st_size > 10_000


def reservoir(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """A small liquid on few digits: every number is said, every picture drawn."""
    example.STEPS, example.DELAYS = 600, 20
    assert example.main(recordings=200, neurons=100, subset=40) > 0.6
    said = printed()
    for name in ("readout of 100 neurons", "branching factor", "kernel quality", "class separation", "memory capacity"):
        assert name in said
    for picture in ("branching", "ranks", "separation", "divergence", "memory"):
        assert (Path(words[2]) / f"{picture}.png").stat().st_size > 5_000


def sparse_synapses(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """A thousand neurons come closer to 15 Hz."""
    before = example.main(neurons=1000, fan_out=20, epochs=1)
    assert abs(example.main(neurons=1000, fan_out=20) - 15) < 0.6 * abs(before - 15)
    assert "1000 neurons, 20000 synapses" in printed()
    assert (Path(words[2]) / "sparse_synapses.png").stat().st_size > 5_000


def sparsey(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """Stored sequences come back through noise, digits by familiarity."""
    recall, accuracy = example.main()
    assert recall > 0.95 and accuracy > 0.8
    assert re.match(r"replayed (\d+) of \1 features", printed())
    assert (Path(words[2]) / "sparsey_codes.png").stat().st_size > 10_000


def stdp(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """In a fifth of the time strengths have begun to part."""
    assert example.main(parts=12) > 0.42
    assert float(re.search(r"([0-9.]+) Hz", printed())[1]) > 5
    assert (Path(words[2]) / "stdp.png").stat().st_size > 10_000


def spike_code(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """The finer the code, the smaller the error."""
    errors = example.main(vectors=8)
    assert sorted(errors.values(), reverse=True) == list(errors.values()) and 0.05 < errors[3.0] < 0.08
    assert (Path(words[2]) / "spike_code.png").stat().st_size > 10_000


def train_digits(example: ModuleType, words: list[str], printed: Callable[[], str]) -> None:
    """One epoch is far from chance."""
    assert example.main(epochs=1) > 0.5
    assert printed().startswith("epoch 1: loss")


CHECKS = (
    camera, cochlea, convert_llm, delays, elm_neuron, fidelity, forgetting_curves, nir_exchange, own_neuron,
    own_recordings, reservoir, sdr, sparse_synapses, sparsey, spike_code, stdp, train_digits,
)  # fmt: skip
SMALL = {check.__name__: check for check in CHECKS}


def test_examples_write_into_runs_unless_told() -> None:
    places = {path.stem: re.findall(r'"--out", (.*)', path.read_text()) for path in FOLDER.glob("*.py")}
    elsewhere = {name for name, found in places.items() if found and 'default=Path("runs")' not in found[0]}
    assert elsewhere == {"convert_llm"}, "the model is thrown away there unless --out says where it goes"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_example(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert name in SMALL, f"examples/{name}.py has no small form here"
    example = script(name, "examples")
    words = [f"{name}.py", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    SMALL[name](example, words, lambda: capsys.readouterr().out)
