"""Jobs that measure given tokens instead of choosing one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from minivault.errors import GenerationFailed
from minivault.types import Delta, Failed, Finished, Job, SamplingParams
from tests.engine.driving import GREEDY, Drive, Transcript
from tests.engine.scripted import EOS, ScriptedRunner

Make = Callable[..., Drive]


def measure(made: Drive, prompt: bytes, labels: tuple[tuple[int, ...], ...], id_: str = "m") -> Transcript:
    params = SamplingParams(max_tokens=len(labels), temperature=0.0, seed=0)
    made.engine.submit(Job(id_, tuple(prompt), params, labels=labels))
    made.transcripts[id_] = Transcript()
    made.finish()
    return made.transcripts[id_]


def logprobs(transcript: Transcript) -> list[tuple[int, float]]:
    deltas = [event for event in transcript.events if isinstance(event, Delta)]
    return [(entry.token_id, entry.logprob) for delta in deltas for entry in delta.logprobs]


def test_every_label_of_a_step_is_measured_and_nothing_is_told_as_text(drive: Make) -> None:
    made = drive(ScriptedRunner())
    found = measure(made, b"?", ((65, 66, 67),))
    assert [token for token, _ in logprobs(found)] == [65, 66, 67]
    assert (found.text, found.tokens, found.reason) == ("", [], "stop")
    made.engine.check_integrity()


def test_tokens_that_are_read_on_have_the_log_probabilities_that_generation_gives_them(drive: Make) -> None:
    answered = drive(ScriptedRunner()).run("what?", **GREEDY, logprobs=0, max_tokens=6)
    told = logprobs(answered)
    made = drive(ScriptedRunner())
    made.submit("somebody else", max_tokens=9)
    assert logprobs(measure(made, b"what?", tuple((token,) for token, _ in told))) == told


def test_a_measurement_is_not_ended_by_a_token_that_would_end_an_answer(drive: Make) -> None:
    made = drive(ScriptedRunner(lambda prompt, answer: np.zeros(260, np.float32)))
    assert len(logprobs(measure(made, b"?", ((EOS,), (65,), (66,))))) == 3


def test_what_cannot_be_measured_fails_alone(drive: Make) -> None:
    def holes(prompt: tuple[int, ...], answer: tuple[int, ...]) -> np.ndarray:
        row = np.zeros(260, np.float32)
        row[65] = -np.inf
        return row

    made = drive(ScriptedRunner(holes))
    found = measure(made, b"?", ((65, 66),))
    assert isinstance(found.end, Failed)
    assert isinstance(found.end.error, GenerationFailed)
    assert isinstance(measure(made, b"?", ((66, 67),), "other").end, Finished)


@pytest.mark.parametrize("cached", [False, True])
def test_a_measurement_does_not_depend_on_the_prefix_cache(drive: Make, *, cached: bool) -> None:
    made = drive(ScriptedRunner(), prefix_cache_bytes=1 << 20 if cached else 0)
    once = logprobs(measure(made, b"the same beginning" * 5, ((65, 66),)))
    assert logprobs(measure(made, b"the same beginning" * 5, ((65, 66),), "again")) == once
