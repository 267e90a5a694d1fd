"""Answers from a model loaded into this process, in the same shape as a server's and in the same vault.

A thread of its own reads each interaction to its end. Ctrl-C is raised in the main thread only, so it can end the
waiting and cancel the answer but never tear the interaction apart before its record is kept.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

from minivault import __version__
from minivault.errors import MiniVaultError
from minivault.interaction import Interaction, Origin, Recorder, next_id
from minivault.types import Delta, Event, Failed, Finished
from minivault.wire.native.generate import GenerateReply, decode
from minivault.wire.reply import with_receipt, with_receipts


class LocalAnswerer:
    """Requests run here through `recorder`; `api` is what the records call this command (`cli.ask`, …)."""

    def __init__(self, recorder: Recorder, api: str) -> None:
        self._recorder = recorder
        self._api = api

    def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        """One whole reply to the native request `body`."""
        interaction = self._start({**body, "stream": False})
        pieces: list[str] = []
        for event in _events(interaction):
            if isinstance(event, Delta):
                pieces.append(event.text)
            if isinstance(event, Finished):
                reply = {"response": "".join(pieces), **GenerateReply(interaction, time.time_ns).summary(event)}
                return with_receipts(reply, [event.receipt])
        raise AssertionError("an interaction ends in Finished or Failed")

    def stream(self, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The lines of one streamed reply; the last one has `done`. Closing the iterator stops the generation."""
        interaction = self._start({**body, "stream": True})
        reply = GenerateReply(interaction, time.time_ns)
        for event in _events(interaction):
            yield from with_receipt(reply.encode(0, event), event)

    def _start(self, body: dict[str, Any]) -> Interaction:
        request = decode(body)
        origin = Origin(
            id=next_id(),
            api=self._api,
            body=json.dumps(body, ensure_ascii=False),
            client="local",
            user_agent=f"minivault-cli/{__version__}",
        )
        model = self._recorder.roster.get(request.model)
        model.ensure_loaded()
        return Interaction.begin(self._recorder, model, model.prepare(request), origin)


def _events(interaction: Interaction) -> Iterator[Event]:
    """The interaction's events; raises the error of a failed one. However it ends, the record is kept first."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(interaction, events), name="minivault-answer")
    reader.start()
    try:
        while True:
            event = events.get()
            if isinstance(event, Failed):
                raise event.error
            yield event
            if isinstance(event, Finished):
                return
    finally:
        interaction.cancel()
        reader.join()


def _read(interaction: Interaction, events: queue.SimpleQueue[Event]) -> None:
    try:
        for event in interaction.events():
            events.put(event)
    except MiniVaultError as error:
        events.put(Failed(error))
    finally:
        interaction.close()
