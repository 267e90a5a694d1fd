"""`serve`: the server, started the way the project means it to be."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

import click

import minivault
from minivault.cli.options import current_settings, examples
from minivault.errors import ConfigError

CHECK = "import sys; sys.path.insert(0, sys.argv.pop(1)); from gunicorn.app.wsgiapp import run; run(prog='gunicorn')"


@click.command(epilog=examples("serve", "serve --check"))
@click.option("--check", is_flag=True, help="Only check the settings and gunicorn's configuration.")
def serve(check: bool) -> None:
    """Serve the model over HTTP with gunicorn.

    The same as `gunicorn wsgi:app` in a checkout, from any directory. Everything is set by MINIVAULT_* variables: see
    `minivault config`. Ctrl-C or SIGTERM stops it after running answers have ended.
    """
    settings = current_settings()
    root = Path(minivault.__file__).resolve().parent.parent
    what = ["--config", "python:minivault.worker.configuration", "minivault.app:create_app()"]
    if check:  # gunicorn looks for the application before it reads its --pythonpath
        options = ["-c", CHECK, str(root), "--check-config", *what]
    else:
        _ensure_free(settings.bind)
        options = ["-m", "gunicorn", "--pythonpath", str(root), *what]
    os.execv(sys.executable, [sys.executable, *options])


def _ensure_free(bind: str) -> None:
    """Say at once what gunicorn would say after five tries."""
    if bind.startswith("unix:"):
        return
    host, _, port = bind.rpartition(":")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return  # gunicorn knows more about addresses
            message = f"another program has {bind}: set MINIVAULT_BIND to another, like {host}:{int(port) + 1}"
            raise ConfigError(message, field="MINIVAULT_BIND") from None
