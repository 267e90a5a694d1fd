"""A GGUF file's vocabulary → tokenizer.json and tokenizer_config.json.

A GGUF file names the pre-tokenizer of a byte-level vocabulary by a short word only. Rebuilt here are the words whose
splitting rule is known exactly; anything else is left to transformers' reader.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from minivault.models.gguf import sentencepiece
from minivault.models.gguf.metadata import GgufFile

_CONTROL, _USER_DEFINED = sentencepiece.CONTROL, sentencepiece.USER_DEFINED
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(pattern: str) -> dict[str, Any]:
    """Pieces by a regular expression, then each as bytes."""
    pieces = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [pieces, _BYTE_LEVEL | {"use_regex": False}]}


_LLAMA3 = _split(_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST)
_QWEN2 = _split(_CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST)
_DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL]}
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_REST_OR_SLASH = _REST.replace(r"[\r\n]*", r"[\r\n/]*", 1)


def _words(after: str, numbers: str) -> dict[str, Any]:
    """Words that begin with capitals or small letters, apart."""
    words = [rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}{first}{_LOWER}{then}{after}" for first, then in (("*", "+"), ("+", "*"))]
    return _split("|".join([*words, numbers]) + _REST_OR_SLASH)


_PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": _BYTE_LEVEL,
    "olmo": _BYTE_LEVEL,
    "smollm": _DIGITS,
    "starcoder": _DIGITS,
    "refact": _DIGITS,
    "llama-bpe": _LLAMA3,
    "smaug-bpe": _LLAMA3,
    "dbrx": _LLAMA3,
    "qwen2": _QWEN2,
    "gpt-4o": _words(f"{_CONTRACTIONS}?", r"\p{N}{1,3}"),
    "tekken": _words("", r"\p{N}"),
}
_MERGES_AT_ONCE = 1 << 14
_WHOLE_WORDS = ("llama-bpe", "tekken")
"""A piece that is a token is that token, whatever its merges would make of it."""


def can_build(file: GgufFile) -> bool:
    if sentencepiece.can_build(file):
        return True
    is_known = file.text("tokenizer.ggml.pre") in _PRE_TOKENIZERS
    return file.text("tokenizer.ggml.model") == "gpt2" and is_known


def build(file: GgufFile, out: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json into `out`."""
    tokens: list[str] = file.value("tokenizer.ggml.tokens")
    kinds = list(file.value("tokenizer.ggml.token_type"))
    added = [
        _added_token(index, token, special=kind == _CONTROL)
        for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    is_pieces = sentencepiece.can_build(file)
    parts = sentencepiece.parts(file, tokens, kinds) if is_pieces else _byte_level(file, tokens)
    head = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    _write(out / "tokenizer.json", head | {"post_processor": _around(file, tokens)} | parts)
    text = json.dumps(_tokenizer_config(file, tokens), ensure_ascii=False, indent=1)
    (out / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def _around(file: GgufFile, tokens: list[str]) -> dict[str, Any] | None:
    """What stands around a text: the tokens that begin and end one, where the file says so."""
    default = file.text("tokenizer.ggml.model") == "llama"
    begins = file.value("tokenizer.ggml.add_bos_token", default)
    ends = file.value("tokenizer.ggml.add_eos_token", False)
    found = [(name, file.value(f"tokenizer.ggml.{name}_token_id")) for name in ("bos", "eos")]
    ids = {name: index for name, index in found if isinstance(index, int) and 0 <= index < len(tokens)}
    first, last = (begins and "bos" in ids, ends and "eos" in ids)
    if not first and not last:
        return None

    def piece(name: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": tokens[ids[name]], "type_id": kind}}

    def row(sequence: str, kind: int) -> list[dict[str, Any]]:
        text = {"Sequence": {"id": sequence, "type_id": kind}}
        return [*([piece("bos", kind)] if first else []), text, *([piece("eos", kind)] if last else [])]

    used = [name for name, is_used in (("bos", first), ("eos", last)) if is_used]
    special = {tokens[ids[n]]: {"id": tokens[ids[n]], "ids": [ids[n]], "tokens": [tokens[ids[n]]]} for n in used}
    return {
        "type": "TemplateProcessing",
        "single": row("A", 0),
        "pair": row("A", 0) + row("B", 1),
        "special_tokens": special,
    }


def _byte_level(file: GgufFile, tokens: list[str]) -> dict[str, Any]:
    pre = file.text("tokenizer.ggml.pre")
    return {
        "normalizer": None,
        "pre_tokenizer": _PRE_TOKENIZERS[pre],
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _model(tokens, file.value("tokenizer.ggml.merges")) | {"ignore_merges": pre in _WHOLE_WORDS},
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    """Without spaces, and the merges, which are the most of it, some at a time."""

    def text(part: Any) -> str:
        return json.dumps(part, ensure_ascii=False, separators=(",", ":"))

    merges = iter(value["model"].pop("merges"))
    with path.open("w", encoding="utf-8") as file:
        file.write(text(value).removesuffix("}}") + ',"merges":[')
        before = ""
        while some := list(itertools.islice(merges, _MERGES_AT_ONCE)):
            file.write(before + text(some)[1:-1])
            before = ","
        file.write("]}}\n")


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
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": (merge.split(" ", 1) for merge in merges),
    }


def _tokenizer_config(file: GgufFile, tokens: list[str]) -> dict[str, Any]:
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    context = file.value(f"{file.architecture}.context_length", 1024)
    config |= {"add_prefix_space": False, "model_max_length": context}
    for key, field in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        index = file.value(f"tokenizer.ggml.{field}_token_id")
        if isinstance(index, int) and 0 <= index < len(tokens):
            config[f"{key}_token"] = tokens[index]
    if template := file.text("tokenizer.chat_template"):
        config["chat_template"] = template
    return config
