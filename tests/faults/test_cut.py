"""A net that is cut between a front and one of its engines, and a front that is lost behind a load balancer."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from minivault.vault.merged import check_all, node_of
from minivault.vault.reader import read_records
from tests.faults.sites import Stream, ask, engine_process, is_recorded, record_of
from tests.live import GUARD_S, PROJECT, LiveServer, free_port, live_server, until

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(600)]
IP = shutil.which("ip", path=f"{os.environ.get('PATH')}:/usr/sbin")
NAMESPACE = f"mv{os.getpid()}"
HERE, THERE = "10.213.7.1", "10.213.7.2"
FIRST_S = 2
"""How long the engine that is lost may be silent."""


def ip(*words: str) -> None:
    assert IP is not None
    subprocess.run([IP, *words], check=True, capture_output=True)


def there(*words: str) -> None:
    ip("netns", "exec", NAMESPACE, "ip", *words)


@contextmanager
def wire() -> Iterator[list[str]]:
    """A network namespace at the other end of a wire, and the command that runs another one in it."""
    near, far = f"{NAMESPACE}a", f"{NAMESPACE}b"
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", NAMESPACE)
        ip("addr", "add", f"{HERE}/30", "dev", near)
        ip("link", "set", near, "up")
        there("addr", "add", f"{THERE}/30", "dev", far)
        mend()
        yield [str(IP), "netns", "exec", NAMESPACE]
    finally:
        ip("netns", "del", NAMESPACE)


def cut() -> None:
    """What is sent from here on is lost; nobody is told."""
    there("link", "set", f"{NAMESPACE}b", "down")


def mend() -> None:
    there("link", "set", f"{NAMESPACE}b", "up")


def can_cut() -> bool:
    """Whether this user may make network namespaces here."""
    if IP is None or os.geteuid() != 0:
        return False
    probe = f"{NAMESPACE}probe"
    made = subprocess.run([IP, "netns", "add", probe], capture_output=True, check=False)
    subprocess.run([IP, "netns", "del", probe], capture_output=True, check=False)
    return made.returncode == 0


@pytest.mark.skipif(not can_cut(), reason="a net can be cut by root alone, with iproute2, where namespaces are allowed")
def test_a_net_that_is_cut_fails_the_answers_beyond_it_and_no_others(tmp_path: Path) -> None:
    with ExitStack() as stack:
        beyond, _ = stack.enter_context(engine_process(stack.enter_context(wire()), THERE))
        near, _ = stack.enter_context(engine_process())
        settings = {"backend": "upstream", "upstream_url": f"{beyond},{near}", "upstream_timeout_s": FIRST_S}
        front = stack.enter_context(live_server(tmp_path, **settings))
        front.wait_ready()
        front.wait_for(lambda: front.log.count(" is up ") == 2)
        streams = [Stream(stack, front.url, f"question {number} ") for number in range(6)]
        cut()
        front.wait_for(lambda: f"the engine at {beyond} is down" in front.log)
        front.wait_for(lambda: any(is_recorded(stream, front) for stream in streams))
        for number in range(6):
            answered = ask(front.url, f"once {number}")
            assert answered.json()["response"] == f"once {number}"
            assert record_of(front, answered.headers["X-Request-Id"])["upstream"]["server"] == near
        gone = [stream for stream in streams if is_recorded(stream, front)]
        assert len(gone) < len(streams)
        for stream in gone:
            stream.read_on()
            assert stream.last["finish_reason"] == "error"
            record = record_of(front, stream.id)
            assert (record["status"], record["response"]) == ("failed", stream.text)
            assert record["upstream"]["server"] == beyond
        for stream in (stream for stream in streams if stream not in gone):
            stream.read_some(3)
        mend()
        front.wait_for(lambda: front.log.count(f"the engine at {beyond} is up") == 2)
    assert [one.exit_code for one in check_all([front.vault])] == [0]


@contextmanager
def balancer(directory: Path, fronts: list[LiveServer]) -> Iterator[str]:
    """nginx with the site that docs/scale.md shows, in front of these."""
    [site] = re.findall(r"```nginx\n(.*?)```", (PROJECT / "docs" / "scale.md").read_text(), re.DOTALL)
    port = free_port()
    ports = [front.url.rpartition(":")[2] for front in fronts]
    for shown, real in zip(("8154", "8155", "8156"), (*ports, str(port)), strict=True):
        assert f"127.0.0.1:{shown}" in site
        site = site.replace(f"127.0.0.1:{shown}", f"127.0.0.1:{real}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    conf = directory / "nginx.conf"
    conf.write_text(
        f"daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log warn;"
        f"events {{}}\nhttp {{ access_log off; {places}\n{site} }}\n"
    )
    with subprocess.Popen(["nginx", "-c", conf], stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: answers(url), lambda: (directory / "error.log").read_text() if process.poll() else None)
            yield url
        finally:
            process.terminate()


def ended(front: LiveServer, status: str) -> dict[str, dict[str, Any]]:
    """The records of a front's answers that ended so, by id."""
    return {record["id"]: record for record in read_records(front.vault) if record.get("status") == status}


def answers(url: str) -> bool:
    try:
        return httpx.get(url + "/ready", timeout=GUARD_S).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here: `make faults` installs it")
def test_a_front_that_is_lost_behind_a_balancer_takes_its_own_answers_alone(tmp_path: Path) -> None:
    with ExitStack() as stack:
        engine, _ = stack.enter_context(engine_process())
        folders = [tmp_path / name for name in ("front1", "front2")]
        settings = {"backend": "upstream", "upstream_url": engine}
        fronts = list[LiveServer]()
        for folder in folders:
            folder.mkdir()
            fronts.append(stack.enter_context(live_server(folder, node=folder.name, **settings)))
        for front in fronts:
            front.wait_ready()
        url = stack.enter_context(balancer(tmp_path, fronts))
        streams = [Stream(stack, url, f"question {number} ") for number in range(8)]
        for stream in streams:
            stream.read_some(3)
        lost, other = fronts
        for pid in (lost.process.pid, *lost.workers()):
            os.kill(pid, signal.SIGKILL)
        for number in range(10):
            assert ask(url, f"once {number}").json()["response"] == f"once {number}"
        assert len(ended(other, "completed")) == 10
        again = stack.enter_context(live_server(folders[0], node="front1", **settings))
        again.wait_ready()
        num_lost = len(streams) - httpx.get(other.url + "/health").json()["running"]
        again.wait_for(lambda: len(ended(again, "interrupted")) == num_lost)
        interrupted = ended(again, "interrupted")
        cut_off = [stream for stream in streams if stream.id in interrupted]
        assert 0 < len(cut_off) < len(streams)
        for stream in cut_off:
            stream.read_on()
            assert stream.last.get("done") is None
            assert interrupted[stream.id]["response"].startswith(stream.text)
        for stream in (stream for stream in streams if stream not in cut_off):
            stream.read_some(3)
    assert {node_of(record) for front in fronts for record in read_records(front.vault)} == {"front1", "front2"}
    assert [one.exit_code for one in check_all([front.vault for front in fronts])] == [0, 0]
