"""What both shapes of decisions tell of a question's options and their probabilities."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any

from minivault.errors import BadRequest

MAX_QUESTIONS = 400
MAX_CHOICES = 255
MAX_LEVELS = 10
MAX_ORDERS = 16
YES, NO = "True", "False"
"""The options of a statement that may hold or not; small models tell these apart best."""
_EXACT = Context(prec=30)


def confidence(probabilities: Sequence[float]) -> float:
    """1 - entropy / log(number of options): 1 where one option has it all, 0 where all are equal."""
    entropy = -math.fsum(p * _log(p) for p in probabilities if p > 0)
    return min(max(1 - entropy / _log(len(probabilities)), 0.0), 1.0)


def expected(probabilities: Sequence[float]) -> float:
    """The mean level; the first is 0."""
    return math.fsum(level * p for level, p in enumerate(probabilities))


def likeliest(probabilities: Sequence[float]) -> int:
    """The first of the most probable options."""
    return max(range(len(probabilities)), key=lambda index: probabilities[index])


def as_text(value: str | dict[str, Any] | list[Any]) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def ensure_told(text: str, field: str) -> str:
    """The text, if it says something. Raises BadRequest naming the field."""
    if not text.strip():
        raise BadRequest(f"{field}: must not be empty", field=field)
    return text


def ensure_different(values: Sequence[Any], field: str) -> None:
    """Raises BadRequest where one is given twice."""
    if len(set(values)) < len(values):
        raise BadRequest(f"{field}: each must be different from the others", field=field)


def ensure_few(num_questions: int, num_orders: int) -> None:
    """Raises BadRequest where a request asks for more measurements than one may."""
    if num_questions * num_orders > MAX_QUESTIONS:
        message = f"{num_questions} questions in {num_orders} orders are more than {MAX_QUESTIONS} measurements"
        raise BadRequest(f"permutations: {message}; ask fewer questions at once", field="permutations")


def _log(x: float) -> float:
    return float(Decimal(x).ln(_EXACT))
