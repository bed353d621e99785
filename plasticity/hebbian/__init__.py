"""Small Hebbian rules that find principal directions."""

from spiking.plasticity.hebbian.foldiak import Foldiak
from spiking.plasticity.hebbian.oja import OjaPCA
from spiking.plasticity.hebbian.sanger import Sanger

__all__ = ["Foldiak", "OjaPCA", "Sanger"]
