"""Rules of spikes by name against closed forms that are computed here from their definitions."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from spiking import Events
from spiking.kernels import SparseWeight
from spiking.kernels.reservoir import IntegrateFire, Synapses
from spiking.kernels.stdp import Plastic, PlasticNetwork, stdp
from spiking.plasticity.hebbian import BCM, STDP, IntrinsicPlasticity, RewardSTDP, TripletSTDP
from spiking.plasticity.hebbian.stdp import PFISTER

DELAY = 1  # of the dendrite: a postsynaptic spike comes so many steps later


def events(steps, T, dt=1.0):
    """Neurons that spike at these steps, a list for each."""
    x = torch.zeros(T, 1, len(steps), dtype=torch.bool)
    for n, times in enumerate(steps):
        x[torch.as_tensor(times, dtype=torch.int64), 0, n] = True
    return Events.from_dense(x, dt=dt)


def learned(rule, pre, post, T, w=1.0, dt=1.0, **more):
    """The strength of synapses n -> n between neurons whose spikes, as they come to the synapse, are at these steps."""
    early = [[t - DELAY for t in times] for times in post]
    weight = SparseWeight.from_dense(torch.eye(len(pre), dtype=torch.float64) * w)
    return rule.learn(events(pre, T, dt), events(early, T, dt), weight, DELAY, **more).values


@pytest.mark.parametrize(("mu", "w"), [(0.0, 1.0), ((0.0, 1.0), 1.5), (0.4, 0.7)])
def test_the_window_of_pairs_is_its_closed_form(mu, w):
    """60 pairs at 1 Hz for each time between them, to 1e-12; Dt = 0 leaves a synapse as it was."""
    rule = STDP(0.002, 0.003, 17.0, 34.0, mu, w_max=2.0)
    shifts = [*range(-60, 61, 4), 1, -1]
    pre = [range(200, 60_200, 1000) for _ in shifts]
    found = learned(rule, pre, [[t + s for t in times] for times, s in zip(pre, shifts, strict=True)], 60_300, w)
    plus, minus = mu if isinstance(mu, tuple) else (mu, mu)
    for shift, got in zip(shifts, found.tolist(), strict=True):
        # From one period to the next the second spike of a pair comes before the first of the next pair.
        near = [] if not shift else [(shift > 0, abs(shift))]
        far = [(shift < 0, 1000 - abs(shift))] if shift else [(True, 1000), (False, 1000)]
        value = w
        for up, apart in [*near, *(far + near) * 59]:
            p = value / 2
            if up:
                value += 2 * 0.002 * (1 - p) ** plus * math.exp(-apart / 17)
            else:
                value -= 2 * 0.003 * p**minus * math.exp(-apart / 34)
        assert abs(got - value) < 1e-12, shift
        assert not shift or (got > w) == (shift > 0)


def by_definition(rule, pre, post, w):
    """All pairs and triplets by double sums; no bounds."""
    r = rule.numbers
    span, total = rule.w_max - rule.w_min, 0.0

    def trace(times, t, tau):
        past = [s for s in times if s < t]
        return sum(math.exp(-(t - s) / tau) for s in (past[-1:] if r.nearest else past))

    for t in post:
        total += trace(pre, t, r.tau_plus) * (r.a_plus + r.a3_plus * trace(post, t, r.tau_y))
    for t in pre:
        total -= trace(post, t, r.tau_minus) * (r.a_minus + r.a3_minus * trace(pre, t, r.tau_x))
    return w + span * total


@pytest.mark.parametrize("preset", PFISTER)
def test_triplets_are_their_definition(preset):
    rng = np.random.default_rng(0)
    pre, post = ([np.flatnonzero(rng.random(2000) < 0.02) + 5 for _ in range(4)] for _ in range(2))
    rule = TripletSTDP.from_preset(preset, w_max=50.0)
    got = learned(rule, pre, post, 2010, 25.0).tolist()
    for k in range(4):
        assert got[k] == pytest.approx(by_definition(rule, pre[k], post[k], 25.0), abs=1e-10)


def test_frequency_turns_depression_into_potentiation():
    """60 pairings at steps of dt = 0.1 ms, as Sjoestroem et al. 2001: the closed form by geometric sums."""
    rates, found = (1.0, 10.0, 20.0, 40.0, 50.0), {}
    rule = TripletSTDP.from_preset("visual minimal", w_max=20.0)
    r = rule.numbers
    for rate, shift in product(rates, (100, -100)):
        period = round(10_000 / rate)
        pre = [200 + n * period for n in range(60)]
        got = float(learned(rule, [pre], [[t + shift for t in pre]], 60 * period + 400, 10.0, 0.1))
        found[rate, shift > 0] = got - 10.0
        T, lag, expected = period / 10, 10.0, 0.0

        def before(n, lead, tau, T=T):
            """The trace of n spikes a period T apart, the last of them `lead` ago."""
            q = math.exp(-T / tau)
            return math.exp(-lead / tau) * (1 - q**n) / (1 - q)

        for n in range(60):
            lead = (lag, n + 1) if shift > 0 else (T - lag, n)  # to the last presynaptic spike, and how many there were
            late = (T - lag, n) if shift > 0 else (lag, n + 1)
            expected += 20 * r.a3_plus * before(lead[1], lead[0], r.tau_plus) * before(n, T, r.tau_y)
            expected -= 20 * r.a_minus * before(late[1], late[0], r.tau_minus)
        assert found[rate, shift > 0] == pytest.approx(expected, abs=1e-9), (rate, shift)
    assert found[1.0, True] == pytest.approx(0.0, abs=0.01) and found[1.0, False] < -0.25
    assert found[20.0, False] < -0.2 and found[50.0, True] > 0.4 and found[50.0, False] > 0.3
    assert found[50.0, True] > found[40.0, True] > found[20.0, True] > found[10.0, True] > found[1.0, True]


def test_nearest_neighbours_forget_all_but_the_last_spike():
    pre, post = [[10, 20, 30]], [[33]]
    near = float(learned(STDP(0.01, 0.01, pairing="nearest"), pre, post, 50) - 1)
    every = float(learned(STDP(0.01, 0.01), pre, post, 50) - 1)
    assert near == pytest.approx(0.03 * math.exp(-3 / 20), abs=1e-14)
    assert every == pytest.approx(0.03 * sum(math.exp(-(33 - t) / 20) for t in (10, 20, 30)), abs=1e-14)


@pytest.mark.parametrize("tau_reward", [None, 50.0])
def test_a_distal_reward_strengthens_what_was_active_before_it(tau_reward):
    """The first pair at 100 ms, another in the other order, a third after the reward at 400 ms."""
    rule = RewardSTDP(200.0, tau_reward, 0.01, 0.015)
    reward = torch.zeros(2000, dtype=torch.float64)
    reward[400] = 0.5
    found = learned(rule, [[100], [110], [500], [50]], [[110], [100], [510], []], 2000, reward=reward) - 1
    c = [3 * 0.01 * math.exp(-10 / 20), -3 * 0.015 * math.exp(-10 / 20)]
    q, p = math.exp(-1 / 200), 0.0 if tau_reward is None else math.exp(-1 / tau_reward)

    def paid(since, start):
        """Sum over steps from `start` of what is left of c, times what is left of the reward, until step 1999."""
        k = np.arange(start, 2000)
        g = 0.5 * (1 - p) * p ** (k - 400) if tau_reward else 0.5 * (k == 400)
        return float((q ** (k - since) * g).sum())

    assert found[0] == pytest.approx(c[0] * paid(110, 400), abs=1e-14) and found[0] > 1e-3
    assert found[1] == pytest.approx(c[1] * paid(110, 400), abs=1e-14)
    assert found[3] == 0
    if tau_reward is None:
        assert found[2] == 0
        assert found[0] == pytest.approx(0.5 * c[0] * math.exp(-290 / 200), abs=1e-14)
    else:
        assert found[2] == pytest.approx(c[0] * paid(510, 511), rel=1e-9) and 0 < found[2] < found[0]


def test_punishment_undoes():
    rule, reward = RewardSTDP(500.0, None), torch.zeros(300, dtype=torch.float64)
    reward[60], reward[200] = 1.0, -math.exp(140 / 500)
    assert float(learned(rule, [[40]], [[50]], 300, reward=reward)) == pytest.approx(1.0, abs=1e-14)


def level(tau):
    return 1 / math.expm1(1 / tau)


def test_bcm_grows_above_its_threshold_and_shrinks_below():
    """Poisson spikes: the mean drift is A- tau_minus x y (y - theta) / rate, and theta moves to E[y^2] / rate."""
    rate, n, T = 20.0, 400, 20_000
    rule = BCM(1e-4, rate, 200.0, 1e9, w_max=1e3)  # a threshold that stays at theta = rate
    rng, drift = np.random.default_rng(1), {}
    for y in (5.0, 15.0, 20.0, 30.0):
        pre = [np.flatnonzero(rng.random(T - 10) < 0.02) + 5 for _ in range(n)]
        post = [np.flatnonzero(rng.random(T - 10) < y / 1000) + 5 for _ in range(n)]
        moved = learned(rule, pre, post, T, 500.0) - 500.0
        drift[y], error = float(moved.mean()), float(moved.std()) / n**0.5
        # In steps a trace of rate x is x / (exp(1 / tau) - 1), a little less than x tau.
        expected = 1e3 * T * 0.02 * y / 1000 * (rule.numbers.a3_plus * level(16.8) * level(114) * y / 1000
                                                - 1e-4 * level(33.7))  # fmt: skip
        assert drift[y] == pytest.approx(expected, abs=4 * error) and error < 0.5
        assert expected == pytest.approx(1e3 * 1e-4 * 33.7e-3 * 20 * y * (y - rate) / rate * T / 1000, abs=2.0)
    assert drift[5.0] < 0 and drift[15.0] < 0 < drift[30.0]
    quick = BCM(1e-4, rate, 200.0, 500.0, w_max=1e3)
    assert float(learned(quick, pre, post, T, 500.0).mean()) < 500.0  # theta has overtaken 30 Hz


def test_the_sliding_threshold_solves_its_equation():
    """theta at each spike against a numerical solution of both equations between them."""
    rule, times = BCM(0.01, 20.0, 80.0, 300.0), [10, 14, 60, 61, 200]
    heard = SparseWeight.from_dense(torch.eye(2, dtype=torch.float64) * 9)
    one = SparseWeight.from_dense(torch.tensor([[0.0, 0.5], [0.0, 0.0]], dtype=torch.float64))
    network = PlasticNetwork(
        Synapses.of(heard, 0), Plastic(Synapses.of(one, 1), 0.0, 3.0), IntegrateFire(0.01, 5.0)
    )
    state = stdp(events([[], times], 300), network, rule.numbers)[1]
    y, theta, now = 0.0, 1.0, None

    def slope(_, s):
        return [-s[0] / 80, (s[0] ** 2 - s[1]) / 300]

    for t in times:
        if now is not None:
            y, theta = solve_ivp(slope, (now, t), [y, theta], rtol=1e-10, atol=1e-12).y[:, -1]
        else:
            theta *= math.exp(-(t + 2) / 300)  # from before the first step
        y, now = y + 1000 / (80 * 20), t
    # The last spike came after the recording's first step at 201; none before it had been there.
    assert float(state.post[0, 2, 1]) == pytest.approx(y, rel=1e-8)
    assert float(state.post[0, 3, 1]) == pytest.approx(theta, rel=1e-8)


def test_intrinsic_plasticity_brings_neurons_to_their_rate():
    """Neurons with inputs of very different strength end at 25 Hz, or as near as their bounds let them."""
    g = torch.Generator().manual_seed(0)
    x = Events.from_dense(torch.rand(40_000, 1, 40, generator=g) < 0.02, dt=1.0)
    weight = torch.rand(40, 12, generator=g, dtype=torch.float64) * torch.linspace(0.2, 1.0, 12)
    weight[:, 0] = 0.0005
    empty = Synapses.of(SparseWeight.from_dense(torch.zeros(12, 12, dtype=torch.float64)), 1)
    neuron, rule = IntegrateFire(20.0, 1.0, 0.0, refractory=2), IntrinsicPlasticity(25.0, 0.05, (0.3, 30.0))
    network = PlasticNetwork(Synapses.of(SparseWeight.from_dense(weight), 0), Plastic(empty, 0.0, 1.0), neuron)
    still = stdp(x, network)[0].spikes.counts()[0] / 40
    record, state = stdp(x, network, None, rule.homeostasis(1.0))
    rates = record.spikes[20_000:].counts()[0] / 20
    assert still.max() > 80 and (rates[1:] - 25).abs().max() < 1
    assert rates[0] == 0 and float(state.threshold[0]) == 0.3
    spikes = record.spikes.counts()[0, 1:].double()  # no bound was met: the sum of all steps
    torch.testing.assert_close(state.threshold[1:], 1 + 0.05 * (spikes - 0.025 * 40_000))


def test_inhibitory_synapses_stay_unless_asked_and_keep_their_sign():
    pre, post = [[10, 30, 50], [12, 33, 52]], [[12, 33, 52], [10, 30, 50]]
    weight = SparseWeight.from_dense(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    trains = events(pre, 70), events([[t - 1 for t in p] for p in post], 70)
    still = STDP(0.5, 0.9).learn(*trains, weight)
    assert still.values[0] > 1 and still.values[1] == -1 and torch.equal(still.index, weight.index)
    moved = STDP(0.5, 0.9, inhibitory=True).learn(*trains, weight)
    assert moved.values[1] == 0 and moved.values[0] == still.values[0]
    early = events([[9, 29], [9, 29, 49]], 70)  # mostly before the first source, after the second
    swapped = STDP(0.1, 0.1, inhibitory=True).learn(events([[30], [5]], 70), early, weight)
    assert 0 <= swapped.values[0] < 1 and -3 <= swapped.values[1] < -1


def test_recordings_follow_each_other():
    """Two recordings at once teach what one after the other does; the traces of one are not those of the other."""
    pre, post = events([[10, 40]], 60), events([[12, 35]], 60)
    rule, weight = STDP(0.02, 0.03, mu=0.5), SparseWeight.from_dense(torch.ones(1, 1))
    once = rule.learn(pre, post, weight)
    twice = rule.learn(Events.cat([pre, pre]), Events.cat([post, post]), weight)
    assert torch.equal(twice.values, rule.learn(pre, post, once).values) and float(once.values) != 1


def test_the_sliding_threshold_goes_on_from_recording_to_recording():
    """A recording cut into two teaches what it does whole where no pair is cut, also after a silent one between."""
    rng = np.random.default_rng(3)
    times = [np.sort(rng.choice(np.arange(t, t + 300), 12, replace=False)) for t in (10, 1010)]
    rule = BCM(0.01, 20.0, 300.0, 900.0, tau_y=20.0)
    weight = SparseWeight.from_dense(torch.ones(1, 1, dtype=torch.float64))
    pre, post = events([np.concatenate(times)], 2000), events([np.concatenate(times) + 5], 2000)
    whole = rule.learn(pre, post, weight).values
    cut = [Events.cat([x[:500], x[500:1000], x[1000:1500]]) for x in (pre, post)]
    torch.testing.assert_close(rule.learn(*cut, weight).values, whole, rtol=1e-6, atol=0)
    assert abs(float(whole) - 1) > 0.01
    alone = [Events.cat([x[:500], x[1000:1500]]) for x in (pre, post)]
    assert abs(float(rule.learn(*alone, weight).values / whole) - 1) > 1e-4


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: STDP(tau_plus=-1.0), r"rule.tau_plus: expected a time constant above 0 ms, got -1.0"),
        (lambda: STDP(w_min=1.0, w_max=0.5), r"w_max: expected it above w_min, 1, got 0.5"),
        (lambda: STDP(w_min=-1.0), r"w_min: expected a strength of 0 or more, got -1.0"),
        (lambda: STDP(pairing="some"), r"pairing: expected all or nearest, got 'some'"),
        (lambda: STDP(mu=-0.5), r"rule.mu_plus: expected a number of 0 or more, got -0.5"),
        (lambda: TripletSTDP.from_preset("cerebellum"), r"preset: expected one of visual, .*, got 'cerebellum'"),
        (lambda: TripletSTDP.from_preset("visual", 1.0, 1.0), r"w_max: expected it above w_min, 1, got 1.0"),
        (lambda: RewardSTDP(0.0), r"rule.tau_eligibility: expected a time constant above 0 ms, got 0.0"),
        (lambda: BCM(tau_theta=100.0), r"rule.sliding.tau_theta: expected it above tau_rate / 2, 500 ms, got 100.0"),
        (lambda: BCM(rate=0.0), r"rule.sliding.rate: expected a rate above 0 Hz, got 0.0"),
        (lambda: IntrinsicPlasticity(rate=-1.0), r"rate: expected a number above 0, got -1.0"),
        (lambda: IntrinsicPlasticity(bounds=(2.0, 1.0)), r"bounds: expected two numbers above 0"),
        (lambda: IntrinsicPlasticity(bounds=("a", "b")), r"bounds: expected two numbers above 0"),
        (lambda: IntrinsicPlasticity(bounds=5), r"bounds: expected two numbers above 0, the second the larger, got 5"),
        (lambda: STDP(mu=(1.0, 2.0, 3.0)), r"mu: expected an exponent, or one for .*, got \(1.0, 2.0, 3.0\)"),
        (lambda: STDP(inhibitory="no"), r"inhibitory: expected True or False, got 'no'"),
    ],
)
def test_mistakes_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_trains_that_do_not_fit_are_named():
    x, weight, rule = events([[1]], 9), SparseWeight.from_dense(torch.ones(1, 1)), STDP()
    with pytest.raises(TypeError, match="post: expected Events, got Tensor"):
        rule.learn(x, x.to_dense(), weight)
    with pytest.raises(TypeError, match="weight: expected a SparseWeight, got int"):
        rule.learn(x, x, 3)
    with pytest.raises(ValueError, match=r"post: expected as many steps"):
        rule.learn(x, x[:5], weight)
    with pytest.raises(ValueError, match=r"weight: expected \(1, 1\), got \(2, 1\)"):
        rule.learn(x, x, SparseWeight.from_dense(torch.ones(2, 1)))
    with pytest.raises(ValueError, match="pre: expected spikes, 1 a step at most, got counts"):
        rule.learn(Events.from_dense(torch.full((9, 1, 1), 2.0), dt=1.0), x, weight)
    with pytest.raises(ValueError, match=r"reward: expected \(9,\)"):
        RewardSTDP().learn(x, x, weight, reward=torch.ones(4))
    with pytest.raises(ValueError, match=r"delay: expected 0 to 255 steps"):
        rule.learn(x, x, weight, 300)
