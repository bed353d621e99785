"""Methods that hold weights where old tasks need them, by a penalty."""

from spiking.plasticity.regularise.ewc import EWC
from spiking.plasticity.regularise.si import SI

__all__ = ["EWC", "SI"]
