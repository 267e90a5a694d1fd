"""Time limits of accepted sockets, on real ones."""

from __future__ import annotations

import socket

import pytest

from minivault.worker.sockets import harden_sockets


def test_an_accepted_socket_gives_up_on_a_silent_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        harden_sockets([listener], receive_s=0.05, send_s=0.05)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted, pytest.raises(BlockingIOError):
                accepted.recv(1)


def test_an_accepted_socket_gives_up_on_a_client_that_never_reads() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        harden_sockets([listener], receive_s=0.05, send_s=0.05)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted, pytest.raises(BlockingIOError):
                for _ in range(1000):
                    accepted.sendall(b"x" * 100_000)


def test_a_client_that_takes_its_time_within_the_limit_is_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        harden_sockets([listener], receive_s=10, send_s=10)
        with socket.create_connection(listener.getsockname()) as client:
            accepted, _ = listener.accept()
            with accepted:
                client.sendall(b"x")
                assert accepted.recv(1) == b"x"
