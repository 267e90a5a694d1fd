"""Which dialect a request is in. The blueprint of a dialect carries it, so the route that matched decides."""

from __future__ import annotations

from flask import Blueprint, current_app, request

from minivault.wire.dialect import Dialect


class DialectBlueprint(Blueprint):
    """The routes of one dialect, named for it and below its prefix."""

    def __init__(self, dialect: Dialect, import_name: str) -> None:
        super().__init__(dialect.name, import_name, url_prefix=dialect.prefix or None)
        self.dialect = dialect


def current_dialect() -> Dialect:
    """The dialect of the request at hand: the one whose client it is known to come from, else that of the route; where
    no dialect's route matched, the one with the longest prefix that the path has."""
    dialects: tuple[Dialect, ...] = current_app.extensions["minivault.dialects"]
    for dialect in dialects:
        if dialect.marker and dialect.marker in request.headers and dialect.is_near(request.path):
            return dialect
    blueprint = current_app.blueprints.get(request.blueprint or "")
    if isinstance(blueprint, DialectBlueprint):
        return blueprint.dialect
    claiming = [dialect for dialect in dialects if dialect.claims(request.path)]
    return max(claiming, key=lambda dialect: len(dialect.prefix))
