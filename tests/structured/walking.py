"""Made-up answers: the tokens of a constraint, drawn at random, as no model would and any model might."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np

from minivault.structured.grammar import GrammarCompiler
from minivault.types import Constraint
from tests.scripted import EOS, ByteTokenizer

LIKELY = set(b'ab"}]:, 0159.-')


class PiecesTokenizer(ByteTokenizer):
    """Bytes, and tokens that begin, end and hold whole keys."""

    pieces = (b'":', b'": ', b'", "', b'{"a', b'{"a"', b'": {"', b'"a": ', b'""', b', "a": 1', b'\\"', b"a\\", b'"b": ')
    vocabulary_size = 257 + len(pieces)

    def token_bytes(self, token_id: int) -> bytes:
        return self.pieces[token_id - 257] if token_id >= 257 else super().token_bytes(token_id)


TOKENIZER = PiecesTokenizer()
COMPILER = GrammarCompiler(TOKENIZER)


def walk(schema: Any, seed: int, max_tokens: int = 600) -> str | None:
    """An answer to `schema`, checked like any that stops; None when it came to no end."""
    constraint = COMPILER.compile(json.dumps(schema))
    text = follow(constraint, random.Random(seed), max_tokens)
    if text is not None:
        assert constraint.fault(text) is None, text
    return text


def follow(constraint: Constraint, rng: random.Random, max_tokens: int) -> str | None:
    output = bytearray()
    for _ in range(max_tokens):
        token = _drawn(constraint, rng)
        constraint.accept(token)
        if token == EOS:
            return output.decode()
        output += TOKENIZER.token_bytes(token)
    return None


def _drawn(constraint: Constraint, rng: random.Random) -> int:
    logits = np.zeros(TOKENIZER.vocabulary_size, np.float32)
    constraint.mask(logits)
    allowed = np.flatnonzero(np.isfinite(logits)).tolist()
    assert allowed, "a dead end"
    if EOS in allowed and rng.random() < 0.4:
        return EOS
    likely = [token for token in allowed if token > EOS or token in LIKELY]
    return int(rng.choice(likely if likely and rng.random() < 0.85 else allowed))
