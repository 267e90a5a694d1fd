"""Who asks through an SDK."""

from __future__ import annotations

import re
from dataclasses import replace

from flask import request

from minivault.api.streaming import origin
from minivault.interaction import Origin

RETRY = re.compile("[1-9][0-9]{0,3}")
"""The number of a retry, as the SDKs write it."""


def sdk_origin(api: str, raw: bytes) -> Origin:
    """Who asks. A retry says so in the record: it would otherwise look like a second question."""
    source = origin(api, raw)
    retry = request.headers.get("x-stainless-retry-count", "0")
    if not RETRY.fullmatch(retry):
        return source
    return replace(source, user_agent=f"{source.user_agent} retry/{retry}")
