"""What is streamed adds up to what is given whole, in every dialect, however the text is cut into pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from minivault.errors import GenerationFailed
from minivault.types import Delta, Failed, Finished, FinishReason, Started, Timings, TokenLogprob, Usage
from minivault.wire.ollama.replies import ChatReply as OllamaChatReply
from minivault.wire.ollama.replies import GenerateReply
from minivault.wire.openai.chat import ChatReply, decode_chat
from minivault.wire.openai.completions import CompletionReply
from minivault.wire.openai.envelope import Envelope
from minivault.wire.openai.response_body import decode_response
from minivault.wire.openai.response_reply import ResponseReply

ENVELOPE = Envelope("1", "m", "mv1:0", 1_790_000_000)
CHAT = decode_chat({"model": "m", "messages": [{"role": "user", "content": "x"}]})
RESPONSE = decode_response({"model": "m", "input": "x"})


@dataclass(frozen=True)
class Answer:
    text: str
    finished: Finished
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]


def token_bytes(token_id: int) -> bytes:
    return bytes([token_id])


def clock() -> int:
    return 1_790_000_000_123_456_789


def finished(reason: FinishReason = "stop") -> Finished:
    return Finished(reason, Usage(5, 2, 1), Timings(10, 20, 30, 40))


REASONS = st.sampled_from(("stop", "length", "cancelled", "deadline", "shutdown"))


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[Delta], Answer]:
    """Pieces, some without text, some with log-probabilities, and the answer they make."""
    tokens = draw(st.lists(st.integers(32, 126), max_size=20))
    scored = [TokenLogprob(token, -0.5, ((token, -0.5),)) for token in tokens]
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


@given(answers())
def test_generate(made: tuple[list[Delta], Answer]) -> None:
    deltas, answer = made
    reply = GenerateReply("m", clock, token_bytes, [1, 2])
    lines = [line for event in (Started(5), *deltas, answer.finished) for line in reply.encode(event)]
    whole = GenerateReply("m", clock, token_bytes, [1, 2]).whole(answer)
    assert "".join(line["response"] for line in lines) == whole["response"] == answer.text
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert [entry for line in lines for entry in line.get("logprobs", [])] == whole.get("logprobs", [])
    assert without(lines[-1], "response") == without(whole, "response", "logprobs")
    assert whole["context"] == [1, 2, *answer.token_ids]
    assert "error" not in whole


@given(answers())
def test_ollama_chat(made: tuple[list[Delta], Answer]) -> None:
    deltas, answer = made
    reply = OllamaChatReply("m", clock, token_bytes)
    lines = [line for event in (Started(5), *deltas, answer.finished) for line in reply.encode(event)]
    whole = OllamaChatReply("m", clock, token_bytes).whole(answer)
    assert "".join(line["message"]["content"] for line in lines) == whole["message"]["content"]
    assert without(lines[-1], "message") == without(whole, "message", "logprobs")


@given(answers())
def test_openai_chat(made: tuple[list[Delta], Answer]) -> None:
    deltas, answer = made
    reply = ChatReply(ENVELOPE, CHAT, token_bytes)
    chunks = [chunk for event in (Started(5), *deltas, answer.finished) for chunk in reply.encode(0, event)]
    choices = [chunk["choices"][0] for chunk in chunks]
    (whole,) = ChatReply(ENVELOPE, CHAT, token_bytes).whole([answer])["choices"]
    assert "".join(choice["delta"].get("content", "") for choice in choices) == whole["message"]["content"]
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + [whole["finish_reason"]]
    streamed = [entry for choice in choices for entry in (choice["logprobs"] or {"content": []})["content"]]
    assert streamed == (whole["logprobs"] or {"content": []})["content"]
    assert reply.end() == []


@given(answers())
def test_openai_completions(made: tuple[list[Delta], Answer]) -> None:
    deltas, answer = made
    reply = CompletionReply(ENVELOPE, ["echo "], token_bytes, has_usage=True)
    chunks = [chunk for event in (Started(5), *deltas, answer.finished) for chunk in reply.encode(0, event)]
    whole = CompletionReply(ENVELOPE, ["echo "], token_bytes, has_usage=False).whole([answer])
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
    events = [item for event in (Started(5), *deltas, answer.finished) for item in reply.encode(event)]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == answer.text
    assert events[-1]["response"] == ResponseReply(ENVELOPE, RESPONSE).whole(answer)


def test_a_failure_is_the_last_thing_said() -> None:
    failed = Failed(GenerationFailed("the model raised"))
    assert GenerateReply("m", clock, token_bytes).encode(failed) == [{"error": "the model raised"}]
    assert OllamaChatReply("m", clock, token_bytes).encode(failed) == [{"error": "the model raised"}]
    (event,) = ChatReply(ENVELOPE, CHAT, token_bytes).encode(0, failed)
    assert event["error"]["message"] == "the model raised"
    (event,) = ResponseReply(ENVELOPE, RESPONSE).encode(failed)
    assert (event["type"], event["message"]) == ("error", "the model raised")
