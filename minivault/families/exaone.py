"""EXAONE 4: norms only after attention and MLP, and of each head's queries and keys; layers without a window have no
positions, where others have one."""

from __future__ import annotations

from minivault.families import olmo
from minivault.families.block import Block, Config, Family
from minivault.families.reading import (
    FULL,
    SLIDING,
    layer_types,
    layers,
    rms,
    why_not_rotations,
    why_not_sizes,
    windows,
)


def block(config: Config) -> Block:
    has_windows, every = bool(config.get("sliding_window")), config.get("sliding_window_pattern")
    pattern = every if isinstance(every, int) and has_windows else 1
    types = layer_types(config, lambda layer: SLIDING if (layer + 1) % pattern else FULL)
    return rms(
        config,
        norm_eps=config.get("rms_norm_eps", 1e-5),
        has_input_norms=False,
        has_output_norms=True,
        head_norm="head",
        layers=layers(windows(config, types), [0 if kind == SLIDING or not has_windows else -1 for kind in types]),
    )


def why_not(config: Config) -> str | None:
    return why_not_sizes(config) or why_not_rotations(block(config))


FAMILY = Family(("exaone4",), olmo.NAMES, block, why_not, gguf={"exaone4": olmo.GGUF_NAMES})
