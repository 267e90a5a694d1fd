"""Batches with OpenAI's own client: upload, wait, read."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from minivault.vault.verify import verify
from tests.clients.conftest import MODEL, answers
from tests.live import LiveServer

openai = pytest.importorskip("openai")
pytestmark = [pytest.mark.server, pytest.mark.clients]


def request(custom_id: str, body: dict[str, Any], url: str) -> str:
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": MODEL, **body}})


@pytest.fixture
def client(server: LiveServer) -> Any:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def ended(client: Any, server: LiveServer, batch_id: str) -> Any:
    server.wait_for(lambda: client.batches.retrieve(batch_id).status in ("completed", "failed", "cancelled"))
    return client.batches.retrieve(batch_id)


@pytest.mark.parametrize(
    ("url", "good", "bad"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "say hi"}]}, {"messages": []}),
        ("/v1/completions", {"prompt": "say hi"}, {"prompt": "x", "temperature": 9}),
        ("/v1/embeddings", {"input": "hi"}, {"input": []}),
        ("/v1/responses", {"input": "say hi"}, {"input": 5}),
    ],
)
def test_a_batch_of_every_endpoint_goes_its_way(
    client: Any, server: LiveServer, url: str, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    lines = "\n".join([request("a", good, url), request("b", bad, url), "", request("ü", good, url)])
    file = client.files.create(file=io.BytesIO(lines.encode()), purpose="batch")
    assert (file.purpose, file.bytes) == ("batch", len(lines.encode()))
    assert client.files.content(file.id).text == lines
    batch = client.batches.create(
        input_file_id=file.id, endpoint=url, completion_window="24h", metadata={"for": "a test"}
    )
    batch = ended(client, server, batch.id)
    assert (batch.status, batch.request_counts.total, batch.request_counts.completed) == ("completed", 3, 2)
    assert (batch.metadata, batch.model) == ({"for": "a test"}, MODEL)
    output = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    errors = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
    assert {line["custom_id"] for line in output} == {"a", "ü"}
    assert [line["custom_id"] for line in errors] == ["b"]
    assert all(line["response"]["status_code"] == 200 for line in output)
    assert errors[0]["response"]["status_code"] == 400
    assert set(errors[0]["response"]["body"]["error"]) == {"message", "type", "param", "code"}
    by_id = {record["id"]: record for record in answers(server)}
    for line in output:
        record = by_id[line["response"]["request_id"]]
        assert record["batch"] == {
            "id": batch.id,
            "custom_id": line["custom_id"],
            "line": {"a": 1, "ü": 4}[line["custom_id"]],
        }
        assert json.loads(record["request"]) == {"model": MODEL, **good}
    assert batch.id in [one.id for one in client.batches.list(limit=1)]
    assert file.id in [one.id for one in client.files.list(purpose="batch")]
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert verify(server.vault).exit_code == 0


def test_a_batch_is_cancelled(client: Any, server: LiveServer) -> None:
    url = "/v1/completions"
    slow = {"prompt": "delay=0.05 say " + "x" * 40, "max_tokens": 50}
    lines = "\n".join(request(str(n), slow, url) for n in range(40))
    file = client.files.create(file=("many.jsonl", lines.encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=url, completion_window="24h")
    server.wait_for(lambda: client.batches.retrieve(batch.id).status == "in_progress")
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    batch = ended(client, server, batch.id)
    assert batch.status == "cancelled"
    assert batch.request_counts.completed < 40
    assert batch.cancelling_at and batch.cancelled_at
    with pytest.raises(openai.BadRequestError):
        client.batches.cancel(batch.id)


def test_a_file_that_is_no_batch_fails_with_its_lines(client: Any, server: LiveServer) -> None:
    good = request("a", {"prompt": "x"}, "/v1/completions")
    lines = [good, "not json", good, request("c", {"prompt": "x"}, "/v1/embeddings")]
    file = client.files.create(file=("bad.jsonl", "\n".join(lines).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h")
    batch = ended(client, server, batch.id)
    assert batch.status == "failed"
    assert [(fault.line, fault.code) for fault in batch.errors.data] == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
        (4, "invalid_value"),
    ]
