"""What each family of models gives on this CPU: random models of some 100 million parameters with its real switches, by
our engine and, in the same run, by the transformers runner on the same checkpoint; 1 and 8 sequences at once.

    python -m benchmarks.families [--only qwen3 gpt_oss …] [--tokens 24]

`float` is the relative distance of our description of the family, computed in float64, from transformers' logits;
`KL` the mean divergence of what our engine gives at 8 bits.
"""

from __future__ import annotations

import argparse
import gc
import logging
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from minivault.engine import exact
from minivault.engine.runner import Chunk, Runner
from minivault.engine.transformers import TransformersRunner
from tests.engine.exact import families
from tests.engine.exact.floats import Floats, by_transformers
from tests.engine.exact.test_correctness import relative_error
from tests.engine.exact.test_families import divergence
from tests.engine.test_transformers_runner import OF_THE_LIBRARY

CONTEXT = 512
SIZES: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "vocab_size": 16000}
SIZES |= {"num_attention_heads": 12, "num_key_value_heads": 4, "max_position_embeddings": 1024, "pad_token_id": 0}
OURS: dict[str, dict[str, Any]] = {
    "smollm3": {"no_rope_layers": [1, 1, 1, 0] * 3},
    "exaone4-whole": {"layer_types": ["full_attention"] * 12},
    "phi3-long": {
        "rope_scaling": {"rope_type": "longrope", "short_factor": [1.0] * 24, "long_factor": [2.0] * 24},
        "original_max_position_embeddings": 1024,
    },
    "mixtral": {"intermediate_size": 768},
    "olmoe": {"intermediate_size": 512},
    "granitemoe": {"intermediate_size": 512},
    "qwen2_moe": {"moe_intermediate_size": 384, "shared_expert_intermediate_size": 768},
    "qwen3_moe": {"moe_intermediate_size": 192},
    "gpt_oss": {"intermediate_size": 512},
    "gpt_oss-released": {"intermediate_size": 512},
}
"""What keeps a family near the size of the others."""
THEIRS: dict[str, dict[str, Any]] = {
    "qwen3_5_text": {"linear_key_head_dim": 64, "linear_value_head_dim": 64, "head_dim": 64},
    "mamba2": {"num_heads": 24, "head_dim": 64, "state_size": 64},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 6},
    "deepseek_v2": {"kv_lora_rank": 256, "qk_rope_head_dim": 32, "qk_nope_head_dim": 64, "v_head_dim": 64},
}
TOKENS = [(place * 7919) % 15000 + 5 for place in range(48)]


def written(kind: str, directory: Path) -> Path:
    """A checkpoint as the library saves it, drawn as it draws new models."""
    from transformers import AutoConfig, AutoModelForCausalLM

    given = families.CONFIGS.get(kind, {"model_type": kind}) | OF_THE_LIBRARY.get(kind, {}) | SIZES
    given |= OURS.get(kind, {}) | THEIRS.get(kind, {})
    if kind in THEIRS:
        given |= {"num_key_value_heads": 12}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(given.pop("model_type"), **given))
    model.save_pretrained(directory)
    return directory


def tokens_per_s(runner: Runner, num: int, num_tokens: int) -> float:
    """Decoding `num` sequences at once, each with a short past; the better of two rounds."""
    best = 0.0
    for _ in range(2):
        for slot in range(num):
            runner.release(slot)
            runner.forward([Chunk(slot, TOKENS[slot : slot + 16], 0, is_prompt=True)])
        begun = time.perf_counter()
        for step in range(num_tokens):
            runner.forward([Chunk(slot, [TOKENS[step]], 16 + step, is_prompt=False) for slot in range(num)])
        best = max(best, num * num_tokens / (time.perf_counter() - begun))
    return best


def by_the_library(directory: Path, num_tokens: int) -> list[float]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    runner = TransformersRunner(model, num_slots=8, context=CONTEXT)
    return [tokens_per_s(runner, num, num_tokens) for num in (1, 8)]


def by_us(directory: Path, num_tokens: int, kernels: Path) -> tuple[list[float], float, float]:
    """Tokens a second at 1 and 8, and distances from the library's logits."""
    path = directory / "weights.exact"
    exact.prepare_checkpoint(directory, path)
    expected = by_transformers(directory, exact.unpack(path), TOKENS)
    distance = relative_error(Floats(path, CONTEXT).logits(TOKENS), expected)
    runner = exact.load(path, num_slots=8, context=CONTEXT, cache_dir=kernels)
    lost = divergence(runner.every_logit(TOKENS), expected)
    rates = [tokens_per_s(runner, num, num_tokens) for num in (1, 8)]
    runner.close()
    return rates, distance, lost


def line(kind: str, parts: Iterable[object]) -> None:
    print(f"{kind:18}" + "".join(f"{part:>10}" for part in parts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[*families.CONFIGS, *THEIRS])
    parser.add_argument("--tokens", type=int, default=24)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    disable_progress_bar()
    line("family", ("M", "float", "KL", "ours 1", "ours 8", "library 1", "library 8"))
    with tempfile.TemporaryDirectory() as name:
        for kind in given.only:
            directory = written(kind, Path(name) / kind)
            size = sum(file.stat().st_size for file in directory.glob("*.safetensors")) // 4_000_000
            found: list[object] = ["-"] * 4
            if kind in families.CONFIGS:
                rates, distance, lost = by_us(directory, given.tokens, Path(name) / "kernels")
                found = [f"{distance:.1e}", f"{lost:.4f}", *(f"{rate:.0f}" for rate in rates)]
            gc.collect()
            line(kind, [size, *found, *(f"{rate:.0f}" for rate in by_the_library(directory, given.tokens))])


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
