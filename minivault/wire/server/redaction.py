"""`POST /vault/records/ID/redaction`: what is to be erased, and why."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from minivault.wire.server.body import Reason, ServerBody


class RedactionBody(ServerBody):
    """A reason, which stays in the vault, and the part, where not all is meant."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"reason": "asked to be forgotten"}]})

    reason: Reason
    part: Literal["reasoning"] | None = Field(None, description="what the model thought; everything where left out")
