"""What the published models of all dialects' replies are made of. They describe replies and make none."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Nanoseconds = Annotated[int, Field(ge=0)]
Logprob = Annotated[float, Field(le=0)]
Digest = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$", description="RFC 3339, UTC")]


class Shape(BaseModel):
    """Exactly these members; those with a default may be left out."""

    model_config = ConfigDict(extra="forbid")


class Receipt(Shape):
    """The vault's signature over one record's place, hash and commitment; the salts are beside what is signed."""

    type: Literal["receipt"]
    v: Literal[2]
    vault: str
    seq: Count
    id: str
    timestamp: Time
    hash: Digest
    prev: Digest
    content_sha256: Digest
    reasoning_sha256: Digest | None = None
    key: str
    signature: str
    salt: str = ""
    reasoning_salt: str = ""


class Receipted(Shape):
    """The object that ends an answer."""

    receipt: Receipt | None = Field(None, description="what to keep of the record: `minivault receipt verify` reads it")


class ReceiptedAll(Receipted):
    """A whole reply of one or several records."""

    receipts: list[Receipt] = Field([], description="instead of `receipt` where there are several records, in order")


class TopLogprob(Shape):
    token: str
    logprob: Logprob
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """One token of the answer; the layout of both chat dialects."""

    top_logprobs: list[TopLogprob]
