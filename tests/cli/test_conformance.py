"""The suite against servers that keep what they promise, and servers with one fault each: it must find that one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from minivault.cli.client.conforming import CHECKS
from tests.cli.conftest import Cli


@dataclass
class Behaviour:
    """How a server answers. `fault` is what it does wrong."""

    fault: str = ""
    num_asked: int = 0
    generation: int = 0
    """How often it was started."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    has_company: threading.Event = field(default_factory=threading.Event)
    is_met: threading.Event = field(default_factory=threading.Event)
    seen: set[str] = field(default_factory=set)

    def answers(self, body: dict[str, Any]) -> list[str]:
        """A function of the request, apart from the fault."""
        system, user = (message["content"] for message in body["messages"])
        is_drawn = bool(body["temperature"])
        of = [system, user, str(body["seed"] if is_drawn and self.fault != "seed" else 0)]
        with self.lock:
            self.num_asked += 1
            number, was_seen = self.num_asked, system in self.seen
            self.seen.add(system)
        faulty = {
            "again": str(number),
            "load": str(self.fault == "load" and self.in_company(user)),
            "prefix": str(was_seen),
            "stream": str(bool(body.get("stream"))),
            "restart": str(self.generation),
            "choices": str(number if body.get("n") else ""),
        }
        of.append(faulty.get(self.fault, ""))
        return [hashlib.sha256(repr([*of, index]).encode()).hexdigest() for index in range(body.get("n") or 1)]

    def in_company(self, user: str) -> bool:
        """Those that only make a crowd are answered once one of the others has met them."""
        if "on day" in user:
            self.has_company.set()
            self.is_met.wait(60)
            self.has_company.clear()
            return False
        if is_crowded := self.has_company.is_set():
            self.is_met.set()
        return is_crowded


def handler(behaviour: Behaviour) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(b'{"data": [{"id": "tiny"}]}')

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            texts = behaviour.answers(body)
            if behaviour.fault == "refuses n" and body.get("n"):
                self.reply(b'{"error": {"message": "n must be 1"}}', 400)
            elif body.get("stream"):
                pieces = [{"choices": [{"delta": {"content": part}}]} for part in (texts[0][:9], texts[0][9:])]
                self.reply(b"".join(b"data: %s\n\n" % json.dumps(p).encode() for p in pieces) + b"data: [DONE]\n\n")
            else:
                choices = [{"index": i, "message": {"content": text}} for i, text in enumerate(texts)]
                self.reply(json.dumps({"choices": choices}).encode())

        def reply(self, data: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    return Handler


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(behaviour))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def card(cli: Cli, behaviour: Behaviour, *more: str, exit_code: int = 0) -> dict[str, Any]:
    with serving(behaviour) as url:
        result = cli("conformance", url, "--json", *more)
    assert result.exit_code == exit_code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def outcomes(found: dict[str, Any]) -> dict[str, set[str]]:
    return {check: {one["outcome"] for one in found["checks"] if one["check"] == check} for check in CHECKS}


def test_a_server_that_keeps_seeds_holds_every_check_and_a_restart_is_skipped_and_said(offline_cli: Cli) -> None:
    found = card(offline_cli, Behaviour())
    assert (found["verdict"], found["model"]) == ("same", "tiny")
    assert outcomes(found) == {check: {"skipped" if check == "restart" else "same"} for check in CHECKS}
    load = next(one for one in found["checks"] if one["check"] == "load")
    assert (load["num_held"], load["num_compared"]) == (8, 8)
    assert next(one for one in found["checks"] if one["check"] == "restart")["note"] == "no --restart-command"


@pytest.mark.parametrize("fault", ["again", "prefix", "stream", "choices"])
def test_each_fault_is_found_where_it_is(fault: str, offline_cli: Cli) -> None:
    found = outcomes(card(offline_cli, Behaviour(fault), exit_code=1))
    assert found[fault] == {"differs"}
    assert found["seed"] == {"same"}


def test_a_server_that_hears_no_seed_is_found(offline_cli: Cli) -> None:
    found = card(offline_cli, Behaviour("seed"), exit_code=1)
    assert outcomes(found)["seed"] == {"differs"}
    assert outcomes(found)["again"] == {"same"}


def test_what_changes_in_company_alone_is_found(offline_cli: Cli) -> None:
    found = card(offline_cli, Behaviour("load"), exit_code=1)
    assert "differs" in outcomes(found)["load"]
    assert outcomes(found)["again"] == {"same"}


def test_what_a_restart_changes_is_found_and_a_restart_that_fails_is_said(offline_cli: Cli, tmp_path: Path) -> None:
    class Restarted(Behaviour):
        def answers(self, body: dict[str, Any]) -> list[str]:
            self.generation = int((tmp_path / "again").exists())
            return super().answers(body) if body["messages"][0]["content"] else ["up"]

    command = f"touch {tmp_path / 'again'}"
    found = card(offline_cli, Restarted("restart"), "--restart-command", command, exit_code=1)
    assert outcomes(found)["restart"] == {"differs"}
    failed = card(offline_cli, Behaviour(), "--restart-command", "false")
    [note] = {one["note"] for one in failed["checks"] if one["check"] == "restart"}
    assert note == "--restart-command ended with status 1"


def test_a_server_that_gives_no_choices_is_no_fault_and_is_said(offline_cli: Cli) -> None:
    found = card(offline_cli, Behaviour("refuses n"))
    [note] = {one["note"] for one in found["checks"] if one["check"] == "choices"}
    assert "n must be 1" in note
    assert outcomes(found)["choices"] == {"not supported"}


def test_a_person_sees_a_table_a_file_and_a_picture(offline_cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "card.json", tmp_path / "card.svg"
    with serving(Behaviour("stream")) as url:
        result = offline_cli("conformance", f"{url}/v1", "--out", str(out), "--plot", str(picture))
    assert result.exit_code == 1
    assert "the first difference is at character" in result.stdout
    assert json.loads(out.read_text())["verdict"] == "differs"
    assert picture.read_text().startswith("<?xml")


def test_nobody_there_and_wrong_options_are_one_line(offline_cli: Cli, tmp_path: Path) -> None:
    result = offline_cli("conformance", "http://127.0.0.1:9")
    assert "no server answers" in result.stderr
    assert result.exit_code == 3
    assert offline_cli("conformance", "ftp://x").exit_code == 2
    assert offline_cli("conformance", "http://127.0.0.1:9", "--plot", str(tmp_path / "a.html")).exit_code == 2
    assert offline_cli("conformance", "http://127.0.0.1:9", "--restart-command", "'").exit_code == 2
