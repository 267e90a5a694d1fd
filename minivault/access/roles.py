"""What each role may reach, by route. What is not listed here is for `admin` only.

The decision is made on the route that matched, never on the text of the URL: there is no spelling of a path that
reaches a route under another route's rule.
"""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["use", "audit", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

PUBLIC_RULES = frozenset({"/ready", "/", "/docs", "/static/<path:filename>"})
"""What answers without a key: a load balancer has none, and a browser has none before it has loaded the page that asks
for one. The page and its files are the same for everybody and say nothing of this server."""

UNCOUNTED_RULES = frozenset({"/ready", "/health", "/metrics", "/status"})
"""Monitors look most when a limit is reached: these take nothing from it and are not refused by it."""

_EVERYONE = frozenset[Role]({"use", "audit", "admin"})
_USERS = frozenset[Role]({"use", "admin"})
_AUDITORS = frozenset[Role]({"audit", "admin"})
_ADMINS = frozenset[Role]({"admin"})

_EXACT: dict[str, frozenset[Role]] = {
    **dict.fromkeys(PUBLIC_RULES, _EVERYONE),
    "/health": _EVERYONE,
    "/metrics": _EVERYONE,
    "/status": _EVERYONE,
    "/openapi.json": _EVERYONE,
    "/said": _AUDITORS,
    "/watermark/detect": _AUDITORS,
    "/vault/records/<id_or_seq>/check": _EVERYONE,
    "/vault/records/<id_or_seq>/replay": _EVERYONE,
}
"""A record is checked and replayed by auditors, and by whoever asked: the view looks at whose it is."""
_BELOW: dict[str, frozenset[Role]] = {
    "/receipts/": _EVERYONE,
    "/vault": _AUDITORS,
}
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_CHANGED_BY_ADMINS = "/vault"
"""Auditors read the vault; what they read, and how long it is kept, is for others to change."""


def roles_for(rule: str, method: str = "GET", *, is_dialect: bool = False) -> frozenset[Role]:
    """The roles that may call the route with this URL rule (as in `app.url_map`) by a method; those of a dialect are
    for users."""
    if is_dialect:
        return _USERS
    if rule in _EXACT:
        return _EXACT[rule]
    if rule.startswith(_CHANGED_BY_ADMINS) and method not in _READING:
        return _ADMINS
    return next((roles for prefix, roles in _BELOW.items() if rule.startswith(prefix)), _ADMINS)
