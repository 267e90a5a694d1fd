"""The native dialect: `POST /generate` and `POST /stream-generate`."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, Response, g, request

from minivault.api.body import read_json_body
from minivault.api.streaming import collect, json_reply, origin, start, stream
from minivault.errors import MiniVaultError
from minivault.interaction import Interaction, summary
from minivault.types import Delta, Finished
from minivault.wire import native, ndjson, sse
from minivault.wire.strict_json import loads

bp = Blueprint("generate", __name__)


@bp.post("/generate")
def generate() -> Response:
    """Answer a prompt, whole or, with `"stream": true`, piece by piece."""
    return _reply("generate", stream_always=False)


@bp.post("/stream-generate")
def stream_generate() -> Response:
    """Answer a prompt piece by piece."""
    return _reply("stream-generate", stream_always=True)


def _reply(api: str, *, stream_always: bool) -> Response:
    body = read_json_body()
    wanted = native.decode(loads(body))
    if stream_always:
        wanted = replace(wanted, stream=True)
    watched = start(wanted, origin(api, body))
    if wanted.stream:
        return stream(watched, NativeStream(watched.interaction))
    answer = collect(watched)
    reply = summary(watched.interaction, answer.finished)
    reply = {"id": reply.pop("id"), "response": answer.text, **reply}
    if wanted.params.logprobs is not None:
        reply["logprobs"] = native.logprobs(answer.logprobs, watched.interaction.served.tokenizer)
    return json_reply(reply)


class NativeStream:
    """NDJSON, or SSE where the client asks for that alone."""

    def __init__(self, interaction: Interaction) -> None:
        self._interaction = interaction
        self._is_sse = sse.is_preferred(request.headers.get("Accept", ""), ndjson.CONTENT_TYPE)
        self._encode = sse.encode if self._is_sse else ndjson.encode
        self._index = 0
        self._request_id = g.request_id
        self.content_type = sse.CONTENT_TYPE if self._is_sse else ndjson.CONTENT_TYPE

    def start(self) -> bytes:
        return b""

    def delta(self, delta: Delta) -> bytes:
        if not delta.text and not delta.logprobs:
            return b""
        line = native.token(delta, self._index, self._interaction.served.tokenizer)
        self._index += 1
        return self._encode(line)

    def finish(self, finished: Finished) -> bytes:
        line = {"done": True, **summary(self._interaction, finished)}
        return self._encode(line) + (sse.DONE if self._is_sse else b"")

    def fail(self, error: MiniVaultError) -> bytes:
        return self._encode(native.error_line(error, self._request_id))
