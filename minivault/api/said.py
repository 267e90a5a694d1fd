"""`POST /said`: was a text ever an answer of this server, or a part of one? For those who audit it."""

from __future__ import annotations

from flask import Blueprint, Response

from minivault.api.auditing import archive
from minivault.api.body import decoded, read_json_body
from minivault.api.streaming import json_reply
from minivault.wire.server.said import SaidBody

bp = Blueprint("said", __name__)


@bp.post("/said")
def said() -> Response:
    """Where it was said, or nearly, or that it was not; the question is recorded, without its text."""
    body = decoded(SaidBody, read_json_body())
    with archive() as opened:
        return json_reply(opened.said(body.text).told())
