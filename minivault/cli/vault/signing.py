"""`signer`: who holds the key that signs the vault."""

from __future__ import annotations

import click

from minivault.cli.options import examples, json_option
from minivault.cli.show.output import print_json, print_table
from minivault.cli.show.terminal import note, one_line
from minivault.cli.vault.group import opened
from minivault.errors import VaultError


@click.command(epilog=examples("vault signer", "vault signer SHA256:jQ8…", "vault signer file"))
@click.argument("key", required=False)
@json_option
def signer(key: str | None, as_json: bool) -> None:
    """Show who signs the vault, or let KEY sign from here on.

    KEY is the fingerprint of an Ed25519 key of the ssh-agent at SSH_AUTH_SOCK, as `ssh-add -l` shows it, or `file` for
    a new key beside the log. The change is recorded and signed by both keys. Keep the new vault.pub elsewhere.
    """
    with opened() as archive:
        place = None if key is None else archive.change_signer(key)
        where, fingerprint = archive.signer()
    if place is not None:
        if as_json:
            print_json({"held_by": where, "fingerprint": fingerprint, "record": place.seq})
        else:
            note(f"From record {place.seq} on {fingerprint} signs ({where}). Keep a copy of vault.pub elsewhere.")
        return
    held, fault = _held()
    if as_json:
        print_json({"held_by": where, "fingerprint": fingerprint, "agent": held, "agent_fault": fault or None})
        return
    signs = {fingerprint: "signs"}
    rows = [(one["fingerprint"], one_line(one["comment"]), signs.get(one["fingerprint"], "")) for one in held]
    if where == "file":
        rows.insert(0, (fingerprint, "vault.key", "signs"))
    elif not any(row[2] for row in rows):
        rows.insert(0, (fingerprint, "not with the agent now", "signs"))
    print_table(("KEY", "WHERE", ""), rows, if_none="")
    if fault:
        note(fault)


def _held() -> tuple[list[dict[str, str]], str]:
    """The keys of the agent, or why there is none."""
    from minivault.vault.proof.agent import identities

    try:
        return [{"fingerprint": one.fingerprint, "comment": one.comment} for one in identities()], ""
    except VaultError as error:
        return [], error.message
