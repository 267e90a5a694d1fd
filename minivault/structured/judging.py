"""What the judge's process does with a schema: read it, rewrite it, compile it, try it, and say what that took."""

from __future__ import annotations

import ctypes
import json
import random
from decimal import Decimal
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from minivault.structured.checking import Checks, compiled_pattern, read
from minivault.structured.compiling import compiled, ensure_sound, limits
from minivault.structured.endless import ensure_ends
from minivault.structured.patterns import CLASSES, narrowed
from minivault.structured.refusal import SchemaRefused
from minivault.structured.rewriting import Rewriting
from minivault.types import PATTERN

TRIAL_TOKENS = 24
TRIAL_SHARE = 4
"""The trial may use this part of what a step of an answer may: what passes it has room."""
MAX_BYTES = 8 << 20
FIXED_BYTES = 64 << 10


def judge(tokenizer: LLTokenizer, grammar: str) -> dict[str, Any]:
    """What a schema compiles to, whether its objects' keys are free, and the bytes that holding it takes.

    Raises SchemaRefused.
    """
    text, has_free_keys = _rewritten(grammar)
    before = _bytes_in_use()
    matcher = compiled(tokenizer, text, limits(TRIAL_SHARE))
    _try(matcher, tokenizer)
    size = FIXED_BYTES + len(text) + max(0, _bytes_in_use() - before)
    if size > MAX_BYTES:
        raise SchemaRefused(f"it takes {size >> 20} MB to follow, and {MAX_BYTES >> 20} are the limit; make it smaller")
    return {"schema": text, "size_bytes": size, "has_free_keys": has_free_keys}


def _rewritten(grammar: str) -> tuple[str, bool]:
    """What to compile, and whether objects in it have keys that follow no pattern."""
    if grammar.startswith(PATTERN):
        pattern = grammar.removeprefix(PATTERN)
        compiled_pattern(pattern)
        return PATTERN + narrowed(pattern, CLASSES), False
    schema = read(grammar)
    if not isinstance(schema, dict | bool):
        raise SchemaRefused("a JSON schema is an object")
    rewriting = Rewriting(schema, Checks(schema))
    ensure_ends(rewriting.schema, rewriting.definitions)
    return json.dumps(rewriting.schema, default=_number), not rewriting.has_bound_keys


def check(grammar: str, text: str) -> dict[str, Any]:
    """Whether an answer satisfies a schema that was judged: `fault` is None, or says where it does not."""
    if grammar.startswith(PATTERN):
        return {
            "fault": None if compiled_pattern(grammar.removeprefix(PATTERN)).fullmatch(text) else "it does not match"
        }
    return {"fault": Checks(read(grammar)).fault(text)}


def _try(matcher: LLMatcher, tokenizer: LLTokenizer) -> None:
    """Follow a made-up answer for some tokens: what it would run into, it shall run into here."""
    rng = random.Random(0)
    for _ in range(TRIAL_TOKENS):
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        ensure_sound(matcher)
        allowed = mask & ~sum(1 << token for token in tokenizer.eos_tokens)
        if not allowed:
            return
        start = rng.randrange(allowed.bit_length())
        chosen = allowed >> start
        token = start + (chosen & -chosen).bit_length() - 1
        matcher.consume_token(token)
        ensure_sound(matcher)


def _number(value: Any) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(type(value))


class _Heap(ctypes.Structure):
    """`struct mallinfo2` of the GNU C library."""

    _fields_ = [
        *[(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks")],
        *[(name, ctypes.c_size_t) for name in ("uordblks", "fordblks", "keepcost")],
    ]


def _bytes_in_use() -> int:
    """What is allocated on the heap; 0 where the C library does not say, and the process's own limit decides alone."""
    heap = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if heap is None:
        return 0
    heap.restype = _Heap
    found = heap()
    return int(found.uordblks + found.hblkhd)
