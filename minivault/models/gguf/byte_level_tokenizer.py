"""GPT-2 style byte-pair vocabularies in a GGUF file → tokenizer.json and tokenizer_config.json.

A GGUF file names its pre-tokenizer by a short word only. Rebuilt here are the words whose splitting rule is known
exactly; anything else is left to transformers' reader.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minivault.families.llama import GGUF_KEYS
from minivault.models.gguf.metadata import GgufFile

_CONTROL, _USER_DEFINED = 3, 4
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": _BYTE_LEVEL,
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL]},
}


def can_build(file: GgufFile) -> bool:
    return (
        file.text("tokenizer.ggml.model") == "gpt2"
        and file.text("tokenizer.ggml.pre") in _PRE_TOKENIZERS
        and not file.value("tokenizer.ggml.add_bos_token", False)
        and not file.value("tokenizer.ggml.add_eos_token", False)
    )


def build(file: GgufFile, out: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json into `out`."""
    tokens: list[str] = file.value("tokenizer.ggml.tokens")
    kinds: list[int] = file.value("tokenizer.ggml.token_type")
    added = [
        _added_token(index, token, special=kind == _CONTROL)
        for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": _PRE_TOKENIZERS[file.text("tokenizer.ggml.pre")],
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _model(tokens, file.value("tokenizer.ggml.merges")),
    }
    _write(out / "tokenizer.json", tokenizer)
    _write(out / "tokenizer_config.json", _tokenizer_config(file, tokens))


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _added_token(index: int, token: str, *, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    return {"id": index, "content": token} | flags


def _model(tokens: list[str], merges: list[str]) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": [merge.split(" ", 1) for merge in merges],
    }


def _tokenizer_config(file: GgufFile, tokens: list[str]) -> dict[str, Any]:
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    context = file.value(GGUF_KEYS["max_position_embeddings"], 1024)
    config |= {"add_prefix_space": False, "model_max_length": context}
    for key, field in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        index = file.value(f"tokenizer.ggml.{field}_token_id")
        if isinstance(index, int) and 0 <= index < len(tokens):
            config[f"{key}_token"] = tokens[index]
    if template := file.text("tokenizer.chat_template"):
        config["chat_template"] = template
    return config
