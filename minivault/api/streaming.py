"""Sends an interaction to its client, whole or piece by piece, and stops it when the client goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from flask import Response, current_app, g, request

from minivault.access import Caller, Permit, charge_tokens, generation_permit
from minivault.api.disconnect import DisconnectWatcher, client_socket
from minivault.errors import MiniVaultError
from minivault.interaction import Answer, Interaction, Interactions, Origin
from minivault.types import Delta, Event, Failed, Finished, GenerationRequest


class StreamEncoder(Protocol):
    """A dialect's stream: each method returns the bytes to send, which may be none."""

    content_type: str

    def start(self) -> bytes: ...

    def delta(self, delta: Delta) -> bytes: ...

    def finish(self, finished: Finished) -> bytes: ...

    def fail(self, error: MiniVaultError) -> bytes: ...


@dataclass(slots=True)
class Watched:
    """An interaction together with the watch on its client's socket and its caller's right to generate."""

    interaction: Interaction
    forget: Callable[[], None]
    caller: Caller
    permit: Permit

    def close(self) -> None:
        """Stop the interaction, charge its tokens and give the right back; idempotent."""
        self.forget()
        self.interaction.close()
        if self.permit.release():
            charge_tokens(self.caller, self.interaction.usage.total_tokens)


def interactions() -> Interactions:
    found: Interactions = current_app.extensions["minivault"]
    return found


def origin(api: str, body: bytes) -> Origin:
    """Who asks, from the request at hand."""
    return Origin(
        id=g.request_id,
        api=api,
        body=body.decode("utf-8", "replace"),
        client=request.remote_addr or "",
        user_agent=request.headers.get("User-Agent", ""),
        key=g.caller.key_id,
    )


def start(wanted: GenerationRequest, source: Origin) -> Watched:
    """Start an interaction within its caller's limits, and watch its client."""
    permit = generation_permit(g.caller)
    try:
        interaction = interactions().start(wanted, source)
    except BaseException:
        permit.release()
        raise
    return Watched(interaction, _watch(interaction), g.caller, permit)


def _watch(interaction: Interaction) -> Callable[[], None]:
    """Cancel the interaction when its client goes; the returned function ends the watch."""
    sock = client_socket(request.environ)
    settings = current_app.config["MINIVAULT"]
    if sock is None or not settings.disconnect_check:
        return lambda: None
    watcher: DisconnectWatcher = current_app.extensions["minivault.disconnect"]
    return watcher.watch(sock, interaction.cancel)


def collect(watched: Watched) -> Answer:
    """The whole answer. Raises the error of a failed generation."""
    try:
        return watched.interaction.collect()
    finally:
        watched.close()


def stream(watched: Watched, encoder: StreamEncoder) -> Response:
    """A streamed reply. What fails before the first event is raised, so that it gets a real status."""
    events = watched.interaction.events()
    try:
        first = next(events)
        if isinstance(first, Failed):
            raise first.error
    except BaseException:
        watched.close()
        raise
    response = Response(_encode(first, events, encoder), content_type=encoder.content_type)
    response.headers["X-Accel-Buffering"] = "no"
    # A generator that is never started runs no `finally`: the end hangs on the response instead.
    response.call_on_close(watched.close)
    return response


def _encode(first: Event, rest: Iterator[Event], encoder: StreamEncoder) -> Iterator[bytes]:
    opening = encoder.start()
    if opening:
        yield opening
    if isinstance(first, Finished):
        yield encoder.finish(first)
    for event in rest:
        piece = _piece(event, encoder)
        if piece:
            yield piece


def _piece(event: Event, encoder: StreamEncoder) -> bytes:
    if isinstance(event, Delta):
        return encoder.delta(event)
    if isinstance(event, Finished):
        return encoder.finish(event)
    if isinstance(event, Failed):
        error = event.error
        return encoder.fail(error if isinstance(error, MiniVaultError) else MiniVaultError("the generation failed"))
    return b""


def json_reply(value: dict[str, Any]) -> Response:
    return Response(json.dumps(value) + "\n", content_type="application/json")
