"""Who may look into the vault over HTTP, and as whom the vault notes it.

Whoever may reach a server that needs no key may not therefore read what others asked. Readers are named: by a key of
the role `audit` or `admin` or, while there is no key, by running as the user that the server runs as, whose files these
are. Whoever asked for an answer may have it checked and run again without that, which shows nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import current_app, g, request

from minivault.access.peer import is_same_user
from minivault.api.streaming import recorder
from minivault.config import Settings
from minivault.errors import Forbidden, NotFound
from minivault.vault.archive import Archive
from minivault.vault.index import look_up
from minivault.vault.readable import current_user

AUDITORS = frozenset({"audit", "admin"})


def settings() -> Settings:
    found: Settings = current_app.config["MINIVAULT"]
    return found


@contextmanager
def archive() -> Iterator[Archive]:
    """The vault in the name of whoever asks. Raises Forbidden for nobody in particular, VaultUnavailable."""
    by = _named()
    recorder().vault_status()  # raises VaultUnavailable where there is none to read
    of = settings()
    size, keep_days = of.vault_segment_mb << 20, of.vault_keep_days
    with Archive(of.log_dir, by=by, segment_bytes=size, node=of.node, keep_days=keep_days) as opened:
        yield opened


def ensure_named() -> None:
    """Raise Forbidden unless the caller is one whose name can be noted."""
    _named()
    recorder().vault_status()


def own_record(id_or_seq: str) -> dict[str, Any]:
    """A record for an auditor, by id or seq, or for whoever asked for it, by id. Raises NotFound, VaultError."""
    recorder().vault_status()
    if g.caller.key_id is not None and g.caller.role in AUDITORS:
        with archive() as opened:
            return opened.show(id_or_seq)
    record = look_up(settings().log_dir, id_or_seq)
    if record is None or record.get("key") != g.caller.key_id or record["type"] != "interaction":
        raise NotFound(f"there is no record {id_or_seq} of yours")
    return record


def _named() -> str:
    if g.caller.key_id is not None:
        return f"key {g.caller.key_id} from {g.caller.client}"
    if _is_ours():
        return f"{current_user()} from {g.caller.client}, without a key"
    raise Forbidden(
        "the vault is read with a key, or by the user that runs the server: "
        "`minivault keys create NAME --role audit` makes one"
    )


def _is_ours() -> bool:
    socket = request.environ.get("gunicorn.socket")
    port = request.environ.get("REMOTE_PORT")
    if socket is None or not g.caller.client or not port:
        return False
    return is_same_user((g.caller.client, int(port)), socket.getsockname()[:2])
