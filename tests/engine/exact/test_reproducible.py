"""A row's logits are the same bits on any kind of kernel, by any number of threads, in any company and slot."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minivault.engine.exact import kinds
from minivault.engine.exact.runner import ExactRunner
from minivault.engine.runner import Chunk
from tests.engine.driving import Drive
from tests.engine.exact.checkpoints import VARIANTS
from tests.engine.exact.conftest import KINDS, Loader
from tests.engine.exact.driving import Conversation, chunks, prefill, run, same, step, tokens

RELAXED = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SMALL = ("llama", "gpt2")


@pytest.fixture(autouse=True)
def _nothing_left(load: Loader) -> None:
    for runner in load.loaded.values():
        runner.cache.check_integrity()
        assert runner.num_free_blocks == runner.num_blocks


@pytest.mark.parametrize("kind", KINDS[:-1])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("bits", [8, 4])
def test_every_kind_of_kernel_gives_the_bits_of_the_plain_loops(
    load: Loader, variant: str, kind: type[kinds.Kind], bits: int
) -> None:
    seen = []
    for one in (kind, kinds.Plain):
        runner, conversation = load(variant, one, bits=bits), Conversation(tokens(75, 3), 0, 4)
        run(runner, [conversation], [0])
        seen.append(conversation.seen)
    assert same(*seen)


conversations = st.builds(
    Conversation,
    prompt=st.integers(0, 10**6).flatmap(lambda seed: st.integers(1, 200).map(lambda count: tokens(count, seed))),
    arrives=st.integers(0, 6),
    steps=st.integers(0, 10),
)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("variant", SMALL)
@RELAXED
@given(st.lists(conversations, min_size=2, max_size=8), st.permutations(range(6)))
def test_logits_are_bitwise_those_of_running_alone(
    load: Loader, variant: str, num_threads: int, together: list[Conversation], slots: list[int]
) -> None:
    run(load(variant, num_threads=num_threads), together, list(slots))
    for one, seen in [(one, one.seen) for one in together]:
        run(load(variant), [one], [3])
        assert same(one.seen, seen)


@pytest.mark.parametrize("variant", SMALL)
@RELAXED
@given(st.integers(1, 9), st.integers(1, 31), st.integers(0, 999), st.permutations(range(6)))
def test_a_shared_prefix_is_bitwise_a_computed_one(
    load: Loader, variant: str, blocks: int, rest: int, seed: int, slots: list[int]
) -> None:
    runner, cut = load(variant), blocks * ExactRunner.block_tokens
    prompt = tokens(cut + rest, seed)
    computed = Conversation(prompt, 0, 3)
    computed.start(runner, slots[0])
    shared = runner.copy_out(slots[0], 0, cut)
    used = runner.num_blocks - runner.num_free_blocks
    runner.copy_in(slots[1], 0, shared)
    assert runner.num_blocks - runner.num_free_blocks == used
    runner.release(slots[0])
    again = Conversation(prompt, 0, 3, slots[1], len(prompt), [prefill(runner, slots[1], prompt, cut)])
    step(runner, [again])
    runner.release(slots[1])
    del shared
    run(runner, [computed], [slots[2]])
    assert same(computed.seen[:2], again.seen)
    assert runner.num_free_blocks == runner.num_blocks


@pytest.mark.parametrize("variant", SMALL)
@RELAXED
@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(0, 99))
def test_however_a_prompt_is_cut_and_mixed_its_logits_are_the_same(
    load: Loader, variant: str, cuts: list[int], seed: int
) -> None:
    runner, prompt = load(variant), tokens(min(300, sum(cuts)), seed)
    whole = prefill(runner, 0, prompt)
    runner.release(0)
    edges = [0, *np.minimum(np.cumsum(cuts), len(prompt)).tolist()]
    pieces = [Chunk(1, prompt[a:b], a, is_prompt=True) for a, b in pairwise(edges) if b > a]
    mixed = [chunk for pair in zip(pieces, chunks(2, tokens(300, 5)), strict=False) for chunk in pair]
    one_by_one = [runner.forward([chunk])[0] for chunk in pieces][-1]
    runner.release(1)
    found = runner.forward([*mixed, *pieces[len(mixed) // 2 :]])
    last = max(i for i, chunk in enumerate([*mixed, *pieces[len(mixed) // 2 :]]) if chunk.slot == 1)
    runner.release(1)
    runner.release(2)
    assert same([whole, whole], [one_by_one, found[last]])


def test_a_repeated_pass_leaves_and_gives_the_same(load: Loader) -> None:
    runner, prompt = load("llama"), tokens(100)
    first = runner.forward(chunks(0, prompt))
    kept = runner.copy_out(0, 0, 96)
    assert np.array_equal(runner.forward(chunks(0, prompt)), first)  # into blocks of its own: the shared ones stay
    runner.release(0)
    del kept
    assert runner.num_free_blocks == runner.num_blocks


def test_embeddings_do_not_depend_on_threads(load: Loader) -> None:
    found = [load("llama", num_threads=threads).embed(tokens(300)) for threads in (1, 3)]
    assert found[0].tobytes() == found[1].tobytes()


@pytest.mark.parametrize("variant", SMALL)
def test_answers_out_of_guesses_are_bitwise_those_without(
    load: Loader, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for num_drafts in (0, 7):
        monkeypatch.setattr(ExactRunner, "num_drafts", num_drafts)
        drive = Drive.of(load(variant))
        transcript = drive.run(tokens(20) * 3, max_tokens=200, temperature=0.2, repetition_penalty=0.8, logprobs=3)
        told.append([getattr(event, "logprobs", ()) for event in transcript.events])
    assert told[0] == told[1]
    assert drive.engine.stats["guessed_right"] > 0
