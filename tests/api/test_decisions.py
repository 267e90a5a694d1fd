"""`/v1/decisions`, `/v1/systemone` and every `rerank`, as their clients see them and as the vault has them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from minivault.app import create_app
from minivault.config import Settings
from minivault.interaction import Measuring, Origin, Recorder, next_id
from minivault.replay import replay
from minivault.service import Cancelled, weighed
from minivault.vault.verify import main as verify
from tests.api.records import records
from tests.api.serving import serving
from tests.deciding import backend

PREDICATE: dict[str, Any] = {"type": "predicate", "name": "happy", "instructions": "The customer is happy."}
CHOICE: dict[str, Any] = {
    "type": "choice",
    "name": "team",
    "instructions": "Who is to answer?",
    "choices": [{"value": "billing"}, {"value": "technical", "description": "bugs"}, {"value": True}],
}
SCORE: dict[str, Any] = {
    "type": "score",
    "name": "urgency",
    "instructions": "How urgent is it?",
    "levels": [{"label": "low"}, {"label": "middle"}, {"label": "high", "description": "today"}],
}
NOUL = {"type": "noul", "instructions": "Is it urgent?"}
ASKED: dict[str, Any] = {"model": "scripted", "input": "I was charged twice.", "questions": [PREDICATE, CHOICE, SCORE]}
RANKED: dict[str, Any] = {"model": "scripted", "query": "why?", "documents": ["one", {"text": "two"}, "three"]}
RERANKS = ("/v1/rerank", "/api/rerank", "/rerank", "/v2/rerank")


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    with serving(settings, backend) as app:
        yield app


@pytest.fixture
def recorder(app: Flask) -> Recorder:
    found: Recorder = app.extensions["minivault"]
    return found


def answers(client: FlaskClient, **more: Any) -> list[dict[str, Any]]:
    reply = client.post("/v1/decisions", json=ASKED | more)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json["answers"]  # type: ignore[index]
    return found


def test_every_question_is_answered_in_order_with_probabilities(client: FlaskClient) -> None:
    predicate, choice, score = answers(client)
    assert (predicate["type"], predicate["name"], choice["name"], score["name"]) == (
        *("predicate", "happy"),
        *("team", "urgency"),
    )
    assert 0 < predicate["probability"] < 1
    assert [chance["value"] for chance in choice["probabilities"]] == ["billing", "technical", True]
    assert choice["choice"] == max(choice["probabilities"], key=lambda chance: chance["probability"])["value"]
    assert sum(chance["probability"] for chance in choice["probabilities"]) == pytest.approx(1)
    levels = [(level["label"], level["value"]) for level in score["probabilities"]]
    assert levels == [("low", 0), ("middle", 1), ("high", 2)]
    assert score["score"] == pytest.approx(
        sum(level["value"] * level["probability"] for level in score["probabilities"])
    )


def test_the_input_may_be_a_conversation_with_calls_and_json(client: FlaskClient) -> None:
    conversation = [
        {"role": "developer", "content": "You judge."},
        {"role": "user", "content": [{"type": "input_json", "data": {"stars": 5}}]},
        {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "five"}]},
        {"type": "custom_tool_call", "call_id": "2", "name": "run", "input": "x"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ]
    assert len(answers(client, input=conversation)) == 3


def test_a_question_without_a_name_is_answered_without_one(client: FlaskClient) -> None:
    unnamed = {key: value for key, value in PREDICATE.items() if key != "name"}
    assert [answer["name"] for answer in answers(client, questions=[unnamed, unnamed])] == [None, None]


def test_systemone_answers_under_the_names_of_the_questions(client: FlaskClient) -> None:
    questions = {
        "urgent": NOUL | {"criteria": {"true": "today", "false": "whenever"}},
        "team": {"type": "choice", "instructions": ["Who?"], "criteria": {"billing": None, "bugs": "errors"}},
        "level": {"type": "score", "instructions": "How much?", "criteria": ["little", "much"]},
    }
    asked = {"model": "scripted", "state": {"text": "Help!"}, "questions": questions}
    reply = client.post("/v1/systemone", data=json.dumps(asked))  # in this order: `json=` sorts
    found: dict[str, Any] = reply.json  # type: ignore[assignment]
    assert reply.status_code == 200
    assert list(found["answers"]) == ["urgent", "team", "level"]
    assert found["answers"]["level"]["legend"] == {"0": "little", "1": "much"}
    assert found["answers"]["team"]["choice"] in {"billing", "bugs"}
    assert found["usage"]["output_tokens"] == 0


def test_both_shapes_give_the_same_numbers(client: FlaskClient) -> None:
    (one,) = answers(client, questions=[PREDICATE])
    questions = {"x": NOUL | {"instructions": PREDICATE["instructions"]}}
    asked = {"model": "scripted", "state": ASKED["input"], "questions": questions}
    other: dict[str, Any] = client.post("/v1/systemone", json=asked).json  # type: ignore[assignment]
    assert other["answers"]["x"]["noul"] == one["probability"]


def without(question: dict[str, Any], member: str) -> dict[str, Any]:
    return {key: value for key, value in question.items() if key != member}


def choices(*values: Any) -> dict[str, Any]:
    return CHOICE | {"choices": [{"value": value} for value in values]}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"input": ""}, "input"),
        ({"input": " \n"}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input.0.content.0"),
        ({"input": "x" * 600}, "input"),
        ({"questions": []}, "questions"),
        ({"questions": [without(PREDICATE, "name")] * 401}, "questions"),
        ({"questions": [PREDICATE, PREDICATE]}, "questions"),
        ({"questions": [PREDICATE | {"type": "guess"}]}, "questions.0"),
        ({"questions": [PREDICATE | {"instructions": " "}]}, "questions.0.instructions"),
        ({"questions": [without(PREDICATE, "instructions")]}, "questions.0.instructions"),
        ({"questions": [without(CHOICE, "choices")]}, "questions.0.choices"),
        ({"questions": [PREDICATE, choices("only")]}, "questions.1.choices"),
        ({"questions": [choices("a", "a")]}, "questions.0.choices"),
        ({"questions": [choices("a", " ")]}, "questions.0.choices.1.value"),
        ({"questions": [choices("a", 3)]}, "questions.0.choices.1.value"),
        ({"questions": [choices(*map(str, range(256)))]}, "questions.0.choices"),
        ({"questions": [choices(*map(str, range(100)))]}, "questions"),
        ({"questions": [SCORE | {"levels": [{"label": "one"}]}]}, "questions.0.levels"),
        ({"questions": [SCORE | {"levels": [{"label": "one"}] * 2}]}, "questions.0.levels"),
        ({"permutations": 0}, "permutations"),
        ({"permutations": 17}, "permutations"),
        ({"questions": [without(PREDICATE, "name")] * 201, "permutations": 2}, "permutations"),
    ],
)
def test_what_cannot_be_decided_is_refused_by_name_and_leaves_no_record(
    client: FlaskClient, settings: Settings, more: dict[str, Any], field: str
) -> None:
    reply = client.post("/v1/decisions", json=ASKED | more)
    error: dict[str, Any] = reply.json["error"]  # type: ignore[index]
    assert (reply.status_code, error["param"]) == (400, field), error
    log = Path(settings.log_dir) / "log.jsonl"
    assert not log.exists() or not records(settings)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"state": " "}, "state"),
        ({"state": 3}, "state"),
        ({"state": "x" * 600}, "state"),
        ({"questions": {}}, "questions"),
        (
            {"questions": {"x": {"type": "choice", "instructions": "?", "criteria": {"a": None}}}},
            "questions.x.criteria",
        ),
        ({"questions": {"x": {"type": "score", "instructions": "?", "criteria": ["a"]}}}, "questions.x.criteria"),
        ({"questions": {"x": {"type": "score", "instructions": "?", "criteria": ["a"] * 11}}}, "questions.x.criteria"),
        ({"questions": {"x": {"type": "score", "instructions": "?", "criteria": ["a", ""]}}}, "questions.x.criteria"),
    ],
)
def test_systemone_refuses_by_name(client: FlaskClient, more: dict[str, Any], field: str) -> None:
    asked = {"model": "scripted", "state": "Help!", "questions": {"x": NOUL}} | more
    reply = client.post("/v1/systemone", json=asked)
    error: dict[str, Any] = reply.json["error"]  # type: ignore[index]
    assert (reply.status_code, error["param"]) == (400, field), error


def test_more_permutations_average_over_the_orders(client: FlaskClient, settings: Settings) -> None:
    answers(client, questions=[CHOICE], permutations=3)
    (record,) = records(settings)
    found = json.loads(record["response"])
    assert len(found["logprobs"]) == 3
    assert record["rendered_prompt"].count("Who is to answer?") == 3
    assert found["probabilities"] == list(weighed(found["logprobs"], "decision"))
    assert record["usage"]["prompt_tokens"] == len(record["prompt_tokens"])


def test_each_question_is_a_record_without_completion_tokens(client: FlaskClient, settings: Settings) -> None:
    reply = client.post("/v1/decisions", json=ASKED)
    first, *others = records(settings)
    assert first["id"] == reply.headers["X-Request-Id"]
    assert json.loads(first["request"]) == ASKED
    assert [record["parameters"]["part_of"] for record in others] == [first["id"]] * 2
    for record in (first, *others):
        assert (record["source"], record["api"], record["status"]) == ("decision", "openai.decisions", "completed")
        assert (record["completion_tokens"], record["usage"]["completion_tokens"]) == ([], 0)
    assert json.loads(first["response"])["probabilities"][0] == reply.json["answers"][0]["probability"]  # type: ignore


@pytest.mark.parametrize(("path", "asked"), [("/v1/decisions", ASKED | {"permutations": 2}), ("/v1/rerank", RANKED)])
def test_what_was_measured_replays_to_the_last_bit_and_verifies(
    client: FlaskClient, recorder: Recorder, settings: Settings, path: str, asked: dict[str, Any]
) -> None:
    assert client.post(path, json=asked).status_code == 200
    verdicts = list(replay(recorder.roster.default, records(settings), 2))
    assert [(verdict.outcome, verdict.unit) for verdict in verdicts] == [("identical", "number")] * 3
    assert verify([str(settings.log_dir)]) == 0


def test_a_replay_names_the_number_that_differs(client: FlaskClient, recorder: Recorder, settings: Settings) -> None:
    answers(client, questions=[PREDICATE])
    (record,) = records(settings)
    found = json.loads(record["response"])
    found["logprobs"][0][1] += 1e-9
    (verdict,) = replay(recorder.roster.default, [record | {"response": json.dumps(found)}], 1)
    assert (verdict.outcome, verdict.position, verdict.recorded) == ("different", 1, found["logprobs"][0][1])


def test_numbers_are_the_same_alone_and_under_load(app: Flask) -> None:
    alone = answers(app.test_client())
    ready, found = threading.Barrier(4), list[Any]()

    def ask(number: int) -> None:
        ready.wait()
        if number % 2:
            app.test_client().post("/generate", json={"prompt": f"say {'x' * 50}", "max_tokens": 60})
        else:
            found.append(answers(app.test_client()))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone, alone]


def test_400_questions_take_one_place_at_a_time(client: FlaskClient, settings: Settings) -> None:
    questions = [PREDICATE | {"name": f"q{number}"} for number in range(400)]
    assert settings.max_running + settings.max_waiting < 400
    assert [answer["name"] for answer in answers(client, questions=questions)] == [f"q{n}" for n in range(400)]
    assert len(records(settings)) == 400


def test_when_the_client_goes_what_runs_is_recorded_as_cancelled_and_nothing_more_begins(
    recorder: Recorder, settings: Settings
) -> None:
    model = recorder.roster.default
    measuring = Measuring(recorder, model)
    measuring.cancel()
    with pytest.raises(Cancelled):
        measuring.measure(model.prepare_relevance("why?", "text"), Origin(next_id(), "test"))
    (record,) = records(settings)
    assert (record["status"], record["finish_reason"], record["error"]["code"]) == (
        "cancelled",
        "cancelled",
        "cancelled",
    )


def test_what_takes_longer_than_the_deadline_ends_as_such(app: Flask, recorder: Recorder, settings: Settings) -> None:
    recorder.settings = replace(settings, deadline_s=1e-6)
    reply = app.test_client().post("/v1/decisions", json=ASKED)
    assert reply.status_code == 504
    (record,) = records(settings)
    assert (record["status"], record["finish_reason"]) == ("cancelled", "deadline")


@pytest.mark.parametrize("path", RERANKS)
def test_documents_come_ranked_in_every_dialect(client: FlaskClient, settings: Settings, path: str) -> None:
    reply = client.post(path, json=RANKED | {"return_documents": True})
    found: dict[str, Any] = reply.json  # type: ignore[assignment]
    assert reply.status_code == 200, reply.text
    scores = [one["relevance_score"] for one in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    texts = {one["index"]: one["document"]["text"] for one in found["results"]}
    assert texts == {0: "one", 1: "two", 2: "three"}
    assert [record["source"] for record in records(settings)] == ["relevance"] * 3
    assert found["id"] == records(settings)[0]["id"] == reply.headers["X-Request-Id"]


def test_top_n_keeps_the_most_relevant(client: FlaskClient) -> None:
    every, best = (client.post("/v1/rerank", json=RANKED | more).json for more in ({}, {"top_n": 2}))
    assert best["results"] == every["results"][:2]  # type: ignore[index]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"documents": []}, "documents"),
        ({"documents": ["a", " "]}, "documents.1"),
        ({"documents": ["a", {"title": "b"}]}, "documents.1.text"),
        ({"documents": ["a", "x" * 600]}, "documents.1"),
        ({"query": ""}, "query"),
        ({"query": " "}, "query"),
        ({"top_n": 0}, "top_n"),
        ({"model": "other"}, "model"),
    ],
)
def test_rerank_refuses_by_name(client: FlaskClient, more: dict[str, Any], field: str) -> None:
    reply = client.post("/v1/rerank", json=RANKED | more)
    error: dict[str, Any] = reply.json["error"]  # type: ignore[index]
    assert (reply.status_code // 100, error["param"]) == (4, field), error


def test_what_is_read_is_charged_once_it_is_served(app: Flask, settings: Settings, recorder: Recorder) -> None:
    limited = create_app(replace(settings, token_limit="100/day"), recorder)
    first, second = (limited.test_client().post("/v1/decisions", json=ASKED) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 429)
