"""`rerank`: documents by how relevant they are to a query, in the shape that Jina, Cohere, vLLM and llama-server share.

The score is how likely the model, having read the document, is to ask the query: between 0 and 1, and good for nothing
but to compare documents of one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, Field

from minivault.types import Measured
from minivault.wire.decision import ensure_told
from minivault.wire.schema import Count, ReceiptedAll, Shape
from minivault.wire.validation import Body

MAX_DOCUMENTS = 1000


class DocumentBody(Body):
    """A document with members of its own; its text is what is read."""

    model_config = ConfigDict(extra="allow", strict=True)

    text: str


class RerankBody(Body):
    """The body of every `rerank`."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [{"model": "smollm2-135m", "query": "capital of France", "documents": ["Paris", "Bread"]}]
        },
    )

    model: str
    query: str = Field(min_length=1)
    documents: list[str | DocumentBody] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    top_n: int | None = Field(None, ge=1, description="only so many of the most relevant")
    return_documents: bool = Field(default=False, description="with the documents' texts")

    def texts(self) -> list[str]:
        """What is read of each document. Raises BadRequest naming one that is empty."""
        ensure_told(self.query, "query")
        texts = [one if isinstance(one, str) else one.text for one in self.documents]
        return [ensure_told(text, f"documents.{index}") for index, text in enumerate(texts)]


class RankedDocument(Shape):
    text: str


class Ranked(Shape):
    index: Count
    relevance_score: float
    document: RankedDocument | None = None


class RerankUsage(Shape):
    prompt_tokens: Count
    total_tokens: Count


class BilledUnits(Shape):
    search_units: Count


class Meta(Shape):
    billed_units: BilledUnits


class Reranked(ReceiptedAll):
    id: str
    model: str
    results: list[Ranked]
    usage: RerankUsage
    meta: Meta


def encode_reranked(body: RerankBody, found: Sequence[Measured], id_: str) -> dict[str, Any]:
    """The reply: the most relevant document first, equals in their own order."""
    scores = [one.probabilities[0] for one in found]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[: body.top_n]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in order]
    if body.return_documents:
        texts = body.texts()
        results = [result | {"document": {"text": texts[result["index"]]}} for result in results]
    num_tokens = sum(one.usage.prompt_tokens for one in found)
    usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    return {
        "id": id_,
        "model": body.model,
        "results": results,
        "usage": usage,
        "meta": {"billed_units": {"search_units": 1}},
    }
