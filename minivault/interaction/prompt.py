"""From a request to token ids: the template rendered, the text encoded, and the readable prompt for the record."""

from __future__ import annotations

from dataclasses import dataclass

from minivault.errors import Unsupported
from minivault.types import GenerationRequest, Message, Tokenizer


@dataclass(frozen=True, slots=True)
class Prompt:
    """`text` is what the person wrote, `rendered` what the model reads, `tokens` how it reads it."""

    text: str
    rendered: str
    tokens: tuple[int, ...]


def prepare_prompt(request: GenerationRequest, tokenizer: Tokenizer) -> Prompt:
    """Render and encode. Raises Unsupported when a conversation meets a model without a chat template."""
    if request.prompt_tokens is not None:
        text = b"".join(map(tokenizer.token_bytes, request.prompt_tokens)).decode("utf-8", "replace")
        return Prompt(text, text, request.prompt_tokens)
    text = request.prompt if request.prompt is not None else _last_user_text(request)
    raw = not tokenizer.has_chat_template if request.raw is None else request.raw
    if raw:
        rendered = _plain(request)
        return Prompt(text, rendered, tuple(tokenizer.encode(rendered, add_special=True)))
    if not tokenizer.has_chat_template:
        raise Unsupported("this model has no chat template: leave `raw` out or set it to true", field="raw")
    rendered = tokenizer.render(_conversation(request), request.tools)
    return Prompt(text, rendered, tuple(tokenizer.encode(rendered, add_special=False)))


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
