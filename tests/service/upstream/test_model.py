"""A model whose answers come from an engine elsewhere: streamed, ended, retried, refused, and told of in full."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minivault.errors import (
    BadRequest,
    ContextExceeded,
    DeadlineExceeded,
    Draining,
    GenerationFailed,
    LoadFailed,
    ModelNotFound,
    Overloaded,
    Unsupported,
    UpstreamUnavailable,
)
from minivault.types import Delta, Finished, SamplingParams, Started
from tests.live import GUARD_S, until
from tests.service.upstream.asking_model import answer, ask, error_of, reason_of, served, text_of
from tests.service.upstream.engine import BREAK, Error, engine, words


def test_an_answer_streams_through_with_what_the_engine_counted() -> None:
    with engine() as there, served(there.url) as roster:
        generation = ask(roster.default)
        events = list(generation.events())
    assert isinstance(events[0], Started)
    assert [event.text for event in events if isinstance(event, Delta)] == ["Hello", " there"]
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.reason, end.usage.prompt_tokens, end.usage.completion_tokens, end.usage.cached_tokens) == (
        "stop",
        3,
        2,
        2,
    )
    assert generation.told == {"server": there.url, "engine": "vllm", "id": "chatcmpl-1", "model": "m"}


def test_a_piece_is_handed_on_before_the_next_one_comes() -> None:
    goes_on = threading.Event()

    def slowly(_path: str, _body: Any) -> Iterator[Any]:
        first, *rest = words("one", "two")
        yield first
        assert goes_on.wait(GUARD_S)
        yield from rest

    with engine(slowly) as there, served(there.url) as roster:
        events = ask(roster.default).events()
        assert isinstance(next(events), Started)
        first = next(events)
        goes_on.set()
        rest = list(events)
    assert isinstance(first, Delta)
    assert (first.text, text_of(rest)) == ("one", "two")


def test_what_has_come_together_is_handed_on_together() -> None:
    has_spoken = threading.Event()

    def at_once(_path: str, _body: Any) -> Iterator[Any]:
        yield from words("one", "two", "three")
        has_spoken.set()

    with engine(at_once) as there, served(there.url) as roster:
        generation = ask(roster.default)
        assert has_spoken.wait(GUARD_S)
        first, *_, last = generation.batches()
    assert [type(event) for event in first] == [Started, Delta, Delta, Delta]
    assert [type(event) for event in last] == [Finished]


def test_what_was_said_before_a_failure_is_handed_on_before_it() -> None:
    has_spoken = threading.Event()

    def fails(_path: str, _body: Any) -> Iterator[Any]:
        yield from words("one", "two", reason=None)
        yield {"error": {"message": "out of memory"}}
        has_spoken.set()

    with engine(fails) as there, served(there.url) as roster:
        generation = ask(roster.default)
        assert has_spoken.wait(GUARD_S)
        events = list(generation.events())
    assert text_of(events) == "onetwo"
    assert "out of memory" in str(error_of(events[-1]))


def test_ollama_is_read_as_its_documentation_says() -> None:
    """Nobody can install it here: these are the shapes of its page on compatibility with OpenAI."""
    head = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "model": "m", "system_fingerprint": "fp_ollama"}
    call = {"id": "call_1", "index": 0, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    deltas = [{"role": "assistant", "content": "", "reasoning": "Hm."}, {"content": "Yes"}, {"tool_calls": [call]}]

    def says(_path: str, _body: Any) -> Iterator[Any]:
        for delta in deltas:
            yield head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        yield head | {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "tool_calls"}]}
        yield head | {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}}

    listed = [{"id": "m", "object": "model", "created": 1, "owned_by": "library"}]
    with (
        engine(says, models=listed, others={"/api/version": {"version": "0.40.12"}}) as there,
        served(there.url) as roster,
    ):
        generation = ask(roster.default)
        events = list(generation.events())
        assert roster.default.info.fingerprint_parts["version"] == "0.40.12"
    assert "".join(event.reasoning for event in events if isinstance(event, Delta)) == "Hm."
    assert text_of(events).startswith('Yes<tool_call>\n{"name": "weather"')
    assert isinstance(events[-1], Finished)
    assert (events[-1].usage.prompt_tokens, events[-1].usage.completion_tokens) == (5, 4)
    assert (generation.told["engine"], generation.told["system_fingerprint"]) == ("ollama", "fp_ollama")


def test_one_connection_serves_one_answer_after_the_other() -> None:
    with engine() as there, served(there.url) as roster:
        for number in range(3):
            assert answer(roster.default, id_=str(number))[0] == "Hello there"
    assert len(there.connections) == 1


@pytest.mark.parametrize("is_silent", [True, False], ids=["in a silent prefill", "in the middle"])
def test_an_answer_that_is_cancelled_ends_at_the_engine(is_silent: bool) -> None:
    began, left = threading.Event(), threading.Event()

    def endless(_path: str, _body: Any) -> Iterator[Any]:
        began.set()
        while is_silent and not left.is_set():
            left.wait(GUARD_S)
        while True:
            yield from words("on and ", reason=None)

    with engine(endless) as there, served(there.url) as roster:
        generation = ask(roster.default)
        events = generation.events()
        assert began.wait(GUARD_S)
        if not is_silent:
            next(events)
        generation.cancel()
        end = list(events)[-1]
        left.set()
        assert there.left.wait(GUARD_S)
        until(lambda: roster.default.status().running == 0)
    assert reason_of(end) == "cancelled"


def test_a_client_that_reads_nothing_holds_up_the_engine() -> None:
    num_sent = 0

    def flood(_path: str, _body: Any) -> Iterator[Any]:
        nonlocal num_sent
        for _ in range(400):
            num_sent += 1
            yield from words("x" * 100_000, reason=None)

    with engine(flood) as there, served(there.url) as roster:
        generation = ask(roster.default)
        events = generation.events()
        next(events)
        until(lambda: num_sent > 1)
        assert num_sent < 400
        generation.cancel()
        list(events)
        assert there.left.wait(GUARD_S)
    assert num_sent < 400


@pytest.mark.parametrize(
    "failure",
    [Error(503, {"error": {"message": "busy"}}), Error(500, "boom"), [BREAK]],
    ids=["busy", "failing", "breaking off"],
)
def test_what_fails_before_the_first_byte_is_asked_elsewhere(failure: Any) -> None:
    with engine(lambda _path, _body: failure) as bad, engine() as good, served(bad.url, good.url) as roster:
        until(lambda: len(roster.default.info.source.split(", ")) == 2)
        for number in range(20):  # whichever of them these beginnings lead to
            assert answer(roster.default, f"{number}: Hi", id_=str(number))[0] == "Hello there"
    assert bad.asked
    assert len(good.asked) == 20


def test_what_breaks_after_the_first_byte_fails_and_is_not_asked_again() -> None:
    def breaking(_path: str, _body: Any) -> Iterator[Any]:
        yield from words("Hal", reason=None)
        yield BREAK

    with engine(breaking) as one, engine(breaking) as other, served(one.url, other.url) as roster:
        text, end = answer(roster.default)
    assert text == "Hal"
    assert isinstance(error_of(end), GenerationFailed)
    assert len(one.asked) + len(other.asked) == 1


@pytest.mark.parametrize(
    ("reply", "kind", "words_"),
    [
        (Error(400, {"error": {"message": "bad tools"}}), BadRequest, "bad tools"),
        (Error(400, {"message": "maximum context length is 5"}), ContextExceeded, "maximum context length"),
        (Error(422, {"detail": "Unexpected fields"}), BadRequest, "Unexpected fields"),
        (Error(401, {"error": "no"}), UpstreamUnavailable, "MINIVAULT_UPSTREAM_KEY_FILE"),
        (Error(404, {"error": "no m"}), ModelNotFound, "no m"),
        (Error(429, {"error": "slow down"}, {"Retry-After": "7"}), Overloaded, "slow down"),
        (Error(500, "<html>oops"), GenerationFailed, "oops"),
        (Error(302, ""), GenerationFailed, "302"),
        (Error(501, {"error": "not here"}), GenerationFailed, "not here"),
        ([{"error": {"message": "out of memory"}}], GenerationFailed, "out of memory"),
        ([], GenerationFailed, "in the middle"),
        ([BREAK], UpstreamUnavailable, "broke off"),
    ],
)
def test_every_refusal_of_an_engine_is_an_error_of_ours(reply: Any, kind: type[Exception], words_: str) -> None:
    with engine(lambda _path, _body: reply) as there, served(there.url) as roster:
        error = error_of(answer(roster.default)[1])
    assert type(error) is kind
    assert words_ in error.message
    if isinstance(error, Overloaded):
        assert error.retry_after_s == 7


def test_the_deadline_ends_an_answer_that_goes_on_and_fails_one_that_never_began() -> None:
    never = threading.Event()

    def half(_path: str, _body: Any) -> Iterator[Any]:
        yield from words("Hal", reason=None)
        never.wait(GUARD_S)

    def nothing(_path: str, _body: Any) -> Iterator[Any]:
        never.wait(GUARD_S)
        yield from words("late")

    for reply in (half, nothing):
        with engine(reply) as there, served(there.url) as roster:
            text, end = answer(roster.default, deadline_s=0.3)
            never.set()
        if reply is half:
            assert (text, reason_of(end)) == ("Hal", "deadline")
        else:
            assert isinstance(error_of(end), DeadlineExceeded)
        never.clear()


def test_an_answer_that_breaks_its_schema_fails_whoever_was_asked_to_keep_it() -> None:
    grammar = json.dumps({"type": "object", "required": ["a"]})
    for said, is_kept in (('{"a": 1}', True), ('{"b": 1}', False), ("sure!", False)):
        with engine(lambda _path, _body, said=said: words(said)) as there, served(there.url) as roster:
            _, end = answer(roster.default, params=SamplingParams(grammar=grammar))
        assert isinstance(end, Finished) is is_kept


def test_what_an_engine_drops_is_told() -> None:
    with engine(models=[{"id": "m"}]) as there, served(there.url) as roster:
        generation = ask(roster.default, params=SamplingParams(logprobs=1))
        list(generation.events())
    assert generation.told["dropped"] == ["top_k", "logprobs"]


def test_what_an_engine_says_of_itself_is_the_fingerprint() -> None:
    models = [{"id": "m", "owned_by": "vllm", "max_model_len": 512, "created": 1}]
    seen = []
    for version in ("0.1", "0.1", "0.2"):
        with engine(models=models, others={"/version": {"version": version}}) as there, served(there.url) as roster:
            seen.append(roster.default.info)
    first, same, other = seen
    assert first.fingerprint.startswith("upstream:")
    assert first.fingerprint == same.fingerprint != other.fingerprint
    assert dict(first.fingerprint_parts) == {"engine": "vllm", "model": "m", "version": "0.1", "max_model_len": "512"}
    assert first.context == 512


def test_every_model_that_an_engine_lists_is_served_by_its_name() -> None:
    models = [{"id": "a", "owned_by": "x"}, {"id": "b", "owned_by": "x"}]
    with engine(models=models) as there, served(there.url) as roster:
        assert [model.info.name for model in roster] == ["a", "b"]
        answer(roster.get("b"))
        with pytest.raises(ModelNotFound, match="'a', 'b'"):
            roster.get("c")
    assert there.asked[-1]["model"] == "b"


def test_models_are_asked_where_they_are() -> None:
    with (
        engine(models=[{"id": "a"}]) as one,
        engine(models=[{"id": "b"}]) as other,
        served(one.url, other.url) as roster,
    ):
        until(lambda: len(list(roster)) == 2)
        for name in ("a", "b", "b"):
            answer(roster.get(name))
    assert [body["model"] for body in one.asked] == ["a"]
    assert [body["model"] for body in other.asked] == ["b", "b"]


def test_only_the_models_that_the_settings_name_are_served() -> None:
    with engine(models=[{"id": "a"}, {"id": "b"}]) as there, served(there.url, upstream_models="b") as roster:
        assert [model.info.name for model in roster] == ["b"]


def test_an_engine_that_lists_nothing_takes_the_names_of_the_settings() -> None:
    with engine(models=[]) as there, served(there.url, upstream_models="/models/mine") as roster:
        assert answer(roster.get("/models/mine"))[0] == "Hello there"


def test_an_engine_that_cannot_list_its_models_is_asked_for_those_of_the_settings() -> None:
    others = {"/v1/models": Error(500, "no cache"), "/health": {"status": "ok"}}
    with engine(others=others) as there, served(there.url, upstream_models="/models/mine") as roster:
        assert answer(roster.get("/models/mine"))[0] == "Hello there"


def test_the_key_goes_to_the_engine_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first\n")
    with engine() as there, served(there.url, upstream_key_file=str(key)) as roster:
        answer(roster.default)
        key.write_text("second\n")
        answer(roster.default)
    assert [headers["Authorization"] for headers in there.headers] == ["Bearer first", "Bearer second"]


def test_while_nobody_answers_it_says_who_and_why_and_comes_back() -> None:
    with engine() as there, served(there.url, upstream_timeout_s=1) as roster:
        model = roster.default
        there.others["/v1/models"] = None
        there.models = []
        url = there.url
        there.stop()
        until(lambda: model.status().state == "failed")
        assert url in model.status().reason
        assert model.info.name == "m"
        with pytest.raises(UpstreamUnavailable, match="refused"):
            ask(model)


def test_an_engine_that_was_never_there_is_told_by_name() -> None:
    with engine() as there:
        url = there.url
    with pytest.raises(LoadFailed, match=url), served(url):
        pass


def test_a_server_that_stops_takes_nothing_new_and_ends_what_runs() -> None:
    is_stopping = threading.Event()
    never = threading.Event()

    def half(_path: str, _body: Any) -> Iterator[Any]:
        yield from words("Hal", reason=None)
        never.wait(GUARD_S)

    with engine(half) as there, served(there.url, graceful_timeout_s=2) as roster:
        roster.close()
        assert there.url
    with engine(half) as there:
        from minivault.config import Settings
        from minivault.service import roster_of

        roster = roster_of(Settings(backend="upstream", upstream_url=there.url, graceful_timeout_s=2))
        roster.default.start(is_stopping.is_set)
        roster.default.wait_loaded(GUARD_S)
        events = ask(roster.default).events()
        next(events)
        is_stopping.set()
        until(lambda: roster.default.status().state == "draining")
        with pytest.raises(Draining):
            ask(roster.default, id_="two")
        assert reason_of(list(events)[-1]) == "shutdown"
        never.set()
        roster.close()


def test_a_place_is_free_once_the_end_is_known() -> None:
    with engine() as there, served(there.url, max_running=1, max_waiting=0) as roster:
        read = []
        for number in range(3):
            events = ask(roster.default, id_=str(number)).events()
            read.append(events)
            while not isinstance(next(events), Finished):
                pass
        assert roster.default.status().running == 0
    assert len(read) == 3


def test_more_answers_than_there_are_places_are_refused() -> None:
    goes_on = threading.Event()

    def waiting(_path: str, _body: Any) -> Iterator[Any]:
        assert goes_on.wait(GUARD_S)
        yield from words("ok")

    with engine(waiting) as there, served(there.url, max_running=1, max_waiting=1) as roster:
        running = [ask(roster.default, id_=str(number)) for number in range(2)]
        with pytest.raises(Overloaded):
            ask(roster.default, id_="one too many")
        goes_on.set()
        assert [text_of(list(one.events())) for one in running] == ["ok", "ok"]
        assert answer(roster.default)[0] == "ok"


def test_what_needs_a_model_here_is_refused_in_a_sentence() -> None:
    with engine(models=[{"id": "m", "owned_by": "somebody"}]) as there, served(there.url) as roster:
        with pytest.raises(Unsupported, match="elsewhere"):
            roster.default.prepare_relevance("query", "document")
        with pytest.raises(Unsupported, match="does not tell its tokens"):
            _ = roster.default.tokens
