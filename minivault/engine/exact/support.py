"""Which models the exact engine runs, told from a config alone."""

from __future__ import annotations

from minivault.families import MODEL_TYPES, Config, family_of, text_of

ACTIVATIONS = {"silu": 0, "swish": 0, "gelu_new": 1, "gelu_pytorch_tanh": 1, "gelu": 2, "relu": 3}
"""By name, the number that compiled code knows each by."""


def why_not(config: Config) -> str | None:
    """One line saying why a model of this config cannot be run; None where it can."""
    config = text_of(config)
    family = family_of(config)
    if family is None:
        known = ", ".join(MODEL_TYPES)
        return f"model_type {config.get('model_type')!r} is not one the exact engine knows ({known})"
    if reason := family.why_not(config):
        return reason
    block = family.block(config)
    if block.activation not in ACTIVATIONS:
        return f"activation {block.activation!r} is not supported ({', '.join(ACTIVATIONS)})"
    return f"{block.turned} numbers of a head are turned, which is odd" if block.turned % 2 else None
