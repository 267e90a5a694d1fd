"""A model that wanders, for tests of replays: its logits depend on all that it has read, and on what computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minivault.config import Settings, load_settings
from minivault.interaction import Interaction, Origin, Recorder, next_id
from minivault.service import Loaded, LocalModel, Roster
from minivault.types import GenerationRequest, SamplingParams
from minivault.vault.reader import read_records
from tests import scripted
from tests.engine.scripted import EOS, VOCABULARY_SIZE, ByteTokenizer, Logits, Script, ScriptedRunner


def wander(noise: float, salt: int) -> Script:
    """Logits after all tokens so far, wherever the prompt ends. `salt` is another model, `noise` other arithmetic."""

    def script(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Logits:
        told = np.random.default_rng(hash((prompt + answer, salt)) & (1 << 62) - 1)
        logits = told.standard_normal(VOCABULARY_SIZE, np.float32) * 3
        logits[EOS:] = -float("inf")
        logits[EOS] = 0.0 if len(prompt + answer) % 4 else -100.0  # where nothing else may come, it does
        return logits + (noise * told.standard_normal(VOCABULARY_SIZE, np.float32))

    return script


def backend(settings: Settings, *, noise: float = 0.0, salt: int = 0, fingerprint: str = "mv2:ours") -> Loaded:
    """What `MINIVAULT_BACKEND=tests.replaying:backend` serves."""
    runner = ScriptedRunner(wander(noise, salt), num_slots=settings.max_running, context=settings.context or 512)
    info = replace(scripted.backend(settings).info, name="wanderer", context=runner.context, fingerprint=fingerprint)
    return Loaded(info, ByteTokenizer(), runner)


other_arithmetic = partial(backend, noise=0.01, fingerprint="mv2:other")
other_model = partial(backend, salt=1, fingerprint="mv2:edition")


@contextmanager
def loaded(settings: Settings, make: Callable[[Settings], Loaded] = backend) -> Iterator[LocalModel]:
    model = LocalModel(settings, make)
    model.wait_loaded(30)
    try:
        yield model
    finally:
        model.close()


def wandering(tmp_path: Path, **more: str) -> Settings:
    folders = {"MINIVAULT_HOME": str(tmp_path / "home"), "MINIVAULT_LOG_DIR": str(tmp_path / "vault")}
    return load_settings({"MINIVAULT_BACKEND": "tests.replaying:backend", **folders, **more}, tmp_path / ".env")


def answer(settings: Settings, model: LocalModel, *prompts: str, **params: Any) -> list[dict[str, Any]]:
    """Answer each prompt, and return all interactions that are recorded."""
    recorder = Recorder(settings, Roster(model))
    for prompt in prompts:
        request = GenerationRequest(prompt=prompt, params=SamplingParams(**params))
        interaction = Interaction.begin(recorder, model, model.prepare(request), Origin(next_id(), "test"))
        interaction.collect()
        interaction.close()
    recorder.close()
    return [record for record in read_records(settings.log_dir) if record["type"] == "interaction"]
