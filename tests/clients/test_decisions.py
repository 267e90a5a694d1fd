"""Typed decisions and reranking as the packages `openai` and `ollama`, and Open WebUI, ask for them."""

from __future__ import annotations

from typing import Any

import httpx
import ollama
import openai
import pytest

from tests.clients.conftest import MODEL, answers
from tests.live import LiveServer

QUESTIONS: Any = [
    {"type": "predicate", "name": "happy", "instructions": "The customer is happy."},
    {"type": "choice", "instructions": "Who answers?", "choices": [{"value": "billing"}, {"value": True}]},
    {"type": "score", "instructions": "How urgent?", "levels": [{"label": "low"}, {"label": "high"}]},
]
CONVERSATION: Any = [{"role": "user", "content": [{"type": "input_text", "text": "I was charged twice."}]}]


@pytest.fixture
def client(server: LiveServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


def test_openai_reads_every_kind_of_answer(client: Any, server: LiveServer) -> None:
    with client:
        decision = client.decisions.create(model=MODEL, input=CONVERSATION, questions=QUESTIONS)
    predicate, choice, score = decision.answers
    assert [answer.type for answer in decision.answers] == ["predicate", "choice", "score"]
    assert 0 <= predicate.probability <= 1
    assert choice.choice in {"billing", True}
    assert [level.value for level in score.probabilities] == [0, 1]
    assert decision.usage.output_tokens == 0
    assert [record["source"] for record in answers(server)[-3:]] == ["decision"] * 3


def test_the_tool_runner_of_openai_finds_its_candidate(client: Any) -> None:
    from openai.lib.decisions_tool_runner import DecisionsToolRunner  # type: ignore[import-not-found,unused-ignore]

    candidates = [
        {"id": "done", "description": "It is done.", "done": True},  # the scripted model takes the first of equals
        {"id": "look", "description": "Look.", "execute": lambda: "seen"},
    ]
    runner = DecisionsToolRunner(observe=lambda: "a room", candidates=lambda _: candidates, verify=lambda _: True)
    with client:
        result = runner.run(client, {"model": MODEL, "input": "Look around."}, max_steps=3)
    assert result["status"] == "verified"
    assert result["decisions"][0].answers[0].choice == "done"


def test_a_refusal_names_the_member(client: Any) -> None:
    with client, pytest.raises(openai.BadRequestError, match=r"questions\.0\.choices"):
        client.decisions.create(model=MODEL, input="x", questions=[QUESTIONS[1] | {"choices": [{"value": "one"}]}])


def test_ollama_reads_every_kind_of_answer(server: LiveServer) -> None:
    questions = {
        "team": {"type": "choice", "instructions": "Who?", "criteria": {"billing": None, "bugs": "errors"}},
        "happy": {"type": "noul", "instructions": "Happy?", "criteria": {"true": "glad"}},
        "level": {"type": "score", "instructions": "How much?", "criteria": ["little", "much"]},
    }
    with ollama.Client(server.url) as client:
        reply = client.systemone(MODEL, {"text": "Help!"}, questions, keep_alive="5m")
    assert reply.answers["team"].choice in {"billing", "bugs"}
    assert 0 <= reply.answers["happy"].noul <= 1
    assert reply.answers["level"].legend == {"0": "little", "1": "much"}


@pytest.mark.parametrize("path", ["/v1/rerank", "/api/rerank", "/rerank", "/v2/rerank"])
def test_open_webuis_external_reranker_gets_a_score_for_every_document(server: LiveServer, path: str) -> None:
    asked = {"model": MODEL, "query": "why?", "documents": ["one", "two"], "top_n": 2}
    results = httpx.post(server.url + path, json=asked, headers={"Authorization": "Bearer none"}).json()["results"]
    ordered = sorted(results, key=lambda result: result["index"])
    assert [set(result) for result in ordered] == [{"index", "relevance_score"}] * 2
