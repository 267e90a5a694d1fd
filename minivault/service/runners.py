"""Who computes a model of the store: our own engine where it can, else the library's forward pass.

Models and runners do not know each other; this module introduces them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minivault.config import Settings
from minivault.errors import ModelError
from minivault.families import family_of, text_of
from minivault.models import ModelFiles
from minivault.models.layout import is_of_library
from minivault.models.progress import Progress, silent
from minivault.service.context import cache_bytes, wanted_context
from minivault.service.footprint import footprint_of, may_be_exact
from minivault.service.memory import free_bytes

if TYPE_CHECKING:
    from minivault.engine.runner import Runner

log = logging.getLogger("minivault.service")

WARM_CONTEXT = 64
"""Of a runner that is loaded only to have its code compiled."""

Alter = Callable[[Any], Any]
"""What becomes of a model of the library once it is loaded."""


def runner_of(settings: Settings, files: ModelFiles, alter: Alter | None = None) -> Runner:
    """A runner for the model, of the size that the settings give it. Raises ModelError with one line: where both have
    refused, with the reasons of both."""
    size = {"num_slots": settings.max_running, "context": wanted_context(settings, files.config)}
    if not may_be_exact(settings):
        return _transformers(settings, files, alter, **size)
    on_cpu = {"threads": _cpu_threads(settings), "cache_bytes": cache_bytes(settings, _free_beside(settings, files))}
    try:
        return _exact(settings, files, silent, **size, **on_cpu)
    except ModelError as error:
        if settings.runner == "exact" or files.is_packed or not is_of_library(files.config):
            raise
        reason = error.message
    is_known = family_of(text_of(files.config)) is not None
    level = logging.WARNING if is_known else logging.INFO
    log.log(level, "the transformers runner serves %s: %s", files.name, reason)
    try:
        return _transformers(settings, files, alter, **size)
    except ModelError as error:
        raise (ModelError(f"{error.message}; {reason}") if is_known else error) from None


def warm_up(settings: Settings, files: ModelFiles, progress: Progress = silent) -> None:
    """Prepare the model for our own engine, where that can run it, and have its code compiled."""
    if not may_be_exact(settings):
        return
    try:
        _exact(settings, files, progress, num_slots=1, context=WARM_CONTEXT, threads=1).close()
    except ModelError as error:
        if settings.runner == "exact" or files.is_packed or not is_of_library(files.config):
            raise
        log.info("the transformers runner serves %s: %s", files.name, error.message)


def _exact(settings: Settings, files: ModelFiles, progress: Progress, **size: int) -> Runner:
    from minivault.engine import exact
    from minivault.service.weights import load_exact

    if reason := exact.why_not(files.config):
        name = "MINIVAULT_RUNNER=exact" if settings.runner == "exact" else "our own engine"
        raise ModelError(f"{name} cannot serve {files.name}: {reason}")
    return load_exact(settings, files, progress, **size)


def _transformers(settings: Settings, files: ModelFiles, alter: Alter | None, **size: int) -> Runner:
    import torch

    from minivault.engine.transformers import TransformersRunner
    from minivault.models import load_transformers_model
    from minivault.service.weights import adapter_changes, float_weights

    if not is_of_library(files.config):
        kind = files.config.get("model_type")
        raise ModelError(f"the transformers runner cannot serve {files.name}: {kind!r} is no causal LM of the library")
    device = _device(settings)
    torch.set_num_threads(_cpu_threads(settings))
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = load_transformers_model(files, device, dtype, float_weights(settings, files), adapter_changes(files))
    model = alter(model) if alter is not None else model
    free = _free_beside(settings, files) if device == "cpu" else torch.cuda.mem_get_info(device)[0]
    try:
        return TransformersRunner(model, cache_bytes=cache_bytes(settings, free), **size)
    except ModelError:
        raise
    except Exception as error:  # the library may fail in any way at a config that it does not expect
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ModelError(f"model {files.name} fails at its first tokens: {reason}") from error


def _free_beside(settings: Settings, files: ModelFiles) -> int:
    """What a model's weights leave of what is free."""
    return max(0, free_bytes() - footprint_of(settings, files).total(settings.workers))


def _cpu_threads(settings: Settings) -> int:
    from minivault.engine.host import num_cores

    return settings.cpu_threads or max(1, num_cores() // settings.workers)


def _device(settings: Settings) -> str:
    import torch

    if settings.device != "auto":
        return settings.device
    return "cuda" if torch.cuda.is_available() else "cpu"
