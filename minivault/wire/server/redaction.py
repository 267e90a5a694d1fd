"""`POST /vault/records/ID/redaction`: what is to be erased, and why."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from minivault.wire.fields import Foreign
from minivault.wire.validation import Body


class RedactionBody(Body):
    """A reason, which stays in the vault, and the part, where not all is meant."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"reason": "asked to be forgotten"}]})

    foreign: ClassVar[Foreign] = {}

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
    part: Literal["reasoning"] | None = Field(None, description="what the model thought; everything where left out")
