"""A scripted model that has an opinion on every prompt, the same each time: what decisions are tested with."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from minivault.config import Settings
from minivault.engine.runner import Chunk
from minivault.service import Loaded
from tests import scripted
from tests.scripted import VOCABULARY, ScriptedRunner


class Opinionated(ScriptedRunner):
    """Its logits are drawn by all that it has read. A prompt with `say` is answered as ever."""

    def _row(self, chunk: Chunk) -> NDArray[np.float32]:
        before = self._prompts.get(chunk.slot, b"")
        if chunk.is_prompt and b"say " not in before + bytes(chunk.tokens):
            super()._row(chunk)
            return _drawn(self._prompts[chunk.slot])
        if not chunk.is_prompt and b"say " not in before:
            self._prompts[chunk.slot] = before[: chunk.start] + bytes(chunk.tokens)
            return _drawn(self._prompts[chunk.slot])
        return super()._row(chunk)


def _drawn(read: bytes) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(read).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=VOCABULARY).astype(np.float32)


def backend(settings: Settings) -> Loaded:
    loaded = scripted.backend(settings)
    return Loaded(loaded.info, loaded.tokenizer, Opinionated(settings.max_running, settings.context))
