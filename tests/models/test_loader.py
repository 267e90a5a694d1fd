"""Checkpoints become torch modules: quietly, from safetensors alone, or not at all."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from minivault.engine.exact.lora import Change
from minivault.errors import ModelError
from minivault.models import ModelStore, load_tokenizer, load_transformers_model
from tests.models import gpt2


@pytest.mark.parametrize("prefix", ["transformer.", ""], ids=["as distilgpt2", "as gpt2"])
def test_a_checkpoint_in_the_layout_of_distilgpt2_loads_and_generates(
    tmp_path: Path, store: ModelStore, prefix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    files = store.resolve(str(gpt2.write_checkpoint(tmp_path / "model", prefix=prefix)))
    model = load_transformers_model(files)
    tokenizer = load_tokenizer(files)
    ids = tokenizer.encode("Hello world", add_special=True)
    out = model.generate(torch.tensor([ids]), max_new_tokens=5, do_sample=False, pad_token_id=50256)  # type: ignore[operator]
    assert out.shape == (1, 7)
    tensors = load_file(files.directory / "model.safetensors")
    assert torch.equal(model.get_input_embeddings().weight, tensors[prefix + "wte.weight"])  # type: ignore[operator]
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert capfd.readouterr() == ("", "")


def test_the_dtype_is_the_one_asked_for(distilgpt2: Path, store: ModelStore) -> None:
    files = store.resolve(str(distilgpt2))
    for dtype in ("bfloat16", torch.bfloat16):
        assert load_transformers_model(files, dtype=dtype).dtype == torch.bfloat16


def test_missing_tensors_are_refused_not_made_up(distilgpt2: Path, store: ModelStore) -> None:
    tensors = load_file(distilgpt2 / "model.safetensors")
    del tensors["transformer.h.1.mlp.c_fc.weight"]
    save_file(tensors, distilgpt2 / "model.safetensors")
    with pytest.raises(ModelError, match=r"lack 1 tensors, the first is transformer.h.1.mlp.c_fc.weight") as caught:
        load_transformers_model(store.resolve(str(distilgpt2)))
    assert "\n" not in caught.value.message


def test_tensors_of_another_shape_are_refused(distilgpt2: Path, store: ModelStore) -> None:
    tensors = load_file(distilgpt2 / "model.safetensors")
    tensors["transformer.ln_f.weight"] = torch.zeros(5)
    save_file(tensors, distilgpt2 / "model.safetensors")
    with pytest.raises(ModelError, match=r"tensor transformer.ln_f.weight has shape \(5,\)") as caught:
        load_transformers_model(store.resolve(str(distilgpt2)))
    assert "\n" not in caught.value.message


def test_a_tensor_that_no_layer_of_the_model_has_is_refused_and_another_part_is_left_out(
    distilgpt2: Path, store: ModelStore
) -> None:
    tensors = load_file(distilgpt2 / "model.safetensors")
    save_file(tensors | {"vision.h.0.weight": torch.zeros(3)}, distilgpt2 / "model.safetensors")
    load_transformers_model(store.resolve(str(distilgpt2)))
    foreign = "transformer.h.1.attn.q_norm.weight"
    save_file(tensors | {foreign: torch.zeros(3)}, distilgpt2 / "model.safetensors")
    with pytest.raises(ModelError, match=f"tensor {foreign} is none that"):
        load_transformers_model(store.resolve(str(distilgpt2)))


def test_an_adapter_for_a_map_that_the_library_has_not_is_told_so(distilgpt2: Path, store: ModelStore) -> None:
    name = "language_model.h.0.mlp.c_fc"
    change = Change(np.zeros((128, 2), np.float32), np.zeros((2, 32), np.float32), np.float32(1))
    with pytest.raises(ModelError, match=f"the adapter changes {name}, which is no map of its own"):
        load_transformers_model(store.resolve(str(distilgpt2)), changes={name: change})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused(distilgpt2: Path, store: ModelStore, bad: float) -> None:
    tensors = load_file(distilgpt2 / "model.safetensors")
    tensors["transformer.h.1.mlp.c_fc.weight"][2, 7] = bad
    save_file(tensors, distilgpt2 / "model.safetensors")
    with pytest.raises(ModelError, match=r"transformer.h.1.mlp.c_fc.weight holds NaN or infinite values"):
        load_transformers_model(store.resolve(str(distilgpt2)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("final_logit_softcapping", 30.0),
        ("activation_function", "banana"),
        ("rope_scaling", {"rope_type": "banana", "factor": 2.0}),
        ("n_layer", "two"),
        ("n_head", 0),
    ],
)
def test_what_the_library_would_pass_over_in_a_config_or_fail_at_is_one_line(
    distilgpt2: Path, store: ModelStore, name: str, value: object
) -> None:
    file = distilgpt2 / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    with pytest.raises(ModelError, match="cannot be loaded: ") as caught:
        load_transformers_model(store.resolve(str(distilgpt2)))
    assert "\n" not in caught.value.message
    assert name in ("n_head", "rope_scaling") or name in caught.value.message


def test_pickled_weights_are_never_opened(distilgpt2: Path, store: ModelStore, tmp_path: Path) -> None:
    files = store.resolve(str(distilgpt2))
    elsewhere = tmp_path / "pickled"
    elsewhere.mkdir()
    (elsewhere / "config.json").write_bytes((distilgpt2 / "config.json").read_bytes())
    trap = f"cos\nsystem\n(S'touch {tmp_path}/ran'\ntR."
    (elsewhere / "pytorch_model.bin").write_text(trap)
    with pytest.raises(ModelError):
        load_transformers_model(replace(files, directory=elsewhere))
    assert not os.path.lexists(tmp_path / "ran")
