"""Associative memories over one engine, with the closed forms that say what they hold."""

from spiking.plasticity.memory import simulate
from spiking.plasticity.memory.dense import Dense, bit_error
from spiking.plasticity.memory.engine import Memory
from spiking.plasticity.memory.hopfield import Hopfield, capacity, retrieval
from spiking.plasticity.memory.multitasking import Multitasking, hierarchical, kink, magnetisations
from spiking.plasticity.memory.patterns import examples, patterns
from spiking.plasticity.memory.pavlovian import Pavlovian, delta_response, hebbian_response

__all__ = [
    "Dense", "Hopfield", "Memory", "Multitasking", "Pavlovian", "bit_error", "capacity", "delta_response", "examples",
    "hebbian_response", "hierarchical", "kink", "magnetisations", "patterns", "retrieval", "simulate",
]  # fmt: skip
