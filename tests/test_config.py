from __future__ import annotations

from pathlib import Path

import pytest

from minivault.config import EMPTY_IS_NO_LIMIT, RULES, Settings, explain_settings, load_settings, variable
from minivault.errors import ConfigError

NOWHERE = Path("/nonexistent/.env")


def load(**env: str) -> Settings:
    return load_settings({f"MINIVAULT_{name.upper()}": value for name, value in env.items()}, NOWHERE)


def test_defaults_are_safe() -> None:
    settings = load()
    assert settings.is_loopback
    assert settings.model == "smollm2-135m"
    assert settings.vault_sync == "synced"


def test_an_unknown_name_is_refused_and_the_right_one_suggested() -> None:
    with pytest.raises(ConfigError, match="MINIVAULT_THREDS is not a setting; did you mean MINIVAULT_THREADS"):
        load(threds="4")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", "many"),
        ("threads", "0"),
        ("max_running", "-1"),
        ("deadline_s", "0"),
        ("bind", "8000"),
        ("bind", "localhost:99999"),
        ("bind", "unix:"),
        ("runner", "fast"),
        ("vault_sync", "maybe"),
        ("backend", "not a function"),
        ("device", "tpu"),
        ("offline", "perhaps"),
    ],
)
def test_a_bad_value_stops_with_key_and_value(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**{name: value})
    assert variable(name) in caught.value.message
    assert repr(value) in caught.value.message


def test_environment_beats_dotenv_beats_default(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MINIVAULT_THREADS=8\nMINIVAULT_WORKERS=2\nOTHER=1\n")
    settings = explain_settings({"MINIVAULT_THREADS": "16"}, file)
    assert (settings["threads"].value, settings["threads"].source) == (16, "environment")
    assert (settings["workers"].value, settings["workers"].source) == (2, ".env")
    assert settings["context"].source == "default"


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_variable_is_as_not_set_unless_empty_means_no_limit(tmp_path: Path, name: str, empty: str) -> None:
    file = tmp_path / ".env"
    for environ, text in (({variable(name): empty}, ""), ({}, f"{variable(name)}='{empty}'\n"), ({}, variable(name))):
        file.write_text(text)
        given = explain_settings(environ, file)[name]
        if name in EMPTY_IS_NO_LIMIT:
            assert (given.value.strip(), given.source == "default") == ("", False)
        else:
            assert (given.value, given.source) == (getattr(load(), name), "default")


def test_an_empty_variable_leaves_what_dotenv_says(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MINIVAULT_THREADS=8\n")
    assert load_settings({"MINIVAULT_THREADS": ""}, file).threads == 8


def test_an_unknown_name_in_dotenv_is_refused(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MINIVAULT_NONSENSE=8\n")
    with pytest.raises(ConfigError, match="MINIVAULT_NONSENSE"):
        load_settings({}, file)


@pytest.mark.parametrize("bind", ["127.0.0.1:1", "localhost:80", "[::1]:80", "unix:/run/x.sock", "127.0.0.2:80"])
def test_loopback_is_recognised(bind: str) -> None:
    assert load(bind=bind).is_loopback


@pytest.mark.parametrize("bind", ["0.0.0.0:80", "192.0.2.1:80", "[::]:80", "example.org:80"])
def test_other_addresses_are_not_loopback(bind: str) -> None:
    assert not load(bind=bind).is_loopback


def test_the_digest_changes_with_a_setting_but_not_with_the_secret() -> None:
    assert load().digest == load(api_key="mv_secret").digest
    assert load().digest != load(threads="8").digest


def test_every_setting_is_explained() -> None:
    assert all(rule.meaning for rule in RULES.values())
