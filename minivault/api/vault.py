"""The vault for those who audit it: `GET /vault/records`, `/vault/records/ID` and `/vault/verify`, read only.

Whoever may reach a server that needs no key may not therefore read what others asked: these routes want a key, of the
role `audit` or `admin`. Reading is recorded, as it is on the command line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Blueprint, Response, current_app, g, request

from minivault.api.streaming import json_reply, recorder
from minivault.config import Settings
from minivault.errors import BadRequest, Forbidden
from minivault.moment import read_moment
from minivault.vault.archive import Archive
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
    with _archive() as archive:
        lines = [NDJSON.frame(record) for record in archive.search(wanted, limit)]
    return Response(lines, content_type=NDJSON.content_type)


@bp.get("/records/<id_or_seq>")
def record(id_or_seq: str) -> Response:
    """One record whole, checked in its place in the chain."""
    with _archive() as archive:
        return json_reply(archive.show(id_or_seq))


@bp.get("/verify")
def check() -> Response:
    """What the verifier says of the whole log now."""
    _ensure_named()
    settings: Settings = current_app.config["MINIVAULT"]
    return json_reply(json.loads(as_json(verify(settings.log_dir))))


@contextmanager
def _archive() -> Iterator[Archive]:
    _ensure_named()
    settings: Settings = current_app.config["MINIVAULT"]
    by = f"key {g.caller.key_id} from {g.caller.client}"
    with Archive(settings.log_dir, by=by, segment_bytes=settings.vault_segment_mb << 20) as archive:
        yield archive


def _ensure_named() -> None:
    if g.caller.key_id is None:
        raise Forbidden("the vault is read with a key: `flask minivault keys create NAME --role audit` makes one")
    recorder().vault_status()  # raises VaultUnavailable where there is none to read


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
