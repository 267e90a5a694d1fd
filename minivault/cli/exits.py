"""How a command ends: one mapping from errors to exit codes, and one line on stderr.

Scripts rely on the codes, so they are part of the help text. Nothing else in the command line turns an exception into
an exit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from minivault.cli.show.terminal import fail, note
from minivault.errors import (
    ConfigError,
    LoadFailed,
    MiniVaultError,
    ModelError,
    ModelNotFound,
    Unauthorized,
    Unavailable,
    Unreachable,
    VaultError,
    VaultUnavailable,
)

OK = 0
FAILED = 1
USAGE = 2
UNAVAILABLE = 3
REFUSED = 4
VAULT = 5
INTERRUPTED = 130
READER_CLOSED = 141

EXIT_CODES = {
    OK: "done; the answer is whole",
    FAILED: "the generation failed or was cut, or anything not listed here",
    USAGE: "wrong usage, or a MINIVAULT_* setting that does not fit",
    UNAVAILABLE: "no server answers, or it is loading, overloaded or stopping",
    REFUSED: "the request was refused: bad value, key, quota or model name",
    VAULT: "the answer could not be recorded, or the vault is unusable",
    INTERRUPTED: "stopped by Ctrl-C",
    READER_CLOSED: "the reader of stdout went away",
}
EXIT_CODES_HELP = "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())


_NEXT_STEPS: tuple[tuple[type[MiniVaultError], str], ...] = (
    (Unauthorized, "Put a key into MINIVAULT_API_KEY; `minivault keys create NAME` makes one where the server runs."),
    (ModelNotFound, "`minivault health` names the model that is served."),
    (ModelError, "`minivault models list` shows what is here; `minivault models pull NAME` fetches and repairs."),
    (Unreachable, "`minivault serve` starts a server, --url or MINIVAULT_URL names another, --wait 60 waits for it."),
    (LoadFailed, "The server's own log says why; `minivault doctor` looks for what is missing."),
    (VaultUnavailable, "`minivault doctor` looks at the vault and its disk."),
    (VaultError, "MINIVAULT_LOG_DIR names the vault."),
    (Unavailable, "--wait 60 keeps trying for a minute."),
)
"""What to do about an error; the first class that fits counts. Other messages say it themselves."""


def next_step(error: MiniVaultError) -> str:
    """What to do about an error, for a person; nothing where its message is all there is to say."""
    if "minivault " in error.message or "--" in error.message:
        return ""
    return next((step for kind, step in _NEXT_STEPS if isinstance(error, kind)), "")


def exit_code(error: MiniVaultError) -> int:
    """The exit code of an error of our tree."""
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, (VaultUnavailable, VaultError)):
        return VAULT
    if isinstance(error, (Unavailable, Unreachable)) and not isinstance(error, LoadFailed):
        return UNAVAILABLE
    return REFUSED if 400 <= error.status < 500 else FAILED


@contextmanager
def exits_with_code() -> Iterator[None]:
    """End the command with the documented code when its body raises; usage errors stay click's own."""
    try:
        yield
        sys.stdout.flush()
    except MiniVaultError as error:
        fail(error.message)
        if sys.stderr.isatty() and (step := next_step(error)):
            note(step)
        raise click.exceptions.Exit(exit_code(error)) from None
    except KeyboardInterrupt:
        click.echo("", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        _discard_stdout()
        raise click.exceptions.Exit(READER_CLOSED) from None
    except OSError as error:
        _discard_stdout()
        place = f" ({error.filename})" if error.filename else ""
        fail((error.strerror or str(error)) + place)
        raise click.exceptions.Exit(FAILED) from None


def _discard_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush has nowhere to fail."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
