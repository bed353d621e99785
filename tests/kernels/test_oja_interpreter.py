"""The Triton kernel of the subspace rule under Triton's interpreter, against the specification."""

from __future__ import annotations

import pytest

from spiking.events import Events
from spiking.kernels.oja import oja

from .guard import ALONE, bounds, poison
from .test_oja import RULES, agree, draw

pytestmark = ALONE


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_triton_agrees(rule, monkeypatch):
    poison(monkeypatch)
    x, H, V = draw(5, 150, 9, rule.get("decay", 0.9))
    given = {"lr": 0.0625, "frozen": 2, "iterations": 2, **rule}
    with bounds():
        agree(oja(x, H, V, backend="triton", **given), oja(x, H, V, backend="reference", **given), 1e-8)
        spikes = Events.from_dense((x.view(5, 1, 150) > 1.5).double(), 1.0)
        agree(oja(spikes, H, V, backend="triton", **given), oja(spikes, H, V, backend="reference", **given), 1e-8)


def test_a_delta_that_is_no_number_stays_none(monkeypatch):
    poison(monkeypatch)
    x, H, V = draw(5, 33, 9, 0.9)
    x[0, 0] = float("nan")
    for backend in ("triton", "numba"):
        assert oja(x, H, V, lr=0.1, backend=backend)[0].isnan().any()
