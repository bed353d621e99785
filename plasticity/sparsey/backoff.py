"""Back-off: recognition that leaves out what contradicts the rest.

A case is a choice of sources with a threshold of familiarity. The cases of a level are tried together and the most
familiar one that reaches its threshold decides; where none does, the next level is tried, and in the end the first
case decides. Learning never backs off. After the Java implementation of Sparsey, whose order is HUD 0.90, then HU and
UD 0.93, then U 0.96. With U as a case of its own a new order of known frames is as familiar as a known one.
"""

from __future__ import annotations

from typing import NamedTuple

from spiking.plasticity.arguments import real, whole

LETTERS = "UOHDL"  # bottom-up, off cells, horizontal, top-down, label


class BackOff(NamedTuple):
    """Cases to try.

    Attributes:
        cases: letters of the sources that count in each, such as "HU": U bottom-up (with O, its off cells),
            H horizontal, D top-down, L label.
        thresholds: familiarity that each must reach.
        levels: not falling; which cases compete.
    """

    cases: tuple[str, ...] = ("UHD", "UH", "UD", "U")
    thresholds: tuple[float, ...] = (0.90, 0.93, 0.93, 0.96)
    levels: tuple[int, ...] = (0, 1, 1, 2)

    def check(self) -> None:
        """Raise unless each case has known letters, a threshold and a level.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        for case in self.cases:
            if not isinstance(case, str) or not case or set(case) - set(LETTERS):
                raise ValueError(f"cases: expected letters of {LETTERS}, got {case!r}")
        for threshold in self.thresholds:
            real("thresholds", threshold)
        levels = [whole("levels", level) for level in self.levels]
        if not self.cases or not len(self.cases) == len(self.thresholds) == len(levels) or levels != sorted(levels):
            raise ValueError(
                f"thresholds, levels: expected one for each case, levels not falling, got {len(self.cases)} cases, "
                f"{self.thresholds} and {self.levels}"
            )

    def exponents(self, full: dict[str, float]) -> list[list[float]]:
        """A row for each case; letters that a case lacks have exponent 0.

        Arguments:
            full: letter -> exponent, of the sources there are, in their order.

        Raises:
            ValueError: as `check`.
        """
        self.check()
        wanted = [set(case) | ({"O"} if "U" in case else set()) | ({"L"} & set(full)) for case in self.cases]
        return [[power if letter in case else 0.0 for letter, power in full.items()] for case in wanted]
