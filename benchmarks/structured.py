"""What structured output costs: compiling a schema, and masking one row of logits at every token.

    python -m benchmarks.structured [--json]

Uses the configured model's tokenizer (MINIVAULT_MODEL) and forces a known answer to each schema through its constraint.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np

from minivault.config import load_settings
from minivault.models import ModelStore, load_tokenizer
from minivault.structured.grammar import GrammarCompiler
from minivault.types import Tokenizer

REPEATS = 20
CASES: dict[str, tuple[str, str]] = {
    "json": ("json", '{"a": [1, 2, {"b": "hello, this is a longer string"}], "c": null}'),
    "person": (
        json.dumps(
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 40},
                    "age": {"type": "integer", "minimum": 0, "maximum": 150},
                    "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 4},
                },
                "required": ["name", "age", "tags"],
                "additionalProperties": False,
            }
        ),
        '{"name": "Ada Lovelace of London", "age": 36, "tags": ["a", "b"]}',
    ),
    "pattern": (
        json.dumps({"type": "array", "items": {"type": "string", "pattern": "^[0-9]{5}-[a-z]+$"}, "maxItems": 9}),
        '["12345-abc", "99999-zz", "10000-abcdefgh"]',
    ),
}


def measure(compiler: GrammarCompiler, tokenizer: Tokenizer, grammar: str, text: str) -> dict[str, float]:
    """Seconds of one schema: compiling it anew, taking it from the cache, and per token masking and accepting."""
    began = time.perf_counter()
    compiler.compile(grammar)
    compiled = time.perf_counter()
    compiler.compile(grammar)
    reused = time.perf_counter()
    tokens = [*tokenizer.encode(text, add_special=False), min(tokenizer.eos_ids)]
    masks: list[float] = []
    accepts: list[float] = []
    for _ in range(REPEATS):
        constraint = compiler.compile(grammar)
        for token in tokens:
            logits = np.zeros(tokenizer.vocabulary_size, np.float32)
            start = time.perf_counter()
            constraint.mask(logits)
            middle = time.perf_counter()
            constraint.accept(token)
            masks.append(middle - start)
            accepts.append(time.perf_counter() - middle)
            assert np.isfinite(logits[token]), f"the schema does not allow {tokenizer.token_bytes(token)!r}"
    return {
        "compile_s": compiled - began,
        "reuse_s": reused - compiled,
        "mask_mean_s": statistics.mean(masks),
        "mask_max_s": max(masks),
        "accept_mean_s": statistics.mean(accepts),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    settings = load_settings()
    tokenizer = load_tokenizer(ModelStore(settings.models_dir).resolve(settings.model))
    began = time.perf_counter()
    compiler = GrammarCompiler(tokenizer)
    results: dict[str, Any] = {"tokenizer_s": time.perf_counter() - began, "vocabulary": tokenizer.vocabulary_size}
    results |= {name: measure(compiler, tokenizer, grammar, text) for name, (grammar, text) in CASES.items()}
    if as_json:
        print(json.dumps(results))
        return
    print(f"tokenizer of {results['vocabulary']} tokens read in {results['tokenizer_s'] * 1e3:.0f} ms, once a worker")
    for name in CASES:
        costs = {key.removesuffix("_s"): f"{value * 1e6:.0f} us" for key, value in results[name].items()}
        print(f"{name:8}", "  ".join(f"{key} {value}" for key, value in costs.items()))


if __name__ == "__main__":
    main()
