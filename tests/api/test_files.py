"""Files and batches over HTTP: what is taken, what is refused, and who sees what."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from minivault.access.behalf import ON_BEHALF, Behalf
from minivault.access.keys import KeyFile, NewKey
from minivault.app import create_app
from minivault.config import Settings
from minivault.interaction import Recorder
from minivault.service import LocalModel, Roster
from tests.api.records import records
from tests.scripted import backend

LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "scripted", "input": "x"}}\n'


def upload(client: FlaskClient, content: bytes = LINE, **headers: str) -> TestResponse:
    return send(client, form({"purpose": b"batch"}, {"file": content}), **headers)


def form(fields: dict[str, bytes], files: dict[str, bytes]) -> bytes:
    """A form, as browsers and libraries send it."""
    parts = [(f'name="{name}"', value) for name, value in fields.items()]
    parts += [(f'name="{name}"; filename="in.jsonl"', value) for name, value in files.items()]
    start = b"--limit\r\nContent-Disposition: form-data; "
    return b"".join(start + head.encode() + b"\r\n\r\n" + value + b"\r\n" for head, value in parts) + b"--limit--\r\n"


def send(client: FlaskClient, body: bytes, **headers: str) -> TestResponse:
    return client.post("/v1/files", data=body, content_type="multipart/form-data; boundary=limit", headers=headers)


def begin(client: FlaskClient, file_id: str, **changes: Any) -> TestResponse:
    body = {"input_file_id": file_id, "endpoint": "/v1/embeddings", "completion_window": "24h", **changes}
    return client.post("/v1/batches", json=body)


def refused(response: TestResponse, status: int = 400) -> str | None:
    assert response.status_code == status, response.text
    error = response.get_json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return str(error["param"]) if error["param"] else None


def left_over(settings: Settings) -> list[str]:
    return sorted(path.name for path in settings.batches_path.glob("*"))


def test_a_file_comes_in_and_goes_out_to_the_byte(client: FlaskClient) -> None:
    content = bytes(range(256)) * 5000 + b"\r\n--boundary--\r\n"
    file = upload(client, content).get_json()
    assert (file["bytes"], file["filename"], file["status"]) == (len(content), "in.jsonl", "processed")
    response = client.get(f"/v1/files/{file['id']}/content")
    assert (response.data, response.content_length) == (content, len(content))
    assert client.delete(f"/v1/files/{file['id']}").get_json()["deleted"] is True
    for path in ("", "/content"):
        assert refused(client.get(f"/v1/files/{file['id']}{path}"), 404) == "file_id"


def test_what_is_no_file_is_refused_by_name_and_leaves_nothing(client: FlaskClient, settings: Settings) -> None:
    for fields, files, field in (
        ({}, {"file": LINE}, "purpose"),
        ({"purpose": b"fine-tune"}, {"file": LINE}, "purpose"),
        ({"purpose": b"batch", "expires_after[seconds]": b"3600"}, {"file": LINE}, "expires_after[seconds]"),
        ({"purpose": b"batch"}, {"file": LINE, "more": LINE}, "file"),
        ({"purpose": b"batch"}, {"document": LINE}, "file"),
        ({"purpose": b"batch"}, {}, "file"),
    ):
        assert refused(send(client, form(fields, files))) == field
    assert refused(client.post("/v1/files", json={}), 415) == "Content-Type"
    assert refused(send(client, LINE, **{"Content-Encoding": "gzip"}), 415) == "Content-Encoding"
    whole = form({"purpose": b"batch"}, {"file": LINE * 100})
    for cut in (10, 60, 200, len(whole) - 20):
        refused(send(client, whole[:cut]))
    refused(client.post("/v1/files", data=b"x", content_type="multipart/form-data"))
    assert left_over(settings) == []


def test_files_are_listed_in_pages(client: FlaskClient) -> None:
    ids = [upload(client).get_json()["id"] for _ in range(3)]
    assert [file["id"] for file in client.get("/v1/files").get_json()["data"]] == ids[::-1]
    page = client.get("/v1/files?limit=2&order=asc").get_json()
    assert ([file["id"] for file in page["data"]], page["has_more"]) == (ids[:2], True)
    assert (page["first_id"], page["last_id"]) == (ids[0], ids[1])
    rest = client.get(f"/v1/files?limit=2&order=asc&after={ids[1]}").get_json()
    assert ([file["id"] for file in rest["data"]], rest["has_more"]) == (ids[2:], False)
    assert client.get("/v1/files?purpose=batch_output").get_json()["data"] == []
    for query, field in (("limit=0", "limit"), ("limit=x", "limit"), ("after=no", "after"), ("order=up", "order")):
        assert refused(client.get(f"/v1/files?{query}")) == field


def test_a_batch_is_begun_told_listed_and_cancelled(client: FlaskClient) -> None:
    file_id = upload(client).get_json()["id"]
    batches = [begin(client, file_id, metadata={"n": str(n)}).get_json() for n in range(3)]
    assert batches[0]["status"] == "validating"
    assert batches[0]["expires_at"] - batches[0]["created_at"] == 24 * 3600
    page = client.get("/v1/batches?limit=2").get_json()
    assert [batch["id"] for batch in page["data"]] == [batches[2]["id"], batches[1]["id"]]
    assert client.get(f"/v1/batches/{batches[0]['id']}").get_json() == batches[0]
    assert client.post(f"/v1/batches/{batches[0]['id']}/cancel").get_json()["status"] == "cancelling"
    assert client.get(f"/v1/batches/{batches[0]['id']}").get_json()["status"] == "cancelling"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoint": "/generate"}, "endpoint"),
        ({"endpoint": "/v1/batches"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "0h"}, "completion_window"),
        ({"completion_window": "24h\n"}, "completion_window"),
        ({"metadata": {"k": 5}}, "metadata.k"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata"),
        ({"input_file_id": 5}, "input_file_id"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_by_name(client: FlaskClient, changes: dict[str, Any], field: str) -> None:
    file_id = upload(client).get_json()["id"]
    param = refused(begin(client, file_id, **changes))
    assert param is not None
    assert param.startswith(field)


def test_a_batch_of_no_file_is_refused(client: FlaskClient) -> None:
    assert refused(begin(client, "file-" + "0" * 32), 404) == "file_id"
    assert refused(client.get("/v1/batches/batch_" + "0" * 32), 404) == "batch_id"
    assert refused(client.post("/v1/batches/x/cancel"), 404) == "batch_id"


@pytest.fixture
def keyed(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """Two people's headers."""
    (_, alice), (_, bob) = KeyFile(settings.keys_file).create(NewKey("alice"), NewKey("bob"))
    return {"Authorization": f"Bearer {alice}"}, {"Authorization": f"Bearer {bob}"}


def test_each_key_sees_its_own(app: Flask, keyed: tuple[dict[str, str], dict[str, str]]) -> None:
    client, (alice, bob) = app.test_client(), keyed
    file = upload(client, **alice).get_json()
    body = {"input_file_id": file["id"], "endpoint": "/v1/embeddings", "completion_window": "24h"}
    batch = client.post("/v1/batches", json=body, headers=alice).get_json()
    for path in (f"/v1/files/{file['id']}", f"/v1/files/{file['id']}/content", f"/v1/batches/{batch['id']}"):
        assert client.get(path, headers=alice).status_code == 200
        assert client.get(path, headers=bob).status_code == 404
        assert client.get(path).status_code == 401
    assert client.delete(f"/v1/files/{file['id']}", headers=bob).status_code == 404
    assert client.post("/v1/batches", json=body, headers=bob).status_code == 404
    assert client.post(f"/v1/batches/{batch['id']}/cancel", headers=bob).status_code == 404
    assert client.get("/v1/files", headers=bob).get_json()["data"] == []
    assert client.get("/v1/batches", headers=bob).get_json()["data"] == []


def ask(app: Flask, behalf: Behalf, **body: Any) -> TestResponse:
    environ = {ON_BEHALF: behalf, "REMOTE_ADDR": behalf.client}
    chat = {"model": "scripted", "messages": [{"role": "user", "content": "say x"}], **body}
    return app.test_client().post("/v1/chat/completions", json=chat, environ_overrides=environ)


def test_a_request_of_a_batch_is_its_owner_s_while_the_key_is_valid(app: Flask, settings: Settings) -> None:
    batch = {"id": "batch_1", "custom_id": "a", "line": 7}
    assert ask(app, Behalf(None, "127.0.0.1", batch)).status_code == 200
    keys = KeyFile(settings.keys_file)
    [(key, _)] = keys.create(NewKey("alice"))
    assert ask(app, Behalf(key.id, "10.0.0.9", batch)).status_code == 200
    [first, second] = records(settings)
    assert (first["key"], second["key"], second["client"]) == (None, key.id, "10.0.0.9")
    assert first["batch"] == second["batch"] == batch
    assert first["seed"] == second["seed"]  # asked again, it is answered the same
    assert ask(app, Behalf(None, "127.0.0.1", batch)).status_code == 401
    assert ask(app, Behalf("nobody", "127.0.0.1", batch)).status_code == 401
    keys.revoke("alice")
    assert ask(app, Behalf(key.id, "10.0.0.9", batch)).status_code == 401


def test_every_choice_has_a_seed_of_its_own_and_a_seed_that_is_given_is_kept(app: Flask, settings: Settings) -> None:
    behalf = Behalf(None, "127.0.0.1", {"id": "batch_1", "custom_id": "a", "line": 7})
    ask(app, behalf, n=2)
    ask(app, behalf, seed=5)
    seeds = [record["seed"] for record in records(settings)]
    assert len(set(seeds)) == 3
    assert seeds[2] == 5


def test_no_header_makes_a_request_somebody_else_s(app: Flask, keyed: object) -> None:
    headers = {"minivault.on_behalf": "x", "Minivault-On-Behalf": "x", "X-Minivault.On_Behalf": "x"}
    assert app.test_client().get("/v1/files", headers=headers).status_code == 401


def test_files_are_bounded_one_by_one_and_together(settings: Settings) -> None:
    small = replace(settings, max_file_mb=1, max_files_mb=2)
    recorder = Recorder(small, Roster(LocalModel(small, backend)))
    client = create_app(small, recorder).test_client()
    assert upload(client, b"x" * (1 << 20)).status_code == 200
    for size in ((1 << 20) + 1, 2 << 20):
        assert refused(upload(client, b"x" * size), 413) is None
    file_id = upload(client, b"x" * (1 << 20)).get_json()["id"]
    assert "MINIVAULT_MAX_FILES_MB" in upload(client, b"x").get_json()["error"]["message"]
    client.delete(f"/v1/files/{file_id}")
    assert upload(client, b"x").status_code == 200
    assert len([name for name in left_over(small) if not name.endswith(".json")]) == 2


def test_what_is_written_is_told_whole(client: FlaskClient, settings: Settings) -> None:
    batch = begin(client, upload(client).get_json()["id"], metadata={"k": "v"}).get_json()
    kept = json.loads((settings.batches_path / f"{batch['id']}.json").read_text())
    assert kept["owner"] is None
    assert kept["batch"]["metadata"] == {"k": "v"}
