"""`POST /api/embed`, and `POST /api/embeddings`, which it superseded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from minivault.wire.fields import OLLAMA_EMBED, Foreign
from minivault.wire.ollama.fields import Addressed
from minivault.wire.validation import VERBATIM


class EmbedBody(Addressed):
    """`POST /api/embed`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "smollm2-135m", "input": ["one", "two"]}]})

    foreign: ClassVar[Foreign] = OLLAMA_EMBED

    input: str | list[str] = Field([])
    truncate: bool = True
    dimensions: int = Field(0, ge=0, description="keep only the first so many numbers; 0 = all")

    @field_validator("input", mode="before")
    @classmethod
    def _input_is_text(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            return value
        raise PydanticCustomError(VERBATIM, "invalid input type")

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) and self.input else list(self.input)


class OldEmbedBody(Addressed):
    """`POST /api/embeddings`, superseded by `/api/embed`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "smollm2-135m", "prompt": "one"}]})

    foreign: ClassVar[Foreign] = OLLAMA_EMBED

    prompt: str = ""


def encode_embeddings(model: str, vectors: Sequence[Sequence[float]], num_tokens: int, total_ns: int) -> dict[str, Any]:
    """The reply of `/api/embed`; `num_tokens` counts all inputs."""
    return {
        "model": model,
        "embeddings": [list(vector) for vector in vectors],
        "total_duration": max(total_ns, 1),
        "load_duration": 1,
        "prompt_eval_count": num_tokens,
    }
