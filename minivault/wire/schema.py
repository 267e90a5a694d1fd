"""What the published models of all dialects' replies are made of. They describe replies and make none."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Nanoseconds = Annotated[int, Field(ge=0)]
Logprob = Annotated[float, Field(le=0)]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$", description="RFC 3339, UTC")]


class Shape(BaseModel):
    """Exactly these members; those with a default may be left out."""

    model_config = ConfigDict(extra="forbid")


class TopLogprob(Shape):
    token: str
    logprob: Logprob
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """One token of the answer; the layout of both chat dialects."""

    top_logprobs: list[TopLogprob]
