"""Answers that were given before, as their records hold them: given again, continued, listed by item.

A record keeps the body that was sent and the text that was answered. From these the response is made anew by what made
it in the first place, so it is the same; a conversation is the input and output of every exchange that led to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minivault.errors import BadRequest, NotFound
from minivault.talk.calls import HERMES
from minivault.types import Finished, Timings, TokenLogprob, Usage
from minivault.wire.openai.envelope import Envelope, created_s
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.openai.response_items import InputItem
from minivault.wire.openai.response_reply import ResponseReply
from minivault.wire.strict_json import loads
from minivault.wire.validation import validated

MAX_EXCHANGES = 256
"""How many earlier exchanges one conversation may have."""
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_RESPONSE = re.compile(f"resp_({_UUID})")
_ITEM = re.compile(rf"[a-z]+_({_UUID})(_\d+)?")

Fetch = Callable[[str], Mapping[str, Any]]
"""From a record's id to the record of an answer that the caller may have again. Raises NotFound."""


class PreviousNotFound(NotFound):
    code = "previous_response_not_found"


@dataclass(frozen=True, slots=True)
class Recorded:
    """An answer's text as its record has it; the shape of `wire.reply.Answer`."""

    text: str
    reasoning: str
    finished: Finished
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """One exchange: what was sent, and the whole response."""

    id: str
    body: ResponseBody
    response: dict[str, Any]

    @property
    def inputs(self) -> list[InputItem]:
        """Its own input, each item with an id."""
        items = enumerate(self.body.items)
        return [item.model_copy(update={"id": item.id or f"item_{self.id}_{index}"}) for index, item in items]

    @property
    def outputs(self) -> list[InputItem]:
        return [InputItem.model_validate(item) for item in self.response["output"]]


def kept(response_id: str, fetch: Fetch) -> Kept:
    """The exchange that an answer's id names. Raises NotFound, also for one that was not to be stored."""
    named = _RESPONSE.fullmatch(response_id)
    if named is None:
        raise _not_found(response_id)
    try:
        return _read(fetch(named[1]))
    except NotFound:
        raise _not_found(response_id) from None


def conversation(body: ResponseBody, fetch: Fetch) -> list[InputItem]:
    """Everything that the model is to read of a conversation: what led to it, then its own input.

    Raises PreviousNotFound, NotFound for a reference to an item that is none of the caller's, BadRequest for more
    than MAX_EXCHANGES exchanges.
    """
    exchanges, previous = [_resolved(body.items, fetch)], body.previous_response_id
    while previous is not None:
        if len(exchanges) > MAX_EXCHANGES:
            message = f"previous_response_id: more than {MAX_EXCHANGES} exchanges came before: send the turns in input"
            raise BadRequest(message, field="previous_response_id")
        try:
            exchange = kept(previous, fetch)
        except NotFound as error:
            raise PreviousNotFound(f"Previous r{error.message[1:]}", field="previous_response_id") from None
        exchanges.append([*_resolved(exchange.inputs, fetch), *exchange.outputs])
        previous = exchange.body.previous_response_id
    return [item for exchange in reversed(exchanges) for item in exchange]


def page(items: Sequence[InputItem], *, order: str, after: str | None, limit: int) -> dict[str, Any]:
    """A page of a list of items. Raises BadRequest for an `after` that is none of them."""
    listed = [item.listed() for item in (items if order == "asc" else reversed(items))]
    if after is not None:
        ids = [item["id"] for item in listed]
        if after not in ids:
            raise BadRequest(f"after: there is no item {after} in this list", field="after")
        listed = listed[ids.index(after) + 1 :]
    shown = listed[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(listed) > limit,
    }


def _read(record: Mapping[str, Any]) -> Kept:
    """The exchange of a record. Raises NotFound where it was not to be stored, or is of a version that took other
    fields."""
    try:
        body = validated(ResponseBody, loads(record["request"].encode()))
    except BadRequest:
        raise NotFound("made for another version of this server") from None
    if not body.store:
        raise NotFound("not stored, as its request said")
    envelope = Envelope(record["id"], body.model, record["fingerprint"], created_s(record["id"]))
    reply = ResponseReply(envelope, body, record.get("call_format", HERMES))
    return Kept(record["id"], body, _response(record, reply))


def _response(record: Mapping[str, Any], reply: ResponseReply) -> dict[str, Any]:
    text, reasoning = record["response"], record.get("reasoning", "")
    if record["error"] is not None:
        return reply.broken(reasoning, text, record["error"])
    used = {name: number for name, number in record["usage"].items() if name in Usage.__slots__}
    finished = Finished(record["finish_reason"], Usage(**used), Timings())
    return reply.whole([Recorded(text, reasoning, finished)])


def _resolved(items: Sequence[InputItem], fetch: Fetch) -> list[InputItem]:
    """The items, with what the references among them refer to in their place."""
    return [_referred(item.id or "", fetch) if item.kind == "item_reference" else item for item in items]


def _referred(item_id: str, fetch: Fetch) -> InputItem:
    named = _ITEM.fullmatch(item_id)
    try:
        exchange = kept(f"resp_{named[1]}", fetch) if named else None
    except NotFound:
        exchange = None
    known = [*exchange.inputs, *exchange.outputs] if exchange else []
    found = next((item for item in known if item.id == item_id and item.kind != "item_reference"), None)
    if found is None:
        raise NotFound(f"input: no item {item_id!r} is kept for you: send the item itself", field="input")
    return found


def _not_found(response_id: str) -> NotFound:
    return NotFound(f"Response with id '{response_id}' not found.")
