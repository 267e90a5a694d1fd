"""Which jobs can never run."""

from __future__ import annotations

from minivault.errors import BadRequest, ContextExceeded, Unsupported
from minivault.types import Job
from minivault.watermark import Mark

SCORED_BYTES = 1 << 30
"""Most memory for the logits of a prompt that is scored: those of all tokens that a runner reads at once."""


def ensure_possible(job: Job, context: int, vocabulary: int, chunk_tokens: int, mark: Mark | None = None) -> None:
    """Raise ContextExceeded for a job that does not fit, BadRequest for one that is wrong in itself, or whose mark is
    not the one that is here. The runner reads `chunk_tokens` at once."""
    if job.params.watermark is not None and (mark is None or job.params.watermark != mark.name):
        raise Unsupported(f"the key of the mark {job.params.watermark} is not here", field="watermark")
    num_tokens, num_answer = len(job.prompt_tokens), len(job.answer) or min(1, job.params.max_tokens)
    if job.params.max_tokens < 0:
        raise BadRequest("max_tokens must not be negative", field="max_tokens")
    if not num_tokens:
        raise BadRequest("the prompt is empty; give at least one token", field="prompt")
    if num_tokens + num_answer > context:
        answer = f"and its answer {len(job.answer)}, " if job.answer else ""
        raise ContextExceeded(
            f"the prompt has {num_tokens} tokens {answer}and the context holds {context}, answer included; shorten it",
            field="prompt",
        )
    known = *job.prompt_tokens, *job.answer
    if min(known) < 0 or max(known) >= vocabulary:
        raise BadRequest(f"a prompt token is not below the vocabulary's {vocabulary}", field="prompt_tokens")
    most_scored = SCORED_BYTES // (4 * vocabulary)
    if job.params.prompt_logprobs is not None and min(num_tokens, chunk_tokens) > most_scored:
        message = f"this model reads a prompt at once, and at most {most_scored} tokens can be scored so; shorten it"
        raise BadRequest(message, field="prompt_logprobs")
    biased = [token_id for token_id, _ in job.params.logit_bias]
    if biased and not 0 <= min(biased) <= max(biased) < vocabulary:
        raise BadRequest(f"a biased token is not below the vocabulary's {vocabulary}", field="logit_bias")
