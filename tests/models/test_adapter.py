"""A LoRA adapter is a model by its own name: its base's files, changed. What is no plain LoRA is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minivault.errors import ModelError
from minivault.models import ModelStore, load_tokenizer
from minivault.models.adapter import read_adapter
from minivault.models.named import names_in
from tests.models import adapters
from tests.models import hub as hubs


def test_an_adapter_is_its_base_changed(distilgpt2: Path, tmp_path: Path, store: ModelStore) -> None:
    folder = adapters.write(tmp_path / "poet", distilgpt2)
    files, base = store.pull(str(folder)), store.pull(str(distilgpt2))
    assert files == store.resolve(str(folder), verify=True)
    assert (files.name, files.reference) == ("poet", str(folder))
    assert files.source == f"directory {folder} on directory {distilgpt2}"
    assert (files.directory, files.config, files.weights_digest) == (distilgpt2, base.config, base.weights_digest)
    assert files.adapter is not None and files.adapter.digest.startswith("sha256:")
    assert store.prepared_path(files) != store.prepared_path(base)
    assert {one.name for one in store.list()} == {"poet", "distilgpt2"}
    store.remove(str(folder))
    assert (folder / "adapter_model.safetensors").is_file()


def test_another_adapter_of_the_same_name_is_another_model(distilgpt2: Path, tmp_path: Path, store: ModelStore) -> None:
    folder = adapters.write(tmp_path / "poet", distilgpt2)
    first = store.resolve(str(folder))
    adapters.write(folder, distilgpt2, lora_alpha=7)
    second = store.resolve(str(folder))
    assert first.adapter and second.adapter and first.adapter.digest != second.adapter.digest
    assert store.prepared_path(first) != store.prepared_path(second)


def test_the_tokenizer_that_it_was_trained_with_is_its_own(distilgpt2: Path, tmp_path: Path, store: ModelStore) -> None:
    plain = store.resolve(str(adapters.write(tmp_path / "plain", distilgpt2)))
    assert plain.chat_template == "" and plain.text_directory == distilgpt2
    folder = adapters.write(tmp_path / "chat", distilgpt2)
    text = (distilgpt2 / "tokenizer.json").read_text().replace("<|endoftext|>", "<|turn_end|>")
    (folder / "tokenizer.json").write_text(text)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    files = store.resolve(str(folder))
    assert files.chat_template == "{{ messages[0].content }}" and files.template_digest
    assert files.tokenizer_digest != plain.tokenizer_digest
    ours, bases = (load_tokenizer(one).encode("<|turn_end|>", add_special=False) for one in (files, plain))
    assert len(ours) == 1 < len(bases)


def test_names_in_a_folder_of_models_include_adapters(distilgpt2: Path, tmp_path: Path) -> None:
    folder = adapters.write(tmp_path / "models" / "poet", distilgpt2)
    assert names_in(str(tmp_path / "models")) == [str(folder)]
    assert names_in(f"distilgpt2,{folder}") == ["distilgpt2", str(folder)]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"use_dora": True}, "use_dora True"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save \['lm_head'\]"),
        ({"bias": "all"}, "bias all"),
        ({"alpha_pattern": {"c_fc": 3}}, "alpha_pattern"),
        ({"peft_type": "IA3"}, "peft_type IA3"),
        ({"task_type": "SEQ_CLS"}, "task_type SEQ_CLS"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa"),
        ({"target_parameters": ["experts.up"]}, "target_parameters"),
        ({"a_switch_of_tomorrow": 1}, "a_switch_of_tomorrow 1"),
        ({"lora_alpha": "16"}, "lora_alpha '16'"),
        ({"base_model_name_or_path": None}, "names no base: set base_model_name_or_path"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_no_plain_lora_is_refused_by_field(
    distilgpt2: Path, tmp_path: Path, store: ModelStore, given: dict[str, Any], told: str
) -> None:
    folder = adapters.write(tmp_path / "poet", distilgpt2, **given)
    with pytest.raises(ModelError, match=told) as caught:
        store.pull(str(folder))
    assert "\n" not in caught.value.message


def test_all_of_what_peft_writes_by_itself_is_plain(distilgpt2: Path, tmp_path: Path) -> None:
    from peft import LoraConfig

    config = LoraConfig(base_model_name_or_path=str(distilgpt2), task_type="CAUSAL_LM", r=9, use_rslora=True)
    config.save_pretrained(tmp_path)
    adapter = read_adapter(tmp_path)
    assert adapter.scale(9) == 8 / 3


def _without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_without("adapter_model.safetensors"), "has no adapter_model.safetensors"),
        (_cut, "cut short"),
        (lambda folder: (folder / "adapter_config.json").write_text("[1]"), "is not a JSON object"),
        (lambda folder: shutil.copy(folder / "adapter_model.safetensors", folder / "model.safetensors"), "config.json"),
    ],
)
def test_a_damaged_adapter_is_refused(
    distilgpt2: Path, tmp_path: Path, store: ModelStore, harm: Callable[[Path], object], told: str
) -> None:
    folder = adapters.write(tmp_path / "poet", distilgpt2)
    harm(folder)
    with pytest.raises(ModelError, match=told):
        store.pull(str(folder))


def test_a_base_that_is_not_here_or_not_in_floats_is_named(tmp_path: Path, store: ModelStore, gguf_file: Path) -> None:
    poet = adapters.write(tmp_path / "poet", "org/base")
    with pytest.raises(ModelError, match="adapter poet needs its base: model org/base is not on this machine; get it"):
        store.resolve(str(poet))
    adapters.write(poet, poet)
    with pytest.raises(ModelError, match="adapter poet has an adapter as its base"):
        store.pull(str(poet))


def test_a_base_out_of_a_gguf_file_is_refused(tmp_path: Path, store: ModelStore, gguf_file: Path) -> None:
    from tests.models.packing import CopyingPacker

    poet = adapters.write(tmp_path / "poet", gguf_file)
    with pytest.raises(ModelError, match="kept as a GGUF file has it, and nothing can be added"):
        store.pull(str(poet), packer=CopyingPacker())


def test_an_adapter_of_a_hub_is_pulled_with_its_base(
    distilgpt2: Path, tmp_path: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as library

    folder = adapters.write(tmp_path / "repository", distilgpt2)
    (folder / "training_args.bin").write_bytes(b"pickle")
    with hubs.serving("org/poet", folder) as hub:
        monkeypatch.setattr(library, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(library, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        files = store.pull("org/poet")
        assert hub.fetched == {"adapter_config.json", "adapter_model.safetensors"}
        assert files.name == "org/poet" and files.directory == distilgpt2
        assert store.pull("org/poet") == store.resolve("org/poet", verify=True) == files
        hub.seen.clear()
        config = folder / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"use_dora": True}))
        store.remove("org/poet")
        with pytest.raises(ModelError, match="use_dora"):
            store.pull("org/poet")
        assert hub.fetched == {"adapter_config.json"}
