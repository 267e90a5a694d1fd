"""SentencePiece vocabularies in a GGUF file (Llama 2, Mistral, Gemma, Phi-3) → tokenizer.json.

Such a vocabulary joins, again and again, the two neighbours whose union has the highest score. As byte-pair merges: all
ways to split a token into two others, those of the highest score first.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from minivault.models.gguf.metadata import GgufFile

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "▁"


def can_build(file: GgufFile) -> bool:
    return file.text("tokenizer.ggml.model") == "llama" and file.value("tokenizer.ggml.scores") is not None


def parts(file: GgufFile, tokens: list[str], kinds: list[int]) -> dict[str, Any]:
    """The sections of tokenizer.json that are SentencePiece's own."""
    begins_with_space = bool(file.value("tokenizer.ggml.add_space_prefix", True))
    scores = file.value("tokenizer.ggml.scores")
    unknown = file.value("tokenizer.ggml.unknown_token_id")
    prepend = [{"type": "Prepend", "prepend": SPACE}] if begins_with_space else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if begins_with_space else []
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, spaces]},
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *strip,
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": tokens[unknown] if isinstance(unknown, int) and 0 <= unknown < len(tokens) else None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": BYTE in kinds,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": merges(tokens, scores, kinds),
        },
    }


def merges(tokens: list[str], scores: Sequence[float], kinds: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Pairs of tokens whose union is one, by its score, then as the parts stand in the vocabulary.

    As numbers until they are handed out: of 262,144 tokens come half a million pairs."""
    import numpy as np

    index = {token: place for place, token in enumerate(tokens) if kinds[place] in (NORMAL, USER_DEFINED, UNUSED)}
    whole, first, second = array("i"), array("i"), array("i")
    for token, place in index.items():
        for cut in range(1, len(token)):
            left, right = index.get(token[:cut]), index.get(token[cut:])
            if left is not None and right is not None:
                whole.append(place)
                first.append(left)
                second.append(right)
    falling = -np.asarray(scores, np.float32)[np.asarray(whole)]
    for pair in np.lexsort((np.asarray(second), np.asarray(first), falling)):
        yield tokens[first[pair]], tokens[second[pair]]
