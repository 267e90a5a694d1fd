"""Ollama's `truncate`: a prompt that is too long is shortened instead of refused, and recorded as the model read it.

Of a conversation the oldest turns go first, never the system's and never the last. What is still too long, or is no
conversation, loses tokens from its middle: `num_keep` at the front stay. Room for an answer is always left.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from minivault.interaction.prompt import prepare_prompt
from minivault.types import GenerationRequest, Message, Tokenizer

ANSWER_SHARE = 4
"""An answer without a smaller limit of its own is left this part of the context."""


def truncated(wanted: GenerationRequest, tokenizer: Tokenizer, context: int, num_keep: int) -> GenerationRequest:
    """`wanted`, or as much of it as leaves room for an answer in `context` tokens."""
    limit = context - min(wanted.params.max_tokens, context // ANSWER_SHARE)
    if _num_tokens(wanted, tokenizer) <= limit:
        return wanted
    shorter = _without_oldest(wanted, tokenizer, limit)
    tokens = prepare_prompt(shorter, tokenizer).tokens
    if len(tokens) <= limit:
        return shorter
    keep = min(max(num_keep, 0), limit // 2)
    kept = tokens[:keep] + tokens[len(tokens) - (limit - keep) :]
    return replace(shorter, prompt=None, messages=None, system=None, tools=(), prompt_tokens=kept)


def _num_tokens(wanted: GenerationRequest, tokenizer: Tokenizer) -> int:
    return len(prepare_prompt(wanted, tokenizer).tokens)


def _without_oldest(wanted: GenerationRequest, tokenizer: Tokenizer, limit: int) -> GenerationRequest:
    """The conversation without as few of its oldest turns as make it fit, at most all but the last."""
    messages = wanted.messages or ()
    if len(messages) < 2:
        return wanted
    num_dropped = bisect_left(
        range(len(messages) - 1), True, key=lambda num: _num_tokens(_dropped(wanted, messages, num), tokenizer) <= limit
    )
    return _dropped(wanted, messages, num_dropped)


def _dropped(wanted: GenerationRequest, messages: tuple[Message, ...], num: int) -> GenerationRequest:
    return replace(wanted, messages=tuple(m for m in messages[:num] if m.role == "system") + messages[num:])
