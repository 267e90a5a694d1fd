"""A SmolLM2-shaped GGUF file, two layers small, with random quantised weights and a working chat vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HIDDEN, HEADS, KV_HEADS, LAYERS, INNER = 64, 4, 2, 2, 128


def vocabulary(merges_file: Path, num_merges: int = 600) -> tuple[list[str], list[str]]:
    """(tokens, merges): special tokens, the 256 bytes, and the first merges of GPT-2."""
    lines = merges_file.read_text(encoding="utf-8").splitlines()
    merges = [line for line in lines if line and not line.startswith("#")][:num_merges]
    alphabet = sorted(gpt2_alphabet())
    return [*SPECIAL, *alphabet, *(merge.replace(" ", "") for merge in merges)], merges


def gpt2_alphabet() -> set[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return set(ByteLevel.alphabet())


def write(
    path: Path,
    tokens: list[str],
    merges: list[str],
    *,
    architecture: str = "llama",
    pre: str = "smollm",
    seed: int = 3,
    kind: str = "Q4_1",
    extra: Mapping[str, tuple[int, ...]] | None = None,
    tensors_each: int = 0,
) -> Path:
    """Write the file: Q4_1 matrices (or of another `kind`), a Q8_0 embedding, F32 norms, as in the real one; in parts
    of so many tensors each, if that is not 0."""
    writer = gguf.GGUFWriter(str(path), architecture, split_max_tensors=tensors_each)
    writer.add_license("mit")
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(tokens))
    _write_tokenizer(writer, tokens, merges, pre)
    _write_tensors(writer, len(tokens), seed, gguf.GGMLQuantizationType[kind])
    for name, shape in (extra or {}).items():
        writer.add_tensor(name, np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_tokenizer(writer: gguf.GGUFWriter, tokens: list[str], merges: list[str], pre: str) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _write_tensors(writer: gguf.GGUFWriter, num_tokens: int, seed: int, of_matrices: gguf.GGMLQuantizationType) -> None:
    random = np.random.default_rng(seed)
    kinds = gguf.GGMLQuantizationType
    kv = HIDDEN // HEADS * KV_HEADS
    matrices = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (kv, HIDDEN), "attn_v": (kv, HIDDEN)}
    matrices |= {"attn_output": (HIDDEN, HIDDEN), "ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN)}
    matrices |= {"ffn_down": (HIDDEN, INNER)}

    def add(name: str, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> None:
        values = random.normal(0, 0.3, shape).astype(np.float32)
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", (num_tokens, HIDDEN), kinds.Q8_0)
    add("output_norm.weight", (HIDDEN,), kinds.F32)
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{norm}.weight", (HIDDEN,), kinds.F32)
        for name, shape in matrices.items():
            add(f"blk.{layer}.{name}.weight", shape, of_matrices)


def vocabulary_of(path: Path) -> tuple[list[str], list[str]]:
    """(tokens, merges) of a file that `write` made."""
    reader = gguf.GGUFReader(path)
    tokens, merges = (reader.get_field(f"tokenizer.ggml.{key}") for key in ("tokens", "merges"))
    assert tokens is not None and merges is not None
    return tokens.contents(), merges.contents()
