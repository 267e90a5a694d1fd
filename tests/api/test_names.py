"""A model has one name: what a list calls it is what every dialect finds it by, and it says nothing of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from minivault.app import create_app
from minivault.config import Settings
from minivault.interaction import Recorder
from minivault.models.catalog import canonical_name, identify, name_of, served_name
from minivault.service import Loaded, LocalModel, Roster
from tests.scripted import backend

folders = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda name: name not in (".", "..")
)


@contextmanager
def serving(settings: Settings, name: str) -> Iterator[FlaskClient]:
    def load(chosen: Settings) -> Loaded:
        loaded = backend(chosen)
        return replace(loaded, info=replace(loaded.info, name=name))

    model = LocalModel(settings, load)
    recorder = Recorder(settings, Roster(model))
    model.wait_loaded(30)
    try:
        yield create_app(settings, recorder).test_client()
    finally:
        model.close()
        recorder.close()


@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(folders)
def test_a_model_in_any_folder_is_found_by_the_id_that_the_lists_give(settings: Settings, folder: str) -> None:
    name = served_name(f"/srv/models/{folder}")
    assert "/" not in name
    with serving(settings, name) as client:
        [listed] = client.get("/v1/models").get_json()["data"]
        [tagged] = client.get("/api/tags").get_json()["models"]
        for known in (listed["id"], tagged["name"], tagged["model"]):
            assert client.get(f"/v1/models/{quote(known, safe='')}").status_code == 200
            assert client.post("/api/show", json={"model": known}).status_code == 200
            body = {"model": known, "prompt": "say x"}
            assert client.post("/generate", json=body).status_code == 200
            assert client.post("/v1/completions", json=body).status_code == 200


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/srv/models/qwen", "qwen"),
        ("/srv/org/my model:v1", "my model:v1"),
        ("/srv/Q4.gguf", "Q4"),
        ("/srv/two\nlines", "two-lines"),
        ("org/name", "org/name"),
        ("org/name@main", "org/name@main"),
        ("smollm2-135m", "smollm2-135m"),
        ("/", "model"),
    ],
)
def test_a_path_gives_its_last_part_and_any_other_name_itself(path: str, name: str) -> None:
    assert served_name(path) == name


def test_a_setting_gives_the_name_before_the_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    for setting in (str(tmp_path / "mine"), "./mine", "mine", "mine/"):
        assert name_of(setting) == "mine"
        assert served_name(canonical_name(setting, identify(setting))) == "mine"
    assert name_of("no such model!") == "no such model!"


def test_while_a_model_loads_health_does_not_tell_its_path(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    chosen = replace(settings, model=str(tmp_path / "mine"))
    recorder = Recorder(chosen, Roster(LocalModel(chosen, backend)))
    try:
        health = create_app(chosen, recorder).test_client().get("/health").get_json()
        assert (health["status"], health["model"]) == ("unloaded", "mine")
    finally:
        recorder.close()
