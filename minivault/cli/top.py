"""`top`: a server as it works, once a second: load, speed, last requests and the vault."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.client.answerer import Target, open_client
from minivault.cli.options import current_settings, examples, json_option, server_options
from minivault.cli.show.output import print_json
from minivault.cli.vault.group import key_names, opened
from minivault.errors import MiniVaultError

if TYPE_CHECKING:
    from minivault.cli.client.client import Client
    from minivault.cli.show.dashboard import Dashboard

NUM_RECORDS = 30


@click.command(epilog=examples("top", "top --interval 5", "top --url http://box.lan:8000 | cat"))
@click.option(
    "-i", "--interval", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True, help="Seconds between looks."
)
@server_options
@json_option
def top(interval: float, target: Target, as_json: bool) -> None:
    """Watch the server: load, tokens a second, last requests and the vault, until Ctrl-C.

    The last requests are read from the vault, if it is on this machine, and that reading is recorded in it. Piped, it
    looks twice, `--interval` apart, and ends.
    """
    from minivault.cli.show.dashboard import Dashboard

    with open_client(current_settings(), target) as client:
        dashboard = Dashboard(str(client.address), _look(client), key_names() if client.address.is_loopback else {})
        if as_json or not sys.stdout.isatty():
            time.sleep(interval)
            dashboard.add(_look(client), time.monotonic())
            print_json(dashboard.numbers()) if as_json else sys.stdout.write(dashboard.plain())
            return
        if client.address.is_loopback:
            threading.Thread(target=_follow, args=(dashboard.records,), daemon=True, name="minivault-top").start()
        _watch(client, dashboard, interval)


def _look(client: Client) -> dict[str, Any]:
    """The server's report, with the tokens of answers that still run where it tells them."""
    health, num_generated = client.health(), client.num_generated()
    return health if num_generated is None else {**health, "tokens": num_generated}


def _watch(client: Client, dashboard: Dashboard, interval_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    with suppress(KeyboardInterrupt), Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(dashboard.render(), refresh=True)
            time.sleep(interval_s)
            try:
                dashboard.add(_look(client), time.monotonic())
            except MiniVaultError as error:
                dashboard.lose(error.message)


def _follow(records: deque[dict[str, Any]]) -> None:
    """Fill `records` with what the vault gets; ends silently where there is none, for nobody has asked for it."""
    with suppress(MiniVaultError, OSError), opened() as archive:
        first = archive.tail(NUM_RECORDS, will_follow=True, hidden=("read",))
        records.extend(first)
        for record in archive.follow(first[-1]["seq"] if first else archive.head().seq):
            if record["type"] != "read":
                records.append(record)
