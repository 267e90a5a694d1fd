"""The page at `/`, the reference at `/docs` with the document behind it, and their files."""

from __future__ import annotations

import json

from flask import Blueprint, Response, current_app, render_template, request

from minivault import __version__
from minivault.wire.ollama.models import RUNNING
from minivault.wire.openapi import build_document

bp = Blueprint("pages", __name__, template_folder="templates", static_folder="static", static_url_path="/static")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify"
)
"""Only our own scripts and styles run, pages talk to this server alone, and the sanitiser alone makes HTML of text."""


@bp.get("/")
def home() -> Response:
    """The page for browsers; for everyone else the line by which Ollama's clients recognise a server."""
    if "text/html" in request.accept_mimetypes.values():
        return _page("home.html")
    return Response(RUNNING, content_type="text/plain; charset=utf-8")


@bp.get("/docs")
def docs() -> Response:
    """The reference of every route, drawn from `/openapi.json`."""
    return _page("docs.html")


@bp.get("/openapi.json")
def openapi() -> Response:
    """The API document, made from the models that validate requests."""
    document = build_document(__version__, current_app.extensions["minivault.dialects"])
    return Response(json.dumps(document) + "\n", content_type="application/json")


def _page(template: str) -> Response:
    response = Response(render_template(template), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
