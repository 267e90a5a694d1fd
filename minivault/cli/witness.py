"""`witness`: remember for others how far their vaults had grown, and cosign only what extends that."""

from __future__ import annotations

import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click

from minivault.cli.options import examples
from minivault.cli.show.terminal import note
from minivault.vault.proof.witness import MAX_BODY, Reply, Witness

TIMEOUT_S = 30
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
    keys = [line.strip() for path in logs for line in path.read_text("utf-8").splitlines() if line.strip()]
    served = Witness(directory, name, keys, time.time)
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError(f"--bind {bind}: give HOST:PORT")
    with serving(served, host, int(port)) as server:
        click.echo(served.verifier_key)
        note(f"This key is what a policy names. Listening on http://{host}:{server.server_port}.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            note("Stopped.")


def serving(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """A server for one witness, not started yet."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = TIMEOUT_S

        def do_POST(self) -> None:
            size = self.headers.get("Content-Length", "")
            if self.path != "/add-checkpoint":
                self._send(Reply(_NOT_FOUND, "there is POST /add-checkpoint\n"))
            elif not size.isdigit() or int(size) > MAX_BODY:
                self._send(Reply(_TOO_LARGE, f"a body of at most {MAX_BODY} bytes, with its length, is wanted\n"))
            else:
                self._send(witness.add_checkpoint(self.rfile.read(int(size))))

        def do_GET(self) -> None:
            name, _, rest = self.path.removeprefix("/").partition("/")
            self._send(witness.checkpoint(name) if rest == "checkpoint" else Reply(_NOT_FOUND, "nothing is here\n"))

        def _send(self, reply: Reply) -> None:
            body = reply.body.encode()
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(body)))
            if reply.status == _TOO_LARGE:  # what it sent is left unread
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            note(f"{self.address_string()} {format % args}")

    return ThreadingHTTPServer((host, port), Handler)
