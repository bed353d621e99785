"""BCM: a neuron's activity decides whether its synapses grow, against a threshold that follows this activity.

    dw/dt ~ x y (y - theta),        theta = E[y^2] / rate         (Bienenstock, Cooper & Munro 1982)

In spikes this is the minimal triplet rule without pair potentiation, whose depression follows the threshold (Pfister &
Gerstner 2006, eq. 5 to 7; Gjorgjieva et al. 2011):

    dw = A3+ r1 o2  at a postsynaptic spike,       dw = -A- o1 (theta / rate)  at a presynaptic one

For Poisson spikes at rates x and y the mean is A- tau_minus x y (y - theta) / rate if A3+ = A- tau_minus / (tau_plus
tau_y rate), which is how it is chosen: at the rate `rate`, where theta = y, synapses stay. y is filtered from the
spikes with tau_rate, and theta with tau_theta; of Poisson spikes E[y^2] is y^2 + y / (2 tau_rate), 5 % more at the
defaults.
"""

from __future__ import annotations

from spiking.kernels.stdp import Rule, Sliding
from spiking.plasticity.hebbian.stdp import Exponent, exponents
from spiking.plasticity.hebbian.synaptic import Synaptic


class BCM(Synaptic):
    """BCM in its spiking form.

    Arguments:
        lr: A-, a share of w_max - w_min.
        rate: Hz, at which theta equals the rate.
        tau_rate, tau_theta: ms, of the rate y and of theta; tau_theta above tau_rate / 2.
        tau_plus, tau_minus, tau_y: ms, of the traces; those of Pfister & Gerstner 2006 for visual cortex.
        mu: exponent of soft bounds, or one for potentiation and one for depression.
        w_min, w_max, inhibitory: as in `Synaptic`.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    def __init__(
        self, lr: float = 0.002, rate: float = 10.0, tau_rate: float = 1000.0, tau_theta: float = 10_000.0,
        tau_plus: float = 16.8, tau_minus: float = 33.7, tau_y: float = 114.0, mu: Exponent = 0.0, w_min: float = 0.0,
        w_max: float = 3.0, inhibitory: bool = False,
    ) -> None:  # fmt: skip
        sliding = Sliding(rate, tau_rate, tau_theta)
        plus, minus = exponents(mu)
        rule = Rule(
            0.0, lr, tau_plus, tau_minus, tau_y=tau_y, mu_plus=plus, mu_minus=minus, sliding=sliding
        )
        super().__init__(rule, w_min, w_max, inhibitory)
        triplet = lr * tau_minus / (tau_plus * tau_y * rate * 1e-3)
        self.numbers = rule._replace(a3_plus=triplet)
