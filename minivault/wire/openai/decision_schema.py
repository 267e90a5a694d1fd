"""Replies of `/v1/decisions` and `/v1/systemone`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from minivault.wire.openai.schema import CompletionDetails
from minivault.wire.schema import Count, ReceiptedAll, Shape

Probability = Annotated[float, Field(ge=0, le=1)]


class PredicateAnswer(Shape):
    type: Literal["predicate"]
    name: str | None
    probability: Probability


class ChoiceProbability(Shape):
    value: str | bool
    probability: Probability


class ChoiceAnswer(Shape):
    type: Literal["choice"]
    name: str | None
    choice: str | bool
    confidence: Probability
    probabilities: list[ChoiceProbability]


class LevelProbability(Shape):
    label: str
    value: Count
    probability: Probability


class ScoreAnswer(Shape):
    """`score` is the expected level; the first is 0."""

    type: Literal["score"]
    name: str | None
    score: float
    confidence: Probability
    probabilities: list[LevelProbability]


class InputDetails(Shape):
    cache_write_tokens: Count
    cached_tokens: Count


class DecisionUsage(Shape):
    input_tokens: Count
    input_tokens_details: InputDetails
    output_tokens: Count
    output_tokens_details: CompletionDetails
    total_tokens: Count


class Decision(ReceiptedAll):
    model: str
    answers: list[PredicateAnswer | ChoiceAnswer | ScoreAnswer]
    usage: DecisionUsage


class NoulAnswer(Shape):
    type: Literal["noul"]
    noul: Probability


class KeyedChoiceAnswer(Shape):
    type: Literal["choice"]
    choice: str
    probabilities: dict[str, Probability]
    confidence: Probability


class KeyedScoreAnswer(Shape):
    """`score` is the expected level; the first is 0."""

    type: Literal["score"]
    score: float
    legend: dict[str, str]
    probabilities: dict[str, Probability]
    confidence: Probability


class SystemOneUsage(Shape):
    input_tokens: Count
    output_tokens: Count


class SystemOne(ReceiptedAll):
    model: str
    answers: dict[str, NoulAnswer | KeyedChoiceAnswer | KeyedScoreAnswer]
    usage: SystemOneUsage
