"""The liquids by name: what is drawn and from which distributions. Times are in ms; four numbers are of
E->E, E->I, I->E, I->I.

    maass2002  a column of 3 x 3 x 15 neurons with synapses that depress and facilitate (Maass, Natschlaeger & Markram
               2002; the numbers are those of CSIM's circuit tool, voltages in mV, currents in nA through 1 MOhm);
               synapses start rested, u at U and R at 1, not in the steady state of some rate, so that the first
               spikes of a recording find depressing synapses stronger than later ones
    nalsm      a cube of LIF neurons with synaptic currents, all strengths alike (Ivanov & Michmizos 2021)
    lin2023    all-to-all Gaussian weights, such as those of a chip of random memristors (Lin et al. 2023)
    random     a sparse random network without space, each neuron with as many synapses (Brunel 2000 in small)
    shd        a cube for sounds: neurons hear one band of frequencies less another, with many time constants of
               membranes and synapses (heterogeneity after Deckers et al. 2022; the bands and the numbers are ours)
"""

from __future__ import annotations

from dataclasses import dataclass

Four = tuple[float, float, float, float]
Pair = tuple[float, float]


@dataclass(frozen=True)
class Preset:
    """What a liquid is drawn from.

    Attributes:
        neurons: how many, unless asked otherwise.
        shape: sides of its box, where its number of neurons fills it; else a cube.
        rule: "distance", "degree" or "dense".
        C, lam: probabilities and length of the rule "distance".
        fan_out: synapses of each neuron, of the rule "degree"; a share of the neurons.
        inhibitory: share of the neurons.
        strength: of synapses, in the membrane's units, before the gain; "dense" draws them from a normal distribution
            with the first as standard deviation, without Dale's law.
        spread: coefficient of variation of strengths, gamma distributed; 0 for all alike.
        delay: of synapses; at least a step.
        delay_spread: its coefficient of variation, normal.
        tau_mem: of the membrane, from and to, uniform on a logarithmic scale.
        tau_syn: of the synaptic current, of which each neuron draws one; (0,) for none.
        tau_inhibitory: of the current of negative synapses; `None` for the same.
        normalised: the strength is divided by the time constant, and a current acts at once, V = a V + i, which moves V
            by about strength / dt in all: it belongs to this preset's dt. Else the current's peak is the strength,
            and it is integrated exactly, at any dt.
        threshold, reset, start, bias: of the membrane; the last three from and to, uniform.
        refractory: of E and I.
        adapt, tau_adapt: by how much a spike raises the threshold, and for how long.
        short_term: U, D and F of the four kinds, drawn for each neuron and kind of target with half of each as standard
            deviation; () for static synapses. u and R start at U and 1, as after a long silence.
        input_density: probability of a synapse from a channel.
        input_width: from and to, of the bands of channels that neurons hear; `None` for inputs from everywhere.
        input_strength: of the input, before the input gain.
        input_negative: share of input synapses that are negative; `None` for normally distributed ones from
            every channel.
        dt: step for which the numbers are meant.
        drive: rate that `calibrate` gives the neurons by their inputs alone, Hz.
        branching: branching factor to which it then brings the recurrent synapses; `None` for a rate.
        rate: to which it brings them where there is no branching factor, Hz.
    """

    neurons: int
    shape: tuple[int, int, int] | None = None
    rule: str = "distance"
    C: Four = (0.2, 0.1, 0.3, 0.05)
    lam: float = 3.0
    fan_out: float = 0.1
    inhibitory: float = 0.2
    strength: Four = (1.0, 1.0, -1.0, -1.0)
    spread: float = 0.0
    delay: Four = (1.0, 1.0, 1.0, 1.0)
    delay_spread: float = 0.0
    tau_mem: Pair = (64.0, 64.0)
    tau_syn: tuple[float, ...] = (0.0,)
    tau_inhibitory: float | None = None
    normalised: bool = True
    threshold: float = 20.0
    reset: Pair = (0.0, 0.0)
    start: Pair = (0.0, 0.0)
    bias: Pair = (0.0, 0.0)
    refractory: Pair = (2.0, 2.0)
    adapt: float = 0.0
    tau_adapt: float = 100.0
    short_term: tuple[tuple[float, float, float], ...] = ()
    input_density: float = 0.15
    input_width: Pair | None = None
    input_strength: float = 1.0
    input_negative: float | None = 0.5
    dt: float = 1.0
    drive: float = 6.0
    branching: float | None = None
    rate: float = 9.0


PRESETS = {
    "maass2002": Preset(
        neurons=135, shape=(3, 3, 15), C=(0.3, 0.2, 0.4, 0.1), lam=2.0, strength=(30.0, 60.0, -19.0, -19.0), spread=0.7,
        delay=(1.5, 0.8, 0.8, 0.8), delay_spread=0.1, tau_mem=(30.0, 30.0), tau_syn=(3.0,), tau_inhibitory=6.0,
        normalised=False,
        threshold=15.0, reset=(13.8, 14.5), start=(13.5, 14.9), bias=(13.5, 14.5), refractory=(3.0, 2.0),
        short_term=((0.5, 1100.0, 50.0), (0.05, 125.0, 1200.0), (0.25, 700.0, 20.0), (0.32, 144.0, 60.0)),
        input_density=0.1, input_strength=18.0, input_negative=0.2,
    ),
    "nalsm": Preset(neurons=1000, tau_syn=(1.0, 2.0), branching=1.1),
    "lin2023": Preset(
        neurons=200, rule="dense", inhibitory=0.0, strength=(0.46, 0.46, 0.46, 0.46), tau_mem=(47.5, 47.5),
        threshold=5.0, refractory=(0.0, 0.0), input_density=1.0, input_strength=0.46, input_negative=None, dt=5.0,
        delay=(5.0, 5.0, 5.0, 5.0),
    ),
    "random": Preset(
        neurons=1000, rule="degree", strength=(1.0, 1.0, -4.0, -4.0), tau_mem=(20.0, 20.0), tau_syn=(2.0,),
    ),
    "shd": Preset(
        neurons=1000, tau_mem=(10.0, 200.0), tau_syn=(1.0, 2.0, 5.0, 10.0), input_density=0.08,
        input_width=(0.02, 0.2), input_negative=0.375, drive=15.0, rate=20.0,
    ),
}  # fmt: skip


def preset(name: str) -> Preset:
    """A liquid by its name.

    Raises:
        ValueError: if there is none.
    """
    if name not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
