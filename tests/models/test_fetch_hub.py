"""Models from a hub: only what may be loaded is fetched, whole and as the hub describes it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minivault.errors import ModelError
from minivault.models import ModelStore
from minivault.models.catalog import HubOrigin, KnownModel
from tests.live import GUARD_S, until
from tests.models import gpt2, tiny_gguf
from tests.models import hub as hubs

NAME = "distilbert/distilgpt2"
PULL = f"""
import sys
from pathlib import Path
from minivault.models import ModelStore

ModelStore(Path(sys.argv[1])).pull("{NAME}")
"""


@pytest.fixture
def hub(distilgpt2: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hubs.Hub]:
    """A hub that the client library of this process is pointed to."""
    import huggingface_hub.constants as library

    with hubs.serving(NAME, distilgpt2) as hub:
        monkeypatch.setattr(library, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            library, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield hub


def start_pull(hub: hubs.Hub, store: ModelStore) -> subprocess.Popen[bytes]:
    """A pull in another process, which finds the hub by HF_ENDPOINT as the library documents."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(store.models_dir.parent / "hf")}
    command = [sys.executable, "-c", PULL, str(store.models_dir)]
    return subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE)


def test_distilgpt2_is_pulled_from_the_hub_by_its_short_name(hub: hubs.Hub, store: ModelStore) -> None:
    seen: list[tuple[int, int]] = []
    files = store.pull("distilgpt2", lambda stage, done, total: seen.append((done, total)))
    assert files == store.resolve("distilgpt2", verify=True)
    assert files.source == f"hub {NAME}@main"
    assert files.license == "apache-2.0"
    assert files.weights_digest == "sha256:" + hubs.digest(hub.files / "model.safetensors")
    assert all(done <= total for done, total in seen)


def test_only_safetensors_and_settings_are_fetched(hub: hubs.Hub, store: ModelStore) -> None:
    for name in ("pytorch_model.bin", "tf_model.h5", "README.md", "modeling.py", "x.pkl", "fp16.safetensors"):
        (hub.files / name).write_bytes(b"x" * 10)
    files = store.pull(NAME)
    expected = {"config.json", "generation_config.json", "merges.txt", "model.safetensors", "tokenizer.json"}
    expected |= {"tokenizer_config.json", "vocab.json"}
    assert hub.fetched == expected
    assert {path.name for path in files.directory.iterdir()} == expected | {"minivault.json"}


def test_the_license_is_the_one_the_hub_states(hub: hubs.Hub, store: ModelStore) -> None:
    hub.license = "openrail"
    assert store.pull(NAME).license == "openrail"


@pytest.mark.parametrize(
    ("make_unusable", "told"),
    [
        (lambda files: (files / "model.safetensors").rename(files / "pytorch_model.bin"), "only in pytorch_model.bin"),
        (lambda files: (files / "config.json").write_text('{"model_type": "x1"}'), "'x1' is not a known causal LM"),
        (lambda files: (files / "config.json").unlink(), "has no config.json"),
    ],
    ids=["pickle only", "unknown architecture", "no config"],
)
def test_a_model_that_cannot_be_used_is_refused_before_its_weights_are_fetched(
    hub: hubs.Hub, store: ModelStore, make_unusable: Callable[[Path], object], told: str
) -> None:
    make_unusable(hub.files)
    with pytest.raises(ModelError, match=told):
        store.pull(NAME)
    assert not hub.fetched & {"pytorch_model.bin", "model.safetensors"}
    assert store.list() == []


def test_weights_that_are_not_what_the_hub_says_are_not_used(hub: hubs.Hub, store: ModelStore) -> None:
    hub.corrupt = True
    with pytest.raises(ModelError, match=r"model.safetensors of .* is not what the hub says"):
        store.pull(NAME)
    assert store.list() == []
    hub.corrupt = False
    store.pull(NAME)


@pytest.mark.parametrize(
    ("name", "told"),
    [("org/unknown", "the hub has no model org/unknown"), (f"{NAME}@nope", "has no revision 'nope'")],
)
def test_what_the_hub_does_not_have_is_refused_with_one_line(
    hub: hubs.Hub, store: ModelStore, name: str, told: str
) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        store.pull(name)
    assert "\n" not in caught.value.message


def test_a_hub_that_cannot_be_reached_is_one_line(
    hub: hubs.Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as library

    monkeypatch.setattr(library, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"pulling .* from the hub failed: .*; pull again to go on") as caught:
        store.pull(NAME)
    assert "\n" not in caught.value.message


def test_a_dropped_connection_is_resumed(hub: hubs.Hub, store: ModelStore) -> None:
    hub.drop_after = 12_000_000
    files = store.pull(NAME)
    assert files == store.resolve(NAME, verify=True)
    ranges = [asked for method, path, asked in hub.seen if method == "GET" and path.endswith("model.safetensors")]
    assert len(ranges) == 2 and ranges[1].startswith("bytes=1")


def test_a_killed_download_goes_on_from_the_bytes_that_are_there(hub: hubs.Hub, store: ModelStore) -> None:
    killed(hub, store)
    assert store.list() == []
    with pytest.raises(ModelError, match="models pull"):
        store.resolve(NAME)
    files = store.pull(NAME)
    assert files == store.resolve(NAME, verify=True)
    assert [asked for method, path, asked in hub.seen if method == "GET" and "/resolve/" in path] == ["bytes=10485760-"]
    assert hub.fetched == {"model.safetensors"}
    assert not list(store.models_dir.rglob("*.unfinished"))
    assert not list((store.models_dir / ".partial").iterdir())


def _wait_for_bytes(store: ModelStore, num_bytes: int) -> None:
    """Until that much of the weights is on disk."""
    until(lambda: any(path.stat().st_size >= num_bytes for path in store.models_dir.rglob("*.unfinished")))


def killed(hub: hubs.Hub, store: ModelStore) -> None:
    """A pull that was killed in the middle of the weights."""
    hub.stall_after = 12_000_000  # the library writes in steps of ten MiB
    with start_pull(hub, store) as process:
        try:
            assert hub.stalled.wait(60)
            _wait_for_bytes(store, 10 << 20)
        finally:
            process.send_signal(signal.SIGKILL)
            hub.release.set()
    hub.stall_after = None
    hub.seen.clear()


def test_a_file_that_changed_after_a_killed_download_is_fetched_from_its_start(
    hub: hubs.Hub, store: ModelStore
) -> None:
    killed(hub, store)
    weights = bytearray((hub.files / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (hub.files / "model.safetensors").write_bytes(weights)
    assert store.pull(NAME) == store.resolve(NAME, verify=True)
    assert [asked for method, path, asked in hub.seen if method == "GET" and path.endswith("model.safetensors")] == [""]


def test_bytes_that_were_damaged_after_a_killed_download_are_not_used(hub: hubs.Hub, store: ModelStore) -> None:
    killed(hub, store)
    (unfinished,) = store.models_dir.rglob("*.unfinished")
    unfinished.write_bytes(bytes(5_000_000))
    with pytest.raises(ModelError, match=r"model.safetensors of .* is not what the hub says"):
        store.pull(NAME)
    assert store.pull(NAME) == store.resolve(NAME, verify=True)


def test_the_endpoint_is_taken_from_the_environment_as_the_library_does(hub: hubs.Hub, store: ModelStore) -> None:
    with start_pull(hub, store) as process:
        _, errors = process.communicate(timeout=GUARD_S)
    assert process.returncode == 0, errors.decode()
    assert errors == b""
    assert store.resolve(NAME, verify=True).name == NAME


def test_a_catalog_entry_may_pin_a_revision(hub: hubs.Hub, tmp_path: Path) -> None:
    entry = KnownModel("mine", "", "mit", HubOrigin(NAME, hubs.COMMIT), 1)
    files = ModelStore(tmp_path / "store", catalog={"mine": entry}).pull("mine")
    assert files.name == "mine"
    assert files.license == "mit"


def test_a_gated_model_is_refused_with_the_hubs_reason_and_opened_by_a_token(
    hub: hubs.Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gate = "Access to this model is restricted: visit its page."
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ModelError, match=r"is gated \(Access to this model is restricted: visit its page\)") as told:
        store.pull(NAME)
    assert "HF_TOKEN" in told.value.message
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert store.pull(NAME) == store.resolve(NAME, verify=True)


@pytest.fixture
def ggufs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hubs.Hub]:
    """A hub with one repository of GGUF files."""
    import huggingface_hub.constants as library

    files = tmp_path / "repository"
    files.mkdir()
    gpt2.write_vocabulary(tmp_path)
    file = tiny_gguf.write(files / "tiny-Q4_K_M.gguf", *tiny_gguf.vocabulary(tmp_path / "merges.txt"))
    shutil.copy(file, files / "tiny-Q8_0.gguf")
    (files / "mmproj-tiny-Q8_0.gguf").write_bytes(b"no model")
    with hubs.serving("org/tiny-GGUF", files) as hub:
        monkeypatch.setattr(library, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(library, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


@pytest.mark.parametrize(
    ("name", "file", "called"),
    [
        ("org/tiny-GGUF", "tiny-Q4_K_M.gguf", "org/tiny-GGUF"),
        ("hf.co/org/tiny-GGUF:q8_0", "tiny-Q8_0.gguf", "org/tiny-GGUF:Q8_0"),
        ("https://huggingface.co/org/tiny-GGUF:tiny-Q8_0.gguf", "tiny-Q8_0.gguf", "org/tiny-GGUF:tiny-Q8_0.gguf"),
    ],
)
def test_one_gguf_file_of_a_repository_is_pulled_under_any_spelling_of_its_name(
    ggufs: hubs.Hub, store: ModelStore, name: str, file: str, called: str
) -> None:
    files = store.pull(name)
    assert ggufs.fetched == {file}
    assert (files.name, files.license) == (called, "apache-2.0")
    assert store.resolve(called, verify=True) == store.resolve(name) == files
    assert store.pull(name) == files
    store.remove(called)
    assert store.list() == []


def test_a_quantisation_that_a_repository_does_not_have_is_refused_with_those_that_it_has(
    ggufs: hubs.Hub, store: ModelStore
) -> None:
    with pytest.raises(ModelError, match="no file called Q5_K_M; choose one with --file or behind a colon: Q4_K_M, Q8"):
        store.pull("org/tiny-GGUF:Q5_K_M")
    assert ggufs.fetched == set()
