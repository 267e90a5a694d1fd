"""A damaged checkpoint is served by no runner, and the line that says so has the reasons of both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from minivault.config import Settings
from minivault.errors import ModelError
from minivault.service.backends import load_local
from tests.models import gpt2


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return gpt2.write_checkpoint(tmp_path / "model")


def test_what_our_engine_refuses_of_a_damaged_model_the_library_does_not_serve_either(
    directory: Path, tmp_path: Path
) -> None:
    file = directory / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("h.1.attn.c_attn.weight"))
    tensors[name][3, 5] = torch.nan
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"cannot be loaded: tensor .*c_attn.weight holds NaN.*; tensor .*holds NaN"):
        load_local(Settings(home=tmp_path / "home", model=str(directory), cache_mb=16))
