"""`witness`: remember for others how far their vaults had grown, and cosign only what extends that."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from minivault.cli.options import examples, text_of
from minivault.cli.show.terminal import note
from minivault.errors import VaultError
from minivault.vault.proof.witness import MAX_BODY, Reply, Witness

TIMEOUT_S = 30
MAX_PORT = 65535
_NOT_FOUND, _TOO_LARGE = HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@click.group(epilog=examples("witness serve ./witness --name example.org/w1 --log vault.vkey"))
def witness() -> None:
    """Be a witness (c2sp.org/tlog-witness) for somebody else's vaults, on another machine or account."""


@witness.command(epilog=examples("witness serve ./witness --name example.org/w1 --log vault.vkey"))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", required=True, help="What its signatures are called; a host and a path, by custom.")
@click.option(
    "--log",
    "logs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="A file of keys, one a line, as `vault head --vkey` prints them: the logs it knows.",
)
@click.option("--bind", default="127.0.0.1:8100", show_default=True, metavar="HOST:PORT", help="Where it listens.")
def serve(directory: Path, name: str, logs: tuple[Path, ...], bind: str) -> None:
    """Answer `POST /add-checkpoint` until Ctrl-C. DIRECTORY holds its key, made at the first start, and its memory."""
    lines = [line.strip() for path in logs for line in text_of(path, "--log").split("\n")]
    served = Witness(directory, name, [line for line in lines if line], time.time)
    host, _, port = bind.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > MAX_PORT:
        raise click.UsageError(f"--bind {bind}: give HOST:PORT, with a port up to {MAX_PORT}")
    try:
        server = serving(served, host.strip("[]"), int(port))
    except OSError as error:
        raise click.UsageError(
            f"--bind {bind}: {error.strerror}; give an address of this machine that is free"
        ) from None
    with server:
        click.echo(served.verifier_key)
        note(f"This key is what a policy names. Listening on http://{host}:{server.server_port}.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            note("Stopped.")


def serving(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """A server for one witness, not started yet. Raises OSError."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = TIMEOUT_S

        def do_POST(self) -> None:
            size = self.headers.get("Content-Length", "")
            if self.path != "/add-checkpoint":
                self._send(Reply(_NOT_FOUND, "there is POST /add-checkpoint\n"))
            elif not re.fullmatch("[0-9]{1,9}", size) or int(size) > MAX_BODY or self.headers["Transfer-Encoding"]:
                self._send(Reply(_TOO_LARGE, f"a body of at most {MAX_BODY} bytes, with its length, is wanted\n"))
            else:
                body = self.rfile.read(int(size))
                self._send(_answered(lambda: witness.add_checkpoint(body)), is_read=True)

        def do_GET(self) -> None:
            name, _, rest = self.path.removeprefix("/").partition("/")
            if rest == "checkpoint":
                reply = _answered(lambda: witness.checkpoint(name))
            else:
                reply = Reply(_NOT_FOUND, "nothing is here\n")
            self._send(reply, is_read=not (self.headers["Content-Length"] or self.headers["Transfer-Encoding"]))

        def _send(self, reply: Reply, *, is_read: bool = False) -> None:
            """Unless all of the request `is_read`, its rest must not be taken for another one."""
            body = reply.body.encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(body)))
            if not is_read:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            note(f"{self.address_string()} {format % args}")

    return Server((host, port), Handler)


def _answered(act: Callable[[], Reply]) -> Reply:
    """What the witness answers, or that it cannot: then its operator is told why."""
    try:
        return act()
    except (VaultError, OSError) as error:
        note(f"Nothing was signed: {error}")
        return Reply(HTTPStatus.INTERNAL_SERVER_ERROR, "this witness cannot use its memory; its own log says why\n")
