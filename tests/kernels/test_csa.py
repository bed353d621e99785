"""The code selection algorithm: every backend against the specification, the closed form, golden numbers, bad input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spiking.kernels.csa import Draw, Evidence, Rule, Wiring, csa, pack, unpack, words
from spiking.kernels.csa.reference import uniform

from .guard import ALONE, poison

TRITON = pytest.param("triton", marks=ALONE)
BACKENDS = ["reference", "numba", TRITON]
RINKUS_2010 = Rule(floor=0.0, gamma=7.0, sigma=(1.0, 26.0, 0.5, 1.0))


def run(
    backend, B=5, M=2, Q=3, K=5, learn=False, random=False, mask=False, gain=False, norm=False, fan_in=None, seed=0
):
    g = torch.Generator().manual_seed(seed)
    parts = (2, 1, 1)
    W = sum(parts)
    x = pack(torch.rand(B, M, W * 32, generator=g) < 0.1)
    weight = pack(torch.rand(M, Q * K, W * 32, generator=g) < (0.0 if learn else 0.3)).transpose(1, 2).contiguous()
    allowed = pack(torch.rand(Q, W * 32, generator=g) < 0.8) if mask else None
    wiring = Wiring(Q, parts, allowed, (40, 30, 20) if learn else None, fan_in)
    evidence = Evidence(
        [[1, 1, 1], [2, 1, 0], [0, 2.5, 1], [1, 0, 0]], [0.4, 0.3, 0.3, 0.2], [0, 1, 1, 2],
        torch.randint(0, 9, (B, M, 3), generator=g).double() if norm else None,
        torch.rand(B, M, W, generator=g, dtype=torch.float64) if gain else None,
        torch.rand(B, M, generator=g) < 0.8,
    )  # fmt: skip
    used = torch.zeros(M, 3, dtype=torch.int32)
    found = csa(
        x, weight, wiring, evidence, draw=Draw(2**63 + seed, 3) if random else None, learn=learn, used=used,
        backend=backend, ties=Draw(7, 2),
    )
    return (*found, weight, used)


def agree(found, wanted):
    """Codes and synapses are equal, bit for bit; familiarity to rounding."""
    for a, b in zip(found, wanted, strict=True):
        if a.is_floating_point():
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        else:
            assert torch.equal(a, b)


CASES = {
    "recognise": {}, "draw": {"random": True}, "learn": {"learn": True, "random": True},
    "everything": {"learn": True, "random": True, "mask": True, "gain": True, "norm": True, "fan_in": 12},
    "learn the largest": {"learn": True, "mask": True}, "weighed": {"gain": True, "norm": True},
    "nothing": {"B": 0}, "no mac": {"M": 0}, "one unit": {"K": 1, "random": True},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_numba_agrees(case, monkeypatch):
    wanted = run("reference", **case)
    poison(monkeypatch)
    agree(run("numba", **case), wanted)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("backend", [TRITON])
def test_triton_agrees(case, backend, careful):
    agree(run(backend, **case), run("reference", **case))


@settings(max_examples=15)
@given(*(st.integers(1, most) for most in (70, 3, 6, 9, 99)), *(st.booleans() for _ in range(5)))
def test_any_sizes(B, M, Q, K, seed, learn, random, mask, gain, norm):
    case = (B, M, Q, K, learn, random or learn, mask, gain, norm, None, seed)
    agree(run("numba", *case), run("reference", *case))


@settings(max_examples=20)
@given(st.integers(0, 100), st.integers(0, 99))
def test_bits_there_and_back(n, seed):
    x = torch.rand(2, n, generator=torch.Generator().manual_seed(seed)) < 0.5
    packed = pack(x)
    assert packed.shape == (2, words(n)) and packed.dtype == torch.int32
    assert torch.equal(unpack(packed, n), x)


def test_random_numbers_are_splitmix64():
    """The generator of a published vector: seed 0 gives 0xE220A8397B1DCDAF first."""
    found = uniform(0, -1, 1, 1, torch.device("cpu"))  # step -1: item's stream begins at mix(mix(gamma))
    mixed = _splitmix(_splitmix(0x9E3779B97F4A7C15) + 0x9E3779B97F4A7C15)
    assert _splitmix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF
    first = _splitmix(_splitmix(0x9E3779B97F4A7C15))
    assert found.item() == (_splitmix(first + 0x9E3779B97F4A7C15) >> 11) * 2.0**-53 and mixed != first


def _splitmix(x):
    x &= (1 << 64) - 1
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % (1 << 64)
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % (1 << 64)
    return x ^ (x >> 31)


def test_expansivity():
    assert Rule().expansivity(1.0, 8) == 801
    assert [round(Rule().expansivity(G, 8), 2) for G in (0, 0.1, 0.2, 0.5, 0.9)] == [1, 1, 10.88, 159.02, 633.10]


SETTINGS = [
    (Rule(), 1.0, 24, 8), (Rule(), 10.0, 24, 8), (RINKUS_2010._replace(chi=10_000 / 8), 1.0, 24, 8),
    (RINKUS_2010._replace(chi=10_000 / 3), 1.0, 4, 3), (Rule(), 1.0, 4, 3),
]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("setting", SETTINGS, ids=["2014", "U^10", "2010", "2010 K=3", "2014 K=3"])
def test_overlap_of_codes_has_the_closed_form(setting, backend):
    """E = Q rho, within four standard errors; the share of winners kept falls with the share of features."""
    from spiking.plasticity.sparsey.study.noise import overlaps

    rule, exponent, Q, K = setting
    draws = {"reference": 120, "numba": 2000, "triton": 12}[backend]  # interpreted kernels are slow
    values = (0, 5, 12) if backend == "triton" else (0, 4, 5, 6, 12)
    for measured, error, wanted in overlaps(values, draws, rule, exponent, Q, K, backend=backend):
        assert abs(measured - wanted) < 4 * max(error, 0.02 / draws**0.5 * Q)


def test_the_published_overlaps():
    """Of Rinkus' toy (Q = 4, K = 3, five features) and of the net of 144 features."""
    from spiking.plasticity.sparsey.study.noise import share

    toy = [4 * share(k / 5, 3, RINKUS_2010._replace(chi=10_000 / 3)) for k in (5, 4, 3, 2, 0)]
    assert [round(x, 3) for x in toy] == [3.999, 3.996, 3.970, 2.064, 1.333]
    plain = [4 * share(k / 5, 3, Rule()) for k in (5, 4, 3, 2, 0)]
    assert [round(x, 3) for x in plain] == [3.974, 3.957, 3.916, 3.407, 1.333]
    net = [24 * share(k / 12, 8, Rule()) for k in (0, 2, 4, 5, 6, 8, 12)]
    assert [round(x, 2) for x in net] == [3.00, 3.00, 8.40, 20.73, 22.90, 23.48, 23.79]


def test_back_off_takes_the_first_level_that_is_familiar():
    """Two sources that contradict each other: alone the second is known, the product of both is not."""
    x = pack(torch.tensor([[[True] * 4 + [False] * 28 + [True] * 4 + [False] * 28]]))
    weight = torch.zeros(1, 2, 4, dtype=torch.int32)
    weight[0, 1, [0, 2]] = 15
    for levels, wanted in (([0, 1, 1], 2), ([0, 0, 0], 2)):
        found = csa(x, weight, Wiring(2, (1, 1)), Evidence([[1, 1], [1, 0], [0, 1]], [0.9] * 3, levels))
        assert found.case.item() == wanted and found.familiarity.item() == 1
        assert found.winners.tolist() == [[[0, 0]]]
    none = csa(x, weight, Wiring(2, (1, 1)), Evidence([[1, 1], [1, 0]], [0.9] * 2, [0, 1]))
    assert none.case.item() == 0 and none.familiarity.item() == 0


def test_a_unit_that_is_full_learns_no_more():
    x = pack(torch.eye(2, 32, dtype=torch.bool)[:, None])
    weight, used = torch.zeros(1, 1, 1, dtype=torch.int32), torch.zeros(1, 1, dtype=torch.int32)
    csa(x, weight, Wiring(1, fan_in=0), draw=Draw(), learn=True, used=used)
    assert weight.item() == 1 and used.item() == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_ties_do_not_know_the_place_in_a_batch(backend):
    """All units are alike; each step has a lot of its own."""
    x, weight = torch.ones(70, 2, 1, dtype=torch.int32), torch.zeros(2, 1, 40, dtype=torch.int32)
    found = [csa(x, weight, Wiring(4), backend=backend, ties=Draw(3, step)).winners for step in (0, 1)]
    assert bool((found[0] == found[0][:1]).all()) and not torch.equal(*found)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_source_that_no_module_may_hear_is_no_evidence(backend):
    x = torch.tensor([[[3, 3]]], dtype=torch.int32)
    weight = torch.full((1, 2, 4), 3, dtype=torch.int32)
    mask = torch.tensor([[-1, 0], [-1, 0]], dtype=torch.int32)
    assert csa(x, weight, Wiring(2, (1, 1), mask), backend=backend).familiarity.item() == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_macs_have_limits_of_their_own(backend):
    x, weight = torch.ones(1, 2, 1, dtype=torch.int32), torch.zeros(2, 1, 4, dtype=torch.int32)
    used = torch.full((2, 1), 5, dtype=torch.int32)
    wiring = Wiring(2, limits=torch.tensor([[5], [4]]))
    csa(x, weight, wiring, draw=Draw(), learn=True, used=used, backend=backend)
    assert used.tolist() == [[7], [5]] and not weight[1].any()


def test_opcheck():
    weight, used = torch.zeros(1, 1, 4, dtype=torch.int32), torch.zeros(1, 1, dtype=torch.int32)
    x = torch.ones(2, 1, 1, dtype=torch.int32)
    rule = [0.1, 2.0, 100.0, 0.1, 4.0, 1.0, 8.0, 0.95]
    numbers = (2, [1], [1.0], [0.0], [0], torch.tensor([[99]]), 99, rule, True, True, 0, 0, "numba")
    given = (x, weight, used, None, None, None, None, *numbers)
    torch.library.opcheck(torch.ops.spiking.csa, given)


def test_the_op_is_registered_as_others_are():
    """As by custom_op: on every device, said to compile, and a graph that keeps the synapses sees that they changed."""
    for device in ("CPU", "CUDA", "XPU", "MPS", "PrivateUse1"):
        assert torch._C._dispatch_has_computed_kernel_for_dispatch_key("spiking::csa", device)
    assert torch.Tag.pt2_compliant_tag in torch.ops.spiking.csa.default.tags
    x, weight, used = torch.ones(1, 1, 1).int(), torch.zeros(1, 1, 4).int(), torch.zeros(1, 1).int()
    scale = torch.ones((), requires_grad=True)
    product = scale * weight  # keeps weight
    csa(x, weight, Wiring(2), draw=Draw(), learn=True, used=used)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_compiles_whole():
    x = torch.ones(2, 1, 1, dtype=torch.int32)

    def learn(x, weight, used):
        return csa(x, weight, Wiring(2), draw=Draw(), learn=True, used=used).winners, weight, used

    found = [
        run(x, torch.zeros(1, 1, 4, dtype=torch.int32), torch.zeros(1, 1, dtype=torch.int32))
        for run in (learn, torch.compile(learn, fullgraph=True, backend="aot_eager"))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)) and found[0][2] > 0


def test_bad_input():
    x, weight = torch.zeros(3, 2, 4, dtype=torch.int32), torch.zeros(2, 4, 6, dtype=torch.int32)
    good = Wiring(3)
    for words_, call in (
        ("x, weight: expected int32", lambda: csa(x.float(), weight, good)),
        (r"weight: expected \(2, 4, Q K\)", lambda: csa(x, weight[:, :3].contiguous(), good)),
        ("weight: expected a contiguous", lambda: csa(x, weight.transpose(0, 1).contiguous().transpose(0, 1), good)),
        ("modules: expected a divisor of 6", lambda: csa(x, weight, Wiring(4))),
        ("parts: expected words that make 4", lambda: csa(x, weight, Wiring(3, (1, 2)))),
        ("exponents: expected rows of 1", lambda: csa(x, weight, good, Evidence([[1, 2]]))),
        ("levels: expected 2 finite numbers each", lambda: csa(x, weight, good, Evidence([[1], [2]], [0, 0], [1, 0]))),
        ("rule: expected finite numbers, 0 <= floor < 1", lambda: csa(x, weight, good, rule=Rule(floor=1.0))),
        (r"mask: expected int32 \(3, 4\)", lambda: csa(x, weight, Wiring(3, mask=x[0]))),
        ("mask: expected int32", lambda: csa(x, weight, Wiring(3, mask=torch.ones(3, 4)))),
        ("active: expected bool", lambda: csa(x, weight, good, Evidence([[1]], active=torch.ones(3, 2)))),
        ("used: expected int32", lambda: csa(x, weight, good, learn=True, used=torch.zeros(2, 1))),
        ("used: expected a contiguous",
         lambda: csa(x, weight, Wiring(3, (2, 2)), learn=True, used=torch.zeros(2, 2, dtype=torch.int32).t())),
        ("weight: expected a tensor on cpu, where x lies, got meta", lambda: csa(x, weight.to("meta"), good)),
        ("x, weight: expected tensors", lambda: csa([1], weight, good)),
        ("modules: expected whole", lambda: csa(x, weight, Wiring(3.0))),
        ("parts: expected whole", lambda: csa(x, weight, Wiring(3, (4.0,)))),
        ("draw, ties: expected whole", lambda: csa(x, weight, good, draw=Draw(1.5))),
        ("limits: expected whole", lambda: csa(x, weight, Wiring(3, limits=(1.5,)))),
        ("four of sigma", lambda: csa(x, weight, good, rule=Rule(sigma=(1.0, 2.0, 3.0)))),
        (r"gain: expected \(3, 2, 4\)", lambda: csa(x, weight, good, Evidence([[1]], gain=torch.ones(2)))),
        ("used: expected a tensor", lambda: csa(x, weight, good, learn=True)),
        (r"limits: expected whole \(1,\) or \(2, 1\)", lambda: csa(x, weight, Wiring(3, limits=(1, 2)))),
        (r"x: expected bool \(..., n\), got torch.int32", lambda: pack(x)),
        (r"x: expected int32 \(..., 4 or more\)", lambda: unpack(x[0, 0, :1], 99)),
        ("x: expected int32", lambda: unpack(x.float(), 3)),
        ("backend: expected one of", lambda: csa(x, weight, good, backend="cuda")),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words_):
            call()
