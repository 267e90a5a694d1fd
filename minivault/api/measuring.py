"""Decisions and rerankings for all dialects: one record each, one after the other, within the caller's limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from flask import Response, g

from minivault.access.caller import charge_tokens, generation_permit
from minivault.api.body import decoded
from minivault.api.disconnect import client_watch
from minivault.api.streaming import json_reply, model_called, recorder
from minivault.errors import BadRequest, Unavailable, Unsupported
from minivault.interaction import Measuring, Origin, next_id
from minivault.service import Model
from minivault.types import GenerationRequest, Measured, MeasureTask, Question
from minivault.wire.rerank import RerankBody, encode_reranked

MAX_TOKENS = 4_000_000
"""Of all prompts of one request, which are in memory together."""


def decide(
    model: Model,
    state: GenerationRequest,
    questions: Sequence[Question],
    num_orders: int,
    source: Origin,
    field: str,
) -> list[Measured]:
    """Decide questions about a state, which the request has in `field`. Refuses all where one cannot be asked."""

    if state.messages is not None and not model.info.has_chat:
        raise Unsupported(f"{field}: {model.info.name} takes no conversation: send one text", field=field)

    def tasks() -> Iterator[MeasureTask]:
        for question in questions:
            with _field_called(field):
                yield model.prepare_decision(state, question, num_orders)

    return _measure(model, tasks(), source)


def rerank(source: Origin, raw: bytes) -> Response:
    """Documents by how relevant they are to a query. Refuses all where one does not fit."""
    body = decoded(RerankBody, raw)
    model = model_called(body.model)

    def tasks() -> Iterator[MeasureTask]:
        for number, document in enumerate(body.texts()):
            with _field_called(f"documents.{number}"):
                yield model.prepare_relevance(body.query, document)

    found = _measure(model, tasks(), source)
    return json_reply(encode_reranked(body, found, source.id), [one.receipt for one in found])


@contextmanager
def _field_called(field: str) -> Iterator[None]:
    """What cannot be read is refused under the name that it has in the request."""
    try:
        yield
    except BadRequest as error:
        if error.field == "questions":
            raise
        raise type(error)(f"{field}: {error.message}", field=field) from None


def _measure(model: Model, wanted: Iterator[MeasureTask], source: Origin) -> list[Measured]:
    tasks, num_tokens = list[MeasureTask](), 0
    for task in wanted:
        tasks.append(replace(task, part_of=source.id if tasks else ""))
        num_tokens += task.num_tokens
        if num_tokens > MAX_TOKENS:
            raise BadRequest(f"this would read more than {MAX_TOKENS} tokens: ask for less at once")
    origins = [source, *(replace(source, id=next_id(), body="") for _ in tasks[1:])]
    measuring = Measuring(recorder(), model)
    with generation_permit(g.caller), _watched(measuring), _charged(measuring):
        return [measuring.measure(task, origin) for task, origin in zip(tasks, origins, strict=True)]


@contextmanager
def _watched(measuring: Measuring) -> Iterator[None]:
    """Stops when the client goes."""
    watch = client_watch()
    forget = watch(measuring.cancel) if watch is not None else None
    try:
        yield
    finally:
        if forget is not None:
            forget()


@contextmanager
def _charged(measuring: Measuring) -> Iterator[None]:
    """Charges what was read, unless the request ends in a 503: that was not served."""
    try:
        yield
    except Unavailable:
        raise
    except BaseException:
        charge_tokens(g.caller, measuring.num_tokens)
        raise
    charge_tokens(g.caller, measuring.num_tokens)
