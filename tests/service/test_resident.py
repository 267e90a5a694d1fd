"""Models that share memory: who is in it, who has to go, and who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from minivault.config import Settings, load_settings
from minivault.errors import Draining, LoadFailed, Overloaded
from minivault.service import Loaded, LocalModel, Model, Room, Roster
from minivault.types import Delta, Finished, GenerationRequest, SamplingParams
from tests.live import until
from tests.scripted import backend
from tests.several import called, roster

ENDLESS = 1 << 20
"""More tokens than are drawn while a test lasts."""
NOW = 0
"""A deadline that has passed."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"MINIVAULT_HOME": str(tmp_path), "MINIVAULT_CONTEXT": str(ENDLESS)}, tmp_path / ".env")


@pytest.fixture
def three(settings: Settings) -> Iterator[Roster]:
    """Three models, of which two fit."""
    models = roster(settings, "one", "two", "three", num_fitting=2)
    yield models
    models.close()


def ask(model: Model, prompt: str, job_id: str = "job") -> str:
    request = GenerationRequest(prompt=prompt, params=SamplingParams(max_tokens=ENDLESS - 100))
    events = list(model.generate(model.prepare(request), job_id).events())
    assert isinstance(events[-1], Finished)
    return "".join(event.text for event in events if isinstance(event, Delta))


def in_memory(models: Roster) -> set[str]:
    return {model.info.name for model in models if model.status().state == "ready"}


def test_a_model_is_loaded_when_it_is_asked_for_and_who_was_used_least_recently_goes(three: Roster) -> None:
    assert in_memory(three) == set()
    for name, there in (
        ("one", {"one"}),
        ("two", {"one", "two"}),
        ("one", {"one", "two"}),
        ("three", {"one", "three"}),
        ("two", {"two", "three"}),
    ):
        assert ask(three.get(name), f"say {name}") == name
        assert in_memory(three) == there


def test_a_model_that_was_unloaded_is_still_known_with_its_fingerprint(three: Roster) -> None:
    model = three.get("one")
    assert (model.info.name, model.info.fingerprint) == ("one", "")
    ask(model, "say x")
    assert model.unload()
    assert model.status().state == "resting"
    assert model.info.fingerprint == "mv2:one"


def test_who_answers_stays_and_who_wants_its_place_waits(settings: Settings, tmp_path: Path) -> None:
    models = roster(settings, "one", "two")
    first, second = models.get("one"), models.get("two")
    go_on = tmp_path / "go-on"
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(ask, first, f"until={go_on} say x")
        until(lambda: first.status().running)
        waiting = [pool.submit(ask, second, "say y", f"job{number}") for number in range(3)]
        until(lambda: second.status().waiting == 3)
        assert in_memory(models) == {"one"}
        assert not first.unload(), "somebody uses it"
        go_on.touch()
        assert [one.result(90) for one in waiting] == ["y"] * 3
        assert running.result(90).startswith("x")
    assert in_memory(models) == {"two"}
    models.close()


def test_who_waits_for_room_longer_than_its_deadline_is_told_to_try_again(settings: Settings, tmp_path: Path) -> None:
    models = roster(settings, "one", "two")
    first, second = models.get("one"), models.get("two")
    go_on = tmp_path / "go-on"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, first, f"until={go_on} say x")
        until(lambda: first.status().running)
        with pytest.raises(Overloaded, match="the models in memory are in use"):
            second.ensure_loaded(NOW)
        go_on.touch()
        running.result(90)
    assert ask(second, "say y") == "y"
    models.close()


def test_models_that_are_asked_by_turns_all_answer_and_never_more_are_in_memory_than_fit(settings: Settings) -> None:
    loaded, most = set[str](), list[int]()

    def counting(name: str) -> LocalModel:
        def load(chosen: Settings) -> Loaded:
            found = called(name)(chosen)
            loaded.add(name)
            most.append(len(loaded))
            close = found.runner.close

            def closing() -> None:
                loaded.discard(name)
                close()

            object.__setattr__(found.runner, "close", closing)
            return found

        return LocalModel(settings, load, room, need_bytes=1)

    room = Room(2)
    models = [counting(name) for name in ("a", "b", "c", "d")]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, models[n % 4], f"say {n}", f"job{n}") for n in range(12)]
        assert [one.result(90) for one in asked] == [str(n) for n in range(12)]
    assert max(most) == 2
    for model in models:
        model.close()


def test_a_model_that_never_fits_is_refused_with_what_it_needs_and_what_there_is(settings: Settings) -> None:
    model = LocalModel(settings, backend, Room(100 << 20), need_bytes=300 << 20)
    with pytest.raises(LoadFailed, match="needs 300 MB of memory and MINIVAULT_MODELS_MB allows 100"):
        ask(model, "say x")
    assert model.status().state == "unloaded"
    model.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_model_goes_when_nobody_has_asked_for_it_for_so_long(settings: Settings) -> None:
    clock = Clock()
    model = LocalModel(settings, backend, clock=clock)
    model.wait_loaded(90)
    assert model.status().goes_in_s is None, "by itself it stays"
    model.keep(300)
    ask(model, "say x")
    clock.now = 299
    assert model.status().goes_in_s == 1
    ask(model, "say x")
    clock.now = 500
    assert model.status().goes_in_s == 99
    clock.now = 600
    until(lambda: model.status().state == "resting")
    assert ask(model, "say back") == "back"
    model.close()


def test_one_that_is_kept_for_nothing_goes_after_its_answer(settings: Settings, tmp_path: Path) -> None:
    model, go_on = LocalModel(settings, backend), tmp_path / "go-on"
    model.wait_loaded(90)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, model, f"until={go_on} say x")
        until(lambda: model.status().running)
        model.keep(0)
        go_on.touch()
        assert running.result(90).startswith("x")
    until(lambda: model.status().state == "resting")
    model.close()


def test_what_could_not_be_loaded_is_tried_again_a_minute_later(settings: Settings) -> None:
    clock, faults = Clock(), [MemoryError("no room")]

    def load(chosen: Settings) -> Loaded:
        if faults:
            raise faults.pop()
        return backend(chosen)

    model = LocalModel(settings, load, clock=clock)
    for _ in range(2):
        with pytest.raises(LoadFailed, match="no room"):
            ask(model, "say x")
    clock.now = 61
    assert ask(model, "say x") == "x"
    model.close()


def test_nothing_is_loaded_any_more_once_the_server_stops(three: Roster) -> None:
    three.default.start(lambda: True)
    until(lambda: three.default.status().state == "draining")
    with pytest.raises(Draining):
        three.get("two").ensure_loaded()
    assert three.status().state == "draining"


def test_no_more_wait_for_a_model_than_could_wait_for_an_answer(settings: Settings, tmp_path: Path) -> None:
    few = replace(settings, max_running=1, max_waiting=1)
    models, go_on = roster(few, "one", "two"), tmp_path / "go-on"
    first, second = models.get("one"), models.get("two")
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(ask, first, f"until={go_on} say x")
        until(lambda: first.status().running)
        waiting = [pool.submit(second.ensure_loaded) for _ in range(2)]
        until(lambda: second.status().waiting == 2)
        with pytest.raises(Overloaded):
            second.ensure_loaded()
        go_on.touch()
        for one in (*waiting, running):
            one.result(90)
    models.close()
