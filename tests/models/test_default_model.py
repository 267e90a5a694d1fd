"""The default model itself, where it has been pulled: it is what its makers made, and it answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from minivault.config import load_settings
from minivault.errors import ModelError
from minivault.models import ModelFiles, ModelStore, load_tokenizer, load_transformers_model
from minivault.service.weights import float_weights
from minivault.types import Message

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def default() -> ModelFiles:
    try:
        return ModelStore(load_settings(dotenv=Path("/nonexistent")).models_dir).resolve("smollm2-135m", verify=True)
    except ModelError as error:
        pytest.skip(error.message)


def test_its_digests_are_the_same_on_every_machine(default: ModelFiles) -> None:
    if default.is_packed:
        assert default.weights_digest == "sha256:f793082da7a8a288f426384f6a71d3577a6dd1a6e17a097be1a695ee370bf128"
    else:  # pulled by an earlier version
        assert default.weights_digest == "sha256:a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"
    assert default.template_digest == "sha256:872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788"
    assert default.num_parameters == 134_515_008


def test_it_knows_the_capital_of_france(default: ModelFiles) -> None:
    tokenizer = load_tokenizer(default)
    ids = torch.tensor([tokenizer.read_chat([Message("user", "What is the capital of France?")]).tokens])
    model = load_transformers_model(default, weights=float_weights(load_settings(), default))
    out = model.generate(ids, do_sample=False, max_new_tokens=16, attention_mask=torch.ones_like(ids))  # type: ignore[operator]
    answer = out[0, ids.shape[1] :].tolist()
    decode = tokenizer.decoder()
    assert b"".join(decode(token) for token in answer) == b"The capital of France is Paris."
    assert answer[-1] in tokenizer.eos_ids


def test_its_tokenizer_is_the_librarys(default: ModelFiles) -> None:
    from transformers import AutoTokenizer

    ours, theirs = load_tokenizer(default), AutoTokenizer.from_pretrained(default.directory)
    for text in ("Hello world", "a  1 22  333\n\n\tx", "naïve 日本語 🧑‍🚀", "<|im_start|>user\nHi<|im_end|>"):
        assert ours.encode(text, add_special=True) == theirs.encode(text)
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U 42"}]
    expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert ours.read_chat([Message("system", "S"), Message("user", "U 42")]).text == expected


def test_numbers_are_split_into_digits_before_anything_else(default: ModelFiles) -> None:
    tokenizer = load_tokenizer(default)
    ids = tokenizer.encode("  12", add_special=False)
    assert [tokenizer.token_bytes(token) for token in ids] == [b"  ", b"1", b"2"]
