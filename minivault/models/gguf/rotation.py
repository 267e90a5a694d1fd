"""What a GGUF file says of rotary positions → the hub's `rope_scaling`.

Llama 3 and Phi-3 files hold factors as tensors, which divide the frequencies: those of `longrope`, whose two lists are
the same where a file has one.
"""

from __future__ import annotations

import math
from typing import Any

from minivault.errors import ModelError
from minivault.families import GGUF_FACTORS
from minivault.models.gguf.metadata import GgufFile

ALWAYS, LONG, SHORT = (f"{name}.weight" for name in GGUF_FACTORS)


def has_factors(file: GgufFile) -> str | None:
    """The first tensor of factors in a file."""
    return next((name for name in (ALWAYS, LONG, SHORT) if name in file.by_name), None)


def scaling(file: GgufFile) -> dict[str, Any] | None:
    """How positions are stretched; None where they are not. Raises ModelError naming what we do not know."""
    said = {key: file.value(key) for key in file.fields if key.startswith(_key(file, ""))}
    given = {key.removeprefix(_key(file, "")): value for key, value in said.items() if value}
    given.pop("finetuned", None)
    kind = given.pop("type", "none")
    if has_factors(file):
        found = _by_factors(file, kind, given)
    elif kind == "linear":
        found = {"rope_type": "linear", "factor": _of(file, given, "factor")}
    elif kind == "yarn":
        found = _yarn(file, given)
    elif kind in ("none", "longrope"):  # Phi-3 says the latter of every size, factors or not
        given.pop("original_context_length", None)
        found = {}
    else:
        raise ModelError(f"{file.path.name} has {_key(file, 'type')} {kind!r}, which is not supported")
    if given:
        raise ModelError(f"{file.path.name} has {_key(file, next(iter(given)))}, which is not supported with {kind!r}")
    return found or None


def _by_factors(file: GgufFile, kind: str, given: dict[str, Any]) -> dict[str, Any]:
    longest = int(file.number(f"{file.architecture}.context_length"))
    if ALWAYS in file.by_name and kind == "none":
        original, lists, amplitude = longest, (ALWAYS, ALWAYS), 1.0
        given.pop("original_context_length", None)
    elif LONG in file.by_name and SHORT in file.by_name and kind in ("none", "longrope"):
        original, lists = int(_of(file, given, "original_context_length")), (LONG, SHORT)
        amplitude = shortest(given.pop("attn_factor", 1.0))
    else:
        raise ModelError(f"{file.path.name} has {has_factors(file)}, which is not supported with {kind!r}")
    factors = {name: [shortest(value) for value in file.floats(name)] for name in lists}
    if not all(0 < value < math.inf for name in lists for value in factors[name]):
        raise ModelError(
            f"{file.path.name} has a factor in {lists[0]} that nothing can be divided by; download it again"
        )
    return {
        "rope_type": "longrope",
        "factor": longest / original,
        "original_max_position_embeddings": original,
        "attention_factor": amplitude,
        "long_factor": factors[lists[0]],
        "short_factor": factors[lists[1]],
    }


def _yarn(file: GgufFile, given: dict[str, Any]) -> dict[str, Any]:
    found = {
        "rope_type": "yarn",
        "factor": _of(file, given, "factor"),
        "original_max_position_embeddings": int(_of(file, given, "original_context_length")),
    }
    for name in ("beta_fast", "beta_slow"):
        if f"yarn_{name}" in given:
            found[name] = _of(file, given, f"yarn_{name}")
    if given.get("yarn_ext_factor") == 1.0:  # what everybody takes
        del given["yarn_ext_factor"]
    return found


def _of(file: GgufFile, given: dict[str, Any], name: str) -> float:
    value = given.pop(name, None)
    if value is None:
        raise ModelError(f"{file.path.name} has no usable {_key(file, name)}; it cannot be converted")
    return shortest(value)


def _key(file: GgufFile, name: str) -> str:
    return f"{file.architecture}.rope.scaling.{name}"


def shortest(value: float) -> float:
    """A float32 as the shortest decimal that stands for it: what it was made from, mostly."""
    import numpy as np

    return float(str(np.float32(value)))
