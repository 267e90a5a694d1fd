"""`POST /v1/completions`: plain continuation of one or several prompts. Replies and chunks have the same shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, model_validator

from minivault.errors import BadRequest, Unsupported
from minivault.types import Delta, Event, Failed, Finished, GenerationRequest, TokenLogprob, Usage
from minivault.wire.fields import OPENAI_COMPLETIONS, Foreign
from minivault.wire.logprobs import NumAlternatives, encode_prompt_logprobs, spoken
from minivault.wire.openai.envelope import Envelope, encode_error, encode_usage, finish_reason
from minivault.wire.openai.fields import MAX_CHOICES, NO_LIMIT, Inputs, Sampled, Tokens, bounded, listed
from minivault.wire.openai.text_logprobs import PromptScores, TextLogprobs
from minivault.wire.reply import Answer

Logprobs = Sequence[TokenLogprob]
NOT_SCORED = PromptScores()


class CompletionBody(Sampled):
    """The body of `/v1/completions`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "smollm2-135m", "prompt": "Once", "seed": 7}]})

    foreign: ClassVar[Foreign] = OPENAI_COMPLETIONS

    prompt: Inputs
    max_tokens: Annotated[int, Field(ge=NO_LIMIT)] = Field(
        16, description="-1 = what the context leaves; 0: nothing but scores, with `echo` or `prompt_logprobs`"
    )
    echo: bool = Field(False, description="the prompt before the answer; with `logprobs` scored as well")
    logprobs: NumAlternatives | None = None
    prompt_logprobs: NumAlternatives | None = Field(None, description="scores of the prompt as vLLM lists them")
    best_of: int | None = Field(None, ge=1, description="must equal `n`")

    @model_validator(mode="after")
    def _choices_are_few(self) -> CompletionBody:
        num_prompts = len(self.prompts)
        if not 1 <= num_prompts * self.n <= MAX_CHOICES:
            raise ValueError(f"prompt: 1 to {MAX_CHOICES} prompts, and at most {MAX_CHOICES} choices in all")
        if not all(self.prompts):
            raise ValueError("prompt: must not be empty")
        return self

    @property
    def prompts(self) -> list[str | Tokens]:
        return listed(self.prompt)

    def ensure_possible(self) -> None:
        """Refuse what this server does not offer. Raises Unsupported naming the field."""
        if self.best_of not in (None, self.n):
            raise Unsupported("best_of is only supported when it equals n", field="best_of")
        if not self.max_tokens and not self.echo and self.prompt_logprobs is None:
            message = "max_tokens: 0 generates nothing; send echo or prompt_logprobs with it, or a larger number"
            raise BadRequest(message, field="max_tokens")

    @property
    def scores(self) -> PromptScores:
        return PromptScores(self.logprobs if self.echo else None, self.prompt_logprobs)

    def generations(self, context: int) -> list[GenerationRequest]:
        """One request a choice, ordered by prompt, then by choice."""
        limit = bounded(self.max_tokens, context)
        return [
            GenerationRequest(
                prompt=prompt if isinstance(prompt, str) else None,
                prompt_tokens=None if isinstance(prompt, str) else tuple(prompt),
                raw=True,
                stream=self.stream,
                params=replace(
                    self.sampling(choice, limit, self.logprobs, self.grammar), prompt_logprobs=self.scores.num_top
                ),
            )
            for prompt in self.prompts
            for choice in range(self.n)
        ]


class CompletionReply:
    """Encodes one request's choices. `echoes` holds the text to put before each choice, empty without `echo`."""

    def __init__(
        self, envelope: Envelope, echoes: Sequence[str], *, has_usage: bool, scores: PromptScores = NOT_SCORED
    ) -> None:
        self._head = envelope.head("text_completion")
        self._chunk_head = self._head | ({"usage": None} if has_usage else {})
        self._echoes, self._has_usage = echoes, has_usage
        self._scores = scores
        self._layouts = [TextLogprobs(echo) for echo in echoes]
        self._usages: list[Usage] = []

    def encode(self, index: int, event: Event) -> list[dict[str, Any]]:
        if isinstance(event, Delta):
            logprobs = event.logprobs and self._told(event.logprobs)
            return [self._chunk(index, event.text, logprobs)] if event.text or logprobs else []
        if isinstance(event, Finished):
            self._usages.append(event.usage)
            return [self._chunk(index, "", (), finish_reason(event.reason))]
        if isinstance(event, Failed):
            return [encode_error(event.error)]
        if not self._echoes[index] and event.prompt_logprobs is None:
            return []
        return [self._chunk(index, self._echoes[index], (), scored=event.prompt_logprobs)]

    def end(self) -> list[dict[str, Any]]:
        return [self._head | {"choices": [], "usage": encode_usage(self._usages)}] if self._has_usage else []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = [
            self._choice(
                index,
                echo + answer.text,
                self._told(answer.logprobs),
                finish_reason(answer.finished.reason),
                answer.prompt_logprobs,
            )
            for index, (echo, answer) in enumerate(zip(self._echoes, answers, strict=True))
        ]
        return self._head | {"choices": choices, "usage": encode_usage([answer.finished.usage for answer in answers])}

    def _told(self, logprobs: Sequence[TokenLogprob]) -> Sequence[TokenLogprob]:
        """Those of an answer that have an entry: beside a scored prompt all, whose readers count tokens."""
        return spoken(logprobs) if self._scores.echoed is None else logprobs

    def _chunk(
        self, index: int, text: str, logprobs: Logprobs, reason: str | None = None, scored: Logprobs | None = None
    ) -> dict[str, Any]:
        return self._chunk_head | {"choices": [self._choice(index, text, logprobs, reason, scored)]}

    def _choice(
        self, index: int, text: str, logprobs: Logprobs, reason: str | None, scored: Logprobs | None
    ) -> dict[str, Any]:
        echoed, listed = self._scores.echoed, self._scores.listed
        prompt = scored if scored is not None and echoed is not None else ()
        layout = self._layouts[index].encode(logprobs, prompt, echoed or 0) if logprobs or prompt else None
        choice = {"text": text, "index": index, "logprobs": layout, "finish_reason": reason}
        if scored is not None and listed is not None:
            choice["prompt_logprobs"] = encode_prompt_logprobs(scored, listed)
        return choice
