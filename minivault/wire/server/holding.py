"""`POST /vault/holds` and `/vault/holds/NAME/release`: what a hold is called, and why it is set or lifted."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, StringConstraints

from minivault.wire.fields import Foreign
from minivault.wire.validation import Body

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class ReleaseBody(Body):
    """A reason, which stays in the vault."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"reason": "closed"}]})

    foreign: ClassVar[Foreign] = {}

    reason: Reason


class HoldBody(Body):
    """A name and a reason, which stay in the vault; what is held is said by the query."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"name": "case-12", "reason": "litigation", "all": True}]}
    )

    foreign: ClassVar[Foreign] = {}

    name: str
    reason: Reason
    all: bool = Field(False, description="hold everything, where the query names nothing")
