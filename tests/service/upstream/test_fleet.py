"""Which of several engines is asked: the one that may know the beginning, unless it has too much to do."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from minivault.errors import GenerationFailed
from tests.live import GUARD_S, until
from tests.service.upstream.asking_model import answer, ask, error_of, served, text_of
from tests.service.upstream.engine import engine, words


def test_the_same_beginning_goes_to_the_same_engine_and_others_spread() -> None:
    with engine() as one, engine() as other, served(one.url, other.url) as roster:
        until(lambda: ", " in roster.default.info.source)
        for _ in range(6):
            answer(roster.default, "the same beginning" * 100)
        assert sorted((len(one.asked), len(other.asked))) == [0, 6]
        for number in range(40):
            answer(roster.default, f"question {number}")
        assert min(len(one.asked), len(other.asked)) > 5


def test_an_engine_with_too_much_to_do_is_passed_over() -> None:
    goes_on = threading.Event()

    def waiting(_path: str, _body: Any) -> Iterator[Any]:
        assert goes_on.wait(GUARD_S)
        yield from words("ok")

    with engine(waiting) as one, engine(waiting) as other, served(one.url, other.url) as roster:
        until(lambda: ", " in roster.default.info.source)
        running = [ask(roster.default, "the same", id_=str(number)) for number in range(8)]
        until(lambda: len(one.asked) + len(other.asked) == 8)
        share = Counter(one=len(one.asked), other=len(other.asked))
        goes_on.set()
        assert {text_of(list(one.events())) for one in running} == {"ok"}
    assert max(share.values()) <= 5


def test_an_engine_that_gives_no_sign_of_life_loses_its_answers() -> None:
    stands_still = threading.Event()
    served_first = threading.Event()

    def frozen(_path: str, _body: Any) -> Iterator[Any]:
        yield from words("Hal", reason=None)
        served_first.set()
        stands_still.wait(GUARD_S)

    class Still:
        """Its list of models never comes."""

        def get(self, _path: str) -> None:
            stands_still.wait(GUARD_S)

    with engine(frozen) as there, served(there.url, upstream_timeout_s=0.5) as roster:
        events = ask(roster.default).events()
        said = [next(events), next(events)]
        there.models = Still()  # type: ignore[assignment]
        end = [*said, *events][-1]
        stands_still.set()
    assert isinstance(error_of(end), GenerationFailed)
    assert there.url in error_of(end).message


def test_an_engine_that_comes_up_later_is_asked_then() -> None:
    with engine() as one, engine(models=[{"id": "m", "owned_by": "vllm"}]) as other:
        down, other.models = other.models, []
        with served(one.url, other.url) as roster:
            for number in range(10):
                answer(roster.default, f"question {number}")
            assert not other.asked
            other.models = down
            until(lambda: ", " in roster.default.info.source)
            for number in range(40):
                answer(roster.default, f"question {number}")
    assert other.asked
