"""The outgoing-connection guard, in processes of their own: it cannot be taken off again."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap

import pytest

from minivault.access.offline import OfflineGuard, allowed_peers, is_loopback
from minivault.config import Settings

CONFINE = """
import socket, sys
from minivault.access.offline import install_offline_guard
from minivault.config import Settings
assert install_offline_guard(Settings(rate_storage=sys.argv[1]))
def is_refused(action):
    try:
        action()
    except PermissionError as error:
        assert "MINIVAULT_OFFLINE" in str(error), error
        return True
    except OSError:
        return False
    return False
"""


def confined(program: str, rate_storage: str = "embedded") -> None:
    subprocess.run([sys.executable, "-c", CONFINE + textwrap.dedent(program), rate_storage], check=True, timeout=60)


def test_connections_datagrams_and_lookups_that_leave_the_machine_are_errors() -> None:
    # 192.0.2.0/24 and 2001:db8::/32 are reserved for documentation: were the guard to fail, nobody would be reached.
    confined(
        """
        import http.client, urllib.request
        stream = lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        datagram = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        assert is_refused(lambda: stream().connect(("192.0.2.1", 80)))
        assert is_refused(lambda: stream().connect_ex(("192.0.2.1", 80)))
        assert is_refused(lambda: datagram().sendto(b"x", ("192.0.2.1", 53)))
        assert is_refused(lambda: datagram().sendto(b"x", 0, ("192.0.2.1", 53)))
        assert is_refused(lambda: datagram().sendmsg([b"x"], [], 0, ("192.0.2.1", 53)))
        assert is_refused(lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM).connect(("2001:db8::1", 80)))
        assert is_refused(lambda: socket.create_connection(("192.0.2.1", 80)))
        assert is_refused(lambda: socket.getaddrinfo("model-hub.invalid", 443))
        assert is_refused(lambda: socket.getaddrinfo(b"model-hub.invalid", 443))
        assert is_refused(lambda: socket.gethostbyname("model-hub.invalid"))
        assert is_refused(lambda: http.client.HTTPConnection("192.0.2.1").request("GET", "/"))
        """
    )


def test_this_machine_stays_reachable() -> None:
    confined(
        """
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname()).close()
            socket.create_connection(("localhost", server.getsockname()[1])).close()
        first, second = socket.socketpair()
        first.sendmsg([b"x"])
        assert second.recv(1) == b"x"
        with socket.socket(socket.AF_UNIX) as unix:
            assert not is_refused(lambda: unix.connect("/nonexistent"))
        """
    )


def test_libraries_and_low_level_modules_cannot_go_around_it() -> None:
    confined(
        """
        import _socket, threading
        assert is_refused(lambda: _socket.socket(socket.AF_INET).connect(("192.0.2.1", 80)))
        refused = []
        attempt = lambda: refused.append(is_refused(lambda: socket.create_connection(("192.0.2.1", 80))))
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        assert refused == [True]
        """
    )


def test_the_rate_storage_is_the_named_exception() -> None:
    confined(
        """
        def connect(address):
            sock = socket.socket()
            sock.settimeout(0.01)
            return sock.connect(address)
        assert not is_refused(lambda: connect(("192.0.2.7", 6379)))
        assert is_refused(lambda: connect(("192.0.2.8", 6379)))
        """,
        "redis://:secret@192.0.2.7:6379/0",
    )


def test_a_named_host_may_be_looked_up_and_its_addresses_connected() -> None:
    guard = OfflineGuard(["localhost.localdomain", "LocalHost"])
    guard("socket.getaddrinfo", ("LOCALHOST.localdomain", 1, 0, 0, 0))
    with socket.socket() as sock, pytest.raises(PermissionError):
        guard("socket.connect", (sock, ("192.0.2.1", 80)))


def test_a_name_handed_straight_to_connect_is_refused_like_an_address() -> None:
    with socket.socket() as sock, pytest.raises(PermissionError, match=r"model-hub\.invalid port 443"):
        OfflineGuard()("socket.connect", (sock, ("model-hub.invalid", 443)))


def test_off_means_off() -> None:
    program = (
        "from minivault.access.offline import install_offline_guard as f\nfrom minivault.config import Settings as S\n"
    )
    subprocess.run([sys.executable, "-c", program + "assert not f(S(offline=False))"], check=True, timeout=60)


def test_only_the_storage_is_named_by_the_settings() -> None:
    assert allowed_peers(Settings()) == []
    assert allowed_peers(Settings(rate_storage="redis://cache.lan:6379")) == ["cache.lan"]
    engines = "http://gpu1:8000/v1, https://[fd00::2]/v1"
    assert allowed_peers(Settings(upstream_url=engines)) == []
    assert allowed_peers(Settings(backend="upstream", upstream_url=engines)) == ["gpu1", "fd00::2"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", "LOCALHOST"])
def test_loopback_is_known_in_all_its_spellings(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1", "localhost.evil", "fe80::1%lo"])
def test_nothing_else_is_loopback(host: str) -> None:
    assert not is_loopback(host)
