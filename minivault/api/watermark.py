"""`POST /watermark/detect`: does a text carry this server's mark? For those who audit it, since whoever may ask at will
can also try until nothing is found any more."""

from __future__ import annotations

from flask import Blueprint, Response

from minivault.api.auditing import ensure_named, settings
from minivault.api.body import decoded, read_json_body
from minivault.api.streaming import json_reply, model_wanted
from minivault.errors import Unsupported
from minivault.service import mark_of
from minivault.wire.server.watermark import DetectBody

bp = Blueprint("watermark", __name__)


@bp.post("/watermark/detect")
def detect() -> Response:
    """How probable what was found would be without the mark. Nothing is generated, so nothing is recorded."""
    from minivault.engine.detection import detect as run

    body = decoded(DetectBody, read_json_body())
    ensure_named()
    mark = mark_of(settings())
    if mark is None:
        raise Unsupported("this server marks nothing: MINIVAULT_WATERMARK_KEY_FILE is not set", field="watermark")
    model = model_wanted(body.model)
    if body.tokens is None:
        tokens = model.tokens.of_text(body.text or "", add_special=False, parse_special=True)
    else:
        model.tokens.text_of(tokens := tuple(body.tokens))  # raises for what is no token
    return json_reply({"model": model.info.name, **mark.told, **run(mark, tokens).told})
