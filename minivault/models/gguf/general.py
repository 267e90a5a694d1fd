"""Any GGUF file that transformers can read → the hub's layout, through transformers itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minivault.errors import ModelError
from minivault.models.gguf import rotation
from minivault.models.gguf.metadata import GgufFile
from minivault.models.gguf.parts import parts
from minivault.models.progress import Progress, quiet_libraries

_INSTEAD = "use the model's safetensors files instead"


def write_settings(file: GgufFile, out: Path) -> None:
    """Write config and tokenizer into `out`. Raises ModelError when transformers cannot read the file."""
    _refuse(file)
    with _reading(file):
        from transformers import AutoConfig, AutoTokenizer, GenerationConfig

        where = _where(file.path)
        AutoTokenizer.from_pretrained(**where).save_pretrained(out)
        config = AutoConfig.from_pretrained(**where)
        GenerationConfig.from_model_config(config).save_pretrained(out)
        config.save_pretrained(out)


def write_weights(file: GgufFile, out: Path, progress: Progress) -> None:
    """Write float32 weights into `out`, and config.json as they have it. Raises ModelError as above."""
    _refuse(file)
    size = file.size_bytes
    progress("converting", 0, size)
    with _reading(file):
        import torch
        from safetensors.torch import save_file
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(**_where(file.path), dtype=torch.float32)
        # The weights are plain numbers now, which the library does not take note of.
        del model.config.quantization_config
        model.config.save_pretrained(out)
        tied = set(model.all_tied_weights_keys)
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    progress("converting", size, size)


def _refuse(file: GgufFile) -> None:
    """What transformers would read past, and answers be wrong."""
    if len(parts(file.path)) > 1:
        raise ModelError(f"{file.path.name} is in parts, which is not supported here: join them with llama-gguf-split")
    if name := rotation.has_factors(file):
        raise ModelError(f"{file.path.name} has the tensor {name}, which is not supported here; {_INSTEAD}")


@contextmanager
def _reading(file: GgufFile) -> Iterator[None]:
    try:
        with quiet_libraries():
            yield
    except (ValueError, KeyError, OSError, RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ModelError(
            f"{file.path.name} (architecture {file.architecture!r}) cannot be converted: {reason}; {_INSTEAD}"
        ) from error


def _where(path: Path) -> dict[str, Any]:
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return where | {"local_files_only": True, "trust_remote_code": False}
