"""`POST /said`: the text that is asked about."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from minivault.wire.server.body import ServerBody


class SaidBody(ServerBody):
    """A text: an answer, or a part of one."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"text": "The capital of France is, of course, Paris."}]}
    )

    text: Annotated[str, StringConstraints(min_length=1)] = Field(
        description="up to 100000 characters; one of fewer than 8 words is found only where it is all that was said"
    )
