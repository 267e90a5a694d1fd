"""`serve`: the server, started the way the project means it to be."""

from __future__ import annotations

import os
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

    The same as `gunicorn wsgi:app` in the project's directory. Everything is set by MINIVAULT_* variables: see
    `minivault config`. Ctrl-C or SIGTERM stops it after running answers have ended.
    """
    current_settings()
    root = Path(minivault.__file__).resolve().parent.parent
    configuration = root / "gunicorn.conf.py"
    if not configuration.is_file():
        raise ConfigError(f"{configuration} is missing: `serve` needs a checkout of the project")
    options = ["--config", str(configuration), "wsgi:app"]
    if check:  # gunicorn looks for the application before it reads its --pythonpath
        options = ["-c", CHECK, str(root), "--check-config", *options]
    else:
        options = ["-m", "gunicorn", "--pythonpath", str(root), *options]
    os.execv(sys.executable, [sys.executable, *options])
