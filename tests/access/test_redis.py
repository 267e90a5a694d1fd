"""Limits through a real Redis server, where one is installed (`redis-server` on the path and the redis package)."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minivault.access.leases import Leases
from minivault.access.permits import Permits
from minivault.access.rates import Rates, parse_limit
from minivault.errors import ConfigError
from tests.live import GUARD_S, free_port, until

HAS_PACKAGE = importlib.util.find_spec("redis") is not None
SERVER = shutil.which("redis-server")
pytestmark = pytest.mark.services
needs_redis = pytest.mark.skipif(not (HAS_PACKAGE and SERVER), reason="no Redis server here: `make faults` installs it")
LIMIT = parse_limit("600/hour")
assert LIMIT is not None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    port = free_port()
    assert SERVER is not None
    command = [SERVER, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        process.args = [port]
        until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        yield process
        process.terminate()


HIT = """
import sys
from pathlib import Path
from minivault.access.rates import Rates, parse_limit
failures = []
rates = Rates(sys.argv[1], Path("unused"), on_failure=lambda: failures.append(1))
limit = parse_limit("600/hour")
print(sum(not rates.hit("requests", limit, "who").is_exceeded for _ in range(500)), len(failures))
"""


@needs_redis
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_processes_share_one_exact_count_and_a_lost_server_refuses_nobody(server: subprocess.Popen[bytes]) -> None:
    assert isinstance(server.args, list)
    uri = f"redis://127.0.0.1:{server.args[0]}/0"
    command = [sys.executable, "-c", HIT, uri]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = [process.communicate(timeout=GUARD_S)[0].split() for process in processes]
    assert sum(int(admitted) for admitted, _ in printed) == 600
    assert {num_failures for _, num_failures in printed} == {"0"}
    failures: list[bool] = []
    rates = Rates(uri, Path("unused"), on_failure=lambda: failures.append(rates.is_shared))
    assert rates.peek("requests", LIMIT, "who").is_exceeded
    server.terminate()
    server.wait(GUARD_S)
    window = rates.hit("requests", LIMIT, "who")
    assert (window.is_exceeded, rates.is_shared, len(failures)) == (False, False, 1)


def test_without_its_package_redis_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minivault.access.rates.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install 'minivault\[redis\]'"):
        Rates("redis://127.0.0.1:6379", tmp_path)


def leases(server: subprocess.Popen[bytes], tmp_path: Path, **more: Any) -> Leases:
    assert isinstance(server.args, list)
    return Leases(f"redis://127.0.0.1:{server.args[0]}/0", Permits(tmp_path, 2), **more)


@needs_redis
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_machines_share_one_count_of_generations(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    one, other = leases(server, tmp_path / "one"), leases(server, tmp_path / "other")
    first, second = one.acquire("who"), other.acquire("who")
    assert first is not None
    assert second is not None
    assert one.acquire("who") is None
    assert other.acquire("who") is None
    assert other.acquire("somebody else") is not None
    first.release()
    assert other.acquire("who") is not None


@needs_redis
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_a_dead_machine_held_is_free_again_and_what_lives_is_renewed(
    server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    program = (
        "import sys, os; from pathlib import Path; from minivault.access.leases import Leases\n"
        "from minivault.access.permits import Permits\n"
        "one = Leases(sys.argv[1], Permits(Path(sys.argv[2]), 2), lease_s=1)\n"
        "assert one.acquire('who'); os._exit(0)"
    )
    assert isinstance(server.args, list)
    uri = f"redis://127.0.0.1:{server.args[0]}/0"
    living = leases(server, tmp_path, lease_s=1.0)
    held = living.acquire("who")
    assert held is not None
    subprocess.run([sys.executable, "-c", program, uri, str(tmp_path)], check=True, timeout=GUARD_S)
    second = living.acquire("who")  # none is free while the dead one's lease runs
    until(lambda: second is not None or living.acquire("who") is not None)
    assert living.acquire("who") is None


@needs_redis
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_lost_redis_counts_on_this_machine_and_refuses_nobody_for_it(
    server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    failures: list[int] = []
    shared = leases(server, tmp_path, on_failure=lambda: failures.append(1))
    held = shared.acquire("who")
    server.terminate()
    server.wait(GUARD_S)
    own = [shared.acquire("who") for _ in range(3)]
    assert [permit is None for permit in own] == [False, False, True]
    assert failures
    assert held is not None
    held.release()
