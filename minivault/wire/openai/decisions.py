"""`POST /v1/decisions`: typed questions about one input, answered with probabilities.

No question is refused by the model: an answer of type `refusal`, which clients know, never comes from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from minivault.errors import BadRequest
from minivault.types import GenerationRequest, Measured, Message, Option, Question
from minivault.wire import decision
from minivault.wire.openai.fields import Strict
from minivault.wire.openai.messages import CalledFunction, ChatMessage, ToolCallPart
from minivault.wire.tool_calls import with_tool_names


class EvidenceText(Strict):
    """Text; no images are read here."""

    type: Literal["input_text", "output_text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = Field(None, description="no effect: every prefix is cached")


class EvidenceJson(Strict):
    """A JSON object, or an array of objects, as text."""

    type: Literal["input_json"]
    data: dict[str, Any] | list[dict[str, Any]]

    @property
    def text(self) -> str:
        return decision.as_text(self.data)


class EvidenceRefusal(Strict):
    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        return self.refusal


Part = Annotated[EvidenceText | EvidenceJson | EvidenceRefusal, Field(discriminator="type")]
Content = str | list[Part]


def joined(content: Content) -> str:
    """The text of a content."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


class DecisionItem(Strict):
    """One item of `input`: a message, a call, or what the called function or tool returned."""

    type: Literal["message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"] = (
        "message"
    )
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Content | None = None
    phase: str | None = None
    id: str | None = None
    status: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: Content | None = None

    def message(self) -> Message:
        """This item as a turn. Raises BadRequest when a member its type needs is missing."""
        if self.type == "message":
            return ChatMessage(role=self._needed("role"), content=joined(self._needed("content"))).message()
        call_id: str = self._needed("call_id")
        if self.type == "function_call":
            function = CalledFunction(name=self._needed("name"), arguments=self._needed("arguments"))
        elif self.type == "custom_tool_call":
            arguments = decision.as_text({"input": self._needed("input")})
            function = CalledFunction(name=self._needed("name"), arguments=arguments)
        else:
            return ChatMessage(role="tool", content=joined(self._needed("output")), tool_call_id=call_id).message()
        return ChatMessage(role="assistant", tool_calls=[ToolCallPart(id=call_id, function=function)]).message()

    def _needed(self, name: str) -> Any:
        value = getattr(self, name)
        if value is None:
            raise BadRequest(f"input: an item of type {self.type} needs {name}", field="input")
        return value


class _Asked(Strict):
    instructions: Content
    name: str | None = None

    def question(self, field: str) -> Question:
        """The question for the model. Raises BadRequest naming the member that is empty or doubled."""
        asked = decision.ensure_told(joined(self.instructions), f"{field}.instructions")
        return Question(asked, self._options(field))

    def _options(self, field: str) -> tuple[Option, ...]:
        raise NotImplementedError


class PredicateQuestion(_Asked):
    """Whether a statement about the input is true."""

    type: Literal["predicate"]

    def _options(self, field: str) -> tuple[Option, ...]:  # noqa: ARG002 - the others name it
        return Option(decision.YES), Option(decision.NO)

    def answer(self, probabilities: Sequence[float]) -> dict[str, Any]:
        return {"type": self.type, "name": self.name, "probability": probabilities[0]}


class DecisionChoice(Strict):
    """A string and a boolean with the same text are different values."""

    value: str | bool
    description: str = ""


class ChoiceQuestion(_Asked):
    """Which of several values fits the input."""

    type: Literal["choice"]
    choices: list[DecisionChoice] = Field(min_length=2, max_length=decision.MAX_CHOICES)

    def _options(self, field: str) -> tuple[Option, ...]:
        decision.ensure_different([(type(choice.value), choice.value) for choice in self.choices], f"{field}.choices")
        return tuple(
            Option(decision.ensure_told(_shown(choice.value), f"{field}.choices.{index}.value"), choice.description)
            for index, choice in enumerate(self.choices)
        )

    def answer(self, probabilities: Sequence[float]) -> dict[str, Any]:
        pairs = zip(self.choices, probabilities, strict=True)
        return {
            "type": self.type,
            "name": self.name,
            "choice": self.choices[decision.likeliest(probabilities)].value,
            "confidence": decision.confidence(probabilities),
            "probabilities": [{"value": choice.value, "probability": p} for choice, p in pairs],
        }


class DecisionLevel(Strict):
    label: str
    description: str = ""


class ScoreQuestion(_Asked):
    """Where the input stands among ordered levels, the lowest first."""

    type: Literal["score"]
    levels: list[DecisionLevel] = Field(min_length=2, max_length=decision.MAX_CHOICES)

    def _options(self, field: str) -> tuple[Option, ...]:
        decision.ensure_different([level.label for level in self.levels], f"{field}.levels")
        return tuple(
            Option(decision.ensure_told(level.label, f"{field}.levels.{index}.label"), level.description)
            for index, level in enumerate(self.levels)
        )

    def answer(self, probabilities: Sequence[float]) -> dict[str, Any]:
        pairs = enumerate(zip(self.levels, probabilities, strict=True))
        return {
            "type": self.type,
            "name": self.name,
            "score": decision.expected(probabilities),
            "confidence": decision.confidence(probabilities),
            "probabilities": [{"label": level.label, "value": value, "probability": p} for value, (level, p) in pairs],
        }


QuestionBody = Annotated[PredicateQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


def _shown(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


class DecisionsBody(Strict):
    """The body of `/v1/decisions`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "smollm2-135m",
                    "input": "Great product, I love it!",
                    "questions": [{"type": "predicate", "name": "happy", "instructions": "The customer is happy."}],
                }
            ]
        }
    )

    model: str
    input: str | list[DecisionItem] = Field(min_length=1)
    questions: list[QuestionBody] = Field(min_length=1, max_length=decision.MAX_QUESTIONS)
    permutations: int = Field(
        1,
        ge=1,
        le=decision.MAX_ORDERS,
        description="our own: in how many orders of its options each question is asked; the probabilities are the mean",
    )
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: str | None = None

    def state(self) -> GenerationRequest:
        """What the questions are about."""
        if isinstance(self.input, str):
            return GenerationRequest(prompt=decision.ensure_told(self.input, "input"))
        return GenerationRequest(messages=with_tool_names([item.message() for item in self.input]))

    def asked(self) -> list[Question]:
        """The questions, in order. Raises BadRequest for what cannot be asked."""
        decision.ensure_few(len(self.questions), self.permutations)
        names = [question.name for question in self.questions if question.name is not None]
        decision.ensure_different(names, "questions")
        return [question.question(f"questions.{index}") for index, question in enumerate(self.questions)]


def encode_decisions(body: DecisionsBody, found: Sequence[Measured]) -> dict[str, Any]:
    """The reply: an answer for each question, in order."""
    answers = [question.answer(one.probabilities) for question, one in zip(body.questions, found, strict=True)]
    num_tokens = sum(one.usage.prompt_tokens for one in found)
    cached = {"cache_write_tokens": 0, "cached_tokens": sum(one.usage.cached_tokens for one in found)}
    usage = {
        "input_tokens": num_tokens,
        "input_tokens_details": cached,
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": num_tokens,
    }
    return {"model": body.model, "answers": answers, "usage": usage}
