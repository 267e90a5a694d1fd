"""Bodies of routes that belong to no dialect."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import StringConstraints

from minivault.wire.fields import Foreign
from minivault.wire.validation import Body

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
"""Why something is done, as the vault keeps it."""


class ServerBody(Body):
    """No client of another server sends it, and some of it cannot be undone: a field that is not known is refused."""

    foreign: ClassVar[Foreign] = {}
    is_strict: ClassVar[bool] = True
