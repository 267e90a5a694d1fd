"""`POST /vault/holds` and `/vault/holds/NAME/release`: what a hold is called, and why it is set or lifted."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from minivault.wire.server.body import Reason, ServerBody


class ReleaseBody(ServerBody):
    """A reason, which stays in the vault."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"reason": "closed"}]})

    reason: Reason


class HoldBody(ServerBody):
    """A name and a reason, which stay in the vault; what is held is said by the query."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"name": "case-12", "reason": "litigation", "all": True}]}
    )

    name: str
    reason: Reason
    all: bool = Field(False, description="hold everything, where the query names nothing")
