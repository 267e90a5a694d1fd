"""The vault for those who audit it, under `/vault`: records, one record, what the verifier says.

Reading is recorded, as it is on the command line.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from flask import Blueprint, Response, g, request

from minivault.access.caller import charge_tokens, generation_permit
from minivault.api.auditing import archive, ensure_named, own_record, settings
from minivault.api.streaming import json_reply, recorder
from minivault.errors import BadRequest, VaultError
from minivault.moment import read_moment
from minivault.replay import replay
from minivault.vault.reader import Filter
from minivault.vault.verify import as_json, verify
from minivault.wire.framing import NDJSON

bp = Blueprint("vault", __name__, url_prefix="/vault")

FILTERS = ("text", "since", "until", "model", "key", "status", "api", "limit")
DEFAULT_LIMIT, MAX_LIMIT = 100, 1000


@bp.get("/records")
def records() -> Response:
    """The last interactions that match, in order, as NDJSON. Filters are query parameters."""
    wanted, limit = _filter(), _limit()
    with archive() as opened:
        lines = [NDJSON.frame(record) for record in opened.search(wanted, limit)]
    return Response(lines, content_type=NDJSON.content_type)


@bp.get("/records/<id_or_seq>")
def record(id_or_seq: str) -> Response:
    """One record whole, checked in its place in the chain."""
    with archive() as opened:
        return json_reply(opened.show(id_or_seq))


@bp.get("/records/<id_or_seq>/check")
def check_record(id_or_seq: str) -> Response:
    """Whether one record stands as it was written, between its neighbours; nothing of what it holds."""
    try:
        found = own_record(id_or_seq)
    except VaultError as error:
        return json_reply({"verdict": "changed", "reason": error.message})
    place = {name: found[name] for name in ("id", "seq", "hash", "timestamp")}
    return json_reply({"verdict": "redacted" if "redacted" in found else "in place", **place})


@bp.post("/records/<id_or_seq>/replay")
def replay_record(id_or_seq: str) -> Response:
    """Run a recorded answer again and say whether it comes out the same; counts as a generation."""
    found = own_record(id_or_seq)
    if found["type"] != "interaction":
        raise BadRequest(f"record {found['seq']} is of type {found['type']}: interactions are replayed", field="id")
    model = recorder().roster.of_record(found)
    with generation_permit(g.caller):
        [verdict] = replay(model, [found], 1)
    charge_tokens(g.caller, len(found.get("prompt_tokens") or ()) + verdict.num_tokens)
    return json_reply(asdict(verdict))


@bp.get("/verify")
def check() -> Response:
    """What the verifier says of the whole log now."""
    ensure_named()
    return json_reply(json.loads(as_json(verify(settings().log_dir))))


def _filter() -> Filter:
    given = request.args
    for name in given:
        if name not in FILTERS:
            raise BadRequest(f"{name} is no filter; there are {', '.join(FILTERS)}", field=name)
    return Filter(
        text=given.get("text", ""),
        since_ns=_time_ns("since"),
        until_ns=_time_ns("until"),
        model=given.get("model"),
        key=tuple(given.getlist("key")),
        status=given.get("status"),
        api=given.get("api"),
    )


def _limit() -> int:
    text = request.args.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise BadRequest(f"limit must be a number from 1 to {MAX_LIMIT}", field="limit")
    return int(text)


def _time_ns(name: str) -> int | None:
    """An RFC 3339 time, or a date, in UTC where no offset is given."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return read_moment(text)
    except (ValueError, OverflowError):
        raise BadRequest(f"{name} must be a time like 2026-11-26T12:00:00Z or a date", field=name) from None
