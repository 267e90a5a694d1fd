"""Any server's `/v1/chat/completions`: one question, whole, streamed or several times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import httpx

from minivault.cli.client.address import Address
from minivault.cli.client.client import ONE_REQUEST_EACH, connecting, reading, request_headers, timeouts
from minivault.cli.client.foreign import EventLines
from minivault.cli.client.replies import parse_object
from minivault.errors import ServerError

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    system: str
    text: str
    seed: int
    max_tokens: int
    sampling: Body

    def asking(self, text: str) -> Asked:
        """The same with another question."""
        return replace(self, text=text)

    def seeded(self, seed: int) -> Asked:
        """The same with another seed."""
        return replace(self, seed=seed)

    def body(self, model: str) -> Body:
        """As OpenAI's clients write it."""
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": self.text}]
        return {
            "model": model,
            "messages": messages,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            **self.sampling,
        }


class Chat:
    """One server's one model. All methods raise Unreachable or ServerError; any thread may call them."""

    def __init__(self, address: Address, model: str, key: str = "", read_timeout_s: float = 600.0) -> None:
        self.model, self._address = model, address
        transport = httpx.HTTPTransport(uds=address.socket, limits=ONE_REQUEST_EACH)
        self._http = httpx.Client(
            base_url=address.base_url,
            transport=transport,
            timeout=timeouts(read_timeout_s),
            trust_env=not address.is_loopback,
            headers=request_headers(key),
        )

    def close(self) -> None:
        self._http.close()

    def whole(self, asked: Asked) -> str:
        """The answer in one piece."""
        [text] = self._choices(asked.body(self.model))[:1]
        return text

    def choices(self, asked: Asked, num: int) -> list[str]:
        """Several answers of one request."""
        return self._choices({**asked.body(self.model), "n": num})

    def streamed(self, asked: Asked) -> str:
        """The answer's pieces, put together."""
        lines, text = EventLines(), ""
        body = {**asked.body(self.model), "stream": True}
        with connecting(self._address), self._http.stream("POST", _PATH, json=body) as response, reading():
            if response.status_code != httpx.codes.OK:
                raise _refused(response.status_code, response.read())
            for piece in response.iter_bytes():
                text += "".join(line.get("token", "") for line in lines.feed(piece))
        lines.close()
        return text

    def is_up(self) -> bool:
        """It answers the smallest of requests."""
        try:
            self.whole(Asked("", "Hello.", 1, 1, {"temperature": 0}))
        except Exception:  # whatever a server that is starting does
            return False
        return True

    def _choices(self, body: Body) -> list[str]:
        with connecting(self._address), reading():
            response = self._http.post(_PATH, json=body)
        if response.status_code != httpx.codes.OK:
            raise _refused(response.status_code, response.content)
        choices = parse_object(response.content).get("choices")
        if not isinstance(choices, list) or not choices:
            raise ServerError(f"the reply of {self._address} holds no choices")
        return [_text(choice) for choice in sorted(choices, key=lambda choice: int(choice.get("index") or 0))]


_PATH = "/v1/chat/completions"


def _text(choice: Body) -> str:
    message = choice.get("message") or {}
    return f"{message.get('reasoning_content') or ''}{message.get('content') or ''}"


def _refused(status: int, content: bytes) -> ServerError:
    text = " ".join(content.decode("utf-8", "replace").split())
    return ServerError(f"status {status}: {text[:160]}")
