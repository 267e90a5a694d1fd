"""Prompts and steps through a runner, as the engine would drive it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.runner import CHUNK_TOKENS, ExactRunner
from minivault.engine.runner import Chunk
from tests.engine.exact.checkpoints import VOCABULARY

Logits = NDArray[np.float32]


def tokens(count: int, seed: int = 1) -> list[int]:
    return [(seed * 7919 + place * 104729 + place * place * 31) % VOCABULARY for place in range(count)]


def chunks(slot: int, ids: list[int], start: int = 0) -> list[Chunk]:
    """What is left of a prompt from `start` on, on the runner's grid."""
    edges = [start, *range((start // CHUNK_TOKENS + 1) * CHUNK_TOKENS, len(ids), CHUNK_TOKENS), len(ids)]
    return [Chunk(slot, ids[a:b], a, is_prompt=True) for a, b in pairwise(edges)]


def prefill(runner: ExactRunner, slot: int, ids: list[int], start: int = 0) -> Logits:
    """The last position's logits."""
    row: Logits = runner.forward(chunks(slot, ids, start))[-1]
    return row


def decode(runner: ExactRunner, slots: list[int], ids: list[int], positions: list[int]) -> Logits:
    rows = zip(slots, ids, positions, strict=True)
    return runner.forward([Chunk(slot, [token], at, is_prompt=False) for slot, token, at in rows])


@dataclass
class Conversation:
    """A prompt, when it arrives (in steps) and how many tokens it decodes greedily, with the logits it saw."""

    prompt: list[int]
    arrives: int
    steps: int
    slot: int = -1
    position: int = 0
    seen: list[Logits] = field(default_factory=list)

    def start(self, runner: ExactRunner, slot: int) -> None:
        self.slot, self.position = slot, len(self.prompt)
        self.seen = [prefill(runner, slot, self.prompt)]

    @property
    def is_done(self) -> bool:
        return len(self.seen) > self.steps


def run(runner: ExactRunner, conversations: list[Conversation], slots: list[int]) -> None:
    """Serve the conversations as they arrive, in slots taken in the order of `slots`, releasing each at its end."""
    waiting, running, free, clock = list(conversations), list[Conversation](), list(slots), 0
    while waiting or running:
        for conversation in [one for one in waiting if one.arrives <= clock][: len(free)]:
            waiting.remove(conversation)
            conversation.start(runner, free.pop(0))
            running.append(conversation)
        for one in [one for one in running if one.is_done]:
            running.remove(one)
            runner.release(one.slot)
            free.append(one.slot)
        step(runner, running)
        clock += 1


def step(runner: ExactRunner, running: list[Conversation]) -> None:
    if not running:
        return
    chosen = [int(one.seen[-1].argmax()) for one in running]
    logits = decode(runner, [one.slot for one in running], chosen, [one.position for one in running])
    for one, row in zip(running, logits, strict=True):
        one.seen.append(row)
        one.position += 1


def same(left: list[Logits], right: list[Logits]) -> bool:
    return len(left) == len(right) and all(a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))
