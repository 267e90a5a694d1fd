"""`POST /api/generate`: requests, whole replies and a stream's lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from minivault.errors import BadRequest
from minivault.types import Delta, Event, Failed, Finished, GenerationRequest
from minivault.wire.fields import OLLAMA_GENERATE, Foreign
from minivault.wire.logprobs import spoken
from minivault.wire.ollama.fields import Generating
from minivault.wire.ollama.lines import Clock, Lines, encode_error
from minivault.wire.reply import Answer

CONTEXT_TOKENS = Annotated[list[int], Field(max_length=1 << 20)]


class GenerateBody(Generating):
    """`POST /api/generate`. An empty prompt asks to load the model, or to unload it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "smollm2-135m", "prompt": "Why is the sky blue?", "stream": False},
                {"model": "smollm2-135m", "prompt": "2+2=", "raw": True, "options": {"seed": 7, "num_predict": 8}},
            ]
        }
    )

    foreign: ClassVar[Foreign] = OLLAMA_GENERATE

    prompt: str = ""
    system: str = ""
    raw: bool = False
    context: CONTEXT_TOKENS = Field([], description="token ids from an earlier reply; deprecated")

    @property
    def is_load(self) -> bool:
        return not self.prompt

    def ensure_possible(self) -> None:
        """Refuse what cannot be honoured. Raises BadRequest in Ollama's words."""
        self._refuse_what_no_model_here_can()
        if self.raw and (self.system or self.context):
            raise BadRequest("raw mode does not support template, system, or context", field="raw")

    def generation(self, context: int) -> GenerationRequest:
        """The request for the engine; `context` is the model's, in tokens."""
        return GenerationRequest(
            prompt=self.prompt,
            system=self.system or None,
            raw=True if self.raw else None,
            after=tuple(self.context),
            num_keep=self.options.num_keep if self.truncate else None,
            most_read=self.options.most_read(context),
            stream=self.stream,
            **self._thinking,
            params=self._sampling(context),
        )


class GenerateReply(Lines):
    """Text in `response`. `prompt_tokens` open the final `context`; None leaves it out."""

    NOTHING: ClassVar[dict[str, Any]] = {"response": ""}

    def __init__(self, model: str, clock: Clock, prompt_tokens: Sequence[int] | None = None) -> None:
        super().__init__(model, clock)
        self._context = None if prompt_tokens is None else list(prompt_tokens)

    def encode(self, _index: int, event: Event) -> list[dict[str, Any]]:
        if isinstance(event, Delta):
            if self._context is not None:
                self._context += event.token_ids
            logprobs = event.logprobs and spoken(event.logprobs)
            is_said = event.text or logprobs or event.reasoning
            return [self._line(_said(event.text, event.reasoning), logprobs)] if is_said else []
        if isinstance(event, Finished):
            return [self._last(event, self.NOTHING, (), self._context_field())]
        return [encode_error(event.error)] if isinstance(event, Failed) else []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        (answer,) = answers
        if self._context is not None:
            self._context += answer.token_ids
        said = _said(answer.text, answer.reasoning)
        return self._last(answer.finished, said, spoken(answer.logprobs), self._context_field())

    def _context_field(self) -> dict[str, Any]:
        return {"context": self._context} if self._context else {}


def _said(text: str, thinking: str) -> dict[str, Any]:
    return {"response": text, "thinking": thinking} if thinking else {"response": text}
