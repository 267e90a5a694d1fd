"""Limits: how far an answer may be from what is computed here and still be believed.

They were measured (`minivault calibrate`, docs/proof.md) on answers that were honest and on answers that were not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from minivault.errors import ConfigError

Kind = Literal["sampled", "greedy"]
"""At temperature 0 there is no noise that could tip a choice, so the same difference of logits shows less often."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an answer that is consistent keeps to, in units of logits."""

    sampled: float = 0.074
    """The highest mean distance of its tokens."""
    greedy: float = 0.0479
    """The same at temperature 0."""
    num_tokens: int = 24
    """The fewest tokens that a mean is taken of."""
    worst: float = 1.4
    """The highest distance of a single token, however few there are."""

    def of(self, kind: Kind) -> float:
        """That of an answer drawn like this."""
        return self.sampled if kind == "sampled" else self.greedy


_KINDS = {"sampled": float, "greedy": float, "num_tokens": int, "worst": float}


def read_limits(path: Path) -> Limits:
    """Those in a file that `calibrate` has written. Raises ConfigError."""
    try:
        found = json.loads(path.read_text("utf-8"))["limits"]
        limits = Limits(**{name: kind(found[name]) for name, kind in _KINDS.items()})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} holds no limits as `minivault calibrate --out` writes them: {error}") from None
    if not all(math.isfinite(value) and value >= 0 for value in asdict(limits).values()):
        raise ConfigError(f"{path} holds limits that are negative or not finite")
    return limits


def as_json(limits: Limits, measured: Mapping[str, Any]) -> dict[str, Any]:
    """The file's content: the limits, and what they were measured on."""
    return {"limits": asdict(limits), "measured": measured}
