"""Any GGUF file that transformers can read → the hub's layout, through transformers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minivault.errors import ModelError
from minivault.models.gguf.metadata import GgufFile
from minivault.models.progress import Progress, quiet_libraries


def convert(file: GgufFile, out: Path, progress: Progress) -> None:
    """Write config, tokenizer and float32 weights into `out`. Raises ModelError when it cannot read the file."""
    size = file.path.stat().st_size
    progress("converting", 0, size)
    try:
        with quiet_libraries():
            _convert(file.path, out)
    except (ValueError, KeyError, OSError, RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ModelError(
            f"{file.path.name} (architecture {file.architecture!r}) cannot be converted: {reason}; "
            "use the model's safetensors files instead"
        ) from error
    progress("converting", size, size)


def _convert(path: Path, out: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    where |= {"local_files_only": True, "trust_remote_code": False}
    AutoTokenizer.from_pretrained(**where).save_pretrained(out)
    model: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    model.generation_config.save_pretrained(out)
    # The weights are plain numbers now, which the library does not take note of.
    del model.config.quantization_config
    model.config.save_pretrained(out)
    tied = set(model.all_tied_weights_keys)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
