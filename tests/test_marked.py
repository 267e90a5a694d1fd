"""Marked answers in the vault: what a record says of the mark, and how it is replayed and judged, with the key and
without."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minivault.config import Settings
from minivault.engine.detection import detect
from minivault.errors import ConfigError
from minivault.interaction import Interaction, Origin, Recorder, next_id
from minivault.replay import parts_by_fingerprint, regenerate, replay
from minivault.replay.tolerant import judge
from minivault.service import LocalModel, Roster, roster_of
from minivault.service.backends import check_backend
from minivault.types import Delta, GenerationRequest, SamplingParams
from minivault.vault.reader import read_records
from minivault.vault.verify import verify
from minivault.watermark import Mark, num_marked, read_mark
from tests.replaying import answer, loaded, other_arithmetic, wandering
from tests.scripted import backend as scripted

LONG: dict[str, Any] = {"max_tokens": 60, "ignore_eos": True, "seed": 5, "temperature": 1.0}


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    return wandering(tmp_path)


@pytest.fixture
def settings(plain: Settings, tmp_path: Path) -> Settings:
    return keyed(plain, tmp_path / "key")


@pytest.fixture
def mark(settings: Settings) -> Mark:
    return read_mark(Path(settings.watermark_key_file), "")


def keyed(settings: Settings, path: Path) -> Settings:
    """With a key that is its file's name: another name is another key, and each draws the same each time."""
    path.write_text(hashlib.sha256(path.name.encode()).hexdigest())
    path.chmod(0o600)
    return replace(settings, watermark_key_file=str(path))


def outcomes(settings: Settings, records: list[dict[str, Any]], make: Any = None) -> tuple[list[Any], list[Any]]:
    """What a replay and a pass over the tokens find, each with its reason."""
    parts = parts_by_fingerprint(read_records(settings.log_dir))
    with loaded(settings, *([make] if make else [])) as model:
        again = [(one.outcome, one.reason) for one in replay(model, records, 2, parts)]
        return again, [(one.outcome, one.reason) for one in judge(model, records, 2, parts)]


def test_a_record_says_by_what_it_was_marked_and_how_many_tokens(settings: Settings, mark: Mark) -> None:
    with loaded(settings) as model:
        [sampled] = answer(settings, model, "one", **LONG)
        greedy = answer(settings, model, "one", **{**LONG, "temperature": 0.0})[-1]
        short = answer(settings, model, "one", **{**LONG, "max_tokens": 4})[-1]
    told = {"scheme": "gumbel-mark-1", "key": mark.key_id}
    assert sampled["watermark"] == told | {"num_marked": num_marked(sampled["completion_tokens"])}
    assert sampled["watermark"]["num_marked"] > 40
    assert sampled["parameters"]["watermark"] == mark.name
    assert greedy["watermark"] == short["watermark"] == told | {"num_marked": 0}
    assert detect(mark, sampled["completion_tokens"]).p_value < 1e-6
    verified = verify(settings.log_dir)
    assert verified.exit_code == 0, verified.findings


def test_start_and_model_records_name_the_mark_and_nothing_holds_the_key(settings: Settings, mark: Mark) -> None:
    with loaded(settings) as model:
        answer(settings, model, "one", **LONG)
    records = list(read_records(settings.log_dir))
    [start] = [record for record in records if record["type"] == "start"]
    [made] = [record for record in records if record["type"] == "model"]
    assert start["watermark"] == mark.told
    assert made["parts"]["watermark"] == mark.name
    written = (settings.log_dir / "log.jsonl").read_text()
    assert mark.secret.hex() not in written and mark.key_id in written


def test_unmarked_records_say_nothing_of_it(plain: Settings) -> None:
    with loaded(plain) as model:
        [record] = answer(plain, model, "one", **LONG)
    assert "watermark" not in record and record["parameters"]["watermark"] is None
    assert not [one for one in read_records(plain.log_dir) if "watermark" in one]


def test_the_fingerprint_is_another_with_a_mark(plain: Settings, settings: Settings, tmp_path: Path) -> None:
    other = keyed(plain, tmp_path / "other")
    found = set[str]()
    for one in (plain, settings, other):
        with loaded(one) as model:
            found.add(model.info.fingerprint)
    assert len(found) == 3


def test_a_marked_answer_replays_and_is_judged_with_its_key(settings: Settings) -> None:
    with loaded(settings) as model:
        answer(settings, model, "one", "two", **LONG)
        records = answer(settings, model, "three", **{**LONG, "temperature": 0.0})
    again, judged = outcomes(settings, records)
    assert again == judged == [("identical", "")] * 3


def test_without_its_key_it_is_not_comparable_and_not_different(
    settings: Settings, plain: Settings, mark: Mark, tmp_path: Path
) -> None:
    with loaded(settings) as model:
        records = answer(settings, model, "one", **LONG)
    for here, told in ((plain, "there is none here"), (keyed(plain, tmp_path / "new"), "the key here is of")):
        for [(outcome, reason)] in outcomes(here, records):
            assert outcome == "not comparable"
            assert "the mark's key is not here" in reason and mark.key_id in reason and told in reason


def test_what_was_drawn_before_the_mark_replays_beside_it(plain: Settings, settings: Settings) -> None:
    with loaded(plain) as model:
        answer(plain, model, "one", **LONG)
    with loaded(settings) as model:
        records = answer(settings, model, "one", **LONG)
    assert records[0]["completion_tokens"] != records[1]["completion_tokens"]
    again, judged = outcomes(settings, records)
    assert again == judged == [("identical", "")] * 2


def test_under_other_arithmetic_a_marked_answer_is_consistent_and_a_forged_token_is_not(settings: Settings) -> None:
    with loaded(settings) as model:
        records = answer(settings, model, *"abcdefghijklmnop", **{**LONG, "top_k": 0, "top_p": 1.0})
    assert set(outcomes(settings, records, other_arithmetic)[1]) == {("identical", ""), ("consistent", "")}
    tokens = records[0]["completion_tokens"]
    forged = {**records[0], "completion_tokens": [*tokens[:20], *(token ^ 1 for token in tokens[20:])]}
    [[outcome, _]] = outcomes(settings, [forged])[1]
    assert outcome == "inconsistent"


def test_a_claim_of_another_mark_or_none_is_found_out(settings: Settings) -> None:
    """Whoever says of a marked answer that it was not marked, or the other way round, is wrong about its tokens."""
    with loaded(settings) as model:
        [record] = answer(settings, model, "one", **LONG)
    denied = {**record, "parameters": {**record["parameters"], "watermark": None}}
    assert [found[0][0] for found in outcomes(settings, [denied])] == ["different", "inconsistent"]


@contextmanager
def recording(settings: Settings) -> Iterator[Recorder]:
    model = LocalModel(settings, scripted)
    model.wait_loaded(30)
    recorder = Recorder(settings, Roster(model))
    yield recorder
    model.close()
    recorder.close()


def test_a_stream_that_was_interrupted_is_re_derived_by_its_mark_alone(
    settings: Settings, plain: Settings, tmp_path: Path
) -> None:
    with loaded(settings) as model:
        [record] = answer(settings, model, "one", **LONG)
        cut = len(record["completion_tokens"]) // 2
        request = GenerationRequest(prompt="one", params=SamplingParams(**LONG))
        events = model.generate(model.prepare(request), "again").events()
        text = "".join(event.text for event in list(events)[: cut + 1] if isinstance(event, Delta))
        found = regenerate(model, record, cut, len(text.encode()))
    assert found is not None and found[1] == tuple(record["completion_tokens"][:cut])
    for here in (plain, keyed(plain, tmp_path / "new")):
        with loaded(here) as model:
            assert regenerate(model, record, cut, len(text.encode())) is None


def test_a_built_in_answer_is_not_said_to_be_marked(settings: Settings) -> None:
    with recording(settings) as recorder:
        model = recorder.roster.default
        task = model.prepare(GenerationRequest(prompt="What model are you?"))
        interaction = Interaction.begin(recorder, model, task, Origin(next_id(), "test"))
        interaction.collect()
        [record] = [one for one in read_records(settings.log_dir) if one["type"] == "interaction"]
    assert (record["source"], "watermark" in record) == ("builtin", False)


def test_a_key_that_cannot_be_used_keeps_the_server_from_starting(plain: Settings, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_text("no key")
    path.chmod(0o600)
    for file, told in ((path, "holds no key"), (tmp_path / "none", "No such file")):
        with pytest.raises(ConfigError, match=told) as refused:
            check_backend(replace(plain, watermark_key_file=str(file)))
        assert refused.value.field == "MINIVAULT_WATERMARK_KEY_FILE"


def test_with_engines_elsewhere_a_key_is_refused(settings: Settings) -> None:
    elsewhere = replace(settings, backend="upstream", upstream_url="http://127.0.0.1:1/v1")
    for refusing in (check_backend, roster_of):
        with pytest.raises(ConfigError, match="nothing would be marked") as refused:
            refusing(elsewhere)
        assert refused.value.field == "MINIVAULT_WATERMARK_KEY_FILE"
