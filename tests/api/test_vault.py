"""The vault over HTTP: for named auditors, and for nobody else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from minivault.access.keys import KeyFile, NewKey
from minivault.config import Settings
from minivault.vault import Archive, Filter


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


READING = ["records", "records/1", "verify", "light", "timeline", "export", "records/1/redaction", "holds"]


@pytest.mark.parametrize("path", [f"/vault/{name}" for name in READING])
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


def test_an_own_answer_is_checked_and_replayed_and_nobody_else_s(client: FlaskClient, tokens: dict[str, str]) -> None:
    asker, auditor = as_role(tokens, "use"), as_role(tokens, "audit")
    mine = client.post("/generate", json={"prompt": "say mine"}, headers=asker).headers["X-Request-Id"]
    theirs = client.post("/generate", json={"prompt": "say theirs"}, headers=as_role(tokens, "admin"))
    checked = client.get(f"/vault/records/{mine}/check", headers=asker).get_json()
    assert checked["verdict"] == "in place"
    assert "mine" not in json.dumps(checked)
    assert client.post(f"/vault/records/{mine}/replay", headers=asker).get_json()["outcome"] == "identical"
    other = f"/vault/records/{theirs.headers['X-Request-Id']}"
    assert client.get(f"{other}/check", headers=asker).status_code == 404
    assert client.post(f"{other}/replay", headers=asker).status_code == 404
    assert client.get(f"{other}/check", headers=auditor).get_json()["verdict"] == "in place"
    assert client.get(f"/vault/records/{checked['seq']}/check", headers=asker).status_code == 404, (
        "a seq can be guessed"
    )


def test_a_changed_record_is_said_to_be_changed(
    client: FlaskClient, tokens: dict[str, str], settings: Settings
) -> None:
    asker = as_role(tokens, "use")
    mine = client.post("/generate", json={"prompt": "say mine"}, headers=asker).headers["X-Request-Id"]
    log = settings.log_dir / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"say mine"', b'"say fine"'))
    assert client.get(f"/vault/records/{mine}/check", headers=asker).get_json()["verdict"] == "changed"
    verified = client.get("/vault/verify", headers=as_role(tokens, "audit")).get_json()
    light = client.get("/vault/light", headers=as_role(tokens, "audit")).get_json()
    assert verified["verdict"] == light["verified"]["verdict"] == "TAMPERED"


def test_a_redaction_is_previewed_done_and_shown_in_the_timeline(client: FlaskClient, tokens: dict[str, str]) -> None:
    auditor, chief = as_role(tokens, "audit"), as_role(tokens, "admin")
    id_ = client.post("/generate", json={"prompt": "say x"}, headers=as_role(tokens, "use")).headers["X-Request-Id"]
    place = f"/vault/records/{id_}/redaction"
    assert {"prompt", "response"} <= set(client.get(place, headers=auditor).get_json()["erased"])
    assert client.post(place, json={"reason": " "}, headers=chief).get_json()["error"]["field"] == "reason"
    assert client.post(place, json={"reason": "asked to", "part": "half"}, headers=chief).status_code == 400
    assert client.get(f"/vault/records/{id_}", headers=auditor).get_json()["response"] == "x", "nothing is done yet"
    assert client.post(place, json={"reason": "asked to"}, headers=chief).status_code == 200
    again = client.post(place, json={"reason": "asked to"}, headers=chief)
    assert (again.status_code, again.get_json()["error"]["code"]) == (409, "nothing_to_redact")
    assert "response" not in client.get(f"/vault/records/{id_}", headers=auditor).get_json()
    assert client.get(f"/vault/records/{id_}/check", headers=auditor).get_json()["verdict"] == "redacted"
    drawn = client.get("/vault/timeline", headers=auditor).get_json()
    assert sum(span.get("interaction", 0) for span in drawn["counts"]) == 1
    assert {"redaction", "checkpoint"} <= {event["type"] for event in drawn["events"]}


def test_a_field_that_is_not_known_changes_nothing(client: FlaskClient, tokens: dict[str, str]) -> None:
    """Whoever asks for a preview must not erase."""
    id_ = client.post("/generate", json={"prompt": "say x"}, headers=as_role(tokens, "use")).headers["X-Request-Id"]
    chief, bodies = as_role(tokens, "admin"), {f"records/{id_}/redaction": {}, "holds": {"name": "h", "all": True}}
    for path, body in bodies.items():
        sent = body | {"reason": "why", "preview": True}
        error = client.post(f"/vault/{path}", json=sent, headers=chief).get_json()["error"]
        assert (error["code"], error["field"]) == ("unsupported", "preview")
    assert client.get(f"/vault/records/{id_}", headers=chief).get_json()["response"] == "x"
    assert client.get("/vault/holds", headers=chief).get_json() == {"holds": []}


def test_auditors_change_nothing(client: FlaskClient, tokens: dict[str, str]) -> None:
    said = client.post("/generate", json={"prompt": "say x"}, headers=as_role(tokens, "use"))
    hold = {"name": "case-1", "reason": "a case", "all": True}
    assert client.post("/vault/holds", json=hold, headers=as_role(tokens, "admin")).status_code == 200
    for path in (f"records/{said.headers['X-Request-Id']}/redaction", "holds", "holds/case-1/release"):
        refused = client.post(f"/vault/{path}", json={"reason": "asked to"}, headers=as_role(tokens, "audit"))
        assert refused.status_code == 403, path


def test_a_key_is_named_or_given_by_its_id(client: FlaskClient, tokens: dict[str, str]) -> None:
    """A hold on a name that meant nothing would keep nothing."""
    chief = as_role(tokens, "admin")
    for prompt in ("say x", "say y"):
        said = client.post("/generate", json={"prompt": prompt}, headers=as_role(tokens, "use"))
    found = lines(client.get("/vault/records?key=asker", headers=chief))
    assert len(found) == 2 and lines(client.get(f"/vault/records?key={found[0]['key']}", headers=chief)) == found
    case = {"name": "case-1", "reason": "a case"}
    assert client.post("/vault/holds?key=asker", json=case, headers=chief).get_json()["hold"]["records"] == 2
    redaction = f"/vault/records/{said.headers['X-Request-Id']}/redaction"
    assert client.post(redaction, json={"reason": "asked to"}, headers=chief).status_code == 409


def test_a_hold_is_set_shown_and_lifted(client: FlaskClient, tokens: dict[str, str]) -> None:
    auditor, chief = as_role(tokens, "audit"), as_role(tokens, "admin")
    said = client.post("/generate", json={"prompt": "say x", "user": "bob"}, headers=as_role(tokens, "use"))
    redaction = f"/vault/records/{said.headers['X-Request-Id']}/redaction"
    case = {"name": "case-1", "reason": "a case"}
    refused = [
        client.post(f"/vault/holds{query}", json=body, headers=chief).get_json()["error"].get("field")
        for query, body in (
            ("", case),
            ("?user=bob", case | {"all": True}),
            ("?user=bob", {"name": "case-1"}),
            ("?user=bob", case | {"name": "a case"}),
            ("?type=any", case),
            ("?since=then", case),
            ("?since=2026-12-02&until=2026-12-01", case),
        )
    ]
    assert refused == ["all", "all", "reason", "name", "type", "since", "since"]
    assert client.get("/vault/holds", headers=auditor).get_json() == {"holds": []}
    place = client.post("/vault/holds?user=bob&since=2026-01-01", json=case, headers=chief).get_json()["hold"]
    [hold] = client.get("/vault/holds", headers=auditor).get_json()["holds"]
    assert (hold["name"], hold["seq"], hold["filter"]["user"]) == ("case-1", place["seq"], "bob")
    assert client.post(redaction, json={"reason": "asked to"}, headers=chief).status_code == 409
    assert client.post("/vault/holds/none/release", json={"reason": "closed"}, headers=chief).status_code == 404
    assert client.post("/vault/holds/case-1/release", json={"reason": "closed"}, headers=chief).status_code == 200
    assert client.post(redaction, json={"reason": "asked to"}, headers=chief).status_code == 200


def test_what_a_floor_or_a_hold_keeps_is_not_redacted(client: FlaskClient, tokens: dict[str, str]) -> None:
    auditor, chief, config = as_role(tokens, "audit"), as_role(tokens, "admin"), client.application.config
    said = client.post("/generate", json={"prompt": "say x", "user": "bob"}, headers=as_role(tokens, "use"))
    place = f"/vault/records/{said.headers['X-Request-Id']}/redaction"
    assert client.get(place, headers=auditor).get_json()["refused"] is None
    with Archive(config["MINIVAULT"].log_dir, by="tester") as archive:
        archive.hold("case-1", Filter(user="bob", type=None), "a case")
    assert "'case-1'" in client.get(place, headers=auditor).get_json()["refused"]
    refused = client.post(place, json={"reason": "asked to"}, headers=chief)
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (409, "retained")
    with Archive(config["MINIVAULT"].log_dir, by="tester") as archive:
        archive.release("case-1", "closed")
    config["MINIVAULT"] = replace(config["MINIVAULT"], vault_keep_days=30)
    refused = client.post(place, json={"reason": "asked to"}, headers=chief)
    assert (refused.status_code, "MINIVAULT_VAULT_KEEP_DAYS=30" in refused.get_json()["error"]["message"]) == (
        409,
        True,
    )
    [found] = lines(client.get("/vault/records?user=bob", headers=auditor))
    assert found["response"] == "x" and lines(client.get("/vault/records?user=bo", headers=auditor)) == []


def test_records_of_every_kind_are_found_and_exported(client: FlaskClient, tokens: dict[str, str]) -> None:
    auditor = as_role(tokens, "audit")
    client.post("/generate", json={"prompt": "say x"}, headers=as_role(tokens, "use"))
    kinds = {record["type"] for record in lines(client.get("/vault/records?type=any", headers=auditor))}
    assert {"start", "interaction"} <= kinds
    proof = client.get("/vault/export?text=x", headers=auditor)
    assert "attachment" in proof.headers["Content-Disposition"]
    assert any(line.get("type") == "interaction" for line in lines(proof))
    assert client.get("/vault/export?format=csv", headers=auditor).text.count("say x") == 1
    assert client.get("/vault/export?format=xls", headers=auditor).get_json()["error"]["field"] == "format"


def test_a_tail_gives_the_last_records_and_then_those_that_come(client: FlaskClient, tokens: dict[str, str]) -> None:
    asker, auditor = as_role(tokens, "use"), as_role(tokens, "audit")
    client.post("/generate", json={"prompt": "say before"}, headers=asker)
    stream = client.get("/vault/tail?limit=1", headers=auditor, buffered=False).iter_encoded()
    first = json.loads(next(stream))
    client.post("/generate", json={"prompt": "say after"}, headers=asker)
    following = (json.loads(line) for line in stream)
    assert first["seq"] > 0
    assert next(record for record in following if record.get("type") == "interaction")["response"] == "after"


def test_an_auditor_asks_whether_it_was_said(client: FlaskClient, tokens: dict[str, str]) -> None:
    asker, auditor = as_role(tokens, "use"), as_role(tokens, "audit")
    sentence = "the ships that passed before dawn were counted by nobody"
    client.post("/generate", json={"prompt": f"say {sentence}"}, headers=asker)
    found = client.post("/said", json={"text": sentence.upper()}, headers=auditor).get_json()
    assert (found["verdict"], found["matches"][0]["text"]) == ("found", sentence)
    other = client.post("/said", json={"text": "nobody has ever said anything of this kind before"}, headers=auditor)
    assert (other.get_json()["verdict"], other.get_json()["reach"]["num_answers"]) == ("not found", 1)
    assert client.post("/said", json={"text": sentence}, headers=asker).status_code == 403
    for text in ("", " ?! ", "x" * 100_001, None, "a\0b"):
        refused = client.post("/said", json={"text": text}, headers=auditor)
        assert (refused.status_code, refused.get_json()["error"]["field"]) == (400, "text")
