"""Turns every exception into a reply, once, in the shape that the dialect's clients expect."""

from __future__ import annotations

import json
import logging

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from minivault.api.dialect import current_dialect
from minivault.api.streaming import recorder
from minivault.errors import (
    BadRequest,
    MiniVaultError,
    NotFound,
    QuotaExceeded,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from minivault.observe.ended import Refused

log = logging.getLogger("minivault.api")


class MethodNotAllowed(MiniVaultError):
    status = 405
    code = "method_not_allowed"


PROBES = ("/ready", "/health")
"""What a load balancer asks each second: what it is told goes into no log."""
LONGEST_WAIT_S = 120
"""After more the people who ask are to hear of it: SDKs wait as long as they are told, in silence."""

HTTP_ERRORS: dict[int, type[MiniVaultError]] = {
    400: BadRequest,
    404: NotFound,
    405: MethodNotAllowed,
    413: TooLarge,
    415: UnsupportedMediaType,
}
"""What the web framework raises, in our terms."""


def init_app(app: Flask) -> None:
    """Register the handlers."""
    app.register_error_handler(MiniVaultError, render)
    app.register_error_handler(HTTPException, _render_http)
    app.register_error_handler(Exception, _render_unexpected)


def render(error: MiniVaultError) -> Response:
    """The reply for one of our errors, which counts it."""
    recorder().metrics.refused.labels(error.code).inc()
    dialect = current_dialect()
    body = dialect.encode_error(error, g.get("request_id", ""))
    status = dict(dialect.statuses).get(error.code, error.status)
    response = Response(json.dumps(body) + "\n", status, mimetype="application/json")
    if request.path not in PROBES:
        recorder().watchers.refused(_refused(error, status))
    if isinstance(error, Unavailable | QuotaExceeded):
        response.headers["Retry-After"] = str(error.retry_after_s)
        if error.retry_after_s > LONGEST_WAIT_S:
            response.headers["X-Should-Retry"] = "false"
    if isinstance(error, QuotaExceeded):
        response.headers.update(error.headers)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="minivault"'
    return response


def _refused(error: MiniVaultError, status: int) -> Refused:
    caller = g.get("caller")
    return Refused(
        id=g.get("request_id", ""),
        route=f"{request.method} {request.url_rule.rule}" if request.url_rule else "no route",
        status=status,
        code=error.code,
        client=request.remote_addr or "",
        key=caller.key_id if caller else None,
    )


def _render_http(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < 400:
        return error  # a redirect
    response = render(HTTP_ERRORS.get(error.code, BadRequest)(_http_message(error)))
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
