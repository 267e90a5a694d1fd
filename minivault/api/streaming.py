"""Starts what a request asks for, sends it whole or piece by piece, and stops it when the client goes.

A request has one choice or several (OpenAI's `n`, lists of prompts), of which the first has the request's id. They run
together and are sent one after the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from flask import Response, after_this_request, current_app, g, request

from minivault import tracing
from minivault.access.behalf import ON_BEHALF, Behalf
from minivault.api.choices import Watched, begin, in_turn
from minivault.api.disconnect import client_watch
from minivault.errors import BadRequest, Draining, MiniVaultError, ModelNotFound, Unavailable
from minivault.interaction import Answer, Interaction, Origin, Recorder, next_id
from minivault.service import Model
from minivault.types import EmbedTask, Event, Failed, GenerateTask, GenerationRequest
from minivault.wire.framing import Framing, preferred
from minivault.wire.reply import Reply, with_receipt, with_receipts


def recorder() -> Recorder:
    found: Recorder = current_app.extensions["minivault"]
    return found


def model_listed(name: str) -> Model:
    """The model that a request must name, loaded or not. Raises BadRequest for an empty name, ModelNotFound for one of
    none here."""
    model = recorder().roster.find(name)
    if not name:
        raise BadRequest("model is required", field="model")
    if model is None:
        raise ModelNotFound(f"model '{name}' not found", field="model")
    return model


def model_called(name: str) -> Model:
    """The same, ready to be asked. Raises also what keeps it from that."""
    model = model_listed(name)
    model.ensure_loaded()
    return model


def model_wanted(name: str | None) -> Model:
    """The model that a request may name, else the default, ready to be asked."""
    model = recorder().roster.get(name)
    model.ensure_loaded()
    return model


def accepted() -> Framing:
    """The framing of a stream that is NDJSON, or SSE where the client asks for that alone."""
    return preferred(request.headers.get("Accept", ""))


def origin(api: str, body: bytes) -> Origin:
    """Who asks, from the request at hand."""
    behalf = request.environ.get(ON_BEHALF)
    return Origin(
        id=g.request_id,
        api=api,
        body=body.decode("utf-8", "replace"),
        client=request.remote_addr or "",
        user_agent=request.headers.get("User-Agent", ""),
        key=g.caller.key_id,
        noted=g.noted,
        traceparent=request.headers.get(tracing.HEADER, ""),
        batch=None if behalf is None else behalf.batch,
    )


def start(model: Model, wanted: Sequence[GenerationRequest], source: Origin) -> list[Watched]:
    """Every choice of a request, the first of them begun. Raises why none is."""
    if behalf := request.environ.get(ON_BEHALF):
        wanted = [_unhurried(choice, behalf, index) for index, choice in enumerate(wanted)]
    kept_by, watch = recorder(), client_watch()
    settings = kept_by.settings
    begin_one, choices = partial(Interaction.begin, kept_by, model), list[Watched]()
    for choice in wanted:
        its_source = replace(source, id=next_id()) if choices else source
        task = model.prepare(choice)
        choices.append(Watched(task, its_source, g.caller, settings.deadline_s, begin_one, watch))
    if choices[0].task.num_dropped or choices[0].task.num_cut:
        tell_truncated(choices[0].task)
    try:
        begin(choices[: settings.max_running])
    except BaseException:
        _close(choices, is_served=False)
        raise
    return choices


def tell_truncated(task: GenerateTask | EmbedTask) -> None:
    """Say in the reply's header what of the request the model does not read."""
    told = ", ".join(f"{name}={number}" for name, number in task.truncated.items())

    @after_this_request
    def _add(response: Response) -> Response:
        response.headers["MiniVault-Truncated"] = told
        return response


@contextmanager
def fields_called(**names: str) -> Iterator[None]:
    """What cannot be used of a request is refused under the names that its fields have here: `format="text.format"`."""
    try:
        yield
    except BadRequest as error:
        field = error.field or ""
        if field not in names:
            raise
        raise type(error)(error.message.replace(field, names[field], 1), field=names[field]) from None


def respond(choices: Sequence[Watched], reply: Reply, framing: Framing | None) -> Response:
    """The answer to a request: a stream in `framing`, or whole without one.

    What fails before the first event of a stream is raised, so that it gets a real status; so is every failure of a
    whole answer.
    """
    if framing is None:
        answers = _collect(choices)
        return json_reply(reply.whole(answers), [answer.finished.receipt for answer in answers])
    source = choices[0].interaction.batches()
    try:
        first = next(source)
        if isinstance(first[0], Failed):
            raise first[0].error
    except BaseException as error:
        _close(choices, is_served=not isinstance(error, Unavailable))
        raise
    stream = _stream(choices, chain([first], source), reply, framing)
    response = Response(stream, content_type=framing.content_type)
    response.headers["X-Accel-Buffering"] = "no"
    # A generator that is never started runs no `finally`: the end hangs on the response instead.
    response.call_on_close(partial(_close, choices))
    return response


def _unhurried(wanted: GenerationRequest, behalf: Behalf, index: int) -> GenerationRequest:
    """A choice that nobody waits for: others go first, and asked again after a crash it gets the same answer."""
    named = json.dumps([behalf.batch["id"], behalf.batch["line"], index]).encode()
    seed = int.from_bytes(hashlib.sha256(named).digest()[:8], "big") >> 1
    params = replace(wanted.params, seed=seed if wanted.params.seed is None else wanted.params.seed)
    return replace(wanted, is_patient=True, params=params)


def _collect(choices: Sequence[Watched]) -> list[Answer]:
    is_served = True
    try:
        answers = [choice.interaction.collect() for choice in in_turn(choices)]
        if ON_BEHALF in request.environ and any(answer.finished.reason == "shutdown" for answer in answers):
            raise Draining("the server is stopping: this is to be asked again")
        return answers
    except Unavailable:
        is_served = False
        raise
    finally:
        _close(choices, is_served=is_served)


def _close(choices: Sequence[Watched], *, is_served: bool = True) -> None:
    """A request that ends in a 503 was not served: what it used counts against nobody."""
    for choice in choices:
        choice.close(is_served=is_served)


def _stream(
    choices: Sequence[Watched], first: Iterator[list[Event]], reply: Reply, framing: Framing
) -> Iterator[bytes]:
    """What happens, choice by choice; `first` are the events of the first one. What has come together leaves so."""
    frame, index = framing.frame, -1
    try:
        for index, choice in enumerate(in_turn(choices)):
            for batch in choice.interaction.batches() if index else first:
                said = [frame(value) for event in batch for value in with_receipt(reply.encode(index, event), event)]
                if said:
                    yield b"".join(said)
                if isinstance(batch[0], Failed):
                    return
    except MiniVaultError as error:  # the next choice cannot begin
        for value in reply.encode(index + 1, Failed(error)):
            yield frame(value)
        return
    yield b"".join([*map(frame, reply.end()), framing.tail])


def json_reply(value: dict[str, Any], receipts: Sequence[Mapping[str, Any] | None] = ()) -> Response:
    """A whole reply, with the receipts of the records behind it; where that is one, also as a header."""
    response = Response(json.dumps(with_receipts(value, receipts)) + "\n", content_type="application/json")
    if "receipt" in value:
        response.headers["MiniVault-Receipt"] = json.dumps(value["receipt"], separators=(",", ":"))
    return response
