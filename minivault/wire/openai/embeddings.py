"""`POST /v1/embeddings`: vectors as numbers, or as base64 of little-endian float32, which the SDK asks for."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from minivault.wire.fields import OPENAI_EMBEDDINGS, Foreign
from minivault.wire.openai.fields import Inputs, Strict, Tokens, listed

MAX_INPUTS = 256


class EmbeddingBody(Strict):
    """The body of `/v1/embeddings`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "smollm2-135m", "input": ["one", "two"]}]})

    foreign: ClassVar[Foreign] = OPENAI_EMBEDDINGS

    model: str
    input: Inputs
    dimensions: int | None = Field(None, ge=1, description="keep only the first so many numbers")
    encoding_format: Literal["float", "base64"] = "float"

    @model_validator(mode="after")
    def _inputs_are_some(self) -> EmbeddingBody:
        if not 1 <= len(self.inputs) <= MAX_INPUTS or not all(self.inputs):
            raise ValueError(f"input: 1 to {MAX_INPUTS} inputs, none of them empty")
        return self

    @property
    def inputs(self) -> list[str | Tokens]:
        return listed(self.input)


def encode_embeddings(body: EmbeddingBody, vectors: Sequence[Sequence[float]], num_tokens: int) -> dict[str, Any]:
    """The reply; `num_tokens` counts all inputs."""
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(vector, body.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return {"object": "list", "data": data, "model": body.model, "usage": usage}


def _vector(vector: Sequence[float], encoding: str) -> list[float] | str:
    if encoding == "float":
        return list(vector)
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
