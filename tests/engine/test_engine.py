"""The engine as its caller sees it: events, endings, failures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from minivault.errors import BadRequest, ContextExceeded, DeadlineExceeded, GenerationFailed
from minivault.types import Delta, Failed, Finished, Started, Usage
from tests.engine.driving import GREEDY, Drive
from tests.engine.scripted import EOS, ByteTokenizer, ScriptedRunner, babble, echo, fail_at, say

Make = Callable[..., Drive]


def test_an_answer_is_started_then_told_in_pieces_then_finished(drive: Make) -> None:
    transcript = drive(ScriptedRunner(say("hi"))).run("?", **GREEDY)
    assert transcript.events[:4] == [Started(1), Delta("h", (104,)), Delta("i", (105,)), Delta("", (EOS,))]
    assert isinstance(transcript.end, Finished)
    assert transcript.end.reason == "stop"


def test_the_end_token_is_counted_and_reported_but_has_no_text(drive: Make) -> None:
    transcript = drive(ScriptedRunner(say("abc"))).run("?", **GREEDY)
    assert transcript.text == "abc"
    assert transcript.tokens == [*b"abc", EOS]
    assert transcript.end.usage == Usage(prompt_tokens=1, completion_tokens=4)


def test_max_tokens_ends_with_length(drive: Make) -> None:
    transcript = drive(ScriptedRunner(say("abcdef"))).run("?", max_tokens=3, **GREEDY)
    assert (transcript.text, transcript.reason) == ("abc", "length")


def test_an_answer_that_is_done_with_its_last_token_ends_with_stop(drive: Make) -> None:
    assert drive(ScriptedRunner(say("abc"))).run("?", max_tokens=4, **GREEDY).reason == "stop"


def test_a_full_context_ends_with_length(drive: Make) -> None:
    transcript = drive(ScriptedRunner(context=16)).run("x" * 12, max_tokens=100)
    assert (len(transcript.tokens), transcript.reason) == (4, "length")


def test_a_prompt_that_leaves_no_room_is_refused(drive: Make) -> None:
    made = drive(ScriptedRunner(context=16))
    with pytest.raises(ContextExceeded, match="16"):
        made.submit("x" * 16)


@pytest.mark.parametrize(
    ("prompt", "params"),
    [("", {}), ([999], {}), ([-1], {}), ("x", {"logit_bias": ((260, 1.0),)}), ("x", {"max_tokens": -1})],
)
def test_a_job_that_makes_no_sense_is_refused(drive: Make, prompt: object, params: dict) -> None:
    with pytest.raises(BadRequest):
        drive().submit(prompt, **params)


def test_the_same_id_twice_is_refused(drive: Make) -> None:
    made = drive()
    made.numbers = iter([7, 7])
    made.submit("x")
    with pytest.raises(BadRequest):
        made.submit("x")
    made.finish()


def test_a_stop_string_over_several_tokens_is_cut_out(drive: Make) -> None:
    transcript = drive(ScriptedRunner(say("one END two"))).run("?", stop=("END",), **GREEDY)
    assert (transcript.text, transcript.reason) == ("one ", "stop")


def test_text_held_for_a_stop_string_that_does_not_come_is_told_at_the_end(drive: Make) -> None:
    transcript = drive(ScriptedRunner(say("one EN"))).run("?", stop=("END",), **GREEDY)
    assert transcript.text == "one EN"


def test_characters_are_told_whole(drive: Make) -> None:
    transcript = drive(ScriptedRunner(say("aé😀"))).run("?", **GREEDY)
    pieces = [event.text for event in transcript.events if isinstance(event, Delta)]
    assert [piece for piece in pieces if piece] == ["a", "é", "😀"]


def test_a_character_that_max_tokens_cuts_is_dropped(drive: Make) -> None:
    assert drive(ScriptedRunner(say("a😀"))).run("?", max_tokens=4, **GREEDY).text == "a"


def test_cancel_while_waiting_running_a_prompt_and_decoding(drive: Make) -> None:
    made = drive(ScriptedRunner(chunk_tokens=4), max_running=2)
    decoding, prefilling, waiting = made.submit("a"), made.submit("b" * 40), made.submit("c")
    made.step(3)
    assert (made.engine.num_running, made.engine.num_waiting) == (2, 1)
    for job_id in (waiting, prefilling, decoding):
        made.engine.cancel(job_id)
    made.step()
    assert not made.engine.has_work
    assert {made.transcripts[job].reason for job in (decoding, prefilling, waiting)} == {"cancelled"}
    assert made.transcripts[decoding].tokens
    assert len(made.transcripts[prefilling].events) == len(made.transcripts[waiting].events) == 1


def test_cancel_carries_its_reason_and_the_first_one_counts(drive: Make) -> None:
    made = drive()
    job_id = made.submit("a")
    made.engine.cancel(job_id, "shutdown")
    made.engine.cancel(job_id, "cancelled")
    made.finish()
    assert made.transcripts[job_id].reason == "shutdown"


def test_cancelling_what_is_not_there_changes_nothing(drive: Make) -> None:
    made = drive(ScriptedRunner(say("x")))
    made.engine.cancel("nobody")
    job_id = made.submit("a")
    made.finish()
    made.engine.cancel(job_id)
    assert made.engine.step() == []


def test_a_deadline_before_the_first_token_fails(drive: Make) -> None:
    made = drive(ScriptedRunner(chunk_tokens=4))
    job_id = made.submit("a" * 40, deadline_ns=made.clock.now_ns + 100)
    made.step(2)
    made.clock.advance(100)
    made.finish()
    end = made.transcripts[job_id].end
    assert isinstance(end, Failed)
    assert isinstance(end.error, DeadlineExceeded)


def test_a_deadline_while_waiting_fails_without_running(drive: Make) -> None:
    made = drive(max_running=1)
    first = made.submit("a", max_tokens=20)
    second = made.submit("b", deadline_ns=made.clock.now_ns + 100)
    made.step(2)
    made.clock.advance(100)
    made.step()
    assert isinstance(made.transcripts[second].end, Failed)
    made.finish()
    assert made.transcripts[first].reason == "length"


def test_a_deadline_after_the_first_token_finishes_with_what_there_is(drive: Make) -> None:
    made = drive()
    job_id = made.submit("a", deadline_ns=made.clock.now_ns + 100)
    made.step(3)
    made.clock.advance(100)
    made.finish()
    assert made.transcripts[job_id].reason == "deadline"
    assert len(made.transcripts[job_id].tokens) == 3


@pytest.mark.parametrize("index", [0, 1, 5])
def test_a_model_that_raises_fails_only_its_own_sequence(drive: Make, index: int) -> None:
    broken = fail_at(index)
    made = drive(ScriptedRunner(lambda prompt, answer: (broken if prompt == (120,) else babble)(prompt, answer)))
    good, bad, other = made.submit("good", max_tokens=9), made.submit("x"), made.submit("other", max_tokens=9)
    made.finish()
    end = made.transcripts[bad].end
    assert isinstance(end, Failed)
    assert isinstance(end.error, GenerationFailed)
    assert len(made.transcripts[bad].tokens) == index
    assert made.transcripts[good].reason == made.transcripts[other].reason == "length"
    assert made.transcripts[good].tokens == drive().run("good", max_tokens=9).tokens


def test_a_failure_tells_nothing_of_the_machine(drive: Make) -> None:
    end = drive(ScriptedRunner(fail_at(1))).run("x").end
    assert isinstance(end, Failed)
    assert "RuntimeError" in str(end.error)
    assert "private" not in str(end.error)


def test_the_engine_works_on_after_a_failure(drive: Make) -> None:
    runner = ScriptedRunner(fail_at(2))
    made = drive(runner)
    made.run("x")
    runner.script = echo
    assert made.run("fine", **GREEDY).text == "fine"


def test_logits_of_the_wrong_shape_fail_instead_of_hanging(drive: Make) -> None:
    runner = ScriptedRunner()
    made = drive(runner)
    forward = runner.forward
    runner.forward = lambda chunks: np.concatenate([forward(chunks), babble((1,), ())[None]])  # type: ignore
    assert isinstance(made.run("x").end, Failed)


def test_a_slot_that_cannot_be_released_is_reported_and_used_again(
    drive: Make, caplog: pytest.LogCaptureFixture
) -> None:
    runner = ScriptedRunner(say("ok"))

    def before(kind: str, slots: list[int]) -> None:
        if kind == "release":
            runner.slots.pop(slots[0])
            raise RuntimeError("release")

    runner.before = before
    made = drive(runner, max_running=1)
    assert [made.run("x", **GREEDY).text for _ in range(3)] == ["ok"] * 3
    assert "could not release" in caplog.text


class Only:
    """A constraint that allows one token, and raises at a given one."""

    def __init__(self, token_id: int, raise_in: str = "") -> None:
        self.token_id = token_id
        self.raise_in = raise_in

    def mask(self, logits: object) -> None:
        if self.raise_in == "mask":
            raise ValueError("mask")
        kept = float(logits[self.token_id])  # type: ignore[index]
        logits[:] = -float("inf")  # type: ignore[index]
        if self.raise_in != "nothing allowed":
            logits[self.token_id] = kept  # type: ignore[index]

    def accept(self, token_id: int) -> None:
        if self.raise_in == "accept":
            raise ValueError("accept")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_constraint_decides_what_may_be_said(drive: Make, temperature: float) -> None:
    transcript = drive().run("x", constraint=Only(65), max_tokens=3, temperature=temperature)
    assert transcript.text == "AAA"


@pytest.mark.parametrize("where", ["mask", "accept", "nothing allowed"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_constraint_that_breaks_fails_its_own_job_alone(drive: Make, where: str, temperature: float) -> None:
    made = drive()
    bad = made.submit("x", constraint=Only(65, where), temperature=temperature)
    good = made.submit("y", max_tokens=5)
    made.finish()
    assert isinstance(made.transcripts[bad].end, Failed)
    assert made.transcripts[good].reason == "length"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_numbers_fail_their_own_job_alone(drive: Make, temperature: float) -> None:
    script = lambda prompt, answer: babble(prompt, answer) * np.float32("nan" if prompt == (120,) else 1)  # noqa: E731
    made = drive(ScriptedRunner(script))
    bad, good = made.submit("x", temperature=temperature), made.submit("y", max_tokens=5)
    made.finish()
    assert isinstance(made.transcripts[bad].end, Failed)
    assert made.transcripts[good].reason == "length"


def test_timings_add_up(drive: Make) -> None:
    made = drive(max_running=1)
    runner = made.runner
    runner.before = lambda kind, slots: made.clock.advance({"prefill": 100, "decode": 10}.get(kind, 0))  # type: ignore
    made.submit("a" * 3, max_tokens=4)
    second = made.submit("b" * 20, max_tokens=3)
    made.finish()
    timings = made.transcripts[second].end.timings
    assert (timings.queued_ns, timings.prefill_ns) == (130, 300)
    assert (timings.first_token_ns, timings.total_ns) == (430, 450)


def test_stats_count_what_was_done(drive: Make) -> None:
    made = drive(ScriptedRunner(say("abc")))
    made.run("xy", **GREEDY)
    assert made.engine.stats["prompt_tokens"] == 2
    assert made.engine.stats["completion_tokens"] == 4
    assert made.engine.stats["steps"] == 4


def test_logprobs_come_with_each_token_for_those_who_ask(drive: Make) -> None:
    made = drive()
    asking, silent = made.submit("a", logprobs=2, max_tokens=3), made.submit("b", max_tokens=3)
    made.finish()
    deltas = [event for event in made.transcripts[asking].events if isinstance(event, Delta) and event.token_ids]
    assert [len(event.logprobs) for event in deltas] == [1, 1, 1]
    assert all(len(event.logprobs[0].top) == 2 for event in deltas)
    spelled = [entry for event in deltas for entry in (event.logprobs[0], *event.logprobs[0].top)]
    assert all(entry.data == ByteTokenizer().token_bytes(entry.token_id) for entry in spelled)
    assert not any(event.logprobs for event in made.transcripts[silent].events if isinstance(event, Delta))
