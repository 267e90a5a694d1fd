"""One answer that breaks: asked again where its kept connection was gone, and nobody's but its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from minivault.errors import GenerationFailed, UpstreamUnavailable
from tests.live import GUARD_S, until
from tests.service.upstream.asking_model import answer, ask, error_of, reason_of, served, text_of
from tests.service.upstream.engine import BREAK, Engine, engine, words


def breaking(*turns: bool) -> Iterator[Engine]:
    """An engine that breaks off before its first byte where it is that request's turn."""
    breaks = iter(turns)
    return engine(lambda _path, _body: [BREAK] if next(breaks) else words("Hello"))  # type: ignore[return-value]


def test_a_request_that_met_a_gone_connection_is_sent_again_over_a_fresh_one() -> None:
    with breaking(False, True, False) as there, served(there.url) as roster:
        assert answer(roster.default)[0] == "Hello"
        generation = ask(roster.default, id_="two")
        assert text_of(list(generation.events())) == "Hello"
    assert len(there.asked) == 3
    assert len(there.connections) == 2
    assert "attempts" not in generation.told  # no other server was asked


def test_it_is_sent_again_once_only() -> None:
    with breaking(False, True, True) as there, served(there.url) as roster:
        answer(roster.default)
        error = error_of(answer(roster.default, id_="two")[1])
    assert isinstance(error, UpstreamUnavailable)
    assert len(there.asked) == 3


def test_a_fresh_connection_that_breaks_off_is_not_tried_again() -> None:
    with breaking(True) as there, served(there.url) as roster:
        assert isinstance(error_of(answer(roster.default)[1]), UpstreamUnavailable)
    assert len(there.asked) == 1


@pytest.mark.parametrize(
    "broken",
    [[BREAK], [*words("Hal", reason=None), BREAK], ["no object"], [{"error": {"message": "out of memory"}}]],
    ids=["before a byte", "in the middle", "nonsense", "an error"],
)
def test_an_answer_that_breaks_takes_no_other_with_it(broken: list[Any]) -> None:
    goes_on = threading.Event()

    def reply(_path: str, body: Any) -> Iterator[Any]:
        if body["messages"][-1]["content"] == "break":
            yield from broken
            return
        yield from words("one ", reason=None)
        assert goes_on.wait(GUARD_S)
        yield from words("two")

    with engine(reply) as there, served(there.url) as roster:
        other = ask(roster.default).events()
        next(other)
        assert error_of(answer(roster.default, "break", id_="two")[1])
        assert roster.default.status().state == "ready"
        goes_on.set()
        events = list(other)
        assert answer(roster.default, id_="three")[0] == "one two"
    assert text_of(events).endswith("two")
    assert reason_of(events[-1]) == "stop"


def test_an_engine_that_is_stopping_finishes_what_it_has_begun() -> None:
    """It takes no connection any more, which says nothing of the answers that it still gives."""
    goes_on = threading.Event()

    def reply(_path: str, _body: Any) -> Iterator[Any]:
        yield from words("one ", reason=None)
        assert goes_on.wait(GUARD_S)
        yield from words("two")

    with engine(reply) as there, served(there.url) as roster:
        events = ask(roster.default).events()
        said = [next(events)]
        there.stop()
        until(lambda: roster.default.status().state == "failed")
        with pytest.raises(UpstreamUnavailable):
            ask(roster.default, id_="two")
        goes_on.set()
        said += events
    assert (text_of(said), reason_of(said[-1])) == ("one two", "stop")


def test_an_answer_that_is_silent_at_an_engine_that_is_down_is_ended() -> None:
    never = threading.Event()

    def reply(_path: str, _body: Any) -> Iterator[Any]:
        yield from words("Hal", reason=None)
        never.wait(GUARD_S)

    with engine(reply) as there, served(there.url, upstream_timeout_s=0.5) as roster:
        generation = ask(roster.default)
        events = generation.events()
        said = [next(events)]
        there.stop()
        said += events
        never.set()
    assert text_of(said) == "Hal"
    assert isinstance(error_of(said[-1]), GenerationFailed)
