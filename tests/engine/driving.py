"""Driving an engine by hand: submit jobs, step, collect what each was told."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from minivault.engine import Engine
from minivault.engine.runner import Runner
from minivault.types import Delta, Event, Failed, Finished, Job, SamplingParams, Started, Tokenizer
from tests.engine.scripted import ByteTokenizer

GREEDY = {"temperature": 0.0}


class Clock:
    """Nanoseconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, ns: int) -> None:
        self.now_ns += ns


@dataclass
class Transcript:
    """What one job was told, in order."""

    events: list[Event] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Delta))

    @property
    def tokens(self) -> list[int]:
        return [token for event in self.events if isinstance(event, Delta) for token in event.token_ids]

    @property
    def started(self) -> Started:
        return next(event for event in self.events if isinstance(event, Started))

    @property
    def terminals(self) -> list[Finished | Failed]:
        return [event for event in self.events if isinstance(event, Finished | Failed)]

    @property
    def end(self) -> Finished | Failed:
        """The one terminal event, which must be the last."""
        (terminal,) = self.terminals
        assert self.events[-1] is terminal
        return terminal

    @property
    def reason(self) -> str:
        assert isinstance(self.end, Finished), self.end
        return self.end.reason


@dataclass
class Drive:
    engine: Engine
    runner: Runner
    clock: Clock
    transcripts: dict[str, Transcript] = field(default_factory=dict)
    numbers: Iterable[int] = field(default_factory=itertools.count)

    @classmethod
    def of(cls, runner: Runner, tokenizer: Tokenizer | None = None, max_running: int = 4, **options: int) -> Drive:
        """An engine that processes one chunk of prompt a step, unless told otherwise."""
        clock, options = Clock(), {"step_tokens": 0} | options
        engine = Engine(runner, tokenizer or ByteTokenizer(), max_running=max_running, clock=clock, **options)
        return cls(engine, runner, clock)

    def submit(self, prompt: str | bytes | Iterable[int], deadline_ns: int | None = None, **params: object) -> str:
        """Queue a job and return its id."""
        tokens = tuple(prompt.encode() if isinstance(prompt, str) else prompt)
        constraint = params.pop("constraint", None)
        job_id = f"job-{next(iter(self.numbers))}"
        self.engine.submit(
            Job(job_id, tokens, SamplingParams(**{"seed": 1} | params), deadline_ns, constraint)  # type: ignore
        )
        self.transcripts[job_id] = Transcript()
        return job_id

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            for job_id, event in self.engine.step():
                self.transcripts[job_id].events.append(event)
            self.engine.check_integrity()

    def finish(self, limit: int = 5000) -> None:
        """Step until there is no work."""
        for _ in range(limit):
            if not self.engine.has_work:
                return
            self.step()
        raise AssertionError("the engine does not come to an end")

    def run(self, prompt: str | bytes | Iterable[int], **params: object) -> Transcript:
        """Submit one job, finish everything and return what the job was told."""
        job_id = self.submit(prompt, **params)
        self.finish()
        return self.transcripts[job_id]

    def ensure_nothing_left(self) -> None:
        self.engine.check_integrity()
        assert not self.engine.has_work
        assert self.engine.num_running == self.engine.num_waiting == 0
        for transcript in self.transcripts.values():
            assert transcript.end
        assert not getattr(self.runner, "slots", {}), "the runner still holds slots"
        assert not getattr(self.runner, "violations", [])
