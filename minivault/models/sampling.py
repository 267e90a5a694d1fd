"""How a model's makers want its tokens drawn where nobody says otherwise: generation_config.json."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivault.models import layout

log = logging.getLogger("minivault.models")

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_k": (0, 1 << 31),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (1e-6, 2),
}
"""What a request may ask for, by the name that is both the hub's and ours."""


def sampling_defaults(directory: Path) -> tuple[tuple[str, float], ...]:
    """Names and values, in order of name; none where the file says none. What no request could ask for is left out,
    with a line in the log."""
    path = directory / layout.GENERATION_CONFIG
    return tuple(sorted(_known(layout.read_json(path)).items())) if path.is_file() else ()


def _known(config: Mapping[str, Any]) -> dict[str, float]:
    found = dict[str, float]()
    for name, (least, most) in RANGES.items():
        value = config.get(name)
        if value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and least <= value <= most and (name != "top_k" or value == int(value)):
            found[name] = int(value) if name == "top_k" else float(value)
        else:
            log.warning("generation_config.json: %s = %r is none that a request could ask for: left out", name, value)
    return found
