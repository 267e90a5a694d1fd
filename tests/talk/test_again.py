"""Answers with thoughts and calls, given again: replay, and what a stream had sent before its process died."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from minivault.config import Settings
from minivault.replay import regenerate, replay
from minivault.service import Model
from tests.api.records import records

ASKED: list[dict[str, Any]] = [
    {"prompt": "say <think>\nHm.</think>Four"},
    {"prompt": "say Hm.</think>Four", "think": True},
    {"prompt": "say abcdefghijklmnopqrstuvwxyz", "think": True, "thinking_budget": 3},
    {"prompt": "say Hm</think>", "think": "low", "format": "json"},
    {"prompt": "say <think>é never ends", "max_tokens": 10},
    {"prompt": "say Four", "think": False},
]


@pytest.fixture
def model(app: Flask) -> Iterator[Model]:
    yield app.extensions["minivault"].roster.default


@pytest.mark.parametrize("asked", ASKED)
def test_a_record_gives_the_same_again(
    asked: dict[str, Any], client: FlaskClient, settings: Settings, model: Model
) -> None:
    client.post("/stream-generate", json={"max_tokens": 60, "seed": 1, **asked})
    (record,) = records(settings)
    (verdict,) = replay(model, [record], 1)
    assert verdict.outcome == "identical"
    assert record["usage"]["completion_tokens"] == len(record["completion_tokens"])
    said = record["response"] + record.get("reasoning", "")
    again = regenerate(model, record, len(record["completion_tokens"]), len(said.encode()))
    if record["finish_reason"] == "stop":
        assert again == (record["response"], tuple(record["completion_tokens"]), record.get("reasoning", ""))


def test_the_beginning_of_a_thought_is_derived_again(client: FlaskClient, settings: Settings, model: Model) -> None:
    client.post("/generate", json=ASKED[1])
    (record,) = records(settings)
    tokens = tuple(record["completion_tokens"])
    assert regenerate(model, record, 2, 2) == ("", tokens[:2], "Hm")
    assert regenerate(model, record, len("Hm.</think>F"), len("Hm.F")) == ("F", tokens[:12], "Hm.")


def test_a_record_whose_thought_was_redacted_cannot_be_compared(
    client: FlaskClient, settings: Settings, model: Model, tmp_path: Path
) -> None:
    from minivault.vault.archive import Archive

    client.post("/generate", json=ASKED[1])
    with Archive(settings.log_dir, by="tester") as archive:
        archive.redact(records(settings)[0]["id"], "asked to", "reasoning")
    (verdict,) = replay(model, records(settings), 1)
    assert (verdict.outcome, verdict.reason) == ("not comparable", "its thoughts and tokens were redacted")
