"""Backends: who loads a model, chosen by `MINIVAULT_BACKEND`.

`local` is a model from the store, computed by the runner that suits it (`runners`). Anything else is
`package.module:function`, which returns a `Loaded`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import cast

from minivault.config import Settings
from minivault.errors import ConfigError
from minivault.models import ModelFiles, load_tokenizer
from minivault.models.named import names_in
from minivault.models.progress import Progress, silent
from minivault.models.sampling import sampling_defaults
from minivault.models.template import chat_template
from minivault.service.context import cache_bytes, raised_by, wanted_context
from minivault.service.fingerprint import fingerprint
from minivault.service.footprint import ensure_fits, footprint_of
from minivault.service.marking import FIELD, mark_of
from minivault.service.memory import free_bytes, free_now
from minivault.service.model import Loaded
from minivault.service.runners import Alter, runner_of, warm_up
from minivault.service.store import store
from minivault.structured import RULES
from minivault.talk.calls import call_format_of
from minivault.talk.thoughts import thought_format_of
from minivault.types import ModelInfo, Tokenizer

GPU = Path("/dev/nvidia0")
MOST_AT_ONCE = 3
"""No more models than this divide the cache among them: of more, some go when all are wanted."""
Backend = Callable[[Settings], Loaded]


def check_backend(settings: Settings) -> None:
    """Refuse early, without torch, what could not be served: raises ConfigError for a backend that does not exist or a
    context that the model does not have, and ModelError when the model is missing, damaged or unsupported. What memory
    is free is measured here, before there are workers."""
    if settings.backend == "upstream":
        _check_upstream(settings)
        return
    mark_of(settings)
    if settings.backend != "local":
        resolve_backend(settings)
        return
    names = set[str]()
    for one in each_model(settings):
        files = store(settings).resolve(one.model, verify=True)
        wanted_context(one, files.config)
        ensure_room(one, files)
        if files.name in names:
            message = f"MINIVAULT_MODEL={settings.model!r} names two models that clients would call {files.name}"
            raise ConfigError(message, field="MINIVAULT_MODEL")
        names.add(files.name)


def each_model(settings: Settings) -> list[Settings]:
    """The settings of each model that is served. Where there are several, each has its own part of the cache."""
    names = names_in(settings.model) if settings.backend == "local" else [settings.model]
    if len(names) == 1 or settings.cache_mb:
        return [replace(settings, model=name) for name in names]
    part = max(1, cache_bytes(settings) // min(len(names), MOST_AT_ONCE) >> 20)
    return [replace(settings, model=name, cache_mb=part) for name in names]


def budget_bytes(settings: Settings) -> int:
    """Memory of each worker for all models that are loaded."""
    return settings.models_mb << 20 or free_bytes() // settings.workers


def need_bytes(settings: Settings, files: ModelFiles) -> int:
    """What a model takes of that, with its part of the cache."""
    return footprint_of(settings, files).total(1) + (settings.cache_mb << 20)


def ensure_room(settings: Settings, files: ModelFiles) -> None:
    """Raise ModelError for a model that would not fit, with what it needs and what there is: of what was free before
    anything was loaded for all workers, and of what is free now for this one. Weights that are mapped may be there."""
    if settings.device.startswith("cuda") or (settings.device == "auto" and GPU.exists()):
        return  # whose memory is its own
    advice = "free some, or choose a smaller model or, with MINIVAULT_WEIGHT_BITS=4 or a GGUF file, smaller weights"
    needed = footprint_of(settings, files)
    ensure_fits(files.name, needed.total(settings.workers), free_bytes(), advice)
    ensure_fits(files.name, needed.own, free_now(), advice)
    if settings.models_mb:
        ensure_fits(files.name, need_bytes(settings, files), budget_bytes(settings), "raise MINIVAULT_MODELS_MB")


def ensure_unmarked(settings: Settings) -> None:
    """Raise ConfigError where engines elsewhere, which draw by numbers of their own, were to mark what they say."""
    if settings.watermark_key_file:
        message = (
            f"{FIELD} is set, and engines elsewhere (MINIVAULT_BACKEND=upstream) draw their tokens themselves: nothing "
            "would be marked; unset it, or serve the model here"
        )
        raise ConfigError(message, field=FIELD)


def _check_upstream(settings: Settings) -> None:
    """Engines elsewhere may come up later, but where they are must be known, and their key readable."""
    ensure_unmarked(settings)
    if not settings.upstream_urls:
        message = "MINIVAULT_BACKEND=upstream needs MINIVAULT_UPSTREAM_URL, like http://gpu1:8000/v1"
        raise ConfigError(message, field="MINIVAULT_UPSTREAM_URL")
    if settings.upstream_key_file:
        try:
            Path(settings.upstream_key_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            message = f"MINIVAULT_UPSTREAM_KEY_FILE={settings.upstream_key_file!r} cannot be read: {error}"
            raise ConfigError(message, field="MINIVAULT_UPSTREAM_KEY_FILE") from None


def resolve_backend(settings: Settings) -> Backend:
    """The function that loads what `MINIVAULT_BACKEND` names. Raises ConfigError if there is no such function."""
    if settings.backend == "local":
        return load_local
    module, _, function = settings.backend.partition(":")
    try:
        return cast(Backend, getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"MINIVAULT_BACKEND={settings.backend!r}: {error}", field="MINIVAULT_BACKEND") from None


def tokenizer_of(settings: Settings, name: str | None) -> Tokenizer:
    """The tokenizer of a model of the store, without its weights; of the first of the settings where none is named. A
    backend of somebody's own has to load its model. Raises ModelError."""
    if settings.backend not in ("local", "upstream"):
        return resolve_backend(settings)(settings).tokenizer
    return load_tokenizer(store(settings).resolve(name or each_model(settings)[0].model))


def pull_model(settings: Settings, name: str, progress: Progress = silent) -> ModelFiles:
    """Fetch a model and prepare it for the runner that will serve it; idempotent."""
    from minivault.engine import sampler
    from minivault.service.weights import ExactPacker

    files = store(settings).pull(name, progress, ExactPacker())
    warm_up(settings, files, progress)
    sampler.load(settings.kernels_dir)
    return files


def load_local(settings: Settings, alter: Alter | None = None) -> Loaded:
    """Load the configured model; what the library computes it with may be altered. Raises ModelError with one line that
    says what to do."""
    from minivault.engine import sampler
    from minivault.engine.host import give_memory_back

    files = store(settings).resolve(settings.model)
    ensure_room(settings, files)
    runner = runner_of(settings, files, alter)
    # After the runner: the compiler's own memory would lie scattered between the pieces of a large vocabulary and stay.
    tokenizer = load_tokenizer(files)
    parts = {
        "weights": files.weights_digest,
        **({"adapter": files.adapter.digest} if files.adapter else {}),
        "config": files.config_digest,
        "tokenizer": files.tokenizer_digest,
        "template": files.template_digest,
        "grammar": f"llguidance {version('llguidance')}, rules {RULES}",
        "sampler": sampler.VERSION,
        **runner.signature,
    }
    give_memory_back()
    info = replace(
        described(settings, files),
        context=runner.context,
        context_setting=raised_by(settings, files.config, runner.context),
        quantization=runner.signature.get("quantization", ""),
        runner=runner.name,
        fingerprint=fingerprint(parts),
        fingerprint_parts=parts,
        device=runner.signature.get("device", "cpu"),
        vocabulary_kind=tokenizer.vocabulary_kind,
    )
    return Loaded(info, tokenizer, runner)


def described(settings: Settings, files: ModelFiles) -> ModelInfo:
    """What the files of a model say of it, before it is loaded."""
    config, template = files.config, chat_template(files.text_directory)
    written = template.text + template.tool_text
    return ModelInfo(
        name=files.name,
        architecture=str(config.get("model_type", "")),
        num_parameters=files.num_parameters,
        context=wanted_context(settings, config),
        embedding_length=int(config.get("hidden_size") or config.get("n_embd") or 0),
        num_layers=int(config.get("num_hidden_layers") or config.get("n_layer") or 0),
        num_heads=int(config.get("num_attention_heads") or config.get("n_head") or 0),
        quantization="",
        weights_digest=files.adapter.digest if files.adapter else files.weights_digest,
        size_bytes=files.size_bytes,
        license=files.license,
        runner="",
        fingerprint="",
        has_chat=bool(template.text),
        has_tools=bool(template.text),
        sampling=sampling_defaults(files.directory),
        source=files.source,
        chat_template=template.text,
        call_format=call_format_of(written),
        thought_format=thought_format_of(written),
        modified_ns=files.modified_ns,
    )
