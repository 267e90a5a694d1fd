"""Requests that the server makes itself, for somebody who has asked for them before.

Such a request stands in the WSGI environment under a name that no header can have. It is let in as its owner would be
now: by the key's id instead of its secret, which nobody keeps, within the key's role and limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ON_BEHALF = "minivault.on_behalf"
"""Where a request's environment holds its `Behalf`."""


@dataclass(frozen=True, slots=True)
class Behalf:
    """Whose request it is: the key's id (None where none was needed) and the address of who asked. `batch` says in the
    record which line of which batch it is."""

    key_id: str | None
    client: str
    batch: Mapping[str, Any]
