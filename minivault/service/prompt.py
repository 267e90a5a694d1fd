"""From a request to what a model with a tokenizer reads: template rendered, text encoded, parameters settled.

A prompt that is too long is refused, or, where the request says so, shortened and recorded as the model read it. Of a
conversation the oldest turns go first, never the system's and never the last. What is still too long, or is no
conversation, loses tokens from its middle: `num_keep` at the front stay. Room for an answer is always left.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from minivault.errors import BadRequest, ContextExceeded, Unsupported
from minivault.service.builtin import builtin_answer
from minivault.types import (
    EmbedTask,
    GenerateTask,
    GenerationRequest,
    Message,
    ModelInfo,
    Reading,
    SamplingParams,
    Tokenizer,
)

MAX_SEED = 2**63 - 1
ANSWER_SHARE = 4
"""An answer without a smaller limit of its own is left this part of the context."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """`text` is what the person wrote, `rendered` what the model reads, `tokens` how it reads it."""

    text: str
    rendered: str
    tokens: tuple[int, ...]
    has_control_text: bool = False


def read_request(request: GenerationRequest, tokenizer: Tokenizer, info: ModelInfo) -> GenerateTask:
    """The request as the model reads it. Raises BadRequest naming the field: ids that are no tokens, a prompt that does
    not fit, a conversation for a model without a chat template."""
    ensure_tokens_exist(dict(request.params.logit_bias), tokenizer, "logit_bias")
    has_control_text = False
    if request.after:
        request, has_control_text = _continued(request, tokenizer)
    prompt = read_prompt(request, tokenizer)
    has_control_text |= prompt.has_control_text
    limit = info.context - min(request.params.max_tokens, info.context // ANSWER_SHARE)
    num_messages = len(request.messages or ())
    if len(prompt.tokens) > limit and (request.drops_turns or request.num_keep is not None):
        request = _shortened(request, tokenizer, limit)
        prompt = read_prompt(request, tokenizer)
    params = _settled(request.params, len(prompt.tokens), tokenizer, info)
    answer, num_dropped = builtin_answer(request, info), num_messages - len(request.messages or ())
    return GenerateTask(
        request, prompt.text, prompt.rendered, prompt.tokens, params, answer, has_control_text, num_dropped
    )


def read_inputs(
    inputs: Sequence[str | Sequence[int]], tokenizer: Tokenizer, info: ModelInfo, *, truncate: bool
) -> EmbedTask:
    """Inputs to embed as the model reads them. Raises as `Model.prepare_embedding` says."""
    read = [_read_input(item, tokenizer) for item in inputs]
    for item in read:
        if not item.tokens:
            raise BadRequest("input: must not be empty", field="input")
        if len(item.tokens) > info.context and not truncate:
            message = f"an input has {len(item.tokens)} tokens; the model reads {info.context}"
            raise ContextExceeded(message, field="input")
    tokens = tuple(item.tokens[: info.context] for item in read)
    return EmbedTask(tuple(item.text for item in read), tokens, any(item.has_control_text for item in read))


def read_prompt(request: GenerationRequest, tokenizer: Tokenizer) -> Prompt:
    """Render and encode. Raises Unsupported when a conversation meets a model without a chat template."""
    if request.prompt_tokens is not None:
        text = _text_of(request.prompt_tokens, tokenizer, "prompt")
        return Prompt(text, text, request.prompt_tokens)
    text = request.prompt if request.prompt is not None else _last_user_text(request)
    raw = not tokenizer.has_chat_template if request.raw is None else request.raw
    if raw:
        rendered = _plain(request)
        return Prompt(text, rendered, tuple(tokenizer.encode(rendered, add_special=True)))
    if not tokenizer.has_chat_template:
        raise Unsupported("this model has no chat template: leave `raw` out or set it to true", field="raw")
    reading = tokenizer.read_chat(_conversation(request), request.tools)
    return Prompt(text, reading.text, reading.tokens, reading.has_control_text)


def _settled(params: SamplingParams, num_tokens: int, tokenizer: Tokenizer, info: ModelInfo) -> SamplingParams:
    """The parameters as they will be applied and recorded: seed drawn, `max_tokens` cut to the room there is."""
    room = info.context - num_tokens
    if room < 1:
        message = (
            f"the prompt has {num_tokens} tokens; with room for an answer the context takes "
            f"{info.context - 1}: shorten the prompt"
        )
        raise ContextExceeded(message, field="prompt")
    seed = secrets.randbelow(MAX_SEED + 1) if params.seed is None else params.seed
    top_k = min(params.top_k, tokenizer.vocabulary_size)
    return replace(params, seed=seed, max_tokens=min(params.max_tokens, room), top_k=top_k)


def _read_input(item: str | Sequence[int], tokenizer: Tokenizer) -> Reading:
    if isinstance(item, str):
        return tokenizer.read(item)
    return Reading(_text_of(item, tokenizer, "input"), tuple(item))


def _text_of(token_ids: Sequence[int], tokenizer: Tokenizer, field: str) -> str:
    """The text that ids stand for. Raises BadRequest naming `field` when one is none of the model's."""
    ensure_tokens_exist(token_ids, tokenizer, field)
    return b"".join(map(tokenizer.token_bytes, token_ids)).decode("utf-8", "replace")


def ensure_tokens_exist(token_ids: Iterable[int], tokenizer: Tokenizer, field: str) -> None:
    """Raises BadRequest naming `field` when an id is none of the model's."""
    for token_id in token_ids:
        if not 0 <= token_id < tokenizer.vocabulary_size:
            message = f"{field}: {token_id} is not a token; ids go from 0 to {tokenizer.vocabulary_size - 1}"
            raise BadRequest(message, field=field)


def _conversation(request: GenerationRequest) -> list[Message]:
    system = [Message("system", request.system)] if request.system is not None else []
    return [*system, *(request.messages or (Message("user", request.prompt or ""),))]


def _plain(request: GenerationRequest) -> str:
    if request.messages is not None:
        raise Unsupported("this model has no chat template: send `prompt` instead of `messages`", field="messages")
    if request.system is not None:
        raise Unsupported("this model has no chat template: put the instructions into `prompt`", field="system")
    return request.prompt or ""


def _last_user_text(request: GenerationRequest) -> str:
    messages = request.messages or ()
    return next((message.content for message in reversed(messages) if message.role == "user"), "")


# -- what comes after an earlier exchange, and what is too long ----------------------------------------------------


def _continued(request: GenerationRequest, tokenizer: Tokenizer) -> tuple[GenerationRequest, bool]:
    """The request with the earlier exchange's tokens before its new prompt's; and if that had control text."""
    ensure_tokens_exist(request.after, tokenizer, "context")
    text = request.prompt or ""
    if tokenizer.has_chat_template:
        read = tokenizer.read_chat(_conversation(request))
    else:
        read = Reading(text, tuple(tokenizer.encode(text, add_special=False)))
    whole = replace(request, prompt=None, system=None, after=(), prompt_tokens=(*request.after, *read.tokens))
    return whole, read.has_control_text


def _shortened(request: GenerationRequest, tokenizer: Tokenizer, limit: int) -> GenerationRequest:
    """As much of the request as `limit` tokens hold."""
    shorter = _without_oldest(request, tokenizer, limit)
    tokens = read_prompt(shorter, tokenizer).tokens
    if len(tokens) <= limit or request.num_keep is None:
        return shorter
    keep = min(max(request.num_keep, 0), limit // 2)
    kept = tokens[:keep] + tokens[len(tokens) - (limit - keep) :]
    return replace(shorter, prompt=None, messages=None, system=None, tools=(), prompt_tokens=kept)


def _without_oldest(request: GenerationRequest, tokenizer: Tokenizer, limit: int) -> GenerationRequest:
    """The conversation without as few of its oldest turns as make it fit, at most all but the last."""
    messages = request.messages or ()
    starts = _beginnings(messages)
    if len(starts) < 2:
        return request

    def fits(num: int) -> bool:
        return len(read_prompt(_dropped(request, messages, num), tokenizer).tokens) <= limit

    return _dropped(request, messages, starts[bisect_left(starts[:-1], True, key=fits)])


def _beginnings(messages: Sequence[Message]) -> list[int]:
    """Where a conversation may begin: with a person's words, since templates want that; in the last turn anywhere."""
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    last = users[-1] if users else 0
    return sorted({0, *users, *range(last, len(messages))})


def _dropped(request: GenerationRequest, messages: tuple[Message, ...], num: int) -> GenerationRequest:
    return replace(request, messages=tuple(m for m in messages[:num] if m.role == "system") + messages[num:])
