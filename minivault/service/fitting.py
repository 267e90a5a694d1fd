"""What is too long for a model: refused in a line that says what would help, or shortened where the request allows it.

Of a conversation the oldest turns go first, never the system's and never the last. What is still too long, or is no
conversation, loses tokens from its middle: `num_keep` at the front stay, and so does all that comes before the last
message. What leaves room for a short answer is read whole; what does not is shortened to leave room for a long one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace

from minivault.errors import ContextExceeded
from minivault.types import GenerationRequest, Message, ModelInfo

SHORT_ANSWER_SHARE = 16
"""A prompt that leaves this part of the context, or all that its answer may have, is not shortened."""
ANSWER_SHARE = 4
"""One that is shortened leaves this part, or all that its answer may have."""
END_SHARE = 4
"""The end of what is cut keeps this part of what is left, whatever is kept of the front."""

Read = Callable[[GenerationRequest], tuple[int, ...]]
"""The tokens of a request."""


def most_read(request: GenerationRequest, num_tokens: int, info: ModelInfo) -> int:
    """Most tokens that are read of a prompt that may be shortened."""

    def room(share: int) -> int:
        return info.context - min(request.params.max_tokens, info.context // share)

    most = room(ANSWER_SHARE) if num_tokens > room(SHORT_ANSWER_SHARE) else num_tokens
    return most if request.most_read is None else min(most, request.most_read)


def too_long_for(request: GenerationRequest, num_tokens: int, info: ModelInfo) -> ContextExceeded:
    """A prompt that leaves no room for an answer, or has more tokens than the request itself lets be read."""
    if num_tokens >= info.context:
        field = "prompt" if request.messages is None else "messages"
        return too_long("the prompt", num_tokens, info, field=field)
    most = f"num_ctx is {request.most_read} and the prompt has {num_tokens} tokens"
    return ContextExceeded(f"{most}: shorten it, or raise num_ctx, up to {info.context}", field="num_ctx")


def too_long(what: str, num_tokens: int, info: ModelInfo, *, field: str) -> ContextExceeded:
    """Its first words are those that clients look for to tell this error from others."""
    more = f", or raise {info.context_setting} on the server" if info.context_setting else ""
    message = (
        f"this model's maximum context length is {info.context} tokens, answer included, and {what} has {num_tokens}"
    )
    return ContextExceeded(f"{message}: shorten it{more}", field=field)


def shortened(request: GenerationRequest, read: Read, limit: int) -> tuple[GenerationRequest, int, int]:
    """As much of the request as `limit` tokens hold; how many messages are gone, and how many tokens of its middle."""
    shorter = _without_oldest(request, read, limit)
    num_dropped = len(request.messages or ()) - len(shorter.messages or ())
    tokens = read(shorter)
    if len(tokens) <= limit or request.num_keep is None:
        return shorter, num_dropped, 0
    keep = min(max(request.num_keep, _before_last(shorter, tokens, read)), limit - limit // END_SHARE)
    kept = tokens[:keep] + tokens[len(tokens) - (limit - keep) :]
    cut = replace(shorter, prompt=None, messages=None, system=None, tools=(), prompt_tokens=kept)
    return cut, num_dropped, len(tokens) - len(kept)


def _before_last(request: GenerationRequest, tokens: Sequence[int], read: Read) -> int:
    """How many tokens come before the last message, or the prompt: those that stay when nearly all of it goes."""
    if request.messages:
        last = request.messages[-1]
        other = replace(request, messages=(*request.messages[:-1], replace(last, content=last.content[:1])))
    elif request.prompt is not None:
        other = replace(request, prompt=request.prompt[:1])
    else:
        return 0
    pairs = zip(tokens, read(other), strict=False)
    return next((index for index, (one, another) in enumerate(pairs) if one != another), 0)


def _without_oldest(request: GenerationRequest, read: Read, limit: int) -> GenerationRequest:
    """The conversation without as few of its oldest turns as make it fit, at most all but the last."""
    messages = request.messages or ()
    starts = _beginnings(messages)
    if len(starts) < 2:
        return request

    def fits(num: int) -> bool:
        return len(read(_dropped(request, messages, num))) <= limit

    return _dropped(request, messages, starts[bisect_left(starts[:-1], True, key=fits)])


def _beginnings(messages: Sequence[Message]) -> list[int]:
    """Where a conversation may begin: with a person's words, since templates want that; in the last turn anywhere."""
    users = [index for index, message in enumerate(messages) if message.role == "user"]
    last = users[-1] if users else 0
    return sorted({0, *users, *range(last, len(messages))})


def _dropped(request: GenerationRequest, messages: tuple[Message, ...], num: int) -> GenerationRequest:
    return replace(request, messages=tuple(m for m in messages[:num] if m.role == "system") + messages[num:])
