"""Being reachable from other machines needs a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivault.access.exposure import check_access
from minivault.access.keys import KeyFile, NewKey
from minivault.config import Settings
from minivault.errors import ConfigError


def settings(home: Path, bind: str) -> Settings:
    return Settings(home=home, bind=bind)


@pytest.mark.parametrize("bind", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "unix:/run/minivault.sock"])
def test_this_machine_alone_needs_no_key(tmp_path: Path, bind: str) -> None:
    check_access(settings(tmp_path, bind), [("127.0.0.1", 8000), ("::1", 8000), "/run/minivault.sock"])


@pytest.mark.parametrize("bind", ["0.0.0.0:8000", "[::]:8000", "192.168.1.7:8000", "box.lan:8000"])
def test_any_other_bind_without_a_key_is_refused_with_the_command_to_run(tmp_path: Path, bind: str) -> None:
    with pytest.raises(ConfigError, match="`minivault keys create"):
        check_access(settings(tmp_path, bind))


def test_the_address_really_bound_counts_not_only_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"at 0\.0\.0\.0"):
        check_access(settings(tmp_path, "127.0.0.1:8000"), [("0.0.0.0", 8000)])


def test_a_valid_key_permits_it_and_a_revoked_one_does_not(tmp_path: Path) -> None:
    exposed = settings(tmp_path, "0.0.0.0:8000")
    file = KeyFile(exposed.keys_file)
    file.create(NewKey("alice"))
    check_access(exposed)
    file.revoke("alice")
    with pytest.raises(ConfigError):
        check_access(exposed)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("rate_limit", "plenty"),
        ("token_limit", "1/blink"),
        ("auth_failure_limit", "0/minute"),
        ("rate_storage", "memory://"),
        ("allowed_origins", "*"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_its_name(tmp_path: Path, setting: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"MINIVAULT_{setting.upper()}"):
        check_access(Settings(home=tmp_path / "home", **{setting: value}))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
