"""A scripted model and a byte tokenizer: they drive the real engine, and the whole server above it, without weights.

`ScriptedRunner` honours the runner contract to the letter and checks that its caller does: chunks on the grid, each
position once, slots that are in use. Its "cache" of a slot is the list of tokens in it. A script maps the tokens of a
prompt and of the answer so far to the next token, or to whole logits; it may raise, and it may wait.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from minivault.engine.runner import Chunk
from minivault.types import Message, Reading

EOS = 256
BOS = 257
VOCABULARY_SIZE = 260

Logits = NDArray[np.float32]
Script = Callable[[tuple[int, ...], tuple[int, ...]], "int | Logits"]
"""(prompt, answer so far) -> next token id, or logits [vocabulary]."""


class ByteTokenizer:
    """One token a byte; 256 ends an answer, 257 begins a prompt."""

    vocabulary_size = VOCABULARY_SIZE
    eos_ids = frozenset({EOS})
    has_chat_template = True
    has_tool_template = False

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        return [BOS] * add_special + list(text.encode())

    def read(self, text: str) -> Reading:
        return Reading(text, tuple(self.encode(text, add_special=True)))

    def read_chat(self, messages: Sequence[Message], tools: Sequence[dict] = (), **_: object) -> Reading:
        text = "".join(f"<{message.role}>{message.content}\n" for message in messages) + "<assistant>"
        return Reading(text, tuple(text.encode()))

    def decoder(self) -> Callable[[int], bytes]:
        return self.token_bytes

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id]) if token_id < 256 else b""

    def token_name(self, token_id: int) -> str:
        return {EOS: "<end>", BOS: "<begin>"}.get(token_id, "")


def say(text: str | bytes) -> Script:
    """Answer every prompt with `text`, then end."""
    tokens = [*(text.encode() if isinstance(text, str) else text), EOS]
    return lambda prompt, answer: tokens[min(len(answer), len(tokens) - 1)]


def echo(prompt: tuple[int, ...], answer: tuple[int, ...]) -> int:
    """Answer with the prompt's own bytes, then end."""
    text = [token for token in prompt if token < 256]
    return text[len(answer)] if len(answer) < len(text) else EOS


def babble(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Logits:
    """Logits that depend on every token so far, with no end-of-sequence: to tell whether anything was mixed up."""
    draw = np.random.default_rng(hash((prompt, answer)) & (1 << 62) - 1)
    logits = draw.standard_normal(VOCABULARY_SIZE, np.float32) * 3
    logits[EOS:] = -float("inf")
    return logits


def fail_at(index: int, script: Script = babble, error: Exception | None = None) -> Script:
    """Do as `script` does, but raise in place of the answer's token number `index` (from 0)."""

    def failing(prompt: tuple[int, ...], answer: tuple[int, ...]) -> int | Logits:
        if len(answer) >= index:
            raise error or RuntimeError("scripted failure in /some/private/path")
        return script(prompt, answer)

    return failing


@dataclass
class Slot:
    prompt: list[int] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)
    blocks: list[object] = field(default_factory=list)
    """Stands for memory: what two have in common is held once."""

    @property
    def tokens(self) -> tuple[int, ...]:
        return (*self.prompt, *self.answer)


@dataclass(eq=False)
class Copied:
    """Some of a slot's positions."""

    tokens: tuple[int, ...]
    blocks: list[object]


class ScriptedRunner:
    """A runner that follows a script. `before(kind, slots)` is called ahead of each chunk of a prompt ("prefill"), pass
    over sampled tokens ("decode"), release, copy_in and copy_out: to count, wait, advance a clock, hang or raise."""

    name = "scripted"
    can_copy = True

    def __init__(
        self,
        script: Script = babble,
        *,
        num_slots: int = 4,
        context: int = 128,
        chunk_tokens: int = 8,
        block_tokens: int = 8,
        num_blocks: int | None = None,
        num_drafts: int = 0,
        before: Callable[[str, list[int]], None] = lambda kind, slots: None,
    ) -> None:
        self.script = script
        self.before = before
        self.num_slots = num_slots
        self.context = context
        self.chunk_tokens = chunk_tokens
        self.block_tokens = min(block_tokens, chunk_tokens)
        self.num_drafts = num_drafts
        self.vocabulary_size = VOCABULARY_SIZE
        self.bytes_per_slot = context
        per_slot = -(-context // self.block_tokens)
        self.num_blocks = num_slots * per_slot if num_blocks is None else num_blocks
        assert self.num_blocks >= per_slot
        self.signature = {"runner": "scripted", "version": "1"}
        self.slots: dict[int, Slot] = {}
        self.copies: WeakSet[Copied] = WeakSet()
        self.num_prefilled_tokens = 0
        self.num_logits = 0
        """Rows that were wanted of prompts."""
        self.repeatable: set[int] = set()
        self.violations: list[str] = []
        """What the caller did against the contract."""

    @property
    def num_free_blocks(self) -> int:
        holders: list[Slot | Copied] = [*self.slots.values(), *self.copies]
        return self.num_blocks - len({id(block) for holder in holders for block in holder.blocks})

    def forward(self, chunks: Sequence[Chunk]) -> Logits:
        self._require(len({chunk.is_prompt for chunk in chunks}) == 1, "prompts and tokens are mixed")
        with self._failing():
            if not chunks[0].is_prompt:
                self.before("decode", [chunk.slot for chunk in chunks])
            return np.concatenate(
                [self._prefill(chunk) if chunk.is_prompt else self._decode(chunk) for chunk in chunks]
            )

    def _prefill(self, chunk: Chunk) -> Logits:
        self.before("prefill", [chunk.slot])
        state = self._filled(chunk.slot, chunk.start)
        end_of_chunk = (chunk.start // self.chunk_tokens + 1) * self.chunk_tokens
        self._require(
            chunk.start % self.block_tokens == 0 and 0 < len(chunk.tokens) <= end_of_chunk - chunk.start,
            "prefill is off the grid",
        )
        self._require(chunk.start + len(chunk.tokens) <= self.context, "prefill goes beyond the context")
        state.prompt += chunk.tokens
        self.num_prefilled_tokens += len(chunk.tokens)
        self._require(1 <= chunk.num_logits <= len(chunk.tokens), "logits are wanted beyond the chunk")
        self.num_logits += chunk.num_logits
        self._hold(state)
        ends = range(len(state.prompt) - chunk.num_logits + 1, len(state.prompt) + 1)
        return np.stack([self._logits(Slot(state.prompt[:end])) for end in ends])

    def _decode(self, chunk: Chunk) -> Logits:
        self._require(len(chunk.tokens) == chunk.num_logits <= 1 + self.num_drafts, "more than the newest and guesses")
        state, position = self.slots[chunk.slot], chunk.start
        self._require(len(state.prompt) <= position < self.context, "a position is outside of the answer")
        self._require(position <= len(state.prompt) + len(state.answer), "a position is skipped")
        answer = state.answer[: position - len(state.prompt)]
        state.answer = [*answer, *chunk.tokens]
        self._require(len(state.tokens) <= self.context, "a guess goes beyond the context")
        self._hold(state)
        ends = range(len(answer) + 1, len(state.answer) + 1)
        return np.stack([self._logits(Slot(state.prompt, state.answer[:end])) for end in ends])

    def release(self, slot: int) -> None:
        self.before("release", [slot])
        self.slots.pop(slot, None)

    def copy_out(self, slot: int, start: int, stop: int) -> object:
        with self._failing():
            self.before("copy_out", [slot])
        state, size = self.slots[slot], self.block_tokens
        copied = Copied(tuple(state.prompt[start:stop]), state.blocks[start // size : stop // size])
        self._require(len(copied.tokens) == stop - start, "copied out more than is there")
        self.copies.add(copied)
        return copied

    def copy_in(self, slot: int, start: int, block: object) -> None:
        with self._failing():
            self.before("copy_in", [slot])
        assert isinstance(block, Copied)
        state = self._filled(slot, start)
        state.prompt += block.tokens
        state.blocks[start // self.block_tokens :] = block.blocks

    def embed(self, tokens: Sequence[int]) -> Logits:
        draw = random.Random(str(list(tokens)))
        vector = np.array([draw.gauss(0, 1) for _ in range(16)], np.float32)
        return vector / np.float32(np.linalg.norm(vector))

    def close(self) -> None:
        self.slots.clear()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What fails inside may be repeated: prompts in it that got further are processed again."""
        try:
            yield
        except Exception:
            self.repeatable = {slot for slot, state in self.slots.items() if not state.answer}
            raise

    def _require(self, is_so: bool, otherwise: str) -> None:
        """Raises AssertionError where the engine breaks the contract, and remembers it: the engine survives errors."""
        if not is_so:
            self.violations.append(otherwise)
            raise AssertionError(otherwise)

    def _filled(self, slot: int, start: int) -> Slot:
        """The slot's state, which must hold exactly `start` prompt tokens, or more where a failed pass is repeated."""
        self._require(0 <= slot < self.num_slots, "no such slot")
        state = self.slots.setdefault(slot, Slot())
        if slot in self.repeatable:
            self.repeatable.remove(slot)
            del state.prompt[start:]
        self._require(len(state.prompt) == start and not state.answer, "prefill does not continue the slot")
        return state

    def _hold(self, state: Slot) -> None:
        """Take the blocks that the slot's tokens need."""
        missing = -(-len(state.tokens) // self.block_tokens) - len(state.blocks)
        state.blocks += [object() for _ in range(missing)]
        self._require(self.num_free_blocks >= 0, "more is held than there are blocks")

    def _logits(self, state: Slot) -> Logits:
        said = self.script(tuple(state.prompt), tuple(state.answer))
        if isinstance(said, np.ndarray):
            return said
        logits = np.zeros(self.vocabulary_size, np.float32)
        logits[said] = 100.0
        return logits
