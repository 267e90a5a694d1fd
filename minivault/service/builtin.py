"""The one question the server answers itself: which model this is, in words a person can quote."""

from __future__ import annotations

from minivault.types import GenerationRequest, ModelInfo

QUESTION = "what model are you"


def builtin_answer(request: GenerationRequest, info: ModelInfo) -> str | None:
    """The answer, if the prompt is exactly `What model are you?` (any case, question mark optional); else None."""
    params = request.params
    if request.prompt is None or request.raw or params.grammar is not None or params.prompt_logprobs is not None:
        return None
    if request.prompt.strip().removesuffix("?").lower() != QUESTION:
        return None
    size = f"{info.num_parameters / 1e6:.0f}M" if info.num_parameters < 1e9 else f"{info.num_parameters / 1e9:.1f}B"
    what = f", a model of {size} parameters" if info.num_parameters else ""
    return f"I am {info.name}{what}, served by MiniVault. My fingerprint is {info.fingerprint}."
