"""The Triton kernels of ELM neurons under Triton's interpreter, against the specification."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spiking.events import Events
from spiking.kernels import FallbackWarning, set_backend
from spiking.neurons import ELM

from .elm_cases import CASES, Case, assert_close, build, run, specified
from .guard import INTERPRETED

pytestmark = INTERPRETED


def small(case: Case) -> Case:
    """A case cut to what the interpreter runs in a second."""
    B = min(case.B, 3)
    lengths = None if case.lengths is None else tuple(min(n, 4) for n in case.lengths[:B])
    sizes = {"T": min(case.T, 4), "B": B, "inputs": min(case.inputs, 4), "hidden": min(case.hidden, 18)}
    return replace(case, **sizes, density=max(case.density, 0.3), lengths=lengths)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case(case):
    case = small(case)
    p = build(case)
    assert_close(case, run(case, p, "triton"), specified(case, p), 1e-11)


def test_two_programs_and_wide_memory():
    case = Case("wide", T=2, B=18, inputs=3, hidden=20, units=100, density=0.5, activation="silu")
    p = build(case)
    assert_close(case, run(case, p, "triton"), specified(case, p), 1e-11)


def test_single_precision():
    case = Case("single", T=5, B=2, inputs=4, hidden=20, units=10, density=0.4)
    p = build(case, torch.float32)
    found = run(case, p, "triton")
    assert found["m"].dtype == torch.float32
    assert_close(case, found, specified(case, p), 1e-5)
    again = run(case, p, "triton")
    assert all(torch.equal(found[name], again[name]) for name in found)


def test_more_memory_than_a_program_holds():
    case = Case("large", T=2, B=1, inputs=3, hidden=4, units=129)
    p = build(case)
    with pytest.warns(FallbackWarning, match="elm: runs on the reference backend: the kernel holds 128 units"):
        found = run(case, p, "triton")
    assert_close(case, found, specified(case, p), 1e-12)


# `careful` may last over all examples: it holds no state.
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 4), st.integers(0, 3), st.integers(1, 4), st.integers(1, 20), st.integers(1, 20),
    st.sampled_from(["events", "learned", "currents"]), st.sampled_from(["relu", "silu"]), st.integers(0, 99),
)
def test_any_sizes(T, B, inputs, hidden, units, kind, activation, seed):
    lengths = tuple((seed + 3 * b) % (T + 1) for b in range(B))
    case = Case("any", kind, activation, T, B, inputs, hidden, units, 0.4, valued=seed % 2 == 0, lengths=lengths)
    p = build(case, seed=seed)
    assert_close(case, run(case, p, "triton"), specified(case, p), 1e-11)


@pytest.mark.parametrize("memory", [1, 2, 5, 10, 20, 50])
def test_published_weights_reproduce_published_outputs(memory, real_data):
    """The first 40 of 300 steps, which is what the interpreter does in a second; on a CPU all are compared."""
    folder = real_data / "elm_checkpoints" / f"num_memory_{memory}"
    if not folder.exists():
        pytest.skip(f"no published weights at {folder}; set SPIKING_DATA")
    kept = np.load(folder / "golden.npz")
    x = torch.zeros(int(kept["T"]), 2, 1278)
    sample, step, channel = (torch.tensor(row.astype(np.int64)) for row in kept["events"].T)
    x.index_put_((step, sample, channel), torch.tensor(kept["sign"], dtype=torch.float32), accumulate=True)
    neuron = ELM.from_checkpoint(folder / "state_dict.pt", config=folder / "config.json", dt=1.0)
    with torch.no_grad(), set_backend("triton"):
        out, _ = neuron(Events.from_dense(x[:40], 1.0))
    assert float((out.transpose(0, 1) - torch.tensor(kept["output"])[:, :40]).abs().max()) < 1e-5
