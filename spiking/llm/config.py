"""What is done to which weight: one SpikeConfig, or patterns that name weights and give each its own.

Precedence: an exact name (of a parameter, its module, or a module around it, the innermost first), then the first
"re:..." that matches the whole name of a parameter or of its module, then "_default". None leaves a weight as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

DEFAULT = "_default"
REGEX = "re:"
MODES = ("auto", "int", "event", "expand")


@dataclass(frozen=True)
class SpikeConfig:
    """How the inputs of a weight become spikes, and how the weight is kept.

    Arguments:
        k: spikes a channel on average: the threshold of a token is mean |x| / k.
        weights: "int8" stores whole numbers with a scale for each output and group; None keeps the float weight, whose
            inputs are spikes all the same.
        group: inputs that share a scale of the int8 weight, a multiple of 4.
        saturation: "exact" keeps counts beyond +-127, "clip" cuts them off.
        mode: how int8 products are run: "auto", "int", "event" or "expand"; the results are the same.
        outliers: ((channel, factor), ...): input channels whose threshold is that many times the others', so that a few
            loud ones do not set the threshold of all; `spiking.llm.outliers` finds them. The int8 weight is packed with
            their columns as many times as large.
        queries: spikes a channel of the softmax attention's queries, after their rotation; None leaves queries alone.
            This and the next two hold for the whole model: with patterns they are given in "_default".
        cache: "int8" keeps keys and values in whole numbers, a scale for each vector; None keeps them as they are.
        state: "int8" does the same for the recurrent states of linear attention.

    Raises:
        ValueError: if an argument is out of its range.
    """

    k: float = 3.0
    weights: str | None = "int8"
    group: int = 128
    saturation: str = "exact"
    mode: str = "auto"
    outliers: tuple[tuple[int, float], ...] = ()
    queries: float | None = None
    cache: str | None = None
    state: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("k", self.k), ("queries", self.queries)):
            if value is not None and not (isinstance(value, (int, float)) and 0 < value < float("inf")):
                raise ValueError(f"{name}: expected a positive number, got {value!r}")
        if isinstance(self.group, bool) or not isinstance(self.group, int) or self.group < 4 or self.group % 4:
            raise ValueError(f"group: expected a multiple of 4, got {self.group!r}")
        pairs = tuple((int(channel), float(factor)) for channel, factor in self.outliers)
        object.__setattr__(self, "outliers", pairs)
        if any(channel < 0 or not 0 < factor < float("inf") for channel, factor in pairs):
            raise ValueError(f"outliers: expected (channel of at least 0, positive factor), got {pairs}")
        choices = {
            "weights": ("int8", None), "saturation": ("exact", "clip"), "mode": MODES, "cache": ("int8", None),
            "state": ("int8", None),
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                wanted = ", ".join(map(str, allowed))
                raise ValueError(f"{name}: expected one of {wanted}, got {getattr(self, name)!r}")

    @property
    def quant_method(self) -> str:
        """The name under which transformers finds the quantizer: `from_pretrained(..., quantization_config=self)`."""
        return "spiking"

    def to_dict(self) -> dict[str, Any]:
        """What transformers writes into a model's config.json."""
        return Plan({DEFAULT: self}).to_dict()


class Plan:
    """Patterns and their configs, asked for one weight after the other; remembers which patterns were of use.

    Arguments:
        config: a SpikeConfig for all weights, or {name or "re:...": SpikeConfig or None, "_default": ...}.

    Raises:
        TypeError: if a config is none.
        ValueError: for a regular expression that can't be read, or what holds for a model given for one weight.
    """

    def __init__(self, config: SpikeConfig | Mapping[str, SpikeConfig | None]) -> None:
        patterns = config if isinstance(config, Mapping) else {DEFAULT: config}
        self.patterns: dict[str, SpikeConfig | None] = dict(patterns)
        self._regex: dict[str, re.Pattern[str]] = {}
        for pattern, one in self.patterns.items():
            if one is not None and not isinstance(one, SpikeConfig):
                raise TypeError(f"{pattern}: expected a SpikeConfig or None, got {type(one).__name__}")
            if pattern.startswith(REGEX):
                try:
                    self._regex[pattern] = re.compile(pattern.removeprefix(REGEX))
                except re.error as error:
                    raise ValueError(f"{pattern}: expected a regular expression after re:, got {error}") from error
            if pattern != DEFAULT and one is not None and (one.queries or one.cache or one.state):
                raise ValueError(f"{pattern}: queries, cache and state hold for the model: give them in {DEFAULT!r}")

    quant_method = "spiking"

    @property
    def default(self) -> SpikeConfig | None:
        """The config of what no pattern names."""
        return self.patterns.get(DEFAULT)

    def choose(self, names: Iterable[str]) -> str | None:
        """The pattern that names a weight: exact before regular expression; None if only the default is left.

        Arguments:
            names: of the parameter, under each name if it has several.
        """
        names = list(names)
        for enclosing in _outwards(names):
            if enclosing in self.patterns:
                return enclosing
        for pattern, regex in self._regex.items():
            if any(regex.fullmatch(name) or regex.fullmatch(name.rpartition(".")[0]) for name in names):
                return pattern
        return None

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values; `from_dict` reads it."""
        configs = {pattern: None if one is None else asdict(one) for pattern, one in self.patterns.items()}
        return {"quant_method": "spiking", "patterns": configs}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """The plan in a model's config.json.

        Raises:
            ValueError: if it has entries that this version does not know.
        """
        known = {field.name for field in fields(SpikeConfig)}
        patterns: dict[str, SpikeConfig | None] = {}
        for pattern, one in values["patterns"].items():
            if one is not None and (strange := set(one) - known):
                raise ValueError(f"quantization_config: {pattern}: expected {sorted(known)}, got {sorted(strange)}")
            patterns[pattern] = None if one is None else SpikeConfig(**one)
        return cls(patterns)


def _outwards(names: list[str]) -> Iterable[str]:
    """The names, then the modules around them, the innermost first: a.b.weight, a.b, a."""
    while names := [name for name in names if name]:
        yield from names
        names = [name.rpartition(".")[0] for name in names]
