"""What files make a checkpoint, whether they are whole, and whether a directory is one that may be loaded.

Only safetensors weights are accepted: pickle files can run code when they are opened. Nothing is followed out of the
directory: no links, no names with a path in them.
"""

from __future__ import annotations

import json
import math
import re
import stat
from pathlib import Path
from typing import Any

from minivault.errors import ModelError
from minivault.families import family_of, text_of

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
ADAPTER = "adapter_config.json"
INDEX = "model.safetensors.index.json"
PACKED = "weights.exact"
"""Weights as a `Packer` made them, in the store only: a model that has this file has no others."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
SETTINGS_FILES = (CONFIG, GENERATION_CONFIG, INDEX)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack")
_PLAIN = re.compile(r"[A-Za-z0-9_][\w.+=@-]{0,200}", re.ASCII)
_JSON_LIMIT_BYTES = 64 << 20
_HEADER_LIMIT_BYTES = 100_000_000


def is_plain_name(name: str) -> bool:
    """True for a file name with no path in it, not hidden, made of ordinary characters."""
    return _PLAIN.fullmatch(name) is not None and ".." not in name


def is_weights(name: str) -> bool:
    return name == PACKED or name.endswith(".safetensors")


def is_wanted(name: str) -> bool:
    """True for the files of a repository that MiniVault uses."""
    return is_plain_name(name) and (name in TOKENIZER_FILES or name in SETTINGS_FILES or name.endswith(".safetensors"))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a checkpoint. Raises ModelError naming the file."""
    try:
        if path.stat().st_size > _JSON_LIMIT_BYTES:
            raise ModelError(f"{path} is too large to be a settings file; get the model again")
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}); get the model again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} is not a JSON object; get the model again")
    return value


def check_directory(directory: Path, *, is_packed: bool = False) -> list[str]:
    """Check that a directory is a whole, loadable causal language model and return the names of the files to use.

    A packed one is of our own making. Raises ModelError with one line that says what is wrong and what to do.
    """
    if not directory.is_dir():
        raise ModelError(f"{directory} is not a directory; give a model's directory, name or hub id")
    _check_regular_files(directory)
    names = {path.name for path in directory.iterdir()}
    if CONFIG not in names:
        raise ModelError(f"{directory} has no config.json, so it is not a model in the hub's layout; check the path")
    if ADAPTER in names:
        raise ModelError(f"{directory} holds a whole model and an adapter ({ADAPTER}); keep them apart")
    check_architecture(read_json(directory / CONFIG), directory)
    weights = [PACKED] if is_packed else weight_files(directory, names)
    for name in weights if not is_packed else ():
        check_safetensors(directory / name)
    _check_tokenizer(directory, names)
    used = {name for name in names if name in TOKENIZER_FILES or name in SETTINGS_FILES}
    return sorted(used | set(weights))


def _check_regular_files(directory: Path) -> None:
    for path in directory.iterdir():
        if not is_wanted(path.name):
            continue
        if path.is_symlink():
            raise ModelError(f"{path} is a link; copy the model with `cp -rL` and use the copy")
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ModelError(f"{path} is not a regular file; remove it or get the model again")


def weight_files(directory: Path, names: set[str]) -> list[str]:
    """The names of the weights files, given all file names of the model. Raises ModelError when none is usable."""
    if "model.safetensors" in names:  # the library looks for the single file first, and so must we
        return ["model.safetensors"]
    if INDEX in names:
        return _shards(directory, names)
    if any(name.endswith(".safetensors") for name in names):
        raise ModelError(f"{directory} has safetensors files but neither model.safetensors nor {INDEX}; get it again")
    if pickles := sorted(name for name in names if name.endswith(_PICKLES)):
        raise ModelError(
            f"{directory} has its weights only in {pickles[0]}, a format that can run code; "
            "use a model with safetensors, or convert it on a machine you trust"
        )
    raise ModelError(f"{directory} has no model.safetensors; get the model again")


def _shards(directory: Path, names: set[str]) -> list[str]:
    mapping = read_json(directory / INDEX).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise ModelError(f"{directory / INDEX} has no weight_map; get the model again")
    shards = sorted({str(name) for name in mapping.values()})
    for name in shards:
        if not is_plain_name(name) or not name.endswith(".safetensors"):
            raise ModelError(
                f"{directory / INDEX} names {name!r}, which is not a file of the model; do not use this model"
            )
        if name not in names:
            raise ModelError(f"{directory} lacks {name}, which its index names; get the model again")
    return shards


def _check_tokenizer(directory: Path, names: set[str]) -> None:
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise ModelError(
            f"{directory} has neither tokenizer.json nor vocab.json with merges.txt; "
            "save the model's fast tokenizer there with transformers' save_pretrained"
        )


def check_safetensors(path: Path) -> int:
    """How many numbers the file holds: its header is sane and describes exactly the bytes that follow.

    Raises ModelError, naming the file, when it is cut short or damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= _HEADER_LIMIT_BYTES:
            raise ModelError(f"{path} is not a safetensors file (its header is broken); get the model again")
        text = file.read(length)
    if len(text) < length:
        raise ModelError(f"{path} is cut short; get the model again")
    end, count = _described(path, text)
    if 8 + length + end != size:
        raise ModelError(f"{path} is cut short or damaged: {size} bytes instead of {8 + length + end}; get it again")
    return count


def _described(path: Path, text: bytes) -> tuple[int, int]:
    """(bytes of data, number of elements) by the header."""
    try:
        header = json.loads(text)
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        spans = sorted(_span(entry) for entry in entries)
        count = sum(math.prod(entry["shape"]) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ModelError(f"{path} has a broken safetensors header; get the model again") from None
    end = 0
    for start, stop in spans:
        if start != end or stop < start:
            raise ModelError(f"{path} has a broken safetensors header (gaps or overlaps); get the model again")
        end = stop
    return end, count


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    start, stop = entry["data_offsets"]
    if type(start) is not int or type(stop) is not int:
        raise ValueError("offsets are not integers")
    return start, stop


def check_architecture(config: dict[str, Any], directory: Path) -> None:
    """Raise ModelError unless we or the installed transformers have a causal language model for this config.

    The library is asked only about what we do not know ourselves: importing it takes a second."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise ModelError(f"{directory / CONFIG} does not say its model_type; get the model again")
    if family_of(text_of(config)) is not None or is_of_library(config):
        return
    reason = (
        "needs code from its repository, which is never run" if "auto_map" in config else "is not a known causal LM"
    )
    text = config.get("text_config")
    within = f" with {text['model_type']!r} in it" if isinstance(text, dict) and text.get("model_type") else ""
    raise ModelError(
        f"{directory}: model_type {kind!r}{within} {reason}; choose a model that transformers supports by itself"
    )


def is_of_library(config: dict[str, Any]) -> bool:
    """Whether the installed transformers have a causal language model for this config."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return config.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
