"""What an engine elsewhere is not asked for: all that needs a model's own numbers."""

# ruff: noqa: ARG002 - the arguments are the protocol's

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from minivault.errors import Unsupported
from minivault.service.engine_loop import Generation
from minivault.types import GenerateTask, GenerationRequest, Measurement, MeasureTask, Question


class GeneratesOnly:
    """The methods of a `Model` that raise Unsupported."""

    def prepare_decision(self, state: GenerationRequest, question: Question, num_orders: int) -> MeasureTask:
        _refuse("decisions are measured only by a model that runs here")

    def prepare_relevance(self, query: str, document: str) -> MeasureTask:
        _refuse("relevance is measured only by a model that runs here")

    def measure(self, measurement: Measurement, job_id: str, deadline_ns: int | None = None) -> Generation:
        _refuse("log-probabilities are measured only by a model that runs here")

    def judge(self, task: GenerateTask, answer: Sequence[int], job_id: str) -> Generation:
        _refuse("answers are judged only by a model that runs here, whose logits are known")


def _refuse(why: str, field: str | None = None) -> NoReturn:
    raise Unsupported(f"an engine elsewhere answers for this model: {why}", field=field)
