"""`POST /v1/completions`: plain continuation of one or several prompts. Replies and chunks have the same shape."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, model_validator

from minivault.errors import Unsupported
from minivault.types import Delta, Event, Failed, Finished, GenerationRequest, TokenLogprob, Usage
from minivault.wire.fields import OPENAI_COMPLETIONS, Foreign
from minivault.wire.logprobs import finite, spoken
from minivault.wire.openai.envelope import Envelope, encode_error, encode_usage, finish_reason
from minivault.wire.openai.fields import MAX_CHOICES, Inputs, Limit, Sampled, Tokens, bounded, listed
from minivault.wire.reply import Answer


class CompletionBody(Sampled):
    """The body of `/v1/completions`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "smollm2-135m", "prompt": "Once", "seed": 7}]})

    foreign: ClassVar[Foreign] = OPENAI_COMPLETIONS

    prompt: Inputs
    max_tokens: Limit = Field(16, description="-1 = what the context leaves")
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=5)
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
        if self.echo and self.logprobs is not None:
            raise Unsupported("echo cannot be combined with logprobs: prompts are not scored", field="echo")

    def generations(self, context: int) -> list[GenerationRequest]:
        """One request a choice, ordered by prompt, then by choice."""
        limit = bounded(self.max_tokens, context)
        return [
            GenerationRequest(
                prompt=prompt if isinstance(prompt, str) else None,
                prompt_tokens=None if isinstance(prompt, str) else tuple(prompt),
                raw=True,
                stream=self.stream,
                params=self.sampling(choice, limit, self.logprobs, self.grammar),
            )
            for prompt in self.prompts
            for choice in range(self.n)
        ]


class CompletionReply:
    """Encodes one request's choices. `echoes` holds the text to put before each choice, empty without `echo`."""

    def __init__(self, envelope: Envelope, echoes: Sequence[str], *, has_usage: bool) -> None:
        self._head = envelope.head("text_completion")
        self._chunk_head = self._head | ({"usage": None} if has_usage else {})
        self._echoes, self._has_usage = echoes, has_usage
        self._layouts = [LegacyLogprobs(len(echo)) for echo in echoes]
        self._usages: list[Usage] = []

    def encode(self, index: int, event: Event) -> list[dict[str, Any]]:
        if isinstance(event, Delta):
            logprobs = event.logprobs and spoken(event.logprobs)
            return [self._chunk(index, event.text, logprobs)] if event.text or logprobs else []
        if isinstance(event, Finished):
            self._usages.append(event.usage)
            return [self._chunk(index, "", (), finish_reason(event.reason))]
        if isinstance(event, Failed):
            return [encode_error(event.error)]
        return [self._chunk(index, self._echoes[index], ())] if self._echoes[index] else []

    def end(self) -> list[dict[str, Any]]:
        return [self._head | {"choices": [], "usage": encode_usage(self._usages)}] if self._has_usage else []

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = [
            self._choice(index, echo + answer.text, spoken(answer.logprobs), finish_reason(answer.finished.reason))
            for index, (echo, answer) in enumerate(zip(self._echoes, answers, strict=True))
        ]
        return self._head | {"choices": choices, "usage": encode_usage([answer.finished.usage for answer in answers])}

    def _chunk(
        self, index: int, text: str, logprobs: Sequence[TokenLogprob], reason: str | None = None
    ) -> dict[str, Any]:
        return self._chunk_head | {"choices": [self._choice(index, text, logprobs, reason)]}

    def _choice(self, index: int, text: str, logprobs: Sequence[TokenLogprob], reason: str | None) -> dict[str, Any]:
        layout = self._layouts[index].encode(logprobs) if logprobs else None
        return {"text": text, "index": index, "logprobs": layout, "finish_reason": reason}


class LegacyLogprobs:
    """The old layout: parallel arrays, with each token's character offset in the text. One object a choice."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def encode(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        return {
            "tokens": [_key(item.data) for item in logprobs],
            "token_logprobs": [finite(item.logprob) for item in logprobs],
            "top_logprobs": [{_key(top.data): finite(top.logprob) for top in item.top} for item in logprobs],
            "text_offset": [self._advance(item.data) for item in logprobs],
        }

    def _advance(self, data: bytes) -> int:
        start = self._offset
        self._offset += len(self._decoder.decode(data))
        return start


def _key(data: bytes) -> str:
    """A token's text; bytes that are no text on their own are written out, so that no two keys collide."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
