"""Limits through a real Redis server, where one is installed (`redis-server` on the path and the redis package)."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minivault.access.rates import Rates, parse_limit
from minivault.errors import ConfigError
from tests.live import GUARD_S, free_port, until

HAS_PACKAGE = importlib.util.find_spec("redis") is not None
SERVER = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(not (HAS_PACKAGE and SERVER), reason="no Redis server is installed here")
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


@pytest.mark.skipif(HAS_PACKAGE, reason="the redis package is installed here")
def test_without_its_package_redis_is_refused_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pip install 'minivault\[redis\]'"):
        Rates("redis://127.0.0.1:6379", tmp_path)
