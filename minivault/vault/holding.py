"""Setting and lifting legal holds; what they mean is in `keeping`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from minivault.errors import BadRequest, NotFound
from minivault.vault.keeping import holds_in_force
from minivault.vault.log import Log
from minivault.vault.reader import Filter
from minivault.vault.record import Place
from minivault.vault.rewrite import maintenance

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def set_hold(log: Log, name: str, wanted: Filter, *, by: str, reason: str) -> Place:
    """Record a hold, so that no removal begins without knowing of it. Raises BadRequest, VaultError, OSError."""
    if not _NAME.fullmatch(name):
        raise BadRequest("a hold's name is 1 to 64 letters, digits, dots, dashes and underscores", field="name")
    with maintenance(log.directory, log.disk):
        if any(hold.name == name for hold in holds_in_force(log.directory)):
            raise BadRequest(f"a hold {name!r} is in force; release it first, or take another name", field="name")
        fields = {"by": by, "command": "add", "name": name, "filter": wanted.describe(), "reason": reason}
        return _append(log, fields)


def release_hold(log: Log, name: str, *, by: str, reason: str) -> Place:
    """Record that a hold has ended. Raises NotFound, VaultError, OSError."""
    with maintenance(log.directory, log.disk):
        hold = next((hold for hold in holds_in_force(log.directory) if hold.name == name), None)
        if hold is None:
            raise NotFound(f"no hold {name!r} is in force; `vault hold list` shows which are", field="name")
        target = {"target_id": hold.id, "target_seq": hold.seq}
        return _append(log, {"by": by, "command": "release", **target, "name": name, "reason": reason})


def _append(log: Log, fields: Mapping[str, Any]) -> Place:
    [place] = log.append([log.draft("hold", dict(fields))])
    log.sync()
    return place
