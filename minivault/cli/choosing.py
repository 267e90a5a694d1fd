"""The options that choose records of the vault, shared by every command that lists or exports them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import wraps
from typing import Any

import click

from minivault.vault.reader import Filter

_AGO = re.compile(r"(\d{1,6})([mhdw])")
_UNIT_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class When(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A moment: `2026-11-21`, `2026-11-21T20:15:03Z`, or how long ago: `30m`, `12h`, `7d`, `4w`. UTC."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The moment in nanoseconds since 1970."""
        ago = _AGO.fullmatch(value)
        if ago:
            return time.time_ns() - int(ago[1]) * _UNIT_SECONDS[ago[2]] * 10**9
        try:
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            self.fail(f"{value!r} is no time; write 2026-11-21, 2026-11-21T20:15:03Z, 12h or 7d", param, ctx)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1) * 1000


json_lines_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
_FILTERS = (
    click.option("--since", type=When(), help="Not before: 2026-11-21, 2026-11-21T20:15:03Z, or 12h, 7d ago."),
    click.option("--until", type=When(), help="Before this moment."),
    click.option("--model", help="Answers of this model."),
    click.option("--key", help="Asked with the key of this id."),
    click.option(
        "--status",
        type=click.Choice(["completed", "cancelled", "failed", "interrupted"]),
        help="How the interaction ended.",
    ),
)


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose records; the command gets them as `wanted`."""

    @wraps(command)
    def collecting(
        since: int | None, until: int | None, model: str | None, key: str | None, status: str | None, **options: Any
    ) -> None:
        wanted = Filter(options.pop("text", ""), since, until, model, key, status)
        command(wanted=wanted, **options)

    for option in reversed(_FILTERS):
        collecting = option(collecting)
    return collecting
