"""A row's logits are the same bits whoever shares the batch, wherever its slot, whatever came before."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minivault.engine.fused.runner import BLOCK_TOKENS, CHUNK_TOKENS, FusedRunner
from minivault.engine.runner import Chunk
from tests.engine.fused.checkpoints import SMALL, VOCABULARY
from tests.engine.fused.conftest import Loader
from tests.engine.fused.test_correctness import decode, prefill, tokens

RELAXED = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@dataclass
class Conversation:
    """A prompt, when it arrives (in steps) and how many tokens it decodes greedily, with the logits it saw."""

    prompt: list[int]
    arrives: int
    steps: int
    slot: int = -1
    position: int = 0
    seen: list[torch.Tensor] = field(default_factory=list)

    def start(self, runner: FusedRunner, slot: int) -> None:
        self.slot, self.position, self.seen = slot, len(self.prompt), []
        self.seen.append(prefill(runner, slot, self.prompt))

    @property
    def is_done(self) -> bool:
        return len(self.seen) > self.steps


def run(runner: FusedRunner, conversations: list[Conversation], slots: list[int]) -> None:
    """Serve the conversations as they arrive, in slots taken in the order of `slots`, releasing each at its end."""
    waiting, running, free, clock = list(conversations), [], list(slots), 0
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


def step(runner: FusedRunner, running: list[Conversation]) -> None:
    if not running:
        return
    chosen = [int(one.seen[-1].argmax()) for one in running]
    logits = decode(runner, [one.slot for one in running], chosen, [one.position for one in running])
    for one, row in zip(running, logits, strict=True):
        one.seen.append(row.clone())
        one.position += 1


conversation = st.builds(
    Conversation,
    prompt=st.integers(0, 10**6).flatmap(lambda seed: st.integers(1, 300).map(lambda count: tokens(count, seed))),
    arrives=st.integers(0, 6),
    steps=st.integers(0, 10),
)


@pytest.mark.parametrize("variant", SMALL)
@RELAXED
@given(st.lists(conversation, min_size=2, max_size=8), st.permutations(range(6)))
def test_logits_are_bitwise_those_of_running_alone(
    load: Loader, variant: str, conversations: list[Conversation], slots: list[int]
) -> None:
    runner = load(variant)
    run(runner, conversations, list(slots))
    together = [one.seen for one in conversations]
    for one, seen in zip(conversations, together, strict=True):
        run(runner, [one], [3])
        assert len(one.seen) == len(seen)
        assert all(torch.equal(here, there) for here, there in zip(one.seen, seen, strict=True))


@pytest.mark.parametrize("variant", SMALL)
def test_long_company_changes_no_bit(load: Loader, variant: str) -> None:
    runner = load(variant)
    short, long = Conversation(tokens(20, 5), 0, 6), Conversation(tokens(600, 6), 0, 6)
    middle = Conversation(tokens(400, 7), 2, 3)
    run(runner, [short, long, middle], [4, 0, 2])
    for one, seen in [(one, one.seen) for one in (short, long, middle)]:
        run(runner, [one], [1])
        assert all(torch.equal(here, there) for here, there in zip(one.seen, seen, strict=True))


@pytest.mark.parametrize("variant", SMALL)
@RELAXED
@given(st.integers(0, 10**6), st.integers(1, 64), st.integers(1, 70), st.permutations(range(6)))
def test_a_copied_prefix_is_bitwise_a_computed_one(
    load: Loader, variant: str, seed: int, blocks: int, rest: int, slots: list[int]
) -> None:
    cut = blocks * BLOCK_TOKENS
    runner, prompt = load(variant), tokens(cut + rest, seed)
    computed = Conversation(prompt, 0, 3)
    computed.start(runner, slots[0])
    block = runner.copy_out(slots[0], 0, cut)
    runner.release(slots[0])
    runner.copy_in(slots[1], 0, block)
    copied = prefill(runner, slots[1], prompt, cut)
    assert torch.equal(copied, computed.seen[0])
    again = Conversation(prompt, 0, 3, slots[1], len(prompt), [copied])
    step(runner, [again])
    runner.release(slots[1])
    run(runner, [computed], [slots[2]])
    assert torch.equal(again.seen[1], computed.seen[1])


@pytest.mark.parametrize("variant", SMALL)
@RELAXED
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, CHUNK_TOKENS)), min_size=1, max_size=6), st.integers(0, 99))
def test_chunks_processed_in_one_pass_are_bitwise_those_processed_alone(
    load: Loader, variant: str, sizes: list[tuple[int, int]], seed: int
) -> None:
    runner = load(variant)
    prompts = [tokens(chunks * CHUNK_TOKENS + rest, seed + i) for i, (chunks, rest) in enumerate(sizes)]
    alone = [Conversation(prompt, 0, 2) for prompt in prompts]
    for one in alone:
        run(runner, [one], [0])
    starts = [chunks // 2 * CHUNK_TOKENS for chunks, _ in sizes]
    for slot, (prompt, start) in enumerate(zip(prompts, starts, strict=True)):
        if start:
            prefill(runner, slot, prompt[:start])
    chunks = [
        Chunk(slot, prompt[first : first + CHUNK_TOKENS], first, is_prompt=True)
        for slot, (prompt, start) in enumerate(zip(prompts, starts, strict=True))
        for first in range(start, len(prompt), CHUNK_TOKENS)
    ]
    logits = torch.from_numpy(runner.forward(chunks))
    last = {chunk.slot: row for chunk, row in zip(chunks, logits, strict=True)}
    together = [Conversation(prompt, 0, 2, slot, len(prompt), [last[slot]]) for slot, prompt in enumerate(prompts)]
    for _ in range(2):
        step(runner, together)
    for slot, (one, other) in enumerate(zip(alone, together, strict=True)):
        runner.release(slot)
        assert all(torch.equal(here, there) for here, there in zip(one.seen, other.seen, strict=True))


@pytest.mark.parametrize("variant", SMALL)
def test_threads_change_no_bit(load: Loader, variant: str) -> None:
    runner, before = load(variant), torch.get_num_threads()
    conversation, seen = Conversation(tokens(400, 9), 0, 5), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            run(runner, [conversation], [0])
            seen.append(torch.stack(conversation.seen))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("variant", SMALL)
def test_a_released_slot_holds_nothing_of_its_past(load: Loader, variant: str) -> None:
    runner = load(variant)
    prefill(runner, 0, tokens(300))
    runner.release(0)
    assert not runner.cache.keys.any()
    assert not runner.cache.values.any()


def test_the_vocabulary_is_the_models(load: Loader) -> None:
    assert prefill(load("llama"), 0, [1]).shape == (VOCABULARY,)
    load("llama").release(0)
