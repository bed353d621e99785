"""What Sparsey's memories can do, measured: digits, actions, capacity, noise."""

from spiking.plasticity.sparsey.study.actions import actions
from spiking.plasticity.sparsey.study.capacity import Capacity, capacity, stored
from spiking.plasticity.sparsey.study.digits import digits
from spiking.plasticity.sparsey.study.noise import noise, overlaps
from spiking.plasticity.sparsey.study.sequences import moved, sequences

__all__ = ["Capacity", "actions", "capacity", "digits", "moved", "noise", "overlaps", "sequences", "stored"]
