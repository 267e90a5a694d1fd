"""Whose process is at the other end of a connection: known for certain, or not at all."""

from __future__ import annotations

import socket
import sys

import pytest

from minivault.access.peer import is_same_user, owner_in

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(local: str, remote: str, state: str, user: int, inode: int) -> str:
    return (
        f"   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000  {user:4}        0 {inode} 1 0 20 0\n"
    )


def word(number: str) -> str:
    """An address as this machine's kernel writes it."""
    return f"{int.from_bytes(socket.inet_aton(number), sys.byteorder):08X}"


CLIENT, SERVER = ("127.0.0.1", 0x1F41), ("127.0.0.1", 0x1F40)
ENDS = (f"{word('127.0.0.1')}:1F41", f"{word('127.0.0.1')}:1F40")


def test_the_user_at_the_client_s_end_is_found() -> None:
    table = HEAD + line(*reversed(ENDS), "01", 7, 5) + line(*ENDS, "01", 1000, 6)
    assert owner_in(table, CLIENT, SERVER) == 1000


@pytest.mark.parametrize(("state", "inode"), [("06", 0), ("04", 9), ("01", 0)])
def test_a_connection_whose_process_is_gone_is_nobody_s(state: str, inode: int) -> None:
    assert owner_in(HEAD + line(*ENDS, state, 0, inode), CLIENT, SERVER) is None


def test_addresses_of_version_4_are_found_among_those_of_version_6() -> None:
    mapped = "0000000000000000" + f"{int.from_bytes(bytes([0, 0, 255, 255]), sys.byteorder):08X}"
    table = HEAD + line(mapped + ENDS[0], mapped + ENDS[1], "01", 1000, 6)
    assert owner_in(table, CLIENT, SERVER) == 1000


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_real_connection_of_this_process_is_our_own(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        try:
            listener.bind((host, 0))
        except OSError:
            pytest.skip(f"no {host} here")
        listener.listen()
        with socket.create_connection(listener.getsockname()[:2]) as client:
            ends = (client.getsockname()[:2], listener.getsockname()[:2])
            assert is_same_user(*ends)
            assert not is_same_user((ends[0][0], 1), ends[1])
