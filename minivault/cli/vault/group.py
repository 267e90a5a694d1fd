"""The group and what its commands share: the archive, opened for the one who runs the command, and names of keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from minivault.cli.options import examples
from minivault.config import load_settings
from minivault.errors import ConfigError

if TYPE_CHECKING:
    from minivault.vault.archive import Archive
    from minivault.vault.reader import Filter


@click.group(epilog=examples("vault tail", "vault search banana --since 7d", "vault verify"))
def vault() -> None:
    """Read, check and maintain the log of every answer.

    The log is `log.jsonl` in MINIVAULT_LOG_DIR, one line an interaction. Reading it through these commands is recorded
    in it, too; `verify`, `head` and other tools (`tail`, `jq`) leave no trace.

    Where an ID is asked for, write a reply's X-Request-Id, its first or last few characters, a seq, or `last` for the
    last interaction.
    """


@contextmanager
def opened() -> Iterator[Archive]:
    """The vault of the settings, for whoever runs this process."""
    from minivault.vault.archive import Archive
    from minivault.vault.readable import current_user

    settings = load_settings()
    with Archive(
        settings.log_dir,
        by=current_user(),
        segment_bytes=settings.vault_segment_mb << 20,
        node=settings.node,
        keep_days=settings.vault_keep_days,
    ) as archive:
        yield archive


def key_names() -> dict[str, str]:
    """Names of access keys by id, past ones included; empty where the list cannot be read."""
    from minivault.access.keys import KeyFile

    with suppress(ConfigError):
        return {key.id: key.name for key in KeyFile(load_settings().keys_file).read().values()}
    return {}


def none_matches(wanted: Filter) -> str:
    """An empty result says that it is empty, and what was asked for."""
    asked = {name: value for name, value in wanted.describe().items() if name != "type"}
    return f"No interaction matches {json.dumps(asked)}." if asked else "There is no interaction in the vault."
