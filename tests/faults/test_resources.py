"""Row 43: what the system gives runs out, or was never there. Each time the server says so, and none burns a core."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.raw import Target
from tests.live import live_server

pytestmark = pytest.mark.server
THREADLESS = Path(__file__).parent / "threadless.conf.py"


def is_at_rest(*pids: int) -> bool:
    """Whether these processes mostly sleep, all their threads: one in a loop never does, on any machine."""
    pause, num_asleep = threading.Event(), 0
    for _ in range(50):
        pause.wait(0.02)
        num_asleep += all(map(is_asleep, pids))
    return num_asleep > 25


def is_asleep(pid: int) -> bool:
    states = (path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat"))
    return not any(state in "RD" for state in states)


def unprivileged() -> list[str]:
    """A command prefix for a process that RLIMIT_NPROC binds. The superuser is exempt: it runs as nobody in particular,
    with the right to read every file kept, since this checkout may lie where only the superuser may look."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("no thread limit binds the superuser, and there is no `setpriv` to become somebody else")
    kept = "-all,+dac_override,+fowner"
    user = str(3_000_000 + os.getpid())
    return ["setpriv", "--reuid", user, "--clear-groups", "--inh-caps", kept, "--ambient-caps", kept, "--"]


def take_threads(pid: int, account: list[str]) -> None:
    """Let a running process start no further process or thread; only its own account may do that to it."""
    limit = f"import resource; resource.prlimit({pid}, resource.RLIMIT_NPROC, (1, 1))"
    subprocess.run([*account, sys.executable, "-c", limit], check=True)


def with_shm(directory: Path, shm: str) -> list[str]:
    """A command prefix for a process with a /dev of its own, in which the shell command `shm` is run at the start."""
    script = directory / "own-dev.sh"
    script.write_text(
        f"set -e; cd {directory}; mkdir dev; mount --rbind /dev dev; mount -t tmpfs tmpfs /dev\n"
        "for node in null zero random urandom; do touch /dev/$node; mount --bind dev/$node /dev/$node; done\n"
        f'{shm}; cd "$OLDPWD"; exec "$@"\n'
    )
    prefix = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else []), "sh", str(script)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this account may not mount, even in a namespace of its own, so /dev/shm cannot be taken away")
    (directory / "dev").rmdir()
    return prefix


def test_without_file_descriptors_the_server_says_so_and_recovers(tmp_path: Path) -> None:
    with live_server(tmp_path, receive_timeout_s=2) as server:
        server.wait_ready()
        target = Target(server)
        [worker] = server.workers()
        used = len(list(Path(f"/proc/{worker}/fd").iterdir()))
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 12, used + 12))
        sockets = [target.connect() for _ in range(40)]
        try:
            server.wait_for(lambda: "no file descriptor is left" in server.log)
            assert is_at_rest(worker)
        finally:
            for sock in sockets:
                sock.close()
        server.wait_ready()
        assert target.answer("say fine") == "fine"
        assert server.workers() == [worker]


def test_a_worker_that_is_up_needs_no_more_threads_to_serve_everyone(tmp_path: Path) -> None:
    account = unprivileged()
    with live_server(tmp_path, prefix=account, max_running=40, rate_limit="") as server:
        server.wait_ready()
        target = Target(server)
        [worker] = server.workers()
        take_threads(worker, account)
        with ThreadPoolExecutor(40) as pool:
            replies = list(pool.map(lambda _: target.post({"prompt": "delay=0.02 say abc"}), range(40)))
        assert [reply.status_code for reply in replies] == [200] * 40
        with target.connect() as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")  # and one that only waits
            assert is_at_rest(worker)
        assert server.workers() == [worker]


def test_a_server_that_gets_no_threads_refuses_to_start_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREADLESS", "1")
    with live_server(tmp_path, prefix=unprivileged(), conf=THREADLESS) as server:
        assert server.wait_ended() == 3
        assert "Traceback" not in server.log
        [line] = [line for line in server.log.splitlines() if "thread" in line and "[INFO]" not in line]
        assert "TasksMax" in line
        assert "MINIVAULT_THREADS=64" in line


def test_a_replacement_that_gets_no_threads_is_tried_again_while_the_others_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREADLESS", "3")
    with live_server(tmp_path, prefix=unprivileged(), conf=THREADLESS, workers=2) as server:
        server.wait_ready()
        server.wait_for(lambda: len(server.workers()) == 2)
        victim, survivor = server.workers()
        os.kill(victim, signal.SIGKILL)
        server.wait_for(lambda: "TasksMax" in server.log)
        assert is_at_rest(server.process.pid, survivor)
        assert survivor in server.workers()
        server.wait_for(lambda: server.log.count("Booting worker") == 4)
        server.wait_ready()
        assert "Traceback" not in server.log
        assert Target(server).answer("say fine") == "fine"
        assert survivor in server.workers()


def test_a_server_that_cannot_fork_a_replacement_ends_so_that_it_is_started_again(tmp_path: Path) -> None:
    account = unprivileged()
    with live_server(tmp_path, prefix=account) as server:
        server.wait_ready()
        take_threads(server.process.pid, account)
        os.kill(server.workers()[0], signal.SIGKILL)
        assert server.wait_ended() == 255
        assert "Resource temporarily unavailable" in server.log


@pytest.mark.parametrize(
    "shm", ["true", "mkdir /dev/shm; mount -t tmpfs -o ro tmpfs /dev/shm"], ids=["missing", "read-only"]
)
def test_without_dev_shm_the_server_works_and_still_replaces_a_frozen_worker(
    shm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--timeout 2")
    with live_server(tmp_path, prefix=with_shm(tmp_path, shm)) as server:
        server.wait_ready()
        assert Target(server).answer("say fine") == "fine"
        [worker] = server.workers()
        assert is_at_rest(server.process.pid, worker)
        os.kill(worker, signal.SIGSTOP)
        server.wait_for(lambda: worker not in server.workers() and len(server.workers()) == 1)
        server.wait_ready()
