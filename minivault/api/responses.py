"""Responses that were given before: read again, listed by input item, taken back, continued.

They are read from the vault, by nobody but the key that asked for them; where no key was needed, whoever knows the id.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from flask import Blueprint, Response, g, request

from minivault.api.streaming import json_reply, recorder
from minivault.errors import BadRequest, Unavailable, Unsupported
from minivault.interaction import OwnAnswers
from minivault.wire.openai.response_body import ResponseBody
from minivault.wire.openai.response_items import InputItem
from minivault.wire.openai.response_kept import Fetch, Kept, conversation, kept, page

API = "openai.responses"
"""How records name the route that answers."""
DEFAULT_LIMIT, MAX_LIMIT = 20, 100
WITHDRAWN = "no longer served; the vault keeps the record until whoever looks after it redacts it"


def add_routes(bp: Blueprint) -> None:
    """Register the routes of responses that exist."""
    bp.add_url_rule("/responses/<name>", view_func=response)
    bp.add_url_rule("/responses/<name>", view_func=delete_response, methods=["DELETE"])
    bp.add_url_rule("/responses/<name>/input_items", view_func=input_items)
    bp.add_url_rule("/responses/<name>/cancel", view_func=cancel_response, methods=["POST"])


def whole_conversation(body: ResponseBody) -> list[InputItem]:
    """All that a new response is to follow, from the vault and from its body. Raises NotFound, BadRequest, TooLarge."""
    return conversation(body, _fetch(_own_answers()))


def response(name: str) -> Response:
    """One response, as it was given."""
    if request.args.get("stream", "false").lower() in ("true", "1"):
        raise Unsupported("stream: a response that has ended is not streamed again; leave it out", field="stream")
    answers = _own_answers()
    found = kept(name, _fetch(answers))
    answers.record_read(found.id, "responses")
    return json_reply(found.response)


def delete_response(name: str) -> Response:
    """Take a response back: it is not served or continued any more."""
    answers = _own_answers()
    answers.withdraw(kept(name, _fetch(answers)).id)
    return json_reply({"id": name, "object": "response", "deleted": True, "note": WITHDRAWN})


def input_items(name: str) -> Response:
    """A page of the items that a response was made from, those of the exchanges before it included."""
    answers = _own_answers()
    found = kept(name, _fetch(answers))
    order, limit = request.args.get("order", "desc"), _limit()
    if order not in ("asc", "desc"):
        raise BadRequest("order must be asc or desc", field="order")
    listed = page(_items(found, answers), order=order, after=request.args.get("after"), limit=limit)
    answers.record_read(found.id, "responses.input_items")
    return json_reply(listed)


def cancel_response(name: str) -> Response:
    """Refused: nothing runs that nobody waits for."""
    kept(name, _fetch(_own_answers()))
    raise Unsupported("only a background response can be cancelled, and there are none: close the connection instead")


def _items(found: Kept, answers: OwnAnswers) -> list[InputItem]:
    before = found.body.model_copy(update={"input": found.inputs})
    return conversation(before, _fetch(answers))


def _own_answers() -> OwnAnswers:
    return OwnAnswers(recorder().vault, API, g.caller.key_id, g.caller.client)


def _limit() -> int:
    text = request.args.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise BadRequest(f"limit must be a number from 1 to {MAX_LIMIT}", field="limit")
    return int(text)


def _fetch(answers: OwnAnswers) -> Fetch:
    """Records, with the way in which the model that made each writes calls, where it is still served."""

    def fetch(id_: str) -> Mapping[str, Any]:
        record = answers.fetch(id_)
        model = recorder().roster.find(record["model"])
        with suppress(Unavailable):
            return {**record, "call_format": model.info.call_format} if model is not None else record
        return record

    return fetch
