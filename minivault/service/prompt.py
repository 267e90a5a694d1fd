"""From a request to what a model with a tokenizer reads: template rendered, text encoded, parameters settled.

A prompt that is too long is refused, or, where the request says so, shortened and recorded as the model read it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from minivault.errors import BadRequest, Unsupported
from minivault.service.builtin import builtin_answer
from minivault.service.fitting import most_read, shortened, too_long, too_long_for
from minivault.talk.telling import told
from minivault.talk.thoughts import thought_format
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
    if request.params.logit_bias:
        ensure_tokens_exist(dict(request.params.logit_bias), tokenizer, "logit_bias")
    if request.params.min_tokens or request.params.ignore_eos or request.params.stop_token_ids:
        _ensure_it_can_end(request.params, tokenizer)
    has_control_text = False
    is_raw = request.raw or request.prompt_tokens is not None or not tokenizer.has_chat_template
    if request.after:
        request, has_control_text = _continued(request, tokenizer)
    prompt = read_prompt(request, tokenizer)
    has_control_text |= prompt.has_control_text
    num_dropped = num_cut = 0
    num_tokens = len(prompt.tokens)
    may_lose = request.drops_turns or request.num_keep is not None
    if may_lose and num_tokens > (limit := most_read(request, num_tokens, info)):
        request, num_dropped, num_cut = shortened(request, lambda one: read_prompt(one, tokenizer).tokens, limit)
        prompt = read_prompt(request, tokenizer)
    num_tokens, room = len(prompt.tokens), min(1, request.params.max_tokens)
    if num_tokens + room > info.context or (request.most_read is not None and num_tokens > request.most_read):
        raise too_long_for(request, num_tokens, info)
    params = _settled(request.params, num_tokens, tokenizer, info)
    if not is_raw and info.thought_format:
        params = _thinking(params, request, prompt.rendered, info)
    if request.tools and params.calls is None:
        params = replace(params, calls="auto")
    answer = builtin_answer(request, info)
    return GenerateTask(
        request, prompt.text, prompt.rendered, prompt.tokens, params, answer, has_control_text, num_dropped, num_cut
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
            raise too_long("an input", len(item.tokens), info, field="input")
    tokens = tuple(item.tokens[: info.context] for item in read)
    num_cut = sum(len(item.tokens) for item in read) - sum(map(len, tokens))
    return EmbedTask(tuple(item.text for item in read), tokens, any(item.has_control_text for item in read), num_cut)


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
    reading = _read_chat(request, tokenizer)
    return Prompt(text, reading.text, reading.tokens, reading.has_control_text)


def _read_chat(request: GenerationRequest, tokenizer: Tokenizer) -> Reading:
    """By the model's template, which is told of tools in plain text where it knows none."""
    system = [Message("system", request.system)] if request.system is not None else []
    messages = [*system, *(request.messages or (Message("user", request.prompt or ""),))]
    tools = request.tools
    is_told = not tokenizer.has_tool_template and (tools or (request.messages and any(map(_is_about_calls, messages))))
    options = dict(request.template_options)
    if request.thinks is not None:
        options = {"enable_thinking": request.thinks, "thinking": request.thinks} | options
    if request.thinking_effort is not None:
        options = {"reasoning_effort": request.thinking_effort} | options
    given = partial(tokenizer.read_chat, options=options, continues=request.continues)
    if not is_told:
        return given(messages, tools)
    try:
        return given(told(messages, tools))
    except BadRequest:
        if not tools or messages[0].role == "system":
            raise  # some templates refuse a system's turn; only one that was ours alone can stand elsewhere
        return given(told(messages, tools, by_user=True))


def _is_about_calls(message: Message) -> bool:
    return message.role == "tool" or "tool_calls" in message.extra


def _thinking(params: SamplingParams, request: GenerationRequest, rendered: str, info: ModelInfo) -> SamplingParams:
    """With where thoughts are to be told from the answer, as the prompt's end says."""
    form = thought_format(info.thought_format)
    begins = form.begins(rendered) if form else None
    return replace(params, thinking=begins, thinking_budget=request.thinking_budget if begins else None)


def _settled(params: SamplingParams, num_tokens: int, tokenizer: Tokenizer, info: ModelInfo) -> SamplingParams:
    """The parameters as they will be applied and recorded: seed drawn, what the request does not
    say as the model's makers want it, `max_tokens` cut to the room there is."""
    room = info.context - num_tokens
    seed = secrets.randbelow(MAX_SEED + 1) if params.seed is None else params.seed
    from_model: dict[str, Any] = {name: value for name, value in info.sampling if name in params.unsaid}
    params = replace(params, **from_model, unsaid=tuple(from_model))
    top_k = min(params.top_k, tokenizer.vocabulary_size)
    mark = info.watermark or None
    return replace(params, seed=seed, max_tokens=min(params.max_tokens, room), top_k=top_k, watermark=mark)


def _ensure_it_can_end(params: SamplingParams, tokenizer: Tokenizer) -> None:
    """Raises BadRequest for what would keep an answer from ending, or could never happen."""
    ensure_tokens_exist(params.stop_token_ids, tokenizer, "stop_token_ids")
    if params.min_tokens > params.max_tokens:
        message = f"min_tokens: {params.min_tokens} is more than the {params.max_tokens} tokens the answer may have"
        raise BadRequest(message, field="min_tokens")
    field = "ignore_eos" if params.ignore_eos else "min_tokens" if params.min_tokens else None
    if params.grammar is not None and field:
        raise BadRequest(f"{field} has no meaning for an answer that must keep to a format; leave it out", field=field)


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
        read = _read_chat(request, tokenizer)
    else:
        read = Reading(text, tuple(tokenizer.encode(text, add_special=False)))
    whole = replace(request, prompt=None, system=None, after=(), prompt_tokens=(*request.after, *read.tokens))
    return whole, read.has_control_text
