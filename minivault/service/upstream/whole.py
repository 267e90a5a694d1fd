"""What engines elsewhere are asked that has one whole reply: tokens and embeddings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minivault.errors import BadRequest, GenerationFailed, MiniVaultError, Unsupported, UpstreamUnavailable
from minivault.service.upstream.asking import conversation, is_conversation
from minivault.service.upstream.connection import FAILURES
from minivault.service.upstream.fleet import Fleet
from minivault.service.upstream.kinds import Kind
from minivault.service.upstream.refusal import Refused, judged
from minivault.service.upstream.server import Server
from minivault.types import Embedding, EmbedTask, GenerationRequest

EMBEDDINGS = "/v1/embeddings"
LACKING = frozenset({404, 405, 501})
"""How servers answer where they do not have what is asked for."""
TOKENS_S = 10.0
Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]


def whole_reply(
    fleet: Fleet, model: str, path: str, body: Mapping[str, Any], timeout_s: float, field: str | None = None
) -> tuple[dict[str, Any], Server]:
    """The reply of a server that serves a model, and which that is; `field` is the one that asks for it. Raises
    Unsupported where the engine has no such path, BadRequest where it refuses, UpstreamUnavailable."""
    tried = list[Server]()
    refusal: MiniVaultError = UpstreamUnavailable(f"no engine elsewhere answers: {fleet.reasons}", retry_after_s=2)
    while (server := fleet.choose(model, "", tried)) is not None:
        tried.append(server)
        try:
            status, told = server.call(path, body, timeout_s)
        except FAILURES as error:
            refusal = UpstreamUnavailable(f"the engine elsewhere did not answer: {error}", retry_after_s=2)
            continue
        if status == 200 and isinstance(told, dict):
            return told, server
        if status in LACKING:
            message = f"an engine elsewhere answers for this model: it has no {path} ({status})"
            raise Unsupported(message, field=field)
        verdict = judged(status, told, server)
        if not isinstance(verdict, Refused):
            raise verdict
        refusal = verdict.error
    raise refusal


class ToldTokens:
    """`Tokens` of an engine elsewhere. `ask` gives its reply at a path below its root."""

    def __init__(self, ask: Ask, kind: Kind, model: str) -> None:
        if kind.tokenizes is None:
            raise Unsupported(f"an engine elsewhere ({kind.name}) answers for this model, and does not tell its tokens")
        self._ask = ask
        self._kind = kind
        self._model = model

    def of_request(self, request: GenerationRequest) -> tuple[int, ...]:
        """See `Tokens.of_request`."""
        if request.prompt_tokens is not None:
            return request.prompt_tokens
        if not is_conversation(request):
            return self.of_text(request.prompt or "", add_special=True, parse_special=True)
        told = conversation(request, request.params, self._kind)
        if self._kind.tokenizes == "vllm":
            return _ids(self._ask("/tokenize", {"model": self._model} | told))
        rendered = self._ask("/apply-template", told).get("prompt")
        return self.of_text(str(rendered), add_special=True, parse_special=True)

    def of_text(self, text: str, *, add_special: bool, parse_special: bool) -> tuple[int, ...]:
        """See `Tokens.of_text`."""
        if self._kind.tokenizes == "llama.cpp":
            wanted = {"content": text, "add_special": add_special, "parse_special": parse_special}
            return _ids(self._ask("/tokenize", wanted))
        if not parse_special:
            message = "parse_special: the engine that answers here reads what spells a control token as one"
            raise Unsupported(message, field="parse_special")
        wanted = {"model": self._model, "prompt": text, "add_special_tokens": add_special}
        return _ids(self._ask("/tokenize", wanted))

    def text_of(self, token_ids: Sequence[int]) -> str:
        """See `Tokens.text_of`."""
        told = self._ask("/detokenize", {"model": self._model, "tokens": list(token_ids)})
        text = told.get("prompt", told.get("content"))
        if not isinstance(text, str):
            raise GenerationFailed("the engine elsewhere told no text")
        return text

    def pieces_of(self, token_ids: Sequence[int]) -> list[bytes]:  # noqa: ARG002
        """See `Tokens.pieces_of`."""
        message = "the engine that answers here does not tell what each token is written as"
        raise Unsupported(f"with_pieces, return_token_strs: {message}", field="return_token_strs")


def _ids(told: Mapping[str, Any]) -> tuple[int, ...]:
    tokens = told.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        raise GenerationFailed("the engine elsewhere told no tokens")
    return tuple(tokens)


def embedding_task(inputs: Sequence[str | Sequence[int]], model: str, kind: Kind) -> EmbedTask:
    """Inputs as they are sent. Raises BadRequest for an empty one, Unsupported for tokens that it takes none of."""
    if not all(inputs):
        raise BadRequest("input: must not be empty", field="input")
    texts = tuple(item if isinstance(item, str) else "" for item in inputs)
    if "token ids" in kind.lacks and not all(texts):
        raise Unsupported(f"input: the engine that answers here ({kind.name}) takes texts alone", field="input")
    given = [item if isinstance(item, str) else list(item) for item in inputs]
    body = json.dumps({"model": model, "input": given, "encoding_format": "float"})
    return EmbedTask(texts, (), sent=f"{EMBEDDINGS} {body}")


def embedded(fleet: Fleet, model: str, task: EmbedTask, timeout_s: float) -> Embedding:
    """The vectors that an engine gives, scaled to unit length. Raises as `whole_reply`, or GenerationFailed."""
    path, _, body = task.sent.partition(" ")
    told, server = whole_reply(fleet, model, path, json.loads(body), timeout_s, "input")
    usage = told.get("usage")
    num_tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else 0
    said = {name: told[name] for name in ("id", "model") if isinstance(told.get(name), str)}
    return Embedding(
        _vectors(told, len(task.texts)),
        num_tokens if isinstance(num_tokens, int) else 0,
        {"server": server.url, "engine": server.kind.name, **said},
    )


def _vectors(told: Mapping[str, Any], num_inputs: int) -> list[list[float]]:
    try:
        found = sorted(told["data"], key=lambda item: item["index"])
        vectors = [[float(number) for number in item["embedding"]] for item in found]
    except (KeyError, TypeError, ValueError):
        vectors = []
    if len(vectors) != num_inputs or len(set(map(len, vectors))) != 1 or not vectors[0]:
        raise GenerationFailed("the engine elsewhere gave no vectors, or not one an input")
    return [_of_unit_length(vector) for vector in vectors]


def _of_unit_length(vector: list[float]) -> list[float]:
    length = math.hypot(*vector)
    if not math.isfinite(length):
        raise GenerationFailed("the engine elsewhere gave a vector that has no length")
    return [number / length for number in vector] if length else vector
