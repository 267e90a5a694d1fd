from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minivault.config import load_settings
from minivault.interaction import Interaction, Origin, Recorder, next_id
from minivault.replay import parts_by_fingerprint, regenerate, replay
from minivault.service import LocalModel, Roster
from minivault.types import Delta, GenerationRequest, SamplingParams
from minivault.vault.reader import read_records
from tests.scripted import backend


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    settings = load_settings(
        {"MINIVAULT_HOME": str(tmp_path / "home"), "MINIVAULT_LOG_DIR": str(tmp_path / "vault")}, tmp_path / ".env"
    )
    model = LocalModel(settings, backend)
    model.wait_loaded(30)
    found = Recorder(settings, Roster(model))
    yield found
    model.close()
    found.close()


def answer(recorder: Recorder, prompt: str, **params: Any) -> None:
    request = GenerationRequest(prompt=prompt, params=SamplingParams(**params))
    model = recorder.roster.default
    interaction = Interaction.begin(recorder, model, model.prepare(request), Origin(next_id(), "test"))
    try:
        interaction.collect()
    finally:
        interaction.close()


def records(recorder: Recorder) -> list[dict[str, Any]]:
    found = read_records(recorder.settings.log_dir)
    return [record for record in found if record["type"] == "interaction"]


def test_every_answer_replays_identically(recorder: Recorder) -> None:
    for prompt in ("say Hello", "say a b c", "echo"):
        answer(recorder, prompt, temperature=1.0)
    answer(recorder, "say one two three", stop=(" tw",))
    answer(recorder, "say cut here", max_tokens=3)
    verdicts = list(replay(recorder.roster.default, records(recorder), 2))
    assert [verdict.outcome for verdict in verdicts] == ["identical"] * 5
    assert [verdict.seq for verdict in verdicts] == [record["seq"] for record in records(recorder)]


def test_the_first_token_that_differs_is_named(recorder: Recorder) -> None:
    answer(recorder, "say Hello")
    (record,) = records(recorder)
    record["completion_tokens"][3] = ord("X")
    (verdict,) = replay(recorder.roster.default, [record], 1)
    assert (verdict.outcome, verdict.position) == ("different", 3)
    assert (verdict.recorded, verdict.replayed) == (ord("X"), ord("l"))


def test_a_shorter_or_longer_record_differs_at_its_end(recorder: Recorder) -> None:
    answer(recorder, "say Hello")
    (record,) = records(recorder)
    record["completion_tokens"].pop()
    (verdict,) = replay(recorder.roster.default, [record], 1)
    assert (verdict.outcome, verdict.position, verdict.recorded) == ("different", 5, None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fingerprint": "mv1:other"}, "made under fingerprint mv1:other"),
        ({"source": "builtin"}, "built-in"),
        ({"redacted": {}}, "redacted"),
        ({"completion_tokens": [], "status": "failed"}, "no tokens"),
    ],
)
def test_what_cannot_be_compared_says_why(recorder: Recorder, change: dict[str, Any], reason: str) -> None:
    answer(recorder, "say Hello")
    (record,) = records(recorder)
    (verdict,) = replay(recorder.roster.default, [{**record, **change}], 1)
    assert verdict.outcome == "not comparable"
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("fingerprint", "parts", "told"),
    [
        ("mv0:0", {}, "other engine: made under fingerprint mv0:0, this is mv1:scripted"),
        ("mv1:0", {"weights": "1", "runner": "exact", "version": "1"}, "other engine (version): made under"),
        ("mv1:0", {"weights": "1", "runner": "fused", "mkl": "1"}, "other engine (mkl, runner, version): made under"),
        ("mv1:0", {"weights": "2", "runner": "exact", "version": "2"}, "other model (weights): made under"),
        ("mv1:0", {}, "made under fingerprint mv1:0"),
    ],
)
def test_a_record_of_another_engine_says_so_and_what_of_it_differs(
    recorder: Recorder, fingerprint: str, parts: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(recorder, "say Hello")
    (record,) = records(recorder)
    model = recorder.roster.default
    ours = {"weights": "1", "runner": "exact", "version": "2"}
    info = replace(model.info, fingerprint="mv1:scripted", fingerprint_parts=ours)
    monkeypatch.setattr(LocalModel, "info", property(lambda _self: info))
    record["fingerprint"] = fingerprint
    events = [{"type": "model", "fingerprint": fingerprint, "parts": parts}, record]
    (verdict,) = replay(model, [record], 1, parts_by_fingerprint(events))
    assert verdict.outcome == "not comparable"
    assert verdict.reason.startswith(told)


def test_what_a_fingerprint_is_made_of_is_recorded_once_before_the_first_answer(recorder: Recorder) -> None:
    info = replace(recorder.roster.default.info, fingerprint="mv1:x", fingerprint_parts={"runner": "exact"})
    for _ in range(2):
        recorder.explain(info)
    answer(recorder, "say Hello")
    found = list(read_records(recorder.settings.log_dir))
    assert [record["type"] for record in found] == ["genesis", "start", "model", "interaction"]
    assert (found[2]["model"], found[2]["fingerprint"], found[2]["parts"]) == (info.name, "mv1:x", {"runner": "exact"})


def test_a_cancelled_answer_is_compared_as_far_as_it_went(recorder: Recorder) -> None:
    request = GenerationRequest(prompt="delay=0.02 say " + "abc" * 30, stream=True)
    model = recorder.roster.default
    interaction = Interaction.begin(recorder, model, model.prepare(request), Origin(next_id(), "test"))
    for event in interaction.events():
        if isinstance(event, Delta) and event.text == "c":
            break
    interaction.close()
    (record,) = records(recorder)
    assert record["status"] == "cancelled"
    (verdict,) = replay(recorder.roster.default, [record], 1)
    assert (verdict.outcome, verdict.num_tokens) == ("identical", len(record["completion_tokens"]))


def test_what_a_stream_had_sent_is_derived_again(recorder: Recorder) -> None:
    answer(recorder, "say Hé, you")
    (record,) = records(recorder)
    assert regenerate(recorder.roster.default, record, 3, 3) == ("Hé", tuple("Hé".encode()), "")
    assert regenerate(recorder.roster.default, record, 2, 1) == ("H", tuple("Hé".encode()[:2]), "")


def test_what_does_not_agree_is_not_passed_off_as_sent(recorder: Recorder) -> None:
    answer(recorder, "say Hello")
    (record,) = records(recorder)
    assert regenerate(recorder.roster.default, record, 3, 2) is None
    assert regenerate(recorder.roster.default, record, 300, 300) is None
    assert regenerate(recorder.roster.default, {**record, "fingerprint": "mv1:other"}, 3, 3) is None


def test_scores_of_a_prompt_are_recorded_and_compared(recorder: Recorder) -> None:
    answer(recorder, "aab", max_tokens=0, prompt_logprobs=2)
    answer(recorder, "aab", max_tokens=2, prompt_logprobs=2)
    answer(recorder, "aab", max_tokens=2)
    only, both, none = records(recorder)
    assert only["scores"] == both["scores"]
    assert "scores" not in none
    assert (only["response"], only["completion_tokens"], only["finish_reason"]) == ("", [], "length")
    assert only["usage"]["completion_tokens"] == 0
    assert only["parameters"]["prompt_logprobs"] == 2
    model = recorder.roster.default
    assert [verdict.outcome for verdict in replay(model, [only, both, none], 2)] == ["identical"] * 3
    forged = {**only, "scores": "sha256:" + "0" * 64}
    fewer = {**both, "parameters": {**both["parameters"], "prompt_logprobs": 1}}
    for verdict in replay(model, [forged, fewer], 1):
        assert (verdict.outcome, verdict.position) == ("different", None)
        assert verdict.reason == "the prompt's log-probabilities differ"
