"""A model that does what its prompt says, for tests over a real server: `MINIVAULT_BACKEND=tests.scripted:backend`.

A prompt is words of `key=value`, then `say` and the answer: `delay=0.05 raise=3 say Hello`. Keys: `delay` (seconds
before each token), `prefill` (seconds in prefill), `raise` (token at which the runner raises), `oom` (the same, out of
memory), `hang` (token at which it never comes back), `until` (a file: the answer's last letter is repeated until it is
there). A prompt without `say` is echoed. The real engine drives it, one byte a token.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.config import Settings
from minivault.engine.runner import Chunk
from minivault.service import Loaded
from minivault.service.fingerprint import fingerprint
from minivault.types import Message, ModelInfo, Reading, TokenDecoder

EOS = 256
VOCABULARY = 257
CONTROL_TEXT = "<end>"
"""What spells the end token."""


class ByteTokenizer:
    """One byte a token; a trivial chat template."""

    vocabulary_size = VOCABULARY
    eos_ids = frozenset({EOS})
    has_chat_template = True
    has_tool_template = False

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        return list(text.encode())

    def read(self, text: str) -> Reading:
        return Reading(text, tuple(text.encode()), has_control_text=CONTROL_TEXT in text)

    def read_chat(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = (), **_: Any) -> Reading:
        return self.read(messages[-1].content)

    def decoder(self) -> TokenDecoder:
        return self.token_bytes

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id]) if token_id < EOS else b""

    def token_name(self, token_id: int) -> str:
        return chr(token_id) if token_id < EOS else CONTROL_TEXT


class Transcript(ByteTokenizer):
    """Its template shows every turn, a line each."""

    def read_chat(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]] = (), **_: Any) -> Reading:
        return self.read("\n".join(f"{message.role}: {message.content}" for message in messages))


class Script:
    """What one prompt, or the last question of a transcript, asks for."""

    def __init__(self, prompt: str) -> None:
        prompt = prompt.rpartition("\nuser: ")[2]
        head, found, answer = prompt.partition("say ")
        self.answer = (answer if found else prompt).encode()
        self.options = dict(word.split("=", 1) for word in head.split() if "=" in word) if found else {}

    def number(self, key: str) -> float | None:
        return float(self.options[key]) if key in self.options else None

    def token(self, index: int) -> int:
        time.sleep(self.number("delay") or 0)
        if self.number("raise") == index:
            raise RuntimeError("the script says so, in /some/secret/path")
        if self.number("oom") == index:
            raise MemoryError
        if self.number("hang") == index:
            threading.Event().wait()
        if index < len(self.answer):
            return self.answer[index]
        is_held = "until" in self.options and not Path(self.options["until"]).exists()
        return self.answer[-1] if is_held else EOS


class ScriptedRunner:
    """Implements engine.runner.Runner on scripts instead of weights."""

    name = "scripted"
    vocabulary_size = VOCABULARY
    chunk_tokens = block_tokens = 1 << 20
    can_copy = True
    num_drafts = 0
    bytes_per_slot = 0

    def __init__(self, num_slots: int, context: int) -> None:
        self.num_slots = self.num_blocks = num_slots
        self.context = context
        self.signature = {"runner": self.name, "version": "1"}
        self._prompts: dict[int, bytes] = {}

    @property
    def num_free_blocks(self) -> int:
        return self.num_blocks - len(self._prompts)

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        return np.stack([row for chunk in chunks for row in [self._row(chunk)] * chunk.num_logits])

    def _row(self, chunk: Chunk) -> NDArray[np.float32]:
        if not chunk.is_prompt:
            return _logits(self._script(chunk.slot).token(chunk.start - len(self._prompts[chunk.slot]) + 1))
        self._prompts[chunk.slot] = self._prompts.get(chunk.slot, b"")[: chunk.start] + bytes(chunk.tokens)
        script = self._script(chunk.slot)
        time.sleep(script.number("prefill") or 0)
        return _logits(script.token(0))

    def _script(self, slot: int) -> Script:
        return Script(self._prompts[slot].decode("utf-8", "replace"))

    def release(self, slot: int) -> None:
        self._prompts.pop(slot, None)

    def copy_out(self, slot: int, start: int, stop: int) -> object:
        return self._prompts[slot][start:stop]

    def copy_in(self, slot: int, start: int, block: object) -> None:
        assert isinstance(block, bytes)
        self._prompts[slot] = self._prompts.get(slot, b"")[:start] + block

    def embed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        counts = np.bincount(tokens, minlength=VOCABULARY).astype(np.float32)
        return counts / np.float32(np.linalg.norm(counts))

    def close(self) -> None:
        self._prompts.clear()


def _logits(token: int) -> NDArray[np.float32]:
    logits = np.full(VOCABULARY, -50.0, np.float32)
    logits[token] = 50.0
    return logits


def backend(settings: Settings) -> Loaded:
    """What `MINIVAULT_BACKEND=tests.scripted:backend` serves."""
    context = settings.context or 2048
    runner = ScriptedRunner(settings.max_running, context)
    info = ModelInfo(
        name="scripted",
        architecture="script",
        num_parameters=0,
        context=context,
        embedding_length=VOCABULARY,
        num_layers=0,
        num_heads=0,
        quantization="none",
        weights_digest="sha256:" + "0" * 64,
        size_bytes=0,
        license="MIT",
        runner=runner.name,
        fingerprint=fingerprint(runner.signature),
    )
    return Loaded(info, ByteTokenizer(), runner)


def transcript_backend(settings: Settings) -> Loaded:
    """Reads whole conversations."""
    return replace(backend(settings), tokenizer=Transcript())


def endless_backend(settings: Settings) -> Loaded:
    """Loads for ever."""
    threading.Event().wait()
    raise AssertionError("not reached")


def broken_backend(settings: Settings) -> Loaded:
    """Never loads."""
    raise MemoryError("no room for the weights")
