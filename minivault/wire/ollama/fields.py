"""Fields that Ollama's requests share: the model, its options, the format, and how long to keep the model."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from minivault.errors import BadRequest, Unsupported
from minivault.faults import shown
from minivault.types import ModelInfo, SamplingParams
from minivault.wire.fields import OLLAMA_SHARED, OLLAMA_TEXT, Foreign
from minivault.wire.ollama.options import Options
from minivault.wire.validation import VERBATIM, Body

MAX_TOP_LOGPROBS = 20
UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def _known_format(value: Any) -> Any:
    if value in ("json", "") or isinstance(value, dict):
        return value
    told = shown(value)
    message = f'format must be "json" or a JSON schema{told and f", not {told}"}'
    raise PydanticCustomError(VERBATIM, "{message}", {"message": message})


Format = Annotated[Literal["json", ""] | dict[str, Any], BeforeValidator(_known_format)]


class Addressed(Body):
    """What every generating request has: a model, options and how long to keep it."""

    model_config = ConfigDict(strict=True)

    foreign: ClassVar[Foreign] = OLLAMA_SHARED

    model: str = ""
    options: Options = Field(default_factory=lambda: Options.model_validate({}))
    keep_alive: str | float | None = Field(None, description='a Go duration like `"5m"`, or seconds; 0 = unload')

    @property
    def keep_s(self) -> float | None:
        """How long the model stays unused, in seconds; negative = for ever, None = as the server does by itself. Raises
        BadRequest."""
        return None if self.keep_alive is None else keep_alive_s(self.keep_alive)

    @property
    def is_unload(self) -> bool:
        return self.keep_s == 0


class Generating(Addressed):
    """What `/api/generate` and `/api/chat` share."""

    foreign: ClassVar[Foreign] = OLLAMA_TEXT

    format: Format = Field("", description='`"json"` or a JSON schema')
    stream: bool = True
    think: bool | Literal["none", "low", "medium", "high", "max"] | None = None
    thinking_budget: int | None = Field(None, ge=0, description="most tokens of thought")
    truncate: bool = Field(True, description="shorten a prompt that is too long instead of refusing it")
    shift: bool = Field(True, description="no effect: a full context ends the answer with `length`")
    logprobs: bool = False
    top_logprobs: int = 0

    def _refuse_what_no_model_here_can(self) -> None:
        if not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise BadRequest(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}", field="top_logprobs")
        if self.keep_alive is not None:
            keep_alive_s(self.keep_alive)

    def ensure_thinks(self, info: ModelInfo) -> None:
        """Refuse a thought that the model cannot have. Raises Unsupported in Ollama's words."""
        if self.think not in (None, False, "none") and not info.thought_format:
            raise Unsupported(f'"{self.model}" does not support thinking', field="think")

    @property
    def _thinking(self) -> dict[str, Any]:
        """The members of a `GenerationRequest` that say whether, how hard and how long to think."""
        is_level = isinstance(self.think, str)
        return {
            "thinks": self.think != "none" if is_level else self.think,
            "thinking_effort": self.think if is_level and self.think != "none" else None,
            "thinking_budget": self.thinking_budget,
        }

    @property
    def _grammar(self) -> str | None:
        """What the answer must parse as."""
        return json.dumps(self.format) if isinstance(self.format, dict) else self.format or None

    def _sampling(self, context: int) -> SamplingParams:
        num_alternatives = self.top_logprobs if self.logprobs else None
        return self.options.sampling(context, logprobs=num_alternatives, grammar=self._grammar)


def keep_alive_s(value: Any) -> float:
    """Seconds to keep the model, from a Go duration string or a number of seconds; negative = for ever.

    Raises BadRequest for anything that is no duration.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        seconds = _go_duration_s(value)
        if seconds is not None:
            return seconds
    raise BadRequest(
        f'keep_alive must be a duration like "5m" or a number of seconds, not {value!r}', field="keep_alive"
    )


def _go_duration_s(text: str) -> float | None:
    sign, digits = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if digits == "0":
        return 0.0
    parts = PART.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        return None
    return sign * sum(float(number) * UNIT_SECONDS[unit] for number, unit in parts)
