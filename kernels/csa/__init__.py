"""Sparsey's code selection algorithm for all macs of a level at once."""

from spiking.kernels.csa.bits import WORD, pack, unpack, words
from spiking.kernels.csa.op import Choice, Draw, Evidence, Rule, Wiring, csa

__all__ = ["WORD", "Choice", "Draw", "Evidence", "Rule", "Wiring", "csa", "pack", "unpack", "words"]
