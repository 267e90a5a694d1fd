"""The vault for those who read it, under `/vault`: records that match, one record, the newest as they come, a file.

Reading is recorded, as it is on the command line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from flask import Blueprint, Response, request

from minivault.access.keys import KeyFile
from minivault.api.auditing import archive, settings
from minivault.api.streaming import json_reply, recorder
from minivault.errors import BadRequest, VaultError
from minivault.moment import read_moment
from minivault.vault.place import Record
from minivault.vault.reader import Filter, follow
from minivault.wire.framing import NDJSON

bp = Blueprint("vault", __name__, url_prefix="/vault")

FILTERS = ("text", "since", "until", "model", "key", "status", "api", "type", "limit", "format", "user")
DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
TAIL_S, ALIVE_S = 300, 10
"""How long one tail goes on, and how often it shows that it is there: a client that has gone is noticed by that."""


@bp.get("/records")
def records() -> Response:
    """The last records that match, in order, as NDJSON. Filters are query parameters; `type=any` for other kinds."""
    wanted, limit = wanted_of(), _limit()
    with archive() as opened:
        lines = [NDJSON.frame(record) for record in opened.search(wanted, limit)]
    return Response(lines, content_type=NDJSON.content_type)


@bp.get("/records/<id_or_seq>")
def record(id_or_seq: str) -> Response:
    """One record whole, checked in its place in the chain."""
    with archive() as opened:
        return json_reply(opened.show(id_or_seq))


@bp.get("/tail")
def tail() -> Response:
    """Records of every kind as they are written, as NDJSON, for `TAIL_S` seconds: `{"alive": true}` where none comes.

    The reading is recorded once, with the first lines.
    """
    with archive() as opened:
        last = opened.tail(_limit(preset=20), will_follow=True)
    roster = recorder().roster
    stream = _tail(last, settings().log_dir, lambda: roster.status().state == "draining")
    return Response(stream, content_type=NDJSON.content_type, headers={"X-Accel-Buffering": "no"})


@bp.get("/export")
def export() -> Response:
    """The records that match as a file: `format=jsonl` with the proof that it is an excerpt, or `csv`."""
    kind, wanted = request.args.get("format", "jsonl"), wanted_of()
    if kind not in ("jsonl", "csv"):
        raise BadRequest("format must be jsonl or csv", field="format")
    with ExitStack() as open_until_failed:
        opened = open_until_failed.enter_context(archive())
        parts: Iterable[bytes] = (
            opened.export_jsonl(wanted)[0]
            if kind == "jsonl"
            else (row.encode("utf-8") for row in opened.export_csv(wanted))
        )
        close = open_until_failed.pop_all().close
    response = Response(parts, content_type=NDJSON.content_type if kind == "jsonl" else "text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="minivault-export.{kind}"'
    response.call_on_close(close)
    return response


class _Quiet(Exception):
    """Nothing has been written for a while."""


def _tail(last: Sequence[Record], directory: Path, is_stopping: Callable[[], bool]) -> Iterator[bytes]:
    yield from map(NDJSON.frame, last)
    seq, end, alive_at = last[-1]["seq"] if last else 0, time.monotonic() + TAIL_S, 0.0

    def wait(seconds: float) -> None:
        if is_stopping() or time.monotonic() > min(end, alive_at):
            raise _Quiet
        time.sleep(seconds)

    while not is_stopping() and time.monotonic() < end:
        alive_at = time.monotonic() + ALIVE_S
        try:
            for record in follow(directory, after_seq=seq, wait=wait):
                seq = record["seq"]
                yield NDJSON.frame(record)
        except _Quiet:
            yield NDJSON.frame({"alive": True})
        except VaultError as error:
            yield NDJSON.frame({"error": {"code": error.code, "message": error.message}})
            return


def wanted_of(known: Sequence[str] = FILTERS) -> Filter:
    """What the query asks for. Raises BadRequest for a parameter that is not known."""
    given = request.args
    for name in given:
        if name not in known:
            raise BadRequest(f"{name} is no filter; there are {', '.join(known)}", field=name)
    since_ns, until_ns = time_ns("since"), time_ns("until")
    if since_ns is not None and until_ns is not None and since_ns >= until_ns:
        raise BadRequest("since must be before until", field="since")
    keys = KeyFile(settings().keys_file)
    return Filter(
        text=given.get("text", ""),
        since_ns=since_ns,
        until_ns=until_ns,
        model=given.get("model"),
        key=tuple(id_ for named in given.getlist("key") for id_ in keys.ids_of(named)),
        status=given.get("status"),
        api=given.get("api"),
        type=None if given.get("type") == "any" else given.get("type", "interaction"),
        user=given.get("user"),
    )


def _limit(preset: int = DEFAULT_LIMIT) -> int:
    text = request.args.get("limit", str(preset))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_LIMIT):
        raise BadRequest(f"limit must be a number from 1 to {MAX_LIMIT}", field="limit")
    return int(text)


def time_ns(name: str) -> int | None:
    """An RFC 3339 time, or a date, in UTC where no offset is given."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return read_moment(text)
    except (ValueError, OverflowError):
        raise BadRequest(f"{name} must be a time like 2026-11-26T12:00:00Z or a date", field=name) from None
