"""The native dialect: `POST /generate` and `POST /stream-generate`."""

from __future__ import annotations

import time
from dataclasses import replace

from flask import Response

from minivault.api import tokens
from minivault.api.body import decoded, read_json_body
from minivault.api.dialect import DialectBlueprint
from minivault.api.measuring import rerank
from minivault.api.streaming import accepted, model_wanted, origin, respond, start
from minivault.wire.native import DIALECT
from minivault.wire.native.generate import WORDING, GenerateBody, GenerateReply

bp = DialectBlueprint(DIALECT, __name__)
tokens.add_routes(bp)


@bp.post("/generate")
def generate() -> Response:
    """Answer a prompt, whole or, with `"stream": true`, piece by piece."""
    return _reply("generate", stream_always=False)


@bp.post("/stream-generate")
def stream_generate() -> Response:
    """Answer a prompt piece by piece."""
    return _reply("stream-generate", stream_always=True)


@bp.post("/rerank")
@bp.post("/v2/rerank")
def rerank_documents() -> Response:
    """Documents by how relevant they are to a query, where clients of other servers ask for it."""
    raw = read_json_body()
    return rerank(origin("rerank", raw), raw)


def _reply(api: str, *, stream_always: bool) -> Response:
    body = read_json_body()
    wanted = decoded(GenerateBody, body, WORDING).generation()
    if stream_always:
        wanted = replace(wanted, stream=True)
    choices = start(model_wanted(wanted.model), [wanted], origin(api, body))
    reply = GenerateReply(choices[0].interaction, time.time_ns, has_logprobs=wanted.params.logprobs is not None)
    return respond(choices, reply, accepted() if wanted.stream else None)
