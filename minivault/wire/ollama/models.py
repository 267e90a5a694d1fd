"""What `/api/tags`, `/api/show`, `/api/ps` and `/api/version` say about the models that are served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, Field

from minivault.moment import rfc3339
from minivault.types import ModelInfo
from minivault.wire.names import tagged
from minivault.wire.validation import Body

OLLAMA_VERSION = "0.32.1"
"""The version of the API we speak: editors refuse old ones, so this is Ollama's number and not ours."""

FOR_EVER, END_NS = "2262-01-01T00:00:00Z", 9_214_646_400_000_000_000
"""The model stays. A date every client can parse, also in signed 64-bit nanoseconds."""

RUNNING = "Ollama is running"
"""What `GET /` must answer to a client that checks who is there."""

NOT_MANAGED_HERE = "models are managed where the server runs (`minivault models pull`), not over the network"

PARAMETER_UNITS = ((1_000_000_000, "B"), (1_000_000, "M"), (1_000, "K"))
FILE_TYPES = {"Q2_K": 10, "Q3_K": 12, "IQ4_XS": 30, "IQ4_NL": 25, "MXFP4": 38, "Q4_0": 2, "Q4_K": 15, "Q4_1": 3}
FILE_TYPES |= {"Q5_0": 8, "Q5_K": 17, "Q5_1": 9, "Q6_K": 18, "Q8_0": 7, "F16": 1, "BF16": 32, "F32": 0}
"""`general.file_type` of the GGUF format, the smallest type of tensors first: it names a mixture."""
ARCHITECTURES = {"gemma3_text": "gemma3", "gpt_neox": "gptneox", "phi": "phi2"}
"""What this dialect calls otherwise than the hub."""


class ShowBody(Body):
    """`POST /api/show`."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"model": "smollm2-135m"}]})

    model: str = ""
    name: str = Field("", description="the older name of `model`")
    verbose: bool = False


def encode_tags(infos: Sequence[ModelInfo]) -> dict[str, Any]:
    return {"models": [_identity(info) | _description(info) for info in infos]}


def encode_ps(loaded: Sequence[tuple[ModelInfo, float | None]], now_ns: int) -> dict[str, Any]:
    """Models in memory, each with the seconds until it goes; None = it stays."""
    return {"models": [_identity(info) | _memory(info, left_s, now_ns) for info, left_s in loaded]}


def encode_version() -> dict[str, Any]:
    return {"version": OLLAMA_VERSION}


def encode_status() -> dict[str, Any]:
    return {"cloud": {"disabled": True, "source": "config"}}


def encode_show(info: ModelInfo, basename: str | None = None) -> dict[str, Any]:
    """The reply of `/api/show`; `basename` is the requested name where the client wants it echoed."""
    return {
        "license": info.license,
        "modelfile": f"# served by MiniVault\nFROM {info.name}\n",
        "parameters": _parameters(info),
        "template": info.chat_template,
        "details": details(info),
        "model_info": _model_info(info, basename or info.name),
        "capabilities": capabilities(info),
        "modified_at": rfc3339(info.modified_ns),
    }


def _parameters(info: ModelInfo) -> str:
    """What holds where a request does not say, as a model file of Ollama's has it."""
    names = {"repetition_penalty": "repeat_penalty"}
    held = {"num_ctx": info.context, **{names.get(name, name): value for name, value in info.sampling}}
    return "\n".join(f"{name:<30}{value}" for name, value in held.items())


def capabilities(info: ModelInfo) -> list[str]:
    """What a model can do, in Ollama's words."""
    found = {"embedding": info.embedding_length, "tools": info.has_tools, "thinking": info.thought_format}
    return ["completion", *(name for name, can in found.items() if can)]


def details(info: ModelInfo) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf" if info.quantization.upper().startswith(("Q", "IQ", "MXFP")) else "safetensors",
        "family": _architecture(info),
        "families": [_architecture(info)],
        "parameter_size": parameter_size(info.num_parameters),
        "quantization_level": info.quantization,
        "context_length": info.context,
        "embedding_length": info.embedding_length,
    }


def parameter_size(num_parameters: int) -> str:
    """`124M`, `7.6B`: one decimal below ten billion, none from there and below a billion."""
    for size, unit in PARAMETER_UNITS:
        if num_parameters >= size:
            value = num_parameters / size
            return f"{value:.1f}{unit}" if unit == "B" and value < 10 else f"{value:.0f}{unit}"
    return str(num_parameters)


def _identity(info: ModelInfo) -> dict[str, Any]:
    name = tagged(info.name)
    return {
        "name": name,
        "model": name,
        "size": info.size_bytes,
        "digest": info.weights_digest.removeprefix("sha256:"),
        "details": details(info),
    }


def _description(info: ModelInfo) -> dict[str, Any]:
    return {"modified_at": rfc3339(info.modified_ns), "capabilities": capabilities(info)}


def _memory(info: ModelInfo, left_s: float | None, now_ns: int) -> dict[str, Any]:
    on_gpu = info.device.startswith("cuda")
    ends_ns = END_NS if left_s is None else now_ns + left_s * 1e9
    expires = FOR_EVER if ends_ns >= END_NS else rfc3339(int(ends_ns))
    return {"expires_at": expires, "size_vram": info.size_bytes if on_gpu else 0, "context_length": info.context}


def _model_info(info: ModelInfo, basename: str) -> dict[str, Any]:
    """`tokenizer.ggml.tokens` and its like are longer than Ollama's preview and would be emptied: left out."""
    arch = _architecture(info)
    return {
        "general.architecture": arch,
        "general.basename": basename,
        "general.parameter_count": info.num_parameters,
        "general.file_type": _file_type(info),
        "general.license": info.license,
        f"{arch}.context_length": info.context,
        f"{arch}.embedding_length": info.embedding_length,
        f"{arch}.block_count": info.num_layers,
        f"{arch}.attention.head_count": info.num_heads,
        "tokenizer.ggml.model": info.vocabulary_kind,
    }


def _architecture(info: ModelInfo) -> str:
    return ARCHITECTURES.get(info.architecture, info.architecture)


def _file_type(info: ModelInfo) -> int:
    types = info.quantization.upper().split("+")
    return next((number for name, number in FILE_TYPES.items() if name in types), 0)
