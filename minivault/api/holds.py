"""Legal holds over HTTP, under `/vault/holds`: which are in force, one more, one ended. Auditors read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, Response

from minivault.api.auditing import archive
from minivault.api.body import decoded, read_json_body
from minivault.api.streaming import json_reply
from minivault.api.vault import wanted_of
from minivault.errors import BadRequest
from minivault.vault.keeping import Hold
from minivault.vault.record import Place
from minivault.wire.server.holding import HoldBody, ReleaseBody

bp = Blueprint("holds", __name__, url_prefix="/vault/holds")
FILTERS = ("text", "since", "until", "model", "key", "status", "api", "user")


@bp.get("")
def holds() -> Response:
    """The holds in force, oldest first."""
    with archive() as opened:
        return json_reply({"holds": [_told(one) for one in opened.kept().holds]})


@bp.post("")
def add() -> Response:
    """Hold the records that match the query parameters, of every type and those to come included."""
    body, wanted = decoded(HoldBody, read_json_body()), replace(wanted_of(FILTERS), type=None)
    if body.all == bool(wanted.describe()):
        raise BadRequest(f'say in the query what to hold, by {", ".join(FILTERS)}, or `"all": true`', field="all")
    with archive() as opened:
        place = opened.hold(body.name, wanted, body.reason)
        return json_reply({"hold": {**_place(place), "records": opened.num_held(body.name)}})


@bp.post("/<name>/release")
def release(name: str) -> Response:
    """End a hold; what it covered may be removed again, above the retention floor."""
    body = decoded(ReleaseBody, read_json_body())
    with archive() as opened:
        return json_reply({"hold": _place(opened.release(name, body.reason))})


def _told(one: Hold) -> dict[str, Any]:
    about = {"name": one.name, "seq": one.seq, "id": one.id, "at": one.at, "by": one.by, "reason": one.reason}
    return about | {"filter": one.wanted.describe()}


def _place(place: Place) -> dict[str, Any]:
    return {"seq": place.seq, "hash": place.hash}
