"""What is streamed adds up to what is given whole, in every dialect, however the text is cut into pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import GenerationFailed
from minivault.types import (
    Delta,
    Event,
    Failed,
    Finished,
    FinishReason,
    Started,
    Timings,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from minivault.wire.native.generate import GenerateReply as NativeReply
from minivault.wire.ollama.chat import ChatReply as OllamaChatReply
from minivault.wire.ollama.generate import GenerateReply
from minivault.wire.openai.chat import ChatBody, ChatReply
from minivault.wire.openai.completions import CompletionReply
from minivault.wire.openai.envelope import Envelope
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.openai.response_reply import ResponseReply
from minivault.wire.reply import Reply
from minivault.wire.validation import validated

ENVELOPE = Envelope("1", "m", "mv1:0", 1_790_000_000)
CHAT = validated(ChatBody, {"model": "m", "messages": [{"role": "user", "content": "x"}]})
RESPONSE = validated(ResponseBody, {"model": "m", "input": "x"})


@dataclass(frozen=True)
class Answer:
    text: str
    finished: Finished
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    reasoning: str = ""


@dataclass(frozen=True)
class Identity:
    id: str = "1"
    model: str = "m"
    seed: int = 7
    fingerprint: str = "mv1:0"
    num_dropped: int = 0


def clock() -> int:
    return 1_790_000_000_123_456_789


def finished(reason: FinishReason = "stop") -> Finished:
    return Finished(reason, Usage(5, 2, 1), Timings(10, 20, 30, 40))


REASONS = st.sampled_from(("stop", "length", "cancelled", "deadline", "shutdown"))


def scored_token(token_id: int) -> TokenLogprob:
    data = bytes([token_id])
    return TokenLogprob(token_id, -0.5, data, (TopLogprob(token_id, -0.5, data),))


def streamed(reply: Reply, *events: Event) -> list[dict[str, Any]]:
    """All objects of the stream of one choice."""
    return [value for event in (Started(5), *events) for value in reply.encode(0, event)]


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[Delta], Answer]:
    """Pieces, some without text, some with log-probabilities, and the answer they make."""
    tokens = draw(st.lists(st.integers(32, 126), max_size=20))
    scored = [scored_token(token) for token in tokens]
    wants_logprobs = draw(st.booleans())
    deltas, held = [], ""
    for entry in scored:
        held += chr(entry.token_id)
        text, held = ("", held) if draw(st.booleans()) else (held, "")
        deltas.append(Delta(text, (entry.token_id,), (entry,) if wants_logprobs else ()))
    deltas.append(Delta(held))
    text = "".join(map(chr, tokens))
    answer = Answer(text, finished(draw(REASONS)), tuple(tokens), tuple(scored) if wants_logprobs else ())
    return deltas, answer


def without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name not in names}


@given(answers(), st.integers(0, 3))
def test_native(made: tuple[list[Delta], Answer], num_dropped: int) -> None:
    deltas, answer = made
    identity = Identity(num_dropped=num_dropped)
    lines = streamed(NativeReply(identity, clock), *deltas, answer.finished)
    whole = NativeReply(identity, clock, has_logprobs=True).whole([answer])
    assert whole.get("dropped_messages", 0) == num_dropped
    assert "".join(line["token"] for line in lines[:-1]) == whole["response"] == answer.text
    assert [line["index"] for line in lines[:-1]] == list(range(len(lines) - 1))
    assert [entry for line in lines for entry in line.get("logprobs", [])] == whole["logprobs"]
    assert lines[-1] == {"done": True, **without(whole, "response", "logprobs")}


@given(answers())
def test_generate(made: tuple[list[Delta], Answer]) -> None:
    deltas, answer = made
    reply = GenerateReply("m", clock, [1, 2])
    lines = streamed(reply, *deltas, answer.finished)
    whole = GenerateReply("m", clock, [1, 2]).whole([answer])
    assert "".join(line["response"] for line in lines) == whole["response"] == answer.text
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert [entry for line in lines for entry in line.get("logprobs", [])] == whole.get("logprobs", [])
    assert without(lines[-1], "response") == without(whole, "response", "logprobs")
    assert whole["context"] == [1, 2, *answer.token_ids]
    assert "error" not in whole


@given(answers())
def test_ollama_chat(made: tuple[list[Delta], Answer]) -> None:
    deltas, answer = made
    reply = OllamaChatReply("m", clock)
    lines = streamed(reply, *deltas, answer.finished)
    whole = OllamaChatReply("m", clock).whole([answer])
    assert "".join(line["message"]["content"] for line in lines) == whole["message"]["content"]
    assert without(lines[-1], "message") == without(whole, "message", "logprobs")


@given(answers())
def test_openai_chat(made: tuple[list[Delta], Answer]) -> None:
    deltas, answer = made
    reply = ChatReply(ENVELOPE, CHAT)
    chunks = streamed(reply, *deltas, answer.finished)
    choices = [chunk["choices"][0] for chunk in chunks]
    (whole,) = ChatReply(ENVELOPE, CHAT).whole([answer])["choices"]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == whole["message"]["content"]
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + [whole["finish_reason"]]
    told = [entry for choice in choices for entry in (choice["logprobs"] or {"content": []})["content"]]
    assert told == (whole["logprobs"] or {"content": []})["content"]
    assert reply.end() == []


@given(answers())
def test_openai_completions(made: tuple[list[Delta], Answer]) -> None:
    deltas, answer = made
    reply = CompletionReply(ENVELOPE, ["echo "], has_usage=True)
    chunks = streamed(reply, *deltas, answer.finished)
    whole = CompletionReply(ENVELOPE, ["echo "], has_usage=False).whole([answer])
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    layouts = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"][0]["logprobs"]]
    for name, values in (whole["choices"][0]["logprobs"] or {}).items():
        assert [value for layout in layouts for value in layout[name]] == values
    (last,) = reply.end()
    assert last["usage"] == whole["usage"]


@given(answers())
def test_openai_responses(made: tuple[list[Delta], Answer]) -> None:
    deltas, answer = made
    reply = ResponseReply(ENVELOPE, RESPONSE)
    events = streamed(reply, *deltas, answer.finished)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == answer.text
    assert events[-1]["response"] == ResponseReply(ENVELOPE, RESPONSE).whole([answer])


def test_a_failure_is_the_last_thing_said() -> None:
    failed = Failed(GenerationFailed("the model raised"))
    assert GenerateReply("m", clock).encode(0, failed) == [{"error": "the model raised"}]
    assert OllamaChatReply("m", clock).encode(0, failed) == [{"error": "the model raised"}]
    (line,) = NativeReply(Identity(), clock).encode(0, failed)
    assert (line["error"]["message"], line["done"], line["finish_reason"]) == ("the model raised", True, "error")
    (event,) = ChatReply(ENVELOPE, CHAT).encode(0, failed)
    assert event["error"]["message"] == "the model raised"
    (event,) = ResponseReply(ENVELOPE, RESPONSE).encode(0, failed)
    assert (event["type"], event["message"]) == ("error", "the model raised")


def test_a_response_that_ends_before_it_starts_is_opened_all_the_same() -> None:
    events = ResponseReply(ENVELOPE, RESPONSE).encode(0, finished("shutdown"))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.incomplete"
