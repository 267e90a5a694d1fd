"""The published API document: what every route takes and gives, as OpenAPI 3.1.

Requests are described by the very models that validate them. Replies are described by the models here, which nothing
but the document and the tests use: the tests hold every reply against them.
"""

from minivault.wire.schema.openapi import build_document

__all__ = ["build_document"]
