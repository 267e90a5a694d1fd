"""What ends an answer, where the request says otherwise than the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.engine.driving import GREEDY, Drive
from tests.engine.scripted import EOS, ScriptedRunner, babble, say

Make = Callable[..., Drive]


def test_an_answer_that_ignores_the_models_end_goes_on_to_its_limit(drive: Make) -> None:
    transcript = drive(ScriptedRunner(say("ab"))).run("?", max_tokens=6, ignore_eos=True, **GREEDY)
    assert transcript.tokens == [*b"ab", EOS, EOS, EOS, EOS]
    assert (transcript.text, transcript.reason) == ("ab", "length")


def test_an_answer_that_ignores_the_models_end_still_ends_at_a_stop_string(drive: Make) -> None:
    transcript = drive(ScriptedRunner(say("abc"))).run("?", ignore_eos=True, stop=("c",), **GREEDY)
    assert (transcript.text, transcript.reason) == ("ab", "stop")


def test_a_stop_token_ends_the_answer_and_has_no_text(drive: Make) -> None:
    transcript = drive(ScriptedRunner(say("abc"))).run("?", stop_token_ids=(ord("c"),), **GREEDY)
    assert transcript.tokens == [*b"abc"]
    assert (transcript.text, transcript.reason) == ("ab", "stop")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("ending", [{}, {"stop_token_ids": (ord("b"),)}])
def test_nothing_that_ends_an_answer_is_drawn_before_the_least_number_of_tokens(
    drive: Make, temperature: float, ending: dict[str, tuple[int, ...]]
) -> None:
    params = {"min_tokens": 5, "max_tokens": 9, "temperature": temperature, **ending}
    transcript = drive(ScriptedRunner(say("ab"))).run("?", **params)
    assert len(transcript.tokens) >= 5
    assert not {EOS, *ending.get("stop_token_ids", ())} & set(transcript.tokens[:5])
    assert transcript.tokens[5] == EOS


def test_a_least_number_of_tokens_changes_nothing_that_no_end_is_drawn_in(drive: Make) -> None:
    made = drive(ScriptedRunner(babble))
    plain = made.run("?", max_tokens=20, logit_bias=((EOS, -100.0),))
    assert made.run("?", max_tokens=20, min_tokens=20).tokens == plain.tokens
