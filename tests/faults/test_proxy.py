"""Behind nginx, with the site that is kept for it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from minivault.access.keys import KeyFile, NewKey
from tests.faults.raw import Target
from tests.live import GUARD_S, PROJECT, LiveServer, free_port, live_server

pytestmark = [
    pytest.mark.server,
    pytest.mark.services,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx here: `make faults` installs it"),
]
HOST = "llm.example.org"


def nginx_conf(directory: Path, port: int, upstream: str) -> str:
    """The site on a port of loopback, without TLS, with every file under `directory`."""
    server = re.sub("#.*", "", (PROJECT / "deploy" / "nginx.conf").read_text())
    server = re.sub(r"\n *ssl_certificate.*", "", server).replace("443 ssl", f"127.0.0.1:{port}")
    server = server.replace("http://127.0.0.1:8000", upstream)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    return (
        f"daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log warn;"
        f"events {{}} http {{ access_log off; {places} {server} }}"
    )


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, httpx.Client]]:
    """A server with one key, and a client of it that goes through nginx and has that key."""
    directory = tmp_path_factory.mktemp("proxy")
    port = free_port()
    [(_, token)] = KeyFile(directory / "home" / "keys.json").create(NewKey("alice"))
    with live_server(directory, trusted_hosts=HOST) as server:
        server.wait_ready()
        conf = directory / "nginx.conf"
        conf.write_text(nginx_conf(directory, port, server.url))
        nginx = subprocess.Popen(["nginx", "-c", conf], stderr=subprocess.DEVNULL)
        headers = {"Host": HOST, "Authorization": f"Bearer {token}"}
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=GUARD_S) as client:
                server.wait_for(lambda: is_up(client))
                yield server, client
        finally:
            nginx.terminate()
            nginx.wait(GUARD_S)
    assert "temporary file" not in (directory / "error.log").read_text(), "prompts and answers stay in memory"


def is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/event-stream"])
def test_a_stream_comes_through_piece_by_piece(
    proxied: tuple[LiveServer, httpx.Client], accept: str, tmp_path: Path
) -> None:
    """The answer does not end before its first piece has arrived."""
    ended = tmp_path / "ended"
    body = {"prompt": f"delay=0.05 until={ended} say a", "max_tokens": 2000}
    num_pieces = 0
    with proxied[1].stream("POST", "/stream-generate", json=body, headers={"Accept": accept}) as reply:
        for line in reply.iter_lines():
            num_pieces += '"token"' in line
            if num_pieces == 3:
                ended.touch()
    assert 3 <= num_pieces < 2000


def test_nobody_passes_without_a_key_or_under_another_name(proxied: tuple[LiveServer, httpx.Client]) -> None:
    client = proxied[1]
    assert client.get("/health").status_code == 200
    assert client.get("/health", headers={"Authorization": ""}).status_code == 401
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/ready", headers={"Authorization": ""}).status_code == 200


def test_the_longest_body_passes_and_no_longer_one(proxied: tuple[LiveServer, httpx.Client]) -> None:
    def post(size: int) -> int:
        body = b'{"prompt": "%s"}' % (b"a" * (size - len(b'{"prompt": ""}')))
        return proxied[1].post("/generate", content=body).status_code

    assert (post(1 << 20), post((1 << 20) + 1)) == (400, 413)  # 400: beyond the model's context


def test_a_client_that_leaves_the_proxy_stops_its_generation(proxied: tuple[LiveServer, httpx.Client]) -> None:
    server, client = proxied
    target = Target(server)
    with client.stream("POST", "/stream-generate", json={"prompt": "delay=0.05 say " + "a" * 400}) as reply:
        assert json.loads(next(reply.iter_lines()))["token"] == "a"
    server.wait_for(lambda: target.records()[-1]["status"] == "cancelled")
