"""`POST /v1/systemone`: the same decisions in the shape that Ollama, llama-server and TypeSafe's clients speak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from minivault.types import GenerationRequest, Measured, Option, Question
from minivault.wire import decision
from minivault.wire.openai.fields import Strict

Content = str | dict[str, Any] | list[Any]


class _Asked(Strict):
    instructions: Content

    def question(self, field: str) -> Question:
        """The question for the model. Raises BadRequest naming the member that is empty."""
        asked = decision.ensure_told(decision.as_text(self.instructions), f"{field}.instructions")
        options = self._options()
        for option in options:
            decision.ensure_told(option.name, f"{field}.criteria")
        return Question(asked, options)

    def _options(self) -> tuple[Option, ...]:
        raise NotImplementedError


class NoulSides(Strict):
    """What it means that a statement holds, and that it does not."""

    true: Content = ""
    false: Content = ""


class NoulQuestion(_Asked):
    """Whether something holds."""

    type: Literal["noul"]
    criteria: NoulSides = Field(default_factory=NoulSides)

    def _options(self) -> tuple[Option, ...]:
        sides = self.criteria
        return (
            Option(decision.YES, decision.as_text(sides.true)),
            Option(decision.NO, decision.as_text(sides.false)),
        )

    def answer(self, probabilities: Sequence[float]) -> dict[str, Any]:
        return {"type": self.type, "noul": probabilities[0]}


class KeyedChoiceQuestion(_Asked):
    """Which of several."""

    type: Literal["choice"]
    criteria: dict[str, Content | None] = Field(
        min_length=2, max_length=decision.MAX_CHOICES, description="what to choose from → what it means, or null"
    )

    def _options(self) -> tuple[Option, ...]:
        return tuple(Option(name, decision.as_text(about or "")) for name, about in self.criteria.items())

    def answer(self, probabilities: Sequence[float]) -> dict[str, Any]:
        names = list(self.criteria)
        return {
            "type": self.type,
            "choice": names[decision.likeliest(probabilities)],
            "probabilities": dict(zip(names, probabilities, strict=True)),
            "confidence": decision.confidence(probabilities),
        }


class KeyedScoreQuestion(_Asked):
    """How much, on a scale of described levels."""

    type: Literal["score"]
    criteria: list[Content] = Field(
        min_length=2, max_length=decision.MAX_LEVELS, description="the levels, from the lowest to the highest"
    )

    def _options(self) -> tuple[Option, ...]:
        return tuple(Option(decision.as_text(level)) for level in self.criteria)

    def answer(self, probabilities: Sequence[float]) -> dict[str, Any]:
        return {
            "type": self.type,
            "score": decision.expected(probabilities),
            "legend": {str(index): decision.as_text(level) for index, level in enumerate(self.criteria)},
            "probabilities": {str(index): p for index, p in enumerate(probabilities)},
            "confidence": decision.confidence(probabilities),
        }


class SystemOneBody(Strict):
    """The body of `/v1/systemone`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "smollm2-135m",
                    "state": "Great product, I love it!",
                    "questions": {"happy": {"type": "noul", "instructions": "Is the customer happy?"}},
                }
            ]
        }
    )

    model: str
    state: Content
    questions: dict[
        str, Annotated[NoulQuestion | KeyedChoiceQuestion | KeyedScoreQuestion, Field(discriminator="type")]
    ] = Field(min_length=1, max_length=decision.MAX_QUESTIONS)
    permutations: int = Field(1, ge=1, le=decision.MAX_ORDERS, description="our own, as in /v1/decisions")
    keep_alive: float | str | None = Field(None, description="no effect: MINIVAULT_KEEP_ALIVE_S says it")

    def request(self) -> GenerationRequest:
        """What the questions are about."""
        return GenerationRequest(prompt=decision.ensure_told(decision.as_text(self.state), "state"))

    def asked(self) -> list[Question]:
        """The questions, in order. Raises BadRequest for what cannot be asked."""
        decision.ensure_few(len(self.questions), self.permutations)
        return [question.question(f"questions.{name}") for name, question in self.questions.items()]


def encode_systemone(body: SystemOneBody, found: Sequence[Measured]) -> dict[str, Any]:
    """The reply: an answer for each question, under its name."""
    pairs = zip(body.questions.items(), found, strict=True)
    answers = {name: question.answer(one.probabilities) for (name, question), one in pairs}
    usage = {"input_tokens": sum(one.usage.prompt_tokens for one in found), "output_tokens": 0}
    return {"model": body.model, "answers": answers, "usage": usage}
