"""`witness serve` and `vault cosign`: what does not fit is named in a sentence, before anything is served or signed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from minivault.vault import Vault
from tests.cli.conftest import Cli
from tests.vault.samples import ask


@pytest.fixture
def vkey(tmp_path: Path, offline_cli: Cli) -> Path:
    vault = Vault.open(tmp_path / "logs", sync="written")
    ask(vault, "Hello")
    vault.close()
    (tmp_path / "vault.vkey").write_text(offline_cli("vault", "head", "--vkey").stdout)
    return tmp_path / "vault.vkey"


@pytest.mark.parametrize("bind", ["127.0.0.1", ":80", "127.0.0.1:65536", "127.0.0.1:\u00b2", "127.0.0.1:-1", "[::1]:x"])
def test_an_address_that_is_none_is_a_usage_error(vkey: Path, offline_cli: Cli, bind: str) -> None:
    result = offline_cli("witness", "serve", "w", "--name", "example.org/w", "--log", str(vkey), "--bind", bind)
    assert (result.exit_code, f"--bind {bind}: give HOST:PORT" in result.stderr) == (2, True), result.output


def test_an_address_that_is_taken_is_named(vkey: Path, offline_cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        result = offline_cli("witness", "serve", "w", "--name", "example.org/w", "--log", str(vkey), "--bind", bind)
    assert (result.exit_code, f"--bind {bind}: Address already in use" in result.stderr) == (2, True), result.output


@pytest.mark.parametrize(("content", "told"), [(b"", "no key of a log"), (b"x", "'x' is no key"), (b"\xff", "no text")])
def test_keys_that_are_none_are_named(vkey: Path, offline_cli: Cli, tmp_path: Path, content: bytes, told: str) -> None:
    del vkey
    (tmp_path / "keys").write_bytes(content)
    served = offline_cli("witness", "serve", "w", "--name", "example.org/w", "--log", "keys")
    assert (served.exit_code, told in served.stderr) == (2, True), served.output
    assert not (tmp_path / "w").exists()
    asked = offline_cli("vault", "cosign", "http://127.0.0.1:1", "--witness", "keys")
    assert (asked.exit_code, "no key of a witness" in asked.stderr or "no text" in asked.stderr) == (2, True)
