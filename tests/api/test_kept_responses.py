"""Responses that were given before: continued, read again, listed and taken back, by nobody but their owner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from minivault.access.keys import KeyFile, NewKey
from minivault.app import create_app
from minivault.config import Settings
from minivault.interaction import Recorder
from minivault.service import LocalModel, Roster
from minivault.vault.archive import Archive
from minivault.vault.verify import verify
from tests.api.records import records
from tests.api.schema_client import SchemaClient
from tests.api.test_openai_responses import MODEL, events, respond
from tests.clients import tools_backend
from tests.scripted import transcript_backend

ADD = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


@pytest.fixture(params=[transcript_backend])
def app(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Flask]:
    """Its model reads whole conversations, or as the test says."""
    model = LocalModel(settings, request.param)
    recorder = Recorder(settings, Roster(model))
    model.wait_loaded(30)
    app = create_app(settings, recorder)
    app.test_client_class = SchemaClient
    yield app
    model.close()
    recorder.close()


def rendered(settings: Settings) -> list[str]:
    """The last prompt as the model read it."""
    lines: list[str] = records(settings)[-1]["rendered_prompt"].split("\n")
    return lines


def assert_not_found(response: TestResponse, code: str = "not_found") -> None:
    assert response.status_code == 404
    error = response.get_json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


def assert_gone(client: FlaskClient, response_id: str, **headers: Any) -> None:
    """Neither read, nor listed, nor continued, nor referred to, nor taken back."""
    for path in (f"/v1/responses/{response_id}", f"/v1/responses/{response_id}/input_items"):
        assert_not_found(client.get(path, **headers))
    assert_not_found(client.delete(f"/v1/responses/{response_id}", **headers))
    body = {"model": MODEL, "input": "say more", "previous_response_id": response_id}
    refused = client.post("/v1/responses", json=body, **headers)
    assert_not_found(refused, "previous_response_not_found")
    assert refused.get_json()["error"]["param"] == "previous_response_id"
    reference = {"type": "item_reference", "id": response_id.replace("resp_", "msg_")}
    body = {"model": MODEL, "input": [reference, {"role": "user", "content": "say more"}]}
    assert_not_found(client.post("/v1/responses", json=body, **headers))


def test_a_conversation_goes_on_from_any_of_its_answers(client: FlaskClient, settings: Settings) -> None:
    first = respond(client, "say One", instructions="Be kind.").get_json()
    second = respond(client, "say Two", previous_response_id=first["id"], stream=True)
    second_id = events(second)[-1]["response"]["id"]
    third = respond(client, "say Three", previous_response_id=second_id).get_json()
    assert third["previous_response_id"] == second_id
    assert rendered(settings) == [
        "user: say One", "assistant: One", "user: say Two", "assistant: Two", "user: say Three",
    ]  # fmt: skip
    assert records(settings)[-1]["prompt"] == "say Three"
    respond(client, "say Fork", previous_response_id=first["id"])
    assert rendered(settings) == ["user: say One", "assistant: One", "user: say Fork"]


def test_instructions_are_those_of_the_last_request(client: FlaskClient, settings: Settings) -> None:
    first = respond(client, "say One", instructions="Be kind.").get_json()
    respond(client, "say Two", previous_response_id=first["id"], instructions="Be brief.")
    assert rendered(settings)[0] == "system: Be brief."
    assert "Be kind." not in records(settings)[-1]["rendered_prompt"]


def test_an_answer_goes_on_without_input(client: FlaskClient, settings: Settings) -> None:
    first = respond(client, "say One").get_json()
    reply = client.post("/v1/responses", json={"model": MODEL, "previous_response_id": first["id"]})
    assert reply.status_code == 200
    assert rendered(settings) == ["user: say One", "assistant: One"]


def answered(given: TestResponse, *, stream: bool) -> dict[str, Any]:
    """A response as it was given, without the receipt of its record, which is no part of it."""
    if stream:
        response: dict[str, Any] = events(given)[-1]["response"]
        return response
    return {name: value for name, value in given.get_json().items() if name != "receipt"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stream": True},
        {"max_output_tokens": 2},
        {"instructions": "Be kind.", "metadata": {"a": "b"}, "temperature": 0.5, "store": True, "user": "u"},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"enum": ["a"]}}}},
    ],
)
def test_what_is_read_again_is_what_was_given(client: FlaskClient, fields: dict[str, Any]) -> None:
    given = respond(client, "say Hello there", **fields)
    response = answered(given, stream=fields.get("stream", False))
    assert client.get(f"/v1/responses/{response['id']}").get_json() == response


@pytest.mark.parametrize("app", [tools_backend.backend], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "tools", [[ADD], [{"type": "web_search"}, ADD, {"type": "custom", "name": "patch"}]], ids=["function", "others"]
)
def test_calls_are_read_again_and_answered(
    client: FlaskClient, settings: Settings, stream: bool, tools: list[Any]
) -> None:
    given = respond(client, f"say Well. {CALL}", tools=tools, stream=stream)
    response = answered(given, stream=stream)
    message, call = response["output"]
    assert (message["type"], call["type"]) == ("message", "function_call")
    assert client.get(f"/v1/responses/{response['id']}").get_json() == response
    result = [{"type": "function_call_output", "call_id": call["call_id"], "output": "3"}]
    answer = respond(client, result, tools=tools, previous_response_id=response["id"]).get_json()
    assert answer["output"][0]["content"][0]["text"] == "got 3"


def test_a_failed_answer_is_read_again_as_it_ended(client: FlaskClient) -> None:
    failed = events(respond(client, "raise=1 say Hello", stream=True))[-1]["response"]
    assert client.get(f"/v1/responses/{failed['id']}").get_json() == failed


def test_only_its_owner_has_it_again(client: FlaskClient, settings: Settings) -> None:
    open_id = respond(client).get_json()["id"]
    created = KeyFile(settings.keys_file).create(NewKey("one", "use"), NewKey("two", "use"), NewKey("chief", "admin"))
    one, two, chief = ({"Authorization": f"Bearer {token}"} for _, token in created)
    body = {"model": MODEL, "input": "say Mine"}
    own_id = client.post("/v1/responses", json=body, headers=one).get_json()["id"]
    assert client.get(f"/v1/responses/{own_id}", headers=one).status_code == 200
    for stranger in (two, chief):
        assert_gone(client, own_id, headers=stranger)
    assert_gone(client, open_id, headers=one)


def test_what_was_redacted_is_gone_and_so_is_what_came_after_it(client: FlaskClient, settings: Settings) -> None:
    first = respond(client, "say One").get_json()["id"]
    second = respond(client, "say Two", previous_response_id=first).get_json()["id"]
    with Archive(settings.log_dir, by="test") as archive:
        archive.redact(first.removeprefix("resp_"), "asked for")
    assert_gone(client, first)
    assert client.get(f"/v1/responses/{second}").status_code == 200
    refused = respond(client, "say Three", previous_response_id=second)
    assert_not_found(refused, "previous_response_not_found")
    assert first in refused.get_json()["error"]["message"]


def test_what_was_not_to_be_stored_is_recorded_and_gone(client: FlaskClient, settings: Settings) -> None:
    reply = respond(client, store=False).get_json()
    assert reply["store"] is False
    assert records(settings)[-1]["id"] == reply["id"].removeprefix("resp_")
    assert_gone(client, reply["id"])


def test_what_is_taken_back_is_gone_and_stays_in_the_vault(client: FlaskClient, settings: Settings) -> None:
    first = respond(client, "say One").get_json()["id"]
    reply = client.delete(f"/v1/responses/{first}").get_json()
    assert (reply["id"], reply["object"], reply["deleted"]) == (first, "response", True)
    assert "vault keeps" in reply["note"]
    assert_gone(client, first)
    (withdrawal,) = records(settings, "withdrawal")
    assert withdrawal["target_id"] == first.removeprefix("resp_")
    with Archive(settings.log_dir, by="test") as archive:
        assert archive.show(withdrawal["target_id"])["response"] == "One"
    assert verify(settings.log_dir).exit_code == 0


def test_what_was_changed_in_the_vault_is_not_given(client: FlaskClient, settings: Settings) -> None:
    given = respond(client, "say Hello").get_json()["id"]
    respond(client)
    log = settings.log_dir / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"response":"Hello"', b'"response":"Bello"'))
    refused = client.get(f"/v1/responses/{given}")
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (500, "vault_error")


@pytest.mark.parametrize("name", ["resp_1", "1", "resp_01a21992-a2aa-71a0-aa23-b034085a16e3", "msg_x", "resp_../x"])
def test_what_there_never_was_is_not_found(client: FlaskClient, name: str) -> None:
    assert_gone(client, name)


def test_what_another_route_answered_is_no_response(client: FlaskClient) -> None:
    reply = client.post("/v1/chat/completions", json={"model": MODEL, "messages": [{"role": "user", "content": "x"}]})
    assert_gone(client, "resp_" + reply.headers["X-Request-Id"])


def test_reading_again_is_recorded(client: FlaskClient, settings: Settings) -> None:
    given = respond(client).get_json()["id"]
    client.get(f"/v1/responses/{given}")
    client.get(f"/v1/responses/{given}/input_items")
    reads = records(settings, "read")
    assert [read["command"] for read in reads] == ["responses", "responses.input_items"]
    assert all(read["filter"] == {"id": given.removeprefix("resp_")} for read in reads)


def test_items_are_listed_a_page_at_a_time(client: FlaskClient) -> None:
    first = respond(client, "say One").get_json()
    items = [{"role": "user", "content": [{"type": "input_text", "text": "say Two"}], "id": "msg_mine"}]
    second = respond(client, items, previous_response_id=first["id"]).get_json()["id"]
    path = f"/v1/responses/{second}/input_items"
    whole = client.get(f"{path}?order=asc").get_json()
    assert [(item["type"], item["role"]) for item in whole["data"]] == [
        ("message", "user"), ("message", "assistant"), ("message", "user"),
    ]  # fmt: skip
    assert [item["content"][0]["text"] for item in whole["data"]] == ["say One", "One", "say Two"]
    assert (whole["data"][1], whole["data"][2]["id"]) == (first["output"][0], "msg_mine")
    assert (whole["first_id"], whole["last_id"]) == (whole["data"][0]["id"], "msg_mine")
    newest = client.get(f"{path}?limit=2").get_json()
    assert (newest["data"], newest["has_more"]) == (whole["data"][:0:-1], True)
    rest = client.get(f"{path}?limit=2&after={newest['last_id']}").get_json()
    assert (rest["data"], rest["has_more"]) == (whole["data"][:1], False)
    assert client.get(f"{path}?order=asc&after=msg_mine").get_json()["data"] == []


@pytest.mark.parametrize(
    ("path", "field"),
    [("/input_items?limit=0", "limit"), ("/input_items?order=up", "order"), ("/input_items?after=x", "after"),
     ("?stream=true", "stream")],
)  # fmt: skip
def test_a_bad_query_is_named(client: FlaskClient, path: str, field: str) -> None:
    refused = client.get(f"/v1/responses/{respond(client).get_json()['id']}{path}")
    assert (refused.status_code, refused.get_json()["error"]["param"]) == (400, field)


def test_cancelling_is_refused_with_what_to_do(client: FlaskClient) -> None:
    given = respond(client).get_json()["id"]
    refused = client.post(f"/v1/responses/{given}/cancel")
    assert (refused.status_code, "close the connection" in refused.get_json()["error"]["message"]) == (400, True)


def test_an_item_can_be_referred_to(client: FlaskClient, settings: Settings) -> None:
    first = respond(client, "say One").get_json()
    asked = client.get(f"/v1/responses/{first['id']}/input_items").get_json()["data"][0]
    references = [{"id": asked["id"]}, {"type": "item_reference", "id": first["output"][0]["id"]}]
    assert respond(client, [*references, {"role": "user", "content": "say Two"}]).status_code == 200
    assert rendered(settings) == ["user: say One", "assistant: One", "user: say Two"]
    refused = respond(client, [{"type": "item_reference", "id": "msg_unheard_of"}])
    assert_not_found(refused)
    assert refused.get_json()["error"]["param"] == "input"


def test_a_conversation_that_is_too_long_is_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minivault.wire.openai.response_kept.MAX_EXCHANGES", 2)
    previous = None
    for _ in range(3):
        reply = respond(client, "say x", **({"previous_response_id": previous} if previous else {}))
        previous = reply.get_json()["id"]
    refused = respond(client, "say x", previous_response_id=previous)
    assert (refused.status_code, refused.get_json()["error"]["param"]) == (400, "previous_response_id")


def test_truncation_drops_the_oldest_turns(client: FlaskClient, settings: Settings) -> None:
    first = respond(client, "x" * 300).get_json()["id"]
    assert respond(client, "say " + "y" * 200, previous_response_id=first).status_code == 400
    reply = respond(client, "say " + "y" * 200, previous_response_id=first, truncation="auto")
    assert (reply.status_code, reply.get_json()["truncation"]) == (200, "auto")
    assert rendered(settings)[0].startswith("user: say y")
