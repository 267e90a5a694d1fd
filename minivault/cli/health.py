"""`health`: how the server is, for people and for scripts that wait for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.client.answerer import Target, open_client
from minivault.cli.options import current_settings, examples, json_option, server_options
from minivault.cli.show.output import print_json, print_pairs
from minivault.errors import MiniVaultError, Unavailable

if TYPE_CHECKING:
    from minivault.cli.client.client import Client


@click.command(epilog=examples("health", "health --wait 60 && echo ready"))
@server_options
@json_option
def health(target: Target, as_json: bool) -> None:
    """Show how the server is, and whether it is ready.

    Exits with 0 only when the server is ready to answer: `minivault health --wait 60` waits for it.
    """
    settings = current_settings()
    with open_client(settings, target) as client:
        refusal = _refusal(client)
        report = {**client.health(), "ready": refusal is None}
    if as_json:
        print_json(report)
    else:
        print_pairs([("server", str(client.address)), *_flat(report)])
    if refusal is not None:
        raise refusal


def _refusal(client: Client) -> MiniVaultError | None:
    try:
        client.ready()
    except Unavailable as error:
        return error
    return None


def _flat(report: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in report.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
