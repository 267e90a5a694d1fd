"""What becomes of fields that are not honoured: the one table of them, from which `docs/wire.md` has its own.

A request's fields are honoured, noted or refused. Those that its model declares are honoured unless they stand here.
Noted ones bind nobody: they are accepted, kept in the record with the body, and told in the reply's header; so is every
field that nobody here has heard of, unless the server is strict. Refused ones would change what the answer means and
cannot be done; values that ask for nothing are noted all the same.

Fields are named by their path, without the numbers of a list: `messages.content.cache_control`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Noted:
    """`why` it binds nobody."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """What to do `instead`; `harmless` values ask for nothing. `words` is what the client is told."""

    instead: str
    harmless: tuple[Any, ...] = ()
    words: str = "{field} is not supported by this server: {instead}"

    def allows(self, value: Any) -> bool:
        """Whether a value asks for nothing. In JSON, true is no number."""
        return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in self.harmless)


Foreign = Mapping[str, Noted | Refused]
"""Fields by their path."""


HEADER = "MiniVault-Noted"
"""Of a reply: the fields of its request that are noted."""
MAX_HEADER_CHARACTERS = 1000
_UNSAFE = re.compile(r"[^\w.:/@$-]", re.ASCII)


def header_of(names: Iterable[str]) -> str:
    """Names as a header holds them: none with a blank or a comma, and no more than fit."""
    told = ", ".join(_UNSAFE.sub("?", name) or "?" for name in names)
    return told if len(told) <= MAX_HEADER_CHARACTERS else told[:MAX_HEADER_CHARACTERS].rpartition(", ")[0] + ", ..."


def noted(why: str, *names: str) -> dict[str, Noted]:
    return dict.fromkeys(names, Noted(why))


def refused(instead: str, *names: str, harmless: tuple[Any, ...] = ()) -> dict[str, Refused]:
    return dict.fromkeys(names, Refused(instead, harmless))


def within(place: str, fields: Foreign) -> dict[str, Noted | Refused]:
    """The same fields of the objects at `place`."""
    return {f"{place}.{name}": verdict for name, verdict in fields.items()}


THINKING: Foreign = noted(
    "of other servers; here reasoning_effort, reasoning, think and thinking_budget switch and bound thoughts",
    *("enable_thinking", "thinking_budget_tokens", "reasoning_budget", "reasoning_format", "include_reasoning"),
    "separate_reasoning",
)
"""How much a model is to think, in words that are not honoured."""

ACCOUNTING: Foreign = noted(
    "for accounts, caches and stores that are not here; it is in the record",
    *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_options"),
    *("prompt_cache_retention", "client_metadata", "request_id", "priority", "cache_salt", "cache_prompt", "id_slot"),
    *("kv_transfer_params", "vllm_xargs", "timings_per_token", "return_progress"),
) | noted("of a client library's own", "extra_body", "extra_headers", "extra_query", "timeout", "max_retries")
STREAMS: Foreign = noted(
    "usage comes at the end of a stream, and nothing is padded",
    *("stream_options.continuous_usage_stats", "stream_options.include_obfuscation"),
)
CACHING: Foreign = noted("prompts are matched by content", "cache_control", "prompt_cache_breakpoint")

SAMPLERS: Foreign = {
    **refused(
        "tokens are drawn by temperature, top_k, top_p and min_p; leave it out",
        *("typical_p", "tfs_z", "epsilon_cutoff", "eta_cutoff"),
        harmless=(0, 1),
    ),
    **refused(
        "tokens are drawn by temperature, top_k, top_p and min_p; leave it out",
        *("mirostat", "dynatemp_range", "xtc_probability", "dry_multiplier", "smoothing_factor"),
        *("top_a", "top_n_sigma"),
        harmless=(0, -1),
    ),
    **refused("the order of sampling steps is fixed; leave it out", "samplers", "sampler_seed", "logits_processors"),
    **noted("whether answers are marked is the operator's to say", "watermark", "watermarking"),
    **noted(
        "of no effect without what it belongs to",
        *("mirostat_tau", "mirostat_eta", "dynatemp_exponent", "xtc_threshold", "dry_base", "dry_allowed_length"),
        *("dry_penalty_last_n", "dry_sequence_breakers", "smoothing_curve", "length_penalty", "early_stopping"),
        *("guided_decoding_backend", "guided_whitespace_pattern", "repeat_last_n"),
    ),
}
OUTPUT: Foreign = {
    **refused(
        "an answer is one draw; send n for several",
        "use_beam_search",
        "num_beams",
        "num_return_sequences",
        harmless=(False, 1),
    ),
    **refused("send temperature: 0 for the likeliest tokens", "do_sample", harmless=(True,)),
    **refused("send logit_bias, with -100 for tokens that must not come", "allowed_token_ids", "bad_words"),
    **refused("send max_tokens", "n_predict", "num_predict", "max_new_tokens", "max_length", harmless=(-1,)),
    **refused("stop strings are never part of an answer", "include_stop_str_in_output", harmless=(False,)),
    **refused("control tokens have no text", "skip_special_tokens", harmless=(True,)),
    **noted("control tokens have no text", "spaces_between_special_tokens"),
    **refused(
        "send logprobs, or read the tokens in the record",
        *("return_token_ids", "return_tokens_as_token_ids", "n_probs", "post_sampling_probs"),
        harmless=(False, 0),
    ),
    **refused("shorten the prompt", "truncate_prompt_tokens"),
    **refused("the server has one set of weights", "lora", "lora_request"),
    **refused("this server moderates nothing; leave it out", "moderation"),
}
SHARED: Foreign = {**ACCOUNTING, **STREAMS, **SAMPLERS, **OUTPUT, **THINKING}
"""Of every request to OpenAI's dialect for text."""

FORMATS: Foreign = {
    **refused(
        "send response_format or structured_outputs",
        *("format", "output_format", "grammar", "guided_grammar", "json_schema"),
    ),
    **refused("send json, regex or choice", "structured_outputs.grammar", "structured_outputs.structural_tag"),
}
OPENAI_CHAT: Foreign = {
    **SHARED,
    **FORMATS,
    **refused("put it into messages", "system", "instructions", "prompt", "input", "images"),
    **within("reasoning", noted("a thought is given whole", "summary", "generate_summary", "exclude")),
    **noted("of no effect on what is said", "prediction", "verbosity", "parallel_tool_calls", "mm_processor_kwargs"),
    **refused("this server speaks and hears nothing; leave it out", "audio"),
    **refused("answers are text", "modalities", harmless=(["text"],)),
    **refused("this server reaches no other machine; leave it out", "web_search_options"),
    **refused("send tools and tool_choice", "functions", "function_call", harmless=("none", "auto", [])),
    **refused("the model's own chat template is used; send chat_template_kwargs", "chat_template"),
    **refused("put them into a message, or into chat_template_kwargs", "documents"),
    **refused("an answer is told without its prompt", "echo", harmless=(False,)),
    **refused("send n", "best_of", harmless=(1,)),
    **refused("the chat template writes them", "add_special_tokens", harmless=(False,)),
    **within("messages", noted("a thought goes into reasoning_content", "reasoning_details", "thinking_blocks")),
    **noted(
        "of an earlier reply; the model is not shown it",
        *("messages.id", "messages.annotations", "messages.tool_calls.index", "messages.provider_specific_fields"),
        *("messages.created", "messages.model", "messages.finish_reason", "messages.usage", "messages.weight"),
    ),
    **within("messages", CACHING),
    **within("messages.content", CACHING),
    **noted("of an earlier reply", "messages.content.annotations", "messages.content.logprobs"),
    **within("tools", CACHING),
    **within("tools.function", CACHING),
    **refused("send tool_calls", "messages.function_call"),
    **refused("send its transcript as text", "messages.audio"),
    **refused("send continue_final_message: true", "messages.prefix", "messages.partial", harmless=(False,)),
}

OPENAI_COMPLETIONS: Foreign = {
    **SHARED,
    **noted("a prompt is continued as it is", "reasoning_effort", "reasoning", "thinking", "thinking_budget"),
    **FORMATS,
    **refused("text is continued, not filled in", "suffix", harmless=("",)),
    **refused("a prompt is read with what belongs around a text", "add_special_tokens", harmless=(True,)),
}

OPENAI_RESPONSES: Foreign = {
    **SHARED,
    **noted("of another request; send reasoning", "reasoning_effort", "thinking", "thinking_budget"),
    **noted("nothing else is included", "include"),
    **noted("of no effect on what is said", "text.verbosity", "parallel_tool_calls", "max_tool_calls"),
    **noted("the grammar of a custom tool's text is not enforced", "tools.format"),
    **within(
        "reasoning", noted("a thought is given whole", "summary", "generate_summary", "exclude", "context", "mode")
    ),
    **noted("of an earlier reply; the model is not shown it", "input.id", "input.status", "input.phase"),
    **noted("of an earlier reply; the model is not shown it", "input.caller", "input.namespace"),
    **noted("of an earlier reply", "input.content.annotations", "input.content.logprobs"),
    **within("input.content", CACHING),
    **within("tools", CACHING),
    **noted("every tool may be called", "tools.allowed_callers", "tools.defer_loading", "tools.output_schema"),
    **refused("send previous_response_id, or the turns in input", "conversation"),
    **noted("a conversation that does not fit is refused, or shortened by truncation", "context_management"),
    **refused(
        "send text.format",
        *("response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar"),
        *("format", "grammar", "json_schema"),
    ),
    **refused("send max_output_tokens", "max_tokens", "max_completion_tokens"),
    **refused("put them into input", "messages"),
    **refused("leave it out, and stream an answer that takes long", "background", harmless=(False,)),
    **refused("send instructions and input; prompts are stored nowhere", "prompt"),
    **noted("items have no log-probabilities; send logprobs to /v1/chat/completions", "top_logprobs"),
    **refused("send it to /v1/chat/completions", "logprobs", "prompt_logprobs", harmless=(0, False)),
}
KEPT = "files are kept until they are deleted: leave it out"
OPENAI_FILES: Foreign = refused(KEPT, "expires_after", "expires_after[anchor]", "expires_after[seconds]")
OPENAI_BATCHES: Foreign = refused(KEPT, "output_expires_after")
OPENAI_EMBEDDINGS: Foreign = {
    **ACCOUNTING,
    **noted("inputs are embedded as they are", "input_type", "task", "task_type"),
    **refused("shorten the input", "truncate_prompt_tokens"),
}

NATIVE: Foreign = {
    **refused("send max_tokens", "max_completion_tokens", "max_new_tokens", "num_predict", "n_predict"),
    **refused("send format", "response_format", "json_schema", "guided_json", "grammar"),
    **refused("send repetition_penalty", "repeat_penalty", harmless=(1,)),
    **refused(
        "send the request to /v1/chat/completions",
        "tools",
        "tool_choice",
        "logit_bias",
        "n",
        harmless=([], {}, 1, "none"),
    ),
    **refused("send text; images are not read", "images", harmless=([],)),
}

ANTHROPIC: Foreign = {
    **noted(
        "for accounts that are not here; it is in the record", "metadata", "service_tier", "inference_geo", "speed"
    ),
    **noted("nothing here runs tools, code or agents of its own", "container", "mcp_servers", "betas"),
    **noted("a conversation is read as it is sent", "context_management"),
    **noted("an answer is as long as max_tokens lets it be", "output_config.task_budget"),
    **CACHING,
    **within("system", CACHING),
    **within("messages.content", CACHING),
    **within("messages.content.content", CACHING),
    **within("tools", CACHING),
    **noted("a thought that is sent back is not checked", "messages.content.signature"),
    **noted("only its author can read it", "messages.content.data"),
    **noted(
        "of an earlier reply; the model is not shown it",
        *("messages.id", "messages.content.citations", "messages.content.caller", "messages.content.content.citations"),
    ),
    **noted("sources are not cited", "system.citations"),
    **noted("every tool may be called", "tools.allowed_callers"),
    **noted("a tool is told by its description and its schema", "tools.input_examples"),
    **noted("arguments come when they are whole", "tools.eager_input_streaming"),
    **noted(
        "of a tool that runs elsewhere, which the model is not told of",
        *("tools.max_uses", "tools.allowed_domains", "tools.blocked_domains", "tools.user_location"),
        *("tools.max_content_tokens", "tools.citations", "tools.max_characters", "tools.mcp_server_name"),
    ),
}

NO_IMAGES, NO_SOUND, NO_FILES = (
    "this server reads no images: send text",
    "this server hears nothing: send text",
    "this server reads no files: send their text",
)
CONTENT: Foreign = {
    **refused(NO_IMAGES, "image_url", "input_image", "image", "video_url", "input_video", "computer_screenshot"),
    **refused(NO_SOUND, "input_audio", "audio_url", "audio"),
    **refused(NO_FILES, "file", "input_file", "document"),
}
"""Parts of a message's content by their type."""


def unread(kind: object) -> str | None:
    """What to say of a part of this type that is not read here; None of any other."""
    verdict = CONTENT.get(kind) if isinstance(kind, str) else None
    return verdict.instead if isinstance(verdict, Refused) else None


def _lacks(what: str, instead: str, *names: str, harmless: tuple[Any, ...] = ()) -> dict[str, Refused]:
    """Refused in Ollama's words, which its clients know."""
    return dict.fromkeys(names, Refused(instead, harmless, f'"{{model}}" does not support {what}'))


OLLAMA_SHARED: Foreign = {
    **within(
        "options",
        {
            **noted("the engine's own affair", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict"),
            **noted("the engine's own affair", "use_mmap", "use_mlock", "numa", "low_vram", "f16_kv", "vocab_only"),
            **noted("the engine's own affair", "logits_all", "embedding_only"),
            **noted("Ollama ignores what it does not know, too", "typical_p", "tfs_z", "mirostat", "mirostat_tau"),
            **noted("Ollama ignores what it does not know, too", "mirostat_eta", "penalize_newline"),
        },
    ),
}
OLLAMA_TEXT: Foreign = {
    **OLLAMA_SHARED,
    **noted("a full context ends the answer with `length`", "shift"),
    **refused("send raw: true and read the record's rendered_prompt", "_debug_render_only", harmless=(False,)),
}
OLLAMA_EMBED: Foreign = noted("a model embeds in one way", "options")
OLLAMA_GENERATE: Foreign = {
    **OLLAMA_TEXT,
    **_lacks("vision", NO_IMAGES, "images", harmless=([],)),
    **_lacks("insert", "text is continued, not filled in", "suffix", harmless=("",)),
    **refused("the model's own template is used; write the prompt with raw: true", "template", harmless=("",)),
}
OLLAMA_CHAT: Foreign = {
    **OLLAMA_TEXT,
    **_lacks("vision", NO_IMAGES, "messages.images", harmless=([],)),
    **within("messages", noted("a thought goes into thinking", "reasoning_details", "thinking_blocks")),
    **noted("of an earlier reply", "messages.tool_calls.function.index", "messages.tool_calls.index"),
    **noted("Ollama ignores it, too; send options.num_predict", "max_output_tokens", "max_tokens"),
}
