"""The front door: what it promises a request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minivault.errors import VaultError, VaultUnavailable
from minivault.vault import Vault, new_id
from tests.vault.samples import Clock, ask, check, closing, opening, records

NASTY = [
    'x\n{"type":"interaction","seq":99}',
    "\x1b]0;owned\x07\x1b[2J",
    "line\u2028and\u2029paragraph",
    "lone \ud800 surrogate",
    "nul \x00 and \x7f and \x85",
    "\u202eright to left\u202c",
    "\r\nCRLF\r\n",
    '"quotes\\and\\"backslashes',
]


@pytest.mark.parametrize("prompt", NASTY)
def test_any_prompt_is_one_ascii_line_and_comes_back_as_it_was(prompt: str, vault: Vault, directory: Path) -> None:
    ask(vault, prompt, prompt[::-1])
    raw = (directory / "log.jsonl").read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in raw)
    lines = raw.splitlines()
    assert len(lines) == 3
    assert json.loads(lines[-1])["prompt"] == prompt
    assert json.loads(lines[-1])["response"] == prompt[::-1]
    assert check(directory).exit_code == 0


def test_a_line_starts_with_what_a_person_looks_for(vault: Vault, directory: Path) -> None:
    ask(vault, "Hello", "Hi there")
    line = (directory / "log.jsonl").read_bytes().splitlines()[-1]
    assert line.startswith(b'{"type":"interaction","v":2,"seq":3,"timestamp":"2026-11-')
    assert b'Z","prompt":"Hello","response":"Hi there","id":"' in line


def test_a_record_holds_the_whole_interaction(vault: Vault, directory: Path) -> None:
    asked = opening(key="k1", answerer="builtin")
    entry = vault.begin(asked)
    place = entry.finish(closing(error={"code": "x", "message": "y"}, status="failed", finish_reason="error"))
    [record] = records(directory)
    assert (record["seq"], record["hash"]) == (place.seq, place.hash)
    for name in ("id", "api", "stream", "model", "fingerprint", "prompt", "request", "rendered_prompt", "client"):
        assert record[name] == getattr(asked, name)
    assert record["prompt_tokens"] == [1, 2, 3]
    assert record["completion_tokens"] == [4, 5]
    assert (record["key"], record["source"]) == ("k1", "builtin")
    assert record["error"] == {"code": "x", "message": "y"}
    assert record["timestamp"].startswith("2026-11-") and len(record["timestamp"]) == 30


def test_a_ten_megabyte_prompt_is_kept_whole(vault: Vault, directory: Path) -> None:
    prompt = "word " * (2 << 20)
    ask(vault, prompt)
    assert records(directory)[0]["prompt"] == prompt
    assert check(directory).exit_code == 0


def test_finishing_twice_makes_one_record(vault: Vault, directory: Path) -> None:
    entry = vault.begin(opening())
    assert entry.finish(closing()) == entry.finish(closing("something else"))
    assert [record["response"] for record in records(directory)] == ["Hi there"]


def test_seq_has_no_gap_across_restarts(make_vault: Callable[..., Vault], directory: Path) -> None:
    for _ in range(3):
        vault = make_vault()
        ask(vault)
        vault.close()
    everything = records(directory, None)
    assert [record["seq"] for record in everything] == list(range(1, len(everything) + 1))
    assert [record["type"] for record in everything] == ["genesis", *("start", "interaction", "stop") * 3]


def test_seq_goes_on_when_the_clock_steps_back(make_vault: Callable[..., Vault], directory: Path) -> None:
    clock = Clock()
    vault = make_vault(clock=clock)
    vault.append_event("read", {"by": "a"})
    clock.step(-3600)
    vault.append_event("read", {"by": "b"})
    times = [record["time_ns"] for record in records(directory, "read")]
    assert times[1] < times[0]
    assert check(directory).exit_code == 0


def test_the_start_record_says_how_the_vault_is_run(make_vault: Callable[..., Vault], directory: Path) -> None:
    make_vault(sync="synced", start={"settings_digest": "sha256:1", "version": "9"})
    [start] = records(directory, "start")
    assert (start["sync"], start["settings_digest"], start["version"]) == ("synced", "sha256:1", "9")


def test_two_vaults_on_one_directory_share_one_chain(make_vault: Callable[..., Vault], directory: Path) -> None:
    one, other = make_vault(), make_vault(segment_bytes=3000)
    for number in range(6):
        ask((one, other)[number % 2], f"prompt {number}")
    assert [record["prompt"] for record in records(directory)] == [f"prompt {number}" for number in range(6)]
    assert check(directory).exit_code == 0


def test_async_acknowledges_before_writing_and_closing_writes_it_all(
    make_vault: Callable[..., Vault], directory: Path
) -> None:
    vault = make_vault(sync="async")
    for _ in range(50):
        assert ask(vault)[1].seq == 0
    vault.close()
    assert len(records(directory)) == 50


def test_files_are_private(vault: Vault, directory: Path) -> None:
    ask(vault)
    assert directory.stat().st_mode & 0o777 == 0o700
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_an_idle_journal_is_empty_and_a_closed_one_is_gone(make_vault: Callable[..., Vault], directory: Path) -> None:
    vault = make_vault()
    entry = vault.begin(opening())
    entry.wait()
    [journal] = (directory / "journal").iterdir()
    assert json.loads(journal.read_bytes())["open"]["id"] == entry.id
    entry.finish(closing())
    assert journal.stat().st_size == 0
    vault.close()
    assert not journal.exists()


def test_a_world_writable_directory_is_refused(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(VaultError, match="writable by everybody"):
        Vault.open(directory)


def test_a_symlinked_directory_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    directory.symlink_to(tmp_path / "real")
    with pytest.raises(VaultError, match="symlink"):
        Vault.open(directory)


def test_a_symlinked_log_file_is_not_followed(
    directory: Path, tmp_path: Path, make_vault: Callable[..., Vault]
) -> None:
    directory.mkdir(mode=0o700)
    (directory / "log.jsonl").symlink_to(tmp_path / "elsewhere")
    assert not make_vault().status().writable
    assert not (tmp_path / "elsewhere").exists()


def test_a_vault_is_not_used_after_a_fork(vault: Vault) -> None:
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the child
        try:
            vault.begin(opening())
        except RuntimeError:
            os._exit(42)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


def test_ids_sort_by_time_and_never_repeat() -> None:
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    prefixes = [new_id(t)[:18] for t in range(0, 10**10, 10**7)]
    assert prefixes == sorted(prefixes)
    assert len(set(prefixes)) == len(prefixes)


def test_an_id_that_is_none_is_refused(vault: Vault) -> None:
    with pytest.raises(VaultError, match="record id"):
        vault.begin(opening(id="a\nb"))


@pytest.mark.parametrize("parameters", [{"temperature": float("nan")}, {"stop": {1}}, {"logit_bias": {1: 0, "2": 0}}])
def test_values_that_json_cannot_hold_are_refused_before_anything_is_generated(
    parameters: dict[str, Any], vault: Vault
) -> None:
    with pytest.raises(VaultError, match="cannot be written as JSON"):
        vault.begin(opening(parameters=parameters))


def test_importing_the_vault_loads_no_model_and_no_server() -> None:
    code = "import sys, minivault.vault; print([m for m in ('torch', 'flask', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_end_that_json_cannot_hold_is_refused_and_stays_owed(vault: Vault, directory: Path) -> None:
    entry = vault.begin(opening())
    with pytest.raises(VaultUnavailable, match="cannot be written as JSON"):
        entry.finish(closing(usage={"ratio": float("inf")}))
    assert entry.finish(closing()).seq == 3
    assert len(records(directory)) == 1
