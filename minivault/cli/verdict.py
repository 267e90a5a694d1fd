"""A command whose exit codes are verdicts: a wrong argument ends it with a code of its own, which is none of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from minivault.cli.show.terminal import one_line
from minivault.errors import ConfigError


class NothingChecked(click.UsageError):
    """A usage error of such a command."""

    exit_code = os.EX_USAGE


class VerdictCommand(click.Command):
    """Ends with the status 64 where its arguments or the settings do not fit."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _no_verdict():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _no_verdict():
            return super().invoke(ctx)


@contextmanager
def _no_verdict() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        raise NothingChecked(error.format_message(), error.ctx) from None
    except Exception as error:
        from minivault.vault.verify import Misused

        if not isinstance(error, Misused | ConfigError):
            raise
        raise NothingChecked(one_line(str(error))) from None
