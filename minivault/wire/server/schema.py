"""Replies of what belongs to no dialect: how the server is, and the vault for those who audit it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from minivault.wire.schema import Count, Shape, Time


class Health(BaseModel):
    """Facts about this server, for people."""

    model_config = ConfigDict(extra="allow")

    status: str = Field(description="`ok`, or what stands in the way of an answer")
    reason: str
    model: str
    version: str


class Point(Shape):
    """What all workers did in a step of the last hour. Null where nothing was counted."""

    time_s: float
    workers: Count
    requests_per_s: float
    refused_per_s: float
    tokens_per_s: float
    running: Count = Field(description="the most at once, which is the size of a batch")
    waiting: Count
    resident_bytes: Count
    cache_hit_ratio: float | None
    cache_used_ratio: float | None
    total_p50_s: float | None
    total_p95_s: float | None
    first_token_p50_s: float | None
    first_token_p95_s: float | None


class Limit(Shape):
    """Where the caller stands in one limit."""

    unit: str
    limit: Count
    remaining: Count
    window_s: Count
    reset_at: float
    is_exceeded: bool


class Status(Shape):
    """The last hour, and the caller's limits."""

    step_s: Count
    points: list[Point]
    max_running: Count
    workers: Count
    limits: list[Limit]


class Record(BaseModel):
    """A record, with its members in the order of the log."""

    model_config = ConfigDict(extra="allow")

    type: str
    seq: Count
    id: str = ""
    timestamp: Time
    hash: str


class Exported(BaseModel):
    """A line of an excerpt: its beginning, records, what proves them, and its signed end."""

    model_config = ConfigDict(extra="allow")

    type: str


class Alive(Shape):
    """Nothing was written for a while."""

    alive: Literal[True]


class Report(BaseModel):
    """What the verifier says of the whole log."""

    model_config = ConfigDict(extra="allow")

    verdict: str
    exit_code: Count
    seq: Count
    hash: str
    findings: list[dict[str, Any]]


class Verified(Shape):
    """What it said last."""

    verdict: str
    exit_code: Count
    seq: Count
    hash: str
    first_bad_seq: int | None
    num_records: Count
    at: Time


class Signed(Shape):
    """The last signed head."""

    seq: Count
    hash: str
    timestamp: Time


class Light(Shape):
    """Where the chain stands; null where it was never verified or signed."""

    seq: Count
    head: str
    verified: Verified | None
    checkpoint: Signed | None


class Event(Shape):
    type: str
    seq: Count
    time_ns: Count


class Timeline(Shape):
    """Records by kind in equal spans of time, and those that stand out."""

    since_ns: Count
    until_ns: Count
    counts: list[dict[str, Count]]
    events: list[Event]


class Checked(Shape):
    """`in place`, `redacted` or `changed`; of a changed record there is no more to say than the reason."""

    verdict: Literal["in place", "redacted", "changed"]
    reason: str = ""
    id: str = ""
    seq: Count = 0
    hash: str = ""
    timestamp: str = ""


class Replayed(Shape):
    """Whether a record came out the same, or where it did not."""

    id: str
    seq: Count
    outcome: Literal["identical", "different", "not comparable"]
    reason: str
    num_tokens: Count
    has_scores: bool
    position: int | None
    recorded: float | None
    replayed: float | None
    unit: str


class Preview(Shape):
    """The members that a redaction would erase, those of `part` alone, those that stay, and why it would be refused."""

    id: str
    seq: Count
    erased: list[str]
    part: list[str]
    kept: list[str]
    refused: str | None


class Place(Shape):
    seq: Count
    hash: str


class Redacted(Shape):
    """Where the record of a redaction stands."""

    redaction: Place


class HeldPlace(Place):
    records: Count | None = Field(None, description="of a hold that was set: how many records it covers now")


class Held(Shape):
    """Where the record of a hold, or of its end, stands."""

    hold: HeldPlace


class Hold(Shape):
    """What a hold is called, the record that says so, and what it covers."""

    name: str
    seq: Count
    id: str
    at: Time
    by: str
    reason: str
    filter: dict[str, Any]


class Holds(Shape):
    holds: list[Hold]


class Difference(Shape):
    given: str
    recorded: str


class SaidMatch(Shape):
    """A record that says it, or nearly. Words are counted from 1; `text` is the record's own."""

    seq: Count
    id: str
    timestamp: Time
    model: str
    key: str | None
    api: str
    field: Literal["response", "reasoning"]
    text: str
    first_word: Count
    last_word: Count
    num_words: Count
    num_agreeing: Count
    share: float
    is_whole: bool = Field(description="it is all that the field says")
    differences: list[Difference]


class SaidReach(Shape):
    """What was looked through."""

    first_seq: Count
    last_seq: Count
    since: str
    num_answers: Count
    num_gone: Count = Field(description="answers that were redacted, whole or in part")


class Said(Shape):
    """Whether a text was said."""

    verdict: Literal["found", "nearly", "not found"]
    num_words: Count
    matches: list[SaidMatch]
    num_more: Count = Field(description="records that may say it, too, and were not looked at")
    is_part_sought: bool = Field(description="also as a part of an answer, for which a text needs 8 words")
    reach: SaidReach


class Detected(Shape):
    """How conspicuous a text is. Of texts that have nothing to do with the key, a part `p_value` is as conspicuous."""

    model: str
    scheme: str
    key: str
    num_tokens: Count
    num_counted: Count = Field(description="tokens behind four others that follow each other for the first time")
    score: float = Field(description="not far above `num_counted` where there is no mark")
    lane: int | None = Field(description="of the key's streams, the one that the text looks most like")
    p_value: float
    log10_p: float
