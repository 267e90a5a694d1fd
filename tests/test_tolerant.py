from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minivault.config import Settings
from minivault.errors import ConfigError
from minivault.replay.limits import Limits, as_json, read_limits
from minivault.replay.tolerant import Opinion, judge
from tests.replaying import answer, loaded, other_arithmetic, other_model, wandering

LONG: dict[str, Any] = {"max_tokens": 60, "ignore_eos": True, "seed": 5}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return wandering(tmp_path)


def opinions(settings: Settings, records: list[dict[str, Any]], make: Any = None, **told: Any) -> list[Opinion]:
    with loaded(settings, *([make] if make else [])) as model:
        return list(judge(model, records, 2, **told))


SCHEMA = json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


@pytest.mark.parametrize(
    "params",
    [
        LONG,
        {**LONG, "temperature": 0.0},
        {"max_tokens": 60, "seed": 1, "temperature": 1.5},
        {"max_tokens": 60, "seed": 2, "stop": ("e", "xy"), "min_tokens": 5},
        {
            **LONG,
            "repetition_penalty": 1.3,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.2,
            "top_k": 0,
            "top_p": 1.0,
        },
        {**LONG, "logit_bias": ((65, 5.0),), "min_p": 0.1, "prompt_logprobs": 1, "logprobs": 2},
        {"max_tokens": 60, "grammar": SCHEMA, "seed": 3},
        {"max_tokens": 60, "stop_token_ids": (97, 98), "seed": 3},
    ],
)
def test_one_pass_finds_an_answer_identical_however_it_was_drawn(settings: Settings, params: dict[str, Any]) -> None:
    with loaded(settings) as model:
        records = answer(settings, model, "one", "two", **params)
        found = list(judge(model, records, 2))
    assert [(opinion.outcome, opinion.reason) for opinion in found] == [("identical", "")] * 2
    assert {opinion.match_rate for opinion in found} == {1.0}


def test_other_arithmetic_is_consistent_and_another_seed_model_or_token_is_not(settings: Settings) -> None:
    with loaded(settings) as model:
        [record] = answer(settings, model, "one", **LONG, top_k=0, top_p=1.0)
    [near] = opinions(settings, [record], other_arithmetic)
    assert near.outcome == "consistent"
    assert near.mean is not None and 0 < near.mean < Limits().sampled
    seed = {**record, "parameters": {**record["parameters"], "seed": 6}}
    [far] = opinions(settings, [seed])
    assert (far.outcome, far.kind) == ("inconsistent", "sampled")
    assert far.mean is not None and far.mean > 10 * near.mean
    [edition] = opinions(settings, [record], other_model)
    assert edition.outcome == "inconsistent"
    one = record["completion_tokens"]
    token = {**record, "completion_tokens": [*one[:-1], one[-1] ^ 1]}
    [forged] = opinions(settings, [token], limits=Limits(worst=0.1))
    assert (forged.outcome, forged.position) == ("inconsistent", 59)
    assert "token 59 may be off by 0.1" in forged.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda record: record["completion_tokens"].append(65), "goes on after its end"),
        (lambda record: record["completion_tokens"].pop(), "does not end with its last token"),
        (lambda record: record.update(response="other"), "its text is not what its tokens say"),
        (lambda record: record["completion_tokens"].__setitem__(0, 257), "cannot come there"),
    ],
)
def test_what_no_arithmetic_explains_is_inconsistent_however_short(
    settings: Settings, change: Any, reason: str
) -> None:
    with loaded(settings) as model:
        [record] = answer(settings, model, "one", max_tokens=60, seed=1, stop_token_ids=(65, 66, 67))
    assert record["finish_reason"] == "stop"
    change(record)
    [found] = opinions(settings, [record])
    assert found.outcome == "inconsistent"
    assert reason in found.reason


def test_few_tokens_that_differ_are_too_few_to_tell(settings: Settings) -> None:
    with loaded(settings) as model:
        [record] = answer(settings, model, "one", **{**LONG, "max_tokens": 10})
    seed = {**record, "parameters": {**record["parameters"], "seed": 6}}
    [found] = opinions(settings, [seed], limits=Limits(worst=100.0))
    assert (found.outcome, found.num_tokens) == ("too few tokens", 10)
    assert "24 are needed" in found.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"redacted": {}}, "redacted"),
        ({"reasoning_redacted": {}}, "redacted"),
        ({"source": "builtin"}, "built-in"),
        ({"source": "embedding"}, "work of another kind"),
        ({"source": "decision"}, "without --tolerant"),
        ({"fingerprint": "upstream:vllm"}, "an engine elsewhere"),
        ({"status": "failed"}, "it failed"),
        ({"status": "interrupted", "completion_tokens": []}, "no tokens (interrupted)"),
        ({"completion_tokens": [9999]}, "vocabulary"),
        ({"prompt_tokens": [65] * 600}, "the context holds 512"),
    ],
)
def test_what_is_not_judged_says_why(settings: Settings, change: dict[str, Any], reason: str) -> None:
    with loaded(settings) as model:
        [record] = answer(settings, model, "one", **LONG)
    [found] = opinions(settings, [{**record, **change}])
    assert found.outcome == "not comparable"
    assert reason in found.reason


def test_a_fingerprint_of_other_weights_or_draws_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from minivault.service import LocalModel

    ours = {"weights": "1", "tokenizer": "1", "sampler": "1", "runner": "exact", "grammar": "1"}
    with loaded(settings) as model:
        [record] = answer(settings, model, "one", **LONG)
        info = replace(model.info, fingerprint_parts=ours)
        monkeypatch.setattr(LocalModel, "info", property(lambda _self: info))
        other = {**record, "fingerprint": "mv2:there"}
        for changed, outcome in (("runner", "identical"), ("grammar", "identical"), ("template", "identical")):
            [found] = judge(model, [other], 1, {"mv2:there": {**ours, changed: "2"}})
            assert found.outcome == outcome
        for changed in ("weights", "sampler", "tokenizer"):
            [found] = judge(model, [other], 1, {"mv2:there": {**ours, changed: "2"}})
            assert found.reason == f"made by something else ({changed}): mv2:there"


def test_limits_are_read_as_they_were_written_and_bad_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    path.write_text(json.dumps(as_json(Limits(0.1, 0.2, 8, 2.0), {})))
    assert read_limits(path) == Limits(0.1, 0.2, 8, 2.0)
    for text in ("", "{}", "[]", '{"limits": {"sampled": "x"}}', path.read_text().replace("0.1", "-1")):
        path.write_text(text)
        with pytest.raises(ConfigError, match="limits"):
            read_limits(path)
