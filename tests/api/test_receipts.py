"""A receipt comes with every reply in every dialect, and again to whom it belongs."""

from __future__ import annotations

import json
import socket
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from minivault.access.keys import KeyFile, NewKey
from minivault.config import Settings
from minivault.vault.evidence import ask_server, verify
from minivault.vault.reader import read_records
from minivault.vault.verify import Misused, Report, verify_receipts
from tests.api.schema_client import items

CHAT = [{"role": "user", "content": "say hello"}]
REQUESTS: dict[str, dict[str, Any]] = {
    "/generate": {"prompt": "say hello"},
    "/api/generate": {"model": "tiny", "prompt": "say hello"},
    "/api/chat": {"model": "tiny", "messages": CHAT},
    "/v1/chat/completions": {"model": "tiny", "messages": CHAT},
    "/v1/completions": {"model": "tiny", "prompt": "say hello"},
    "/v1/responses": {"model": "tiny", "input": "say hello"},
    "/v1/messages": {"model": "tiny", "messages": CHAT, "max_tokens": 9},
}


def checked(reply: TestResponse, settings: Settings, tmp_path: Path) -> Report:
    """What the verifier says of all receipts in a reply, with the vault at hand."""
    path = tmp_path / "reply"
    path.write_bytes(reply.data)
    return verify_receipts(path, vault=settings.log_dir)


def model_of(client: FlaskClient) -> str:
    name: str = client.get("/v1/models").get_json()["data"][0]["id"]
    return name


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("stream", [False, True])
def test_the_last_object_of_every_reply_has_a_receipt(
    client: FlaskClient, settings: Settings, tmp_path: Path, path: str, *, stream: bool
) -> None:
    body = {**REQUESTS[path], "stream": stream}
    if "model" in body:
        body["model"] = model_of(client)
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    last = items(reply)[-1] if stream else reply.get_json()
    assert last["receipt"]["id"] == reply.headers["X-Request-Id"]
    report = checked(reply, settings, tmp_path)
    assert (report.exit_code, report.num_compared) == (0, 1)
    if not stream:
        assert json.loads(reply.headers["MiniVault-Receipt"]) == last["receipt"]


def test_several_choices_have_several_receipts(client: FlaskClient, settings: Settings, tmp_path: Path) -> None:
    body = {"model": model_of(client), "messages": CHAT, "n": 3}
    reply = client.post("/v1/chat/completions", json=body)
    assert len({receipt["seq"] for receipt in reply.get_json()["receipts"]}) == 3
    assert checked(reply, settings, tmp_path).num_compared == 3
    assert "MiniVault-Receipt" not in reply.headers
    streamed = client.post("/v1/chat/completions", json={**body, "stream": True})
    assert checked(streamed, settings, tmp_path).num_compared == 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "hello"}),
        ("/api/embed", {"input": "hello"}),
        ("/v1/rerank", {"query": "q", "documents": ["one", "two"]}),
    ],
)
def test_what_is_no_text_has_receipts_too(
    client: FlaskClient, settings: Settings, tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    reply = client.post(path, json={"model": model_of(client), **body})
    assert reply.status_code == 200, reply.text
    assert checked(reply, settings, tmp_path).exit_code == 0


def test_the_key_that_asked_and_an_auditor_get_it_again_and_nobody_else(
    client: FlaskClient, settings: Settings
) -> None:
    created = KeyFile(settings.keys_file).create(NewKey("a", "use"), NewKey("b", "use"), NewKey("c", "audit"))
    owner, other, auditor = ({"Authorization": f"Bearer {token}"} for _, token in created)
    first = client.post("/generate", json={"prompt": "say hello"}, headers=owner).get_json()["receipt"]
    path = f"/receipts/{first['id']}"
    assert client.get(path, headers=owner).get_json() == first
    assert client.get(path, headers=auditor).get_json() == first
    assert client.get(path, headers=other).status_code == 404
    assert client.get(path).status_code == 401
    assert client.get("/receipts/none", headers=auditor).status_code == 404
    reads = [record for record in read_records(settings.log_dir) if record["type"] == "read"]
    assert [(read["command"], read["filter"]) for read in reads] == [("receipt", {"id": first["id"]})] * 2


def test_a_record_that_was_changed_gets_no_new_receipt(client: FlaskClient, settings: Settings) -> None:
    receipt = client.post("/generate", json={"prompt": "say hello"}).get_json()["receipt"]
    client.post("/generate", json={"prompt": "say bye"})
    log = settings.log_dir / "log.jsonl"
    with log.open("r+b") as file:
        data = file.read().replace(b'"response":"hello"', b'"response":"HELLO"')
        file.seek(0)
        file.write(data)
    assert client.get(f"/receipts/{receipt['id']}").status_code >= 500


def test_a_proof_of_the_record_is_given_to_whom_its_receipt_is(
    client: FlaskClient, settings: Settings, tmp_path: Path
) -> None:
    created = KeyFile(settings.keys_file).create(NewKey("a", "use"), NewKey("b", "use"))
    owner, other = ({"Authorization": f"Bearer {token}"} for _, token in created)
    receipt = client.post("/generate", json={"prompt": "say hello"}, headers=owner).get_json()["receipt"]
    assert client.get(f"/receipts/{receipt['id']}/proof", headers=other).status_code == 404
    path = tmp_path / "one.tlog-proof"
    path.write_text(client.get(f"/receipts/{receipt['id']}/proof", headers=owner).get_data(as_text=True))
    report = verify(path, public_key=receipt["key"])
    assert (report.exit_code, report.hash) == (0, receipt["hash"])


def test_a_server_is_asked_what_it_says_now(app: Flask, settings: Settings, tmp_path: Path) -> None:
    receipt = app.test_client().post("/generate", json={"prompt": "say hello"}).get_json()["receipt"]
    path = tmp_path / "receipt"
    path.write_text(json.dumps(receipt))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        report = verify_receipts(path, ask=partial(ask_server, url, ""))
        assert (report.exit_code, report.num_compared) == (0, 1), report.findings
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert verify_receipts(path, ask=partial(ask_server, url, "")).exit_code == 3, "nobody answers"


@pytest.mark.parametrize(
    "answer",
    [b"", b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"],
)
def test_what_is_no_answer_of_a_server_is_no_verdict(client: FlaskClient, tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "receipt"
    path.write_text(json.dumps(client.post("/generate", json={"prompt": "say hello"}).get_json()["receipt"]))

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        listener.settimeout(30)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        report = verify_receipts(path, ask=partial(ask_server, url, ""))
        thread.join()
    assert (report.exit_code, report.num_compared) == (3, 0)
    with pytest.raises(Misused, match=r"^the access key is not one line of ASCII without spaces$"):
        verify_receipts(path, ask=partial(ask_server, url, "mv_secret\nmv_other"))
