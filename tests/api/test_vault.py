"""The vault over HTTP: for named auditors, and for nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from minivault.access.keys import KeyFile, NewKey
from minivault.config import Settings


@pytest.fixture
def tokens(settings: Settings) -> dict[str, str]:
    """A key's token for each role."""
    created = KeyFile(settings.keys_file).create(
        NewKey("asker", "use"), NewKey("auditor", "audit"), NewKey("chief", "admin")
    )
    return {key.role: token for key, token in created}


def as_role(tokens: dict[str, str], role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens[role]}"}


def lines(response: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.get_data(as_text=True).splitlines()]


@pytest.mark.parametrize("path", ["/vault/records", "/vault/records/1", "/vault/verify"])
def test_only_a_key_of_the_right_role_reads_it(client: FlaskClient, path: str, settings: Settings) -> None:
    assert client.get(path).status_code == 403, "without any key nobody is named"
    created = KeyFile(settings.keys_file).create(NewKey("asker", "use"), NewKey("auditor", "audit"))
    statuses = [client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code for _, token in created]
    assert client.get(path).status_code == 401
    assert statuses[0] == 403
    assert statuses[1] in (200, 404)


def test_an_auditor_finds_reads_and_verifies(client: FlaskClient, tokens: dict[str, str]) -> None:
    asker, auditor = as_role(tokens, "use"), as_role(tokens, "audit")
    for word in ("alpha", "beta", "gamma"):
        client.post("/generate", json={"prompt": f"say {word}"}, headers=asker)
    found = lines(client.get("/vault/records?text=BETA", headers=auditor))
    assert [record["response"] for record in found] == ["beta"]
    assert len(lines(client.get("/vault/records?limit=2", headers=auditor))) == 2
    assert lines(client.get("/vault/records?since=2999-01-01", headers=auditor)) == []
    whole = client.get(f"/vault/records/{found[0]['id']}", headers=auditor).get_json()
    assert whole == found[0]
    assert client.get("/vault/records/none", headers=auditor).status_code == 404
    assert client.get("/vault/verify", headers=auditor).get_json()["verdict"].startswith("intact")


def test_reading_is_recorded_with_the_reader_s_key(
    client: FlaskClient, tokens: dict[str, str], settings: Settings
) -> None:
    auditor = as_role(tokens, "audit")
    client.get("/vault/records?text=x", headers=auditor)
    last = json.loads((settings.log_dir / "log.jsonl").read_text().splitlines()[-1])
    assert last["type"] == "read"
    assert tokens["audit"].split("_")[1] in last["by"]


@pytest.mark.parametrize(("query", "field"), [("limit=0", "limit"), ("since=soon", "since"), ("colour=red", "colour")])
def test_a_bad_filter_is_named(client: FlaskClient, tokens: dict[str, str], query: str, field: str) -> None:
    refused = client.get(f"/vault/records?{query}", headers=as_role(tokens, "audit"))
    assert refused.status_code == 400
    assert refused.get_json()["error"]["field"] == field
