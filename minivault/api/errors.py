"""Turns every exception into a reply, once, in the shape that the path's clients expect."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException

from minivault.errors import MiniVaultError, QuotaExceeded, Unavailable
from minivault.wire import native

log = logging.getLogger("minivault.api")

HTTP_CODES = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class HTTPError(MiniVaultError):
    """An error that the web framework raised, in our terms."""

    def __init__(self, error: HTTPException) -> None:
        super().__init__(_http_message(error))
        self.http_status = error.code or 500
        self.http_code = HTTP_CODES.get(self.http_status, "http_error")


def init_app(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(MiniVaultError, render)
    app.register_error_handler(HTTPException, _render_http)
    app.register_error_handler(Exception, _render_unexpected)


def status_of(error: MiniVaultError) -> int:
    return error.http_status if isinstance(error, HTTPError) else error.status


def render(error: MiniVaultError) -> Response:
    """The reply for one of our errors."""
    response = Response(json.dumps(error_body(error)) + "\n", status_of(error), mimetype="application/json")
    if isinstance(error, Unavailable | QuotaExceeded):
        response.headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, QuotaExceeded):
        response.headers.update(error.headers)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="minivault"'
    return response


def error_body(error: MiniVaultError) -> dict[str, Any]:
    """The body in the dialect of the request's path."""
    return native.error(error, g.get("request_id", ""))


def _render_http(error: HTTPException) -> Response:
    response = render(HTTPError(error))
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers["Allow"] = value
    return response


def _render_unexpected(error: Exception) -> Response:
    log.error("unexpected error in %s %s", request.method, request.path, exc_info=error)
    return render(MiniVaultError("the server failed to handle this request"))


def _http_message(error: HTTPException) -> str:
    if error.code == 404:
        return f"there is no {request.path} here"
    if error.code == 405:
        return f"{request.path} does not take {request.method}"
    return error.description or error.name
