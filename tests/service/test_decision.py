"""What is measured to decide a question, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from minivault.config import load_settings
from minivault.errors import ContextExceeded, Unsupported
from minivault.service.decision import read_decision, read_relevance, weighed
from minivault.service.labels import Labels
from minivault.types import GenerationRequest, Message, ModelInfo, Option, Question
from minivault.wire.decision import confidence, expected, likeliest
from tests.scripted import ByteTokenizer, Transcript, backend


class Words(ByteTokenizer):
    """A blank and a capital, or one of some words, are one token each."""

    WORDS = (" A", " B", " C", " up", " down", " A!")

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        for index, word in enumerate(self.WORDS):
            if text.endswith(":" + word):
                return [*text[: -len(word)].encode(), 300 + index]
        return list(text.encode())


INFO: ModelInfo = backend(load_settings({"MINIVAULT_CONTEXT": "512"})).info
STATE = GenerationRequest(prompt="It rains.")


def asked(*names: str, about: str = "") -> Question:
    return Question("Which?", tuple(Option(name, about) for name in names))


def decided(question: Question, num_orders: int = 1, tokenizer: ByteTokenizer | None = None):  # noqa: ANN201
    tokenizer = tokenizer or ByteTokenizer()
    return read_decision(STATE, question, num_orders, Labels(tokenizer), tokenizer, INFO)


def test_the_names_of_options_are_labels_where_each_is_one_token_of_its_own() -> None:
    task = decided(asked("up", "down"), tokenizer=Words())
    assert [measurement.labels for measurement in task.measurements] == [((303, 304),)]
    assert task.rendered == "It rains.\n\nWhich? up or down?Answer:"


def test_otherwise_letters_are() -> None:
    task = decided(asked("up", "sideways"), tokenizer=Words())
    assert task.measurements[0].labels == ((300, 301),)
    assert task.rendered == "It rains.\n\nWhich?\nA. up\nB. sidewaysAnswer:"


def test_a_tokenizer_without_words_that_begin_with_a_blank_has_letters_without_one() -> None:
    assert decided(asked("up", "down")).measurements[0].labels == ((ord("A"), ord("B")),)


def test_all_labels_of_a_tokenizer_are_different_tokens() -> None:
    letters = Labels(ByteTokenizer()).letters(62)
    assert len({token for _, token in letters}) == 62


def test_more_options_than_labels_are_refused() -> None:
    with pytest.raises(Unsupported, match="at most 62 options"):
        decided(asked(*map(str, range(63))))


def test_orders_are_rotations_and_labels_stay_with_their_options() -> None:
    task = decided(asked("one", "two", "three"), 3)
    shown = [text.partition("Which?\n")[2].split("Answer:")[0] for text in task.rendered.split("It rains.")[1:]]
    a, b, c = map(ord, "ABC")
    assert [text.strip() for text in shown] == [
        "A. one\nB. two\nC. three",
        "A. two\nB. three\nC. one",
        "A. three\nB. one\nC. two",
    ]
    assert [m.labels[0] for m in task.measurements] == [(a, b, c), (c, a, b), (b, c, a)]


@pytest.mark.parametrize(("num_options", "num_orders", "expected"), [(2, 9, 2), (4, 2, 2), (5, 1, 1)])
def test_no_order_is_asked_twice(num_options: int, num_orders: int, expected: int) -> None:
    task = decided(asked(*"abcde"[:num_options], about="x"), num_orders)
    assert len({measurement.prompt for measurement in task.measurements}) == expected


def test_a_question_joins_the_last_turn_of_a_user_and_follows_any_other() -> None:
    def rendered(*turns: Message) -> str:
        state = GenerationRequest(messages=turns)
        return read_decision(state, asked("a", "b"), 1, Labels(Transcript()), Transcript(), INFO).rendered

    assert rendered(Message("user", "Hi.")) == "user: Hi.\n\nWhich? a or b?Answer:"
    after = rendered(Message("user", "Hi."), Message("assistant", "Yes?"))
    assert after == "user: Hi.\nassistant: Yes?\nuser: Which? a or b?Answer:"


@pytest.mark.parametrize(
    "read",
    [
        lambda text: read_decision(
            GenerationRequest(prompt=text), asked("a", "b"), 1, Labels(ByteTokenizer()), ByteTokenizer(), INFO
        ),
        lambda text: read_relevance("why?", text, ByteTokenizer(), INFO),
    ],
)
def test_what_does_not_fit_is_refused_with_its_size(read: Callable[[str], object]) -> None:
    with pytest.raises(ContextExceeded, match=r"takes 6\d\d tokens and the context holds 512"):
        read("x" * 600)


def test_relevance_measures_the_query_token_by_token() -> None:
    (measurement,) = read_relevance("hi?", "A text.", ByteTokenizer(), INFO).measurements
    assert measurement.labels == ((ord("h"),), (ord("i"),), (ord("?"),))


def test_probabilities_are_a_softmax_over_the_labels_and_the_mean_over_the_orders() -> None:
    one = weighed([(-1.0, -2.0, -3.0)], "decision")
    other = weighed([(-5.0, -5.0, -5.0)], "decision")
    assert one == pytest.approx([math.exp(-x) / sum(map(math.exp, (-1, -2, -3))) for x in (1, 2, 3)])
    assert weighed([(-1.0, -2.0, -3.0), (-5.0, -5.0, -5.0)], "decision") == pytest.approx(
        [(a + b) / 2 for a, b in zip(one, other, strict=True)]
    )


def test_the_order_of_options_changes_no_bit_of_what_follows() -> None:
    logprobs = [-0.1 * n - 0.013 for n in range(40)]
    forwards, backwards = weighed([logprobs], "decision"), weighed([logprobs[::-1]], "decision")
    assert forwards == backwards[::-1]


def test_labels_that_are_all_but_impossible_have_probability_0_and_break_nothing() -> None:
    assert weighed([(-1e6, -1.0)], "decision") == (0.0, 1.0)
    assert weighed([(-1e6, -1e6)], "decision") == (0.5, 0.5)


def test_the_probability_of_a_query_is_a_tokens_on_geometric_average() -> None:
    assert weighed([(math.log(0.5), math.log(0.125))], "relevance") == pytest.approx([0.25])


@pytest.mark.parametrize(
    ("probabilities", "sure"),
    [((1.0, 0.0, 0.0), 1.0), ((0.25,) * 4, 0.0), ((0.0125, 0.9781, 0.0093), 0.8908)],
)
def test_confidence_is_1_for_certainty_and_0_for_a_tie(probabilities: tuple[float, ...], sure: float) -> None:
    assert confidence(probabilities) == pytest.approx(sure, abs=1e-3)


def test_a_score_is_the_expected_level_from_0_and_a_tie_goes_to_the_first() -> None:
    assert expected((0.5, 0.25, 0.25)) == 0.75
    assert likeliest((0.2, 0.4, 0.4)) == 1
