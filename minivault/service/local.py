"""The `local` backend: a model from the store, computed by the runner that suits it.

Models and runners do not know each other; this module introduces them.
"""

from __future__ import annotations

import ctypes
import logging
import os
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from minivault.config import Settings
from minivault.errors import ModelError
from minivault.models import Checkpoint, ModelStore, load_tokenizer
from minivault.models.progress import Progress, silent
from minivault.models.safetensors_check import count_parameters
from minivault.models.template import chat_template
from minivault.service.fingerprint import fingerprint
from minivault.service.served import ServedModel
from minivault.types import ModelInfo

if TYPE_CHECKING:
    from minivault.engine.runner import Runner

log = logging.getLogger("minivault.service")

PREPARED = "fused.safetensors"


def store(settings: Settings) -> ModelStore:
    return ModelStore(settings.models_dir)


def check_model(settings: Settings) -> None:
    """Refuse early, without torch: raises ModelError when the configured model is missing, damaged or unsupported."""
    store(settings).resolve(settings.model, verify=True)


def pull_model(settings: Settings, name: str, progress: Progress = silent) -> Checkpoint:
    """Fetch a model and prepare it for the runner that will serve it; idempotent."""
    checkpoint = store(settings).pull(name, progress)
    if _chooses_fused(settings, checkpoint):
        _prepare(settings, checkpoint, progress)
    return checkpoint


def load_local(settings: Settings) -> ServedModel:
    """Load the configured model. Raises ModelError with one line that says what to do."""
    checkpoint = store(settings).resolve(settings.model)
    tokenizer = load_tokenizer(checkpoint)
    context = _context(settings, checkpoint)
    runner = _fused(settings, checkpoint, context) or _transformers(settings, checkpoint, context)
    digest = fingerprint(
        weights=checkpoint.weights_digest,
        tokenizer=checkpoint.tokenizer_digest,
        template=checkpoint.template_digest,
        grammar=f"llguidance {version('llguidance')}",
        **runner.signature,
    )
    _give_memory_back()
    return ServedModel(_info(checkpoint, runner, context, digest), tokenizer, runner)


def _give_memory_back() -> None:
    """Return to the system what loading allocated and freed, some 30 MB; the C library keeps it otherwise."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _context(settings: Settings, checkpoint: Checkpoint) -> int:
    config = checkpoint.config
    limit = config.get("max_position_embeddings") or config.get("n_positions") or settings.context
    return min(settings.context, int(limit))


def _cpu_threads(settings: Settings) -> int:
    return settings.cpu_threads or max(1, len(os.sched_getaffinity(0)) // settings.workers)


def _chooses_fused(settings: Settings, checkpoint: Checkpoint) -> bool:
    if settings.runner == "transformers" or settings.device.startswith("cuda"):
        return False
    from minivault.engine import fused

    reason = fused.why_not(checkpoint.config)
    if reason is None:
        return True
    if settings.runner == "fused":
        raise ModelError(f"MINIVAULT_RUNNER=fused cannot serve {checkpoint.name}: {reason}")
    log.info("the transformers runner serves %s: %s", checkpoint.name, reason)
    return False


def _prepare(settings: Settings, checkpoint: Checkpoint, progress: Progress = silent) -> Path:
    """The file that the fused runner loads, made now if it is not there."""
    from minivault.engine import fused

    path = store(settings).prepared_dir(checkpoint) / PREPARED
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        fused.prepare(checkpoint.directory, path, partial(_in_bytes, progress, checkpoint.size_bytes))
    return path


def _in_bytes(progress: Progress, size_bytes: int, done: int, total: int) -> None:
    progress("preparing", size_bytes * done // total, size_bytes)


def _fused(settings: Settings, checkpoint: Checkpoint, context: int) -> Runner | None:
    if not _chooses_fused(settings, checkpoint):
        return None
    from minivault.engine import fused

    load = partial(fused.load, num_slots=settings.max_running, context=context, threads=_cpu_threads(settings))
    path = _prepare(settings, checkpoint)
    try:
        return load(path)
    except ModelError as error:  # made by an earlier version, or damaged
        log.info("preparing %s again: %s", checkpoint.name, error.message)
        path.unlink()
    try:
        return load(_prepare(settings, checkpoint))
    except ModelError as error:
        if settings.runner == "fused":
            raise
        log.warning("the transformers runner serves %s: %s", checkpoint.name, error.message)
        return None


def _transformers(settings: Settings, checkpoint: Checkpoint, context: int) -> Runner:
    import torch

    from minivault.engine.transformers import TransformersRunner
    from minivault.models import load_transformers_model

    device = _device(settings)
    torch.set_num_threads(_cpu_threads(settings))
    model = load_transformers_model(checkpoint, device, torch.float32 if device == "cpu" else torch.bfloat16)
    return TransformersRunner(model, num_slots=settings.max_running, context=context)


def _device(settings: Settings) -> str:
    import torch

    if settings.device != "auto":
        return settings.device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _info(checkpoint: Checkpoint, runner: Runner, context: int, digest: str) -> ModelInfo:
    config = checkpoint.config
    return ModelInfo(
        name=checkpoint.name,
        architecture=str(config.get("model_type", "")),
        num_parameters=count_parameters(checkpoint),
        context=context,
        embedding_length=int(config.get("hidden_size") or config.get("n_embd") or 0),
        num_layers=int(config.get("num_hidden_layers") or config.get("n_layer") or 0),
        num_heads=int(config.get("num_attention_heads") or config.get("n_head") or 0),
        quantization=runner.signature.get("quantization", ""),
        weights_digest=checkpoint.weights_digest,
        size_bytes=checkpoint.size_bytes,
        license=checkpoint.license,
        runner=runner.name,
        fingerprint=digest,
        source=checkpoint.source,
        chat_template=chat_template(checkpoint.directory).text,
        modified_ns=checkpoint.modified_ns,
    )
