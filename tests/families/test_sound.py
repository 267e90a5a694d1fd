"""A config that a family would misread, or read only in part, is refused in a line that names the field."""

from __future__ import annotations

from typing import Any

import pytest

from minivault.families import MODEL_TYPES, family_of, text_of
from tests.engine.exact import families

_OF_LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "intermediate_size": 96,
    "vocab_size": 300,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "llama_4_scaling_beta": 0.1}


def why_not(config: dict[str, Any]) -> str | None:
    family = family_of(config)
    assert family is not None
    return family.why_not(config)


@pytest.mark.parametrize("variant", families.VARIANTS)
def test_what_the_library_writes_of_a_model_is_read_whole(variant: str) -> None:
    from transformers import AutoConfig

    sizes = {name: value for name, value in _OF_LLAMA.items() if name != "rope_parameters"}
    given = sizes | {"num_key_value_heads": 2} | families.CONFIGS[variant]
    assert why_not(AutoConfig.for_model(given.pop("model_type"), **given).to_dict()) is None


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_a_size_that_is_no_number_is_named_in_every_family(kind: str) -> None:
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
    reason = why_not(_OF_LLAMA | sizes | {"model_type": kind, "vocab_size": "many"})
    assert reason == "vocab_size is 'many', which is not a whole number above 0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_attention_heads", 0),
        ("num_hidden_layers", "4"),
        ("num_hidden_layers", -1),
        ("head_dim", True),
        ("max_position_embeddings", "x"),
        ("sliding_window", -5),
        ("rope_theta", 0.0),
        ("rope_theta", float("nan")),
        ("rope_parameters", [1, 2]),
        ("rope_scaling", "yarn"),
        ("layer_types", ["full_attention"]),
        ("layer_types", 3),
        ("final_logit_softcapping", 30.0),
        ("attn_logit_softcapping", 50.0),
        ("clip_qkv", 8.0),
        ("logit_scale", 0.0625),
        ("logits_scaling", 0),
        ("residual_multiplier", "x"),
        ("use_bidirectional_attention", True),
    ],
)
def test_values_of_no_use_and_switches_that_a_family_does_not_have_are_named(name: str, value: Any) -> None:
    assert why_not(_OF_LLAMA) is None
    assert name in (why_not(_OF_LLAMA | {name: value}) or "")


def test_a_switch_that_is_off_is_none() -> None:
    off = {"final_logit_softcapping": None, "clip_qkv": None, "logit_scale": 1.0, "use_bidirectional_attention": False}
    assert why_not(_OF_LLAMA | off) is None


def test_more_experts_than_there_are_are_not_asked() -> None:
    config = _OF_LLAMA | {"model_type": "olmoe", "num_experts": 8}
    assert why_not(config | {"num_experts_per_tok": 8}) is None
    assert why_not(config | {"num_experts_per_tok": 9}) == "num_experts_per_tok is 9, of 8 experts"


def test_what_rotary_positions_have_besides_is_named_within_a_larger_model_too() -> None:
    config = text_of({"model_type": "mistral3", "text_config": _OF_LLAMA | {"rope_parameters": _YARN}})
    assert "llama_4_scaling_beta" in (why_not(dict(config)) or "")
