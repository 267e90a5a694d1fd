"""One interaction on its way into the vault: what it opens with, what it closes with, and the two waits between.

`Opening` and `Closing` are everything a record says; how they become its fields is here and nowhere else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from minivault.errors import TooLarge, VaultError, VaultUnavailable
from minivault.moment import rfc3339
from minivault.vault.journal import Journal
from minivault.vault.proof.receipt import Receipt
from minivault.vault.record import Draft, Place, canonical, compact, draft
from minivault.vault.writer import Work, Writer
from minivault.watermark import num_marked

Status = Literal["completed", "cancelled", "failed", "interrupted"]
MAX_OPENING = 48 << 20
"""The rest of the 64 MiB that a verifier holds of one line is for the answer."""
_CONTENT = ("request", "rendered_prompt", "prompt_tokens")
_WHERE_GIVEN = ("trace_id", "batch", "noted")


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known before the first token. `parameters` are the effective ones, seed included."""

    id: str
    time_ns: int
    api: str
    stream: bool
    model: str
    fingerprint: str
    parameters: Mapping[str, Any]
    prompt: str
    request: str = ""
    rendered_prompt: str = ""
    prompt_tokens: tuple[int, ...] = ()
    client: str = ""
    user_agent: str = ""
    key: str | None = None
    answerer: str = "model"
    """Who answered; the record's `source`."""
    control_text: bool = False
    """People wrote text that spells control tokens of the model; it was read as plain text."""
    noted: tuple[str, ...] = ()
    """Fields of the request that bind nobody."""
    trace_id: str = ""
    """The client's own trace that the request belongs to."""
    batch: Mapping[str, Any] | None = None
    """Which line of which batch it is, where it is one."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What is known at the end, however it came. `error` is {"code", "message"} or None."""

    status: Status
    finish_reason: str | None
    response: str
    completion_tokens: tuple[int, ...] = ()
    usage: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, str] | None = None
    scores: str | None = None
    """A digest of the prompt's log-probabilities, where they were given."""
    reasoning: str = ""
    """What the model thought first; no part of `response`."""
    upstream: Mapping[str, Any] | None = None
    """What an engine elsewhere said of the answer, where one gave it."""


def interaction(opening: Mapping[str, Any], closing: Mapping[str, Any]) -> Draft:
    """The record of an interaction, in the order of its line, from the two halves as dictionaries."""
    content = {
        "prompt": opening["prompt"],
        "response": closing["response"],
        **({"reasoning": closing["reasoning"]} if closing.get("reasoning") else {}),
        "status": closing["status"],
        "finish_reason": closing["finish_reason"],
        "model": opening["model"],
        "source": opening["source"],
        "api": opening["api"],
        "stream": opening["stream"],
        "key": opening["key"],
        "usage": closing["usage"],
        "timings": closing["timings"],
        "error": closing["error"],
        "seed": opening["parameters"].get("seed"),
        "parameters": opening["parameters"],
        "fingerprint": opening["fingerprint"],
        **({"control_text": True} if opening.get("control_text") else {}),
        **{key: value for key, value in closing.items() if key in ("sent", "reconstructed")},
        **{key: opening[key] for key in _CONTENT},
        "completion_tokens": closing["completion_tokens"],
        **({"scores": closing["scores"]} if closing.get("scores") else {}),
        **({"upstream": dict(closing["upstream"])} if closing.get("upstream") else {}),
        **_marked(opening, closing),
        "client": opening["client"],
        "user_agent": opening["user_agent"],
        **{key: opening[key] for key in _WHERE_GIVEN if opening.get(key)},
    }
    return draft("interaction", opening["time_ns"], opening["boot"], content, id_=opening["id"])


def _marked(opening: Mapping[str, Any], closing: Mapping[str, Any]) -> dict[str, Any]:
    """By which mark an answer's tokens were drawn, and how many of them; null where the tokens are not known. The
    likeliest token (temperature 0) is taken and not drawn."""
    name = opening["parameters"].get("watermark")
    if name is None or opening["source"] != "model":
        return {}
    scheme, _, key = name.partition(":")
    num: int | None = num_marked(closing["completion_tokens"]) if opening["parameters"]["temperature"] > 0 else 0
    if closing.get("reconstructed") is False:
        num = None
    return {"watermark": {"scheme": scheme, "key": key, "num_marked": num}}


class Entry:
    """An accepted interaction. Belongs to one request; its methods may block, none but `finish` must be called."""

    def __init__(
        self,
        opening: Mapping[str, Any],
        opened: Future[Place],
        writer: Writer,
        journal: Journal,
        sign: Callable[[Mapping[str, Any]], Receipt | None],
    ) -> None:
        self.id: str = opening["id"]
        self._opening = opening
        self._opened = opened
        self._writer = writer
        self._sign = sign
        self.progress: Callable[..., None] = partial(journal.mark, self.id)
        """Note the totals (tokens, bytes) of what has been sent, just before sending, and, of an answer that cannot be
        computed again, its next piece (text, thoughts). Cheap; survives a kill, not a power cut."""
        self._once = threading.Lock()
        self._record: Draft | None = None
        self._closed: Future[Place] | None = None

    def wait(self) -> None:
        """Block until the request is recorded durably; before that no byte of an answer may leave.

        Raises VaultUnavailable: then the interaction has not begun and there will be no record of it.
        """
        self._opened.result()

    def finish(self, closing: Closing) -> Place:
        """Block until the record is durable; only then may the final line leave. A second call repeats the first.

        Raises VaultUnavailable: the record is then owed and is written when the vault recovers.
        """
        self._opened.result()
        with self._once:
            if self._closed is None:
                self._record = self._draft(closing)
                self._closed = self._writer.submit(Work(self.id, draft=self._record))
        return self._closed.result()

    def receipt(self) -> Receipt | None:
        """What the client may keep of the finished record; None where its place is not known yet (`async`)."""
        place = self._closed.result() if self._closed is not None else None
        if self._record is None or place is None or not place.seq:
            return None
        return self._sign({**self._record.fields, "seq": place.seq, "hash": place.hash, "prev": place.prev})

    def _draft(self, closing: Closing) -> Draft:
        """The record; one that JSON cannot hold leaves the entry open, to be recovered as interrupted."""
        try:
            return interaction(self._opening, by_name(closing))
        except VaultError as error:
            raise VaultUnavailable(error.message) from None


def by_name(half: Opening | Closing) -> dict[str, Any]:
    """Its fields, named as the journal and the record name them; not copied: `asdict` copies every token."""
    named = {name: getattr(half, name) for name in half.__slots__}
    if isinstance(half, Opening):
        named["source"] = named.pop("answerer")
    return named


def encode_opening(opening: Mapping[str, Any]) -> bytes:
    """An opening as its journal line holds it. Raises VaultError where no record could be made of it, TooLarge.

    Everything that JSON cannot hold shows in the encoding; that its keys can be sorted, as a hash needs, only in that
    of `parameters`, the one nested object.
    """
    id_ = opening["id"]
    if not id_ or len(id_) > 128 or not id_.isascii() or not id_.isprintable():
        raise VaultError(f"{id_!r} is not a record id")
    try:
        rfc3339(opening["time_ns"])
        canonical(opening["parameters"])
        line = compact(opening)
    except (TypeError, ValueError) as error:
        raise VaultError(f"an interaction record cannot be written as JSON: {error}") from None
    if len(line) > MAX_OPENING:
        raise TooLarge(
            f"its record would take {len(line) >> 20} MiB and may take {MAX_OPENING >> 20}; send less at once"
        )
    return line
