"""The weights of a plain Llama in a GGUF file (which SmolLM2 is) → the hub's, in floats.

GGUF stores the rows of the query and key projections interleaved for its own rotary embedding; the hub's layout wants
each head's two halves apart. Everything else is a change of names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.errors import ModelError
from minivault.families.llama import PLAIN_GGUF_NAMES as GGUF_NAMES
from minivault.families.llama import PLAIN_NAMES as NAMES
from minivault.models.gguf import safetensors_stream
from minivault.models.gguf.config import config_of
from minivault.models.gguf.metadata import GgufFile
from minivault.models.gguf.rotation import ALWAYS
from minivault.models.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TOP = {
    f"{GGUF_NAMES.embedding}.weight": f"{NAMES.prefix}{NAMES.embedding}.weight",
    f"{GGUF_NAMES.norm}.weight": f"{NAMES.prefix}{NAMES.norm}.weight",
    f"{GGUF_NAMES.head}.weight": f"{NAMES.head}.weight",
}
_LAYER = dict(zip(GGUF_NAMES.of_layer, NAMES.of_layer, strict=True))
_IN_LAYER = re.compile(re.escape(GGUF_NAMES.layer).replace(r"\{\}", r"(\d+)") + r"(\w+)\.weight")


def can_convert(file: GgufFile) -> bool:
    """True for a plain Llama: no experts, no other tensors (but factors, which the config has)."""
    return file.architecture == "llama" and all(_hub_name(name) for name in file.tensor_shapes if name != ALWAYS)


def write_weights(file: GgufFile, out: Path, progress: Progress) -> None:
    """Write model.safetensors into `out`, float32."""
    config = config_of(file)
    shapes = {_hub_name(name): shape for name, shape in file.tensor_shapes.items() if name != ALWAYS}
    _check_layers(file, shapes, config["num_hidden_layers"])
    tensors = _hub_tensors(file, config["num_attention_heads"], config["num_key_value_heads"])
    safetensors_stream.write(out / "model.safetensors", shapes, tensors, progress)


def _hub_name(name: str) -> str:
    """The hub's name of a GGUF tensor, or "" for one that a plain Llama does not have."""
    if name in _TOP:
        return _TOP[name]
    match = _IN_LAYER.fullmatch(name)
    return _layer_name(match[1], _LAYER[match[2]]) if match and match[2] in _LAYER else ""


def _layer_name(index: int | str, part: str) -> str:
    return f"{NAMES.prefix}{NAMES.layer.format(index)}{part}.weight"


def _check_layers(file: GgufFile, shapes: dict[str, tuple[int, ...]], num_layers: int) -> None:
    layers = (_layer_name(index, part) for index in range(num_layers) for part in NAMES.of_layer)
    expected = itertools.chain((name for name in _TOP.values() if not name.startswith(NAMES.head)), layers)
    # One at a time: a damaged header may claim billions of layers.
    if missing := next((name for name in expected if name not in shapes), None):
        raise ModelError(f"{file.path.name} lacks the tensor {missing}; download it again")


def _hub_tensors(file: GgufFile, num_heads: int, num_kv_heads: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    query, key, _ = GGUF_NAMES.qkv
    for name, tensor in file.tensors():
        if name == ALWAYS:
            continue
        if f".{query}." in name:
            yield _hub_name(name), _split_halves(tensor, num_heads)
        elif f".{key}." in name:
            yield _hub_name(name), _split_halves(tensor, num_kv_heads)
        else:
            yield _hub_name(name), tensor


def _split_halves(weight: NDArray[np.float32], num_heads: int) -> NDArray[np.float32]:
    """Rows of each head from (pair, half) to (half, pair) order; weight is [heads * head_size, hidden]."""
    pairs = weight.shape[0] // num_heads // 2
    halves: NDArray[np.float32] = weight.reshape(num_heads, pairs, 2, -1).swapaxes(1, 2).reshape(weight.shape)
    return halves
