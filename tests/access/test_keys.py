"""The key file: what is kept, what is not, and that no writer loses another's key."""

from __future__ import annotations

import json
import re
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.access.keyring import Keyring
from minivault.access.keys import TOKEN, KeyFile, NewKey, digest
from minivault.errors import ConfigError, NotFound, Unavailable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys.json"


def test_a_key_has_256_random_bits_and_only_their_digest_is_kept(path: Path) -> None:
    [(key, token)] = KeyFile(path).create(NewKey("alice"))
    match = TOKEN.fullmatch(token)
    assert match is not None and match[1] == key.id
    assert len(match[2]) == 43
    assert key.sha256 == digest(match[2])
    assert match[2] not in path.read_text()


def test_the_file_is_private_and_leaves_no_temporary_file(path: Path) -> None:
    KeyFile(path).create(NewKey("alice"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {entry.name for entry in path.parent.iterdir()} == {"keys.json", "keys.lock"}


def test_writers_at_the_same_time_lose_no_key(path: Path) -> None:
    names = [f"student {number}" for number in range(24)]
    threads = [threading.Thread(target=KeyFile(path).create, args=(NewKey(name),)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in KeyFile(path).read().values()) == sorted(names)


def test_several_keys_are_made_all_or_none(path: Path) -> None:
    KeyFile(path).create(NewKey("alice"))
    with pytest.raises(ConfigError, match="'alice' exists"):
        KeyFile(path).create(NewKey("bob"), NewKey("alice"))
    assert [key.name for key in KeyFile(path).read().values()] == ["alice"]


@pytest.mark.parametrize("name", ["", " alice", "a\nb", "a\x1b[2J", "x" * 101, "a\u2028b"])
def test_a_name_that_cannot_be_printed_on_one_line_is_refused(path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a key name"):
        KeyFile(path).create(NewKey(name))


def test_a_file_that_others_may_write_is_refused(path: Path) -> None:
    KeyFile(path).create(NewKey("alice"))
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod 600"):
        KeyFile(path).read()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"use"', '"god"'),
        lambda text: text.replace('"rate": null', '"rate": "often"'),
        lambda text: re.sub('"sha256": "..', '"sha256": "zz', text),
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace('"name"', '"naam"'),
    ],
)
def test_a_damaged_file_is_refused_and_not_taken_for_fewer_keys(path: Path, damage: object) -> None:
    KeyFile(path).create(NewKey("alice"))
    assert callable(damage)
    path.write_text(damage(path.read_text()))
    with pytest.raises(ConfigError):
        KeyFile(path).read()


def test_revoking_what_is_not_there_says_so(path: Path) -> None:
    with pytest.raises(NotFound, match="no valid key 'nobody'"):
        KeyFile(path).revoke("nobody")


def test_a_revoked_name_may_be_given_again(path: Path) -> None:
    file = KeyFile(path)
    [(first, _)] = file.create(NewKey("alice"))
    file.revoke("alice")
    [(second, _)] = file.create(NewKey("alice"))
    assert first.id != second.id
    assert file.revoke("alice").id == second.id


def test_the_holder_of_a_token_is_found_and_nobody_else(path: Path) -> None:
    [(key, token), (other, _)] = KeyFile(path).create(NewKey("alice"), NewKey("bob"))
    keyring = Keyring(path)
    assert keyring.find(token) == key
    assert keyring.find(token.replace(key.id, other.id)) is None
    assert keyring.find(token[:-1]) is None
    assert keyring.find(token + "A") is None
    assert keyring.find("") is None


def test_a_revocation_counts_from_the_next_request_on(path: Path) -> None:
    [(_, token)] = KeyFile(path).create(NewKey("alice"))
    keyring = Keyring(path)
    assert keyring.find(token) is not None
    KeyFile(path).revoke("alice")
    assert keyring.find(token) is None
    assert keyring.is_locked
    assert not keyring.has_valid_key


def test_a_rotated_key_keeps_its_id_and_loses_its_old_secret(path: Path) -> None:
    [(key, old)] = KeyFile(path).create(NewKey("alice"))
    keyring = Keyring(path)
    rotated, new = KeyFile(path).rotate(key.id)
    assert rotated.id == key.id
    assert keyring.find(old) is None
    assert keyring.find(new) == rotated


def test_a_key_is_invalid_from_its_expiry_on(path: Path) -> None:
    [(_, token)] = KeyFile(path).create(NewKey("alice", expires_at=1000))
    now = 999.9
    keyring = Keyring(path, clock=lambda: now)
    assert keyring.find(token) is not None
    now = 1000.0
    assert keyring.find(token) is None


def test_a_file_that_vanishes_under_a_server_does_not_open_it(path: Path) -> None:
    [(_, token)] = KeyFile(path).create(NewKey("alice"))
    keyring = Keyring(path)
    assert keyring.is_locked
    path.unlink()
    assert keyring.is_locked
    assert keyring.find(token) is None


def test_a_damaged_file_admits_nobody_until_it_is_whole_again(path: Path) -> None:
    [(_, token)] = KeyFile(path).create(NewKey("alice"))
    whole = path.read_text()
    keyring = Keyring(path)
    path.write_text(whole[:-10])
    for _ in range(2):
        with pytest.raises(Unavailable):
            keyring.find(token)
    path.write_text(whole)
    assert keyring.find(token) is not None


def test_no_key_is_needed_where_none_was_ever_made(path: Path) -> None:
    assert not Keyring(path).is_locked
    assert not path.parent.exists()


@given(st.text(max_size=120))
def test_no_text_is_taken_for_a_key(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed" / "keys.json"
    if not path.exists():
        KeyFile(path).create(NewKey("alice"))
    assert Keyring(path).find(text) is None


def test_the_kept_form_is_plain_json_without_secrets(path: Path) -> None:
    KeyFile(path, clock=lambda: 1000).create(NewKey("alice", "audit", expires_at=2000, rate="5/second"))
    [entry] = json.loads(path.read_text())["keys"]
    assert {**entry, "id": "", "sha256": ""} == {
        "id": "",
        "name": "alice",
        "role": "audit",
        "sha256": "",
        "created_at": 1000,
        "expires_at": 2000,
        "revoked_at": None,
        "rate": "5/second",
        "tokens_per_day": None,
    }
