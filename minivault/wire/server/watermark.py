"""`POST /watermark/detect`: the text or the tokens that a mark is looked for in."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from minivault.wire.server.body import ServerBody

MAX_LENGTH = 100_000


class DetectBody(ServerBody):
    """A text, or its tokens."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"text": "Once upon a time there was a fox."}, {"tokens": [1, 2]}]}
    )

    model: str | None = Field(None, min_length=1, description="whose tokenizer reads it; the default model when absent")
    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_LENGTH)] | None = Field(
        None, description="what may have been an answer, or a part of one"
    )
    tokens: Annotated[list[int], Field(min_length=1, max_length=MAX_LENGTH)] | None = Field(
        None, description="its ids where they are known, such as a record's `completion_tokens`, instead of `text`"
    )

    @model_validator(mode="after")
    def _one_input(self) -> DetectBody:
        if (self.text is None) == (self.tokens is None):
            raise ValueError("send either text or tokens")
        return self
