"""MiniVault's own dialect (`/generate`, `/stream-generate`).

Requests are read strictly: what is unknown or of the wrong type is refused. Replies say what makes them repeatable.
"""

from minivault.wire.dialect import WORK_ERRORS, Dialect, Operation
from minivault.wire.framing import NDJSON, SSE
from minivault.wire.native.generate import GenerateBody, encode_error
from minivault.wire.native.schema import Detokenized, Error, Generated, StreamEnd, StreamError, Token, Tokenized
from minivault.wire.native.tokenize import DetokenizeBody, TextBody
from minivault.wire.rerank import RerankBody, Reranked


def _generate(path: str, summary: str, reply: type[Generated] | None) -> Operation:
    lines, streams = (Token, StreamEnd, StreamError), (NDJSON.content_type, SSE.content_type)
    return Operation("post", path, summary, GenerateBody, reply, lines, streams, Error, WORK_ERRORS)


def _rerank(path: str) -> Operation:
    summary = "Documents by relevance, where other servers have it"
    return Operation("post", path, summary, RerankBody, Reranked, error=Error, errors=WORK_ERRORS)


DIALECT = Dialect(
    name="native",
    about="MiniVault's own dialect: NDJSON streams, every parameter, the fingerprint and the seed in the reply.",
    encode_error=encode_error,
    operations=(
        _generate("/generate", "Answer a prompt, whole or piece by piece", Generated),
        _generate("/stream-generate", "Answer a prompt piece by piece", None),
        _rerank("/rerank"),
        _rerank("/v2/rerank"),
        Operation("post", "/tokenize", "The tokens of a text or a conversation", TextBody, Tokenized,
                  error=Error, errors=WORK_ERRORS),
        Operation("post", "/detokenize", "The text of tokens", DetokenizeBody, Detokenized,
                  error=Error, errors=WORK_ERRORS),
    ),
)  # fmt: skip
