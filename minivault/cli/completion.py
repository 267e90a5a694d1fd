"""`completion`: a script that teaches a shell to complete these commands."""

from __future__ import annotations

import sys

import click
from click.shell_completion import get_completion_class

from minivault.cli.options import examples
from minivault.cli.show.terminal import note, write

SHELLS = ("bash", "zsh", "fish")
_WHERE = {
    "bash": "minivault completion bash > ~/.local/share/bash-completion/completions/minivault",
    "zsh": 'minivault completion zsh > "${fpath[1]}/_minivault"',
    "fish": "minivault completion fish > ~/.config/fish/completions/minivault.fish",
}


@click.command(epilog=examples("completion bash > ~/.local/share/bash-completion/completions/minivault"))
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a completion script for SHELL.

    Written to the file that the shell looks for, it counts from the next shell on: for bash
    ~/.local/share/bash-completion/completions/minivault, for zsh _minivault in a folder of $fpath, for fish
    ~/.config/fish/completions/minivault.fish. `source <(minivault completion bash)` tries it out.
    """
    from minivault.cli import minivault

    kind = get_completion_class(shell)
    assert kind is not None
    write(kind(minivault, {}, "minivault", "_MINIVAULT_COMPLETE").source())
    if sys.stdout.isatty():
        note(f"To keep it: {_WHERE[shell]}")
