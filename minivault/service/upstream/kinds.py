"""Kinds of engines: what each takes beyond OpenAI's API, what it does not honour, and what it says of itself.

An engine is known by `owned_by` in its list of models, or by a path that only it has. One that is not known is asked in
OpenAI's words alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

VLLM_FIELDS = MappingProxyType(
    {
        "top_k": "top_k",
        "min_p": "min_p",
        "repetition_penalty": "repetition_penalty",
        "ignore_eos": "ignore_eos",
        "min_tokens": "min_tokens",
        "stop_token_ids": "stop_token_ids",
    }
)
LLAMA_FIELDS = MappingProxyType(
    {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty", "ignore_eos": "ignore_eos"}
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of engine. What a request asks for and the engine `lacks` is refused."""

    name: str
    owners: frozenset[str] = frozenset()
    """What its models are `owned_by`."""
    sign: str = ""
    """A path, from the server's root, that only this kind has."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Parameters beyond OpenAI's: ours → its name. They are always sent, since engines have defaults of their own."""
    every_token: int = -1
    """What `top_k` is where it is off."""
    max_seed: int = 2**63 - 1
    lacks: frozenset[str] = frozenset()
    """Of `logprobs`, `grammar`, `pattern`, `forced calls`, `logit bias`, `penalties`, `token ids`: what it does not
    honour."""
    has_template_options: bool = False
    """It takes `chat_template_kwargs`."""
    pattern_field: tuple[str, ...] = ()
    """Where a regular expression for the answer goes."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What every request has besides."""
    tokenizes: Literal["vllm", "llama.cpp"] | None = None
    """In whose shape it tells tokens, where it does."""
    about: tuple[str, ...] = ()
    """Paths, from the server's root, at which it describes itself in JSON."""


GENERIC = Kind("openai", lacks=frozenset({"pattern", "token ids"}))
KINDS = (
    Kind(
        "vllm",
        frozenset({"vllm"}),
        fields=VLLM_FIELDS,
        has_template_options=True,
        pattern_field=("structured_outputs", "regex"),
        more={"return_token_ids": True},
        tokenizes="vllm",
        about=("/version",),
    ),
    Kind(
        "sglang",
        frozenset({"sglang"}),
        fields=VLLM_FIELDS,
        has_template_options=True,
        pattern_field=("regex",),
        about=("/get_server_info",),
    ),
    Kind(
        "llama.cpp",
        frozenset({"llamacpp"}),
        fields=LLAMA_FIELDS,
        every_token=0,
        max_seed=2**32 - 2,
        lacks=frozenset({"pattern"}),
        has_template_options=True,
        tokenizes="llama.cpp",
        about=("/props",),
    ),
    Kind(
        "ollama",
        frozenset({"library"}),
        lacks=frozenset({"pattern", "forced calls", "logit bias", "token ids"}),
        about=("/api/version",),
    ),
    Kind(
        "minivault",
        frozenset({"minivault"}),
        fields=VLLM_FIELDS,
        has_template_options=True,
        lacks=frozenset({"pattern"}),
        tokenizes="vllm",
        about=("/ready",),
    ),
    Kind(
        "transformers",
        sign="/load_model",
        lacks=frozenset({"logprobs", "grammar", "pattern", "forced calls", "penalties", "token ids"}),
        has_template_options=True,
    ),
)
"""In the order in which they are asked for."""

FACTS = ("version", "build_info", "model_path", "fingerprint", "total_slots", "quantization", "dtype", "chat_template")
"""Members of a self-description that say what computes."""
ENTRY_FACTS = ("root", "parent", "max_model_len", "context_length")
META_FACTS = ("n_params", "size", "n_vocab", "n_ctx_train", "ftype")


def kind_of(owner: str, paths: frozenset[str]) -> Kind:
    """The kind whose models have this owner, or one of whose paths is among those that a server has."""
    found = (kind for kind in KINDS if owner in kind.owners or (kind.sign and kind.sign in paths))
    return next(found, GENERIC)


def context_in(entry: Mapping[str, Any], described: Mapping[str, Any]) -> int:
    """How many tokens a model reads, by its entry in the list and by the server's description; 0 where neither says."""
    settings = described.get("default_generation_settings")
    of_slot = settings.get("n_ctx") if isinstance(settings, dict) else None
    told = (of_slot, entry.get("max_model_len"), entry.get("context_length"))
    return next((value for value in told if isinstance(value, int) and value > 0), 0)


def facts_of(kind: Kind, entry: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, str]:
    """What a server says of itself and of one model, as far as it tells one engine from another."""
    facts = {"engine": kind.name, "model": str(entry.get("id", ""))}
    meta = entry.get("meta")
    for names, source in ((FACTS, described), (ENTRY_FACTS, entry), (META_FACTS, meta)):
        if isinstance(source, dict):
            facts |= {name: str(source[name]) for name in names if source.get(name) not in (None, "")}
    return facts
