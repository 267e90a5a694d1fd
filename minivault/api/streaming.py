"""Starts what a request asks for, sends it whole or piece by piece, and stops it when the client goes.

A request has one choice or several (OpenAI's `n`, lists of prompts). Each is an interaction of its own, with its own
seed and record; the first has the request's id. They run together and are sent one after the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from flask import Response, current_app, g, request

from minivault import tracing
from minivault.access import Caller, Permit, charge_tokens, generation_permit
from minivault.access.behalf import ON_BEHALF, Behalf
from minivault.api.disconnect import DisconnectWatcher, client_socket
from minivault.errors import BadRequest, Draining, ModelNotFound, Unavailable
from minivault.interaction import Answer, Interaction, Origin, Recorder, next_id
from minivault.service import Model
from minivault.types import Event, Failed, GenerateTask, GenerationRequest
from minivault.wire.framing import Framing, preferred
from minivault.wire.reply import Reply


@dataclass(slots=True)
class Watched:
    """An interaction together with the watch on its client's socket and its caller's right to generate."""

    interaction: Interaction
    forget: Callable[[], None]
    caller: Caller
    permit: Permit

    def close(self, *, is_served: bool = True) -> None:
        """Stop the interaction, charge its tokens if it was served, and give the right back; idempotent."""
        self.forget()
        self.interaction.close()
        if self.permit.release() and is_served:
            charge_tokens(self.caller, self.interaction.usage.total_tokens)


def recorder() -> Recorder:
    found: Recorder = current_app.extensions["minivault"]
    return found


def model_called(name: str) -> Model:
    """The model that a request must name. Raises BadRequest for an empty name, ModelNotFound for one of none here."""
    model = recorder().roster.find(name)
    if not name:
        raise BadRequest("model is required", field="model")
    if model is None:
        raise ModelNotFound(f"model '{name}' not found", field="model")
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
        trace_id=tracing.current.get(),
        batch=None if behalf is None else behalf.batch,
    )


def start(model: Model, wanted: Sequence[GenerationRequest], source: Origin) -> list[Watched]:
    """Start every choice, or none: when one is refused, the others are stopped and the refusal is raised."""
    if behalf := request.environ.get(ON_BEHALF):
        wanted = [_unhurried(choice, behalf, index) for index, choice in enumerate(wanted)]
    tasks = [model.prepare(choice) for choice in wanted]
    started: list[Watched] = []
    try:
        for index, task in enumerate(tasks):
            started.append(_start(model, task, source if index == 0 else replace(source, id=next_id())))
    except BaseException:
        _close(started, is_served=False)
        raise
    return started


def respond(choices: Sequence[Watched], reply: Reply, framing: Framing | None) -> Response:
    """The answer to a request: a stream in `framing`, or whole without one.

    What fails before the first event of a stream is raised, so that it gets a real status; so is every failure of a
    whole answer.
    """
    if framing is None:
        return json_reply(reply.whole(_collect(choices)))
    sources = [choice.interaction.events() for choice in choices]
    try:
        first = next(sources[0])
        if isinstance(first, Failed):
            raise first.error
    except BaseException as error:
        _close(choices, is_served=not isinstance(error, Unavailable))
        raise
    events = [chain([first], sources[0]), *sources[1:]]
    response = Response(_stream(events, reply, framing), content_type=framing.content_type)
    response.headers["X-Accel-Buffering"] = "no"
    # A generator that is never started runs no `finally`: the end hangs on the response instead.
    response.call_on_close(partial(_close, choices))
    return response


def _start(model: Model, task: GenerateTask, source: Origin) -> Watched:
    """Start one choice within its caller's limits, and watch its client."""
    permit = generation_permit(g.caller)
    try:
        interaction = Interaction.begin(recorder(), model, task, source)
    except BaseException:
        permit.release()
        raise
    return Watched(interaction, _watch(interaction), g.caller, permit)


def _unhurried(wanted: GenerationRequest, behalf: Behalf, index: int) -> GenerationRequest:
    """A choice that nobody waits for: others go first, and asked again after a crash it gets the same answer."""
    named = json.dumps([behalf.batch["id"], behalf.batch["line"], index]).encode()
    seed = int.from_bytes(hashlib.sha256(named).digest()[:8], "big") >> 1
    params = replace(wanted.params, seed=seed if wanted.params.seed is None else wanted.params.seed)
    return replace(wanted, is_patient=True, params=params)


def _watch(interaction: Interaction) -> Callable[[], None]:
    """Cancel the interaction when its client goes; the returned function ends the watch."""
    sock = client_socket(request.environ)
    settings = current_app.config["MINIVAULT"]
    if sock is None or not settings.disconnect_check:
        return lambda: None
    watcher: DisconnectWatcher = current_app.extensions["minivault.disconnect"]
    return watcher.watch(sock, interaction.cancel)


def _collect(choices: Sequence[Watched]) -> list[Answer]:
    is_served = True
    try:
        answers = [choice.interaction.collect() for choice in choices]
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


def _stream(sources: Sequence[Iterator[Event]], reply: Reply, framing: Framing) -> Iterator[bytes]:
    frame = framing.frame
    for index, events in enumerate(sources):
        for event in events:
            for value in reply.encode(index, event):
                yield frame(value)
            if isinstance(event, Failed):
                return
    for value in reply.end():
        yield frame(value)
    if framing.tail:
        yield framing.tail


def json_reply(value: dict[str, Any]) -> Response:
    return Response(json.dumps(value) + "\n", content_type="application/json")
