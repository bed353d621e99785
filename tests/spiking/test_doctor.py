"""`spiking doctor`."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiking import doctor
from spiking.cli.main import main
from spiking.training.warm import warm


def test_doctor_names_versions_ops_and_folders(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for wanted in ("torch", "numba", "lif", "event_linear", "event_conv", "reference", "data cache", "writable"):
        assert wanted in out, wanted


def test_doctor_names_every_op_and_where_it_has_a_kernel() -> None:
    kernels = Path(doctor.__file__).parent / "kernels"
    assert {*doctor.OPS.values()} == {path.parent.name for path in kernels.glob("*/op.py")} - {"sparse_linear"}
    lines = {line.split()[0]: line for line in doctor.report().splitlines() if "reference" in line}
    assert [*lines] == [*doctor.OPS]
    for op, folder in doctor.OPS.items():
        assert ("triton" in lines[op]) == (kernels / folder / "gpu.py").exists(), lines[op]


def test_warm_runs_every_neuron() -> None:
    said: list[str] = []
    warm(said.append, elm=True)
    assert {"layer of elm"} == {line[:12] for line in said if "layer" in line}
    assert any(line.startswith("convolutions") for line in said)
    assert [line.split()[1] for line in said if line.startswith("neuron")] == [
        "lif", "cuba", "alif", "adlif", "seadlif", "silif", "csilif", "elm",
    ]


def test_a_folder_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert "can NOT be written" in doctor.report()


def test_unknown_words_are_refused() -> None:
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--cure"])
    assert left.value.code == 2
