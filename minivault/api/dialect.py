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
    """The dialect of the request at hand; where no dialect's route matched, the one whose prefix the path has."""
    blueprint = current_app.blueprints.get(request.blueprint or "")
    if isinstance(blueprint, DialectBlueprint):
        return blueprint.dialect
    dialects: tuple[Dialect, ...] = current_app.extensions["minivault.dialects"]
    claiming = [dialect for dialect in dialects if request.path.startswith(f"{dialect.prefix}/")]
    return max(claiming, key=lambda dialect: len(dialect.prefix))
