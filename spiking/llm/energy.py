"""An estimate of energy per token, with every assumption in the open.

    spikes   synaptic additions * int8 add + weight bytes * memory
    int8     multiply-accumulates * int8 MAC + weight bytes * memory
    fp16     multiply-accumulates * fp16 MAC + 2 * weights * memory

45 nm, pJ (the numbers that SpikingBrain takes from Yao et al. 2024, and Horowitz 2014 for memory): fp16 MAC 1.5, int8
MAC 0.23, int8 addition 0.03, 160 per byte from DRAM. Memory is what decides: one token at a time fetches every weight
that a spike meets, and a weight byte costs as much as thousands of additions. The published factor of 43 over fp16
leaves it out. Left out here as well: shifts of the bit planes, control, normalisation, the attention's and the state's
own arithmetic. An 8-bit quantised network of equal weights is the fair neighbour (Yan et al. 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spiking.llm.activity import Layer

FP16_MAC, INT8_MAC, INT8_ADD, DRAM_BYTE = 1.5, 0.23, 0.03, 160.0


@dataclass(frozen=True)
class Energy:
    """Microjoules per token in the spiking weights' products.

    Attributes:
        spikes, int8, fp16: arithmetic alone.
        spikes_memory, int8_memory, fp16_memory: weights fetched from DRAM, one token at a time.
    """

    spikes: float
    int8: float
    fp16: float
    spikes_memory: float
    int8_memory: float
    fp16_memory: float

    def summary(self) -> dict[str, float]:
        """Flat metrics, in microjoules per token, and the two ratios that one may quote together only."""
        flat = {f"energy_{name}_uj": value for name, value in vars(self).items()}
        total = self.spikes + self.spikes_memory
        return flat | {
            "energy_fp16_over_spikes_arithmetic": self.fp16 / max(self.spikes, 1e-30),
            "energy_int8_over_spikes_arithmetic": self.int8 / max(self.spikes, 1e-30),
            "energy_fp16_over_spikes_with_memory": (self.fp16 + self.fp16_memory) / max(total, 1e-30),
            "energy_int8_over_spikes_with_memory": (self.int8 + self.int8_memory) / max(total, 1e-30),
        }


def estimate(layers: Mapping[str, Layer]) -> Energy:
    """The energy of a token.

    Arguments:
        layers: from `activity`.

    Returns:
        the estimate; silent channels' weights are not fetched.
    """
    synops, macs = sum(layer.synops for layer in layers.values()), sum(layer.macs for layer in layers.values())
    fetched = sum(layer.macs * (1 - layer.stats.silent) for layer in layers.values())
    scale = 1e-6
    return Energy(
        synops * INT8_ADD * scale, macs * INT8_MAC * scale, macs * FP16_MAC * scale,
        fetched * DRAM_BYTE * scale, macs * DRAM_BYTE * scale, 2 * macs * DRAM_BYTE * scale,
    )  # fmt: skip
