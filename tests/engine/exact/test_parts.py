"""Models that see, too: what reads and writes text of them is served, by its own numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText

from minivault.engine import exact
from minivault.errors import ModelError
from minivault.families import family_of, text_of
from minivault.models.adapter import read_adapter
from tests.engine.exact import checkpoints
from tests.engine.exact.conftest import Loader
from tests.engine.exact.driving import tokens
from tests.engine.exact.floats import Floats
from tests.engine.exact.test_correctness import relative_error

TEXT = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 300, "head_dim": 16}
TEXT |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
SIGHT = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SIGHT |= {"image_size": 28, "patch_size": 14}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gemma3": (TEXT | {"sliding_window": 40}, SIGHT),
    "mistral3": (TEXT | {"model_type": "mistral"}, SIGHT | {"head_dim": 16}),
}


@pytest.fixture(params=KINDS)
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    text, sight = KINDS[request.param]
    torch.manual_seed(1)
    config = AutoConfig.for_model(request.param, text_config=text, vision_config=sight)
    AutoModelForImageTextToText.from_config(config).save_pretrained(tmp_path)
    return tmp_path


def by_the_library(directory: Path) -> np.ndarray:
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits: np.ndarray = model(input_ids=torch.tensor([tokens(60)])).logits[0].numpy()
    return logits


def renamed(directory: Path) -> None:
    """As the library names them since its fifth version."""
    found = load_file(directory / "model.safetensors")
    to = {"language_model.model.": "model.language_model.", "language_model.lm_head.": "lm_head."}
    for old, new in to.items():
        found = {name.replace(old, new): value for name, value in found.items()}
    others = ("model.language_model.", "lm_head.")
    found = {name if name.startswith(others) else f"model.{name}": value for name, value in found.items()}
    save_file(found, directory / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("is_renamed", [False, True])
def test_the_text_model_is_the_librarys(is_renamed: bool, directory: Path, load: Loader) -> None:
    expected = by_the_library(directory)
    if is_renamed:
        renamed(directory)
    assert exact.why_not(json.loads((directory / "config.json").read_text())) is None
    exact.prepare_checkpoint(directory, directory / "weights.exact")
    runner = load.open(directory / "weights.exact")
    found = runner.every_logit(tokens(60))
    runner.close()
    assert relative_error(Floats(directory / "weights.exact", 320).logits(tokens(60)), expected) < 0.03
    assert relative_error(found, expected) < 0.06


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_an_adapter_of_the_whole_changes_its_text_model(directory: Path, tmp_path: Path, load: Loader) -> None:
    """As PEFT names its maps, by where they stand in the library's model."""
    from peft import LoraConfig, get_peft_model

    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=12, target_modules=r".*language_model.*(q|up)_proj"))
    with torch.no_grad():
        for name, values in adapted.named_parameters():
            if "lora_" in name:
                values.copy_(torch.from_numpy(checkpoints.noise(name, *values.shape)) * 0.3)
        expected = adapted.eval()(input_ids=torch.tensor([tokens(60)])).logits[0].numpy()
    adapted.save_pretrained(tmp_path / "adapter")
    found = []
    for adapter in (read_adapter(tmp_path / "adapter"), None):
        exact.prepare_checkpoint(directory, tmp_path / "it.exact", adapter=adapter)
        runner = load.open(tmp_path / "it.exact")
        found.append(relative_error(runner.every_logit(tokens(60)), expected))
        runner.close()
    assert 3 * found[0] < found[1]


def test_a_tensor_of_its_text_that_nobody_knows_is_refused_by_name(directory: Path) -> None:
    found = load_file(directory / "model.safetensors")
    found["language_model.model.layers.1.gate.weight"] = np.zeros((2, 2), np.float32)
    save_file(found, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.gate\.weight is none that the exact engine knows"):
        exact.prepare_checkpoint(directory, directory / "weights.exact")


def test_what_a_config_leaves_out_is_what_the_library_takes() -> None:
    """As released: of Gemma 3 4B hardly more than this is said."""
    said = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 34}}
    text = text_of(said)
    family, whole = family_of(text), AutoConfig.for_model("gemma3", text_config=said["text_config"]).text_config
    assert family is not None
    assert family.block(text) == family.block(whole.to_dict())
