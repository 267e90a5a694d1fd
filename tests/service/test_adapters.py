"""Adapters served: each runner computes what PEFT's maths says, under a fingerprint that names base and adapter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file

from minivault.config import Settings
from minivault.errors import ModelError
from minivault.models import load_transformers_model
from minivault.service.backends import check_backend, load_local, pull_model
from minivault.service.weights import adapter_changes
from tests.models import adapters, gpt2


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    base = gpt2.write_checkpoint(tmp_path / "base")
    poet = adapters.write(tmp_path / "poet", base)
    return Settings(home=tmp_path / "home", model=f"{base},{poet}", context=64)


def test_the_librarys_model_has_the_product_added(settings: Settings, tmp_path: Path) -> None:
    files = pull_model(replace(settings, runner="transformers"), str(tmp_path / "poet"))
    plain, changed = load_transformers_model(files), load_transformers_model(files, changes=adapter_changes(files))
    parts = load_file(tmp_path / "poet" / "adapter_model.safetensors")
    up, down = (parts[f"base_model.model.{adapters.MAP}.lora_{part}.weight"] for part in "BA")
    for name, values in plain.state_dict().items():
        added = torch.from_numpy(6 / 2 * (up @ down).T) if name == f"{adapters.MAP}.weight" else torch.tensor(0.0)
        assert torch.allclose(changed.state_dict()[name], values + added, atol=1e-5), name
    assert not torch.allclose(
        changed.state_dict()[f"{adapters.MAP}.weight"], plain.state_dict()[f"{adapters.MAP}.weight"]
    )


@pytest.mark.parametrize("runner", ["exact", "transformers"])
@pytest.mark.timeout(600)
def test_a_fingerprint_names_base_and_adapter(settings: Settings, tmp_path: Path, runner: str) -> None:
    check_backend(settings)
    base, poet = (load_local(replace(settings, runner=runner, model=str(tmp_path / name))) for name in ("base", "poet"))
    parts = dict(poet.info.fingerprint_parts)
    assert parts.pop("adapter").startswith("sha256:") and parts == base.info.fingerprint_parts
    assert poet.info.fingerprint != base.info.fingerprint
    assert poet.info.name == "poet" and poet.info.weights_digest != base.info.weights_digest
    base.runner.close()
    poet.runner.close()


def test_an_adapter_that_does_not_fit_is_refused_by_every_runner(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "poet" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes().replace(b"h.0.mlp.c_fc", b"h.0.mlp.c_xy"))
    for runner in ("auto", "exact"):
        with pytest.raises(ModelError, match="c_xy"):
            load_local(replace(settings, runner=runner, model=str(tmp_path / "poet")))
