"""DisconnectWatcher: tells who has gone, and never somebody else."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from minivault.api import disconnect
from minivault.api.disconnect import DisconnectWatcher
from tests.live import GUARD_S


@pytest.fixture
def pair() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """Makes a server's socket and its client's."""
    made: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        made.extend(socket.socketpair())
        return made[-2], made[-1]

    yield make
    for sock in made:
        sock.close()


Pair = Callable[[], tuple[socket.socket, socket.socket]]


def take_turns(watcher: DisconnectWatcher, pair: Pair) -> None:
    """The watcher has told all that it knew before."""
    for _ in range(2):
        told, (sock, client) = threading.Event(), pair()
        watcher.watch(sock, told.set)
        client.close()
        assert told.wait(GUARD_S)


def test_a_client_that_goes_is_told_to_everyone_who_watches_it_and_to_nobody_else(pair: Pair) -> None:
    watcher, (leaver, client), (stayer, _other) = DisconnectWatcher(), pair(), pair()
    told = [threading.Event() for _ in range(3)]
    for sock, event in zip((leaver, leaver, stayer), told, strict=True):
        watcher.watch(sock, event.set)
    client.close()
    assert told[0].wait(GUARD_S)
    assert told[1].wait(GUARD_S)
    take_turns(watcher, pair)
    assert not told[2].is_set()


def test_a_watch_that_was_ended_is_told_nothing(pair: Pair) -> None:
    watcher, (sock, client) = DisconnectWatcher(), pair()
    told = threading.Event()
    watcher.watch(sock, told.set)()
    client.close()
    take_turns(watcher, pair)
    assert not told.is_set()


def test_who_gets_the_number_of_a_socket_that_has_just_gone_is_not_taken_for_gone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher, (old, old_client), (new, new_client) = DisconnectWatcher(), pair(), pair()
    number, told_old, told_new, replaced = old.fileno(), threading.Event(), threading.Event(), threading.Event()
    real_poll = select.poll

    class Poll:
        """A poll between whose return and use the old request ends and the next client gets its number."""

        def __init__(self) -> None:
            self._poll = real_poll()
            self.register = self._poll.register

        def poll(self) -> list[tuple[int, int]]:
            found = self._poll.poll()
            if not replaced.is_set() and number in dict(found):
                replaced.set()
                forget_old()
                os.dup2(new.fileno(), number)
                watcher.watch(old, told_new.set)
            return found

    monkeypatch.setattr(disconnect.select, "poll", Poll)
    forget_old = watcher.watch(old, told_old.set)
    old_client.close()
    assert replaced.wait(GUARD_S)
    take_turns(watcher, pair)
    assert not told_new.is_set(), "a client that is there was taken for gone"
    assert not told_old.is_set()
    new.close()
    new_client.close()
    assert told_new.wait(GUARD_S), "the next client is watched as well"
