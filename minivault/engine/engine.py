"""Engine: continuous batching, one step at a time.

`step` schedules, runs, samples and finishes. It guarantees that every submitted job ends in exactly one `Finished` or
`Failed`, that its slot is free by then, and that an exception ends only the sequences it concerns. Single-threaded:
one thread submits, cancels and steps. It knows neither the encodings of the wire nor who is asking.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ids
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from minivault.engine.blocks import Blocks
from minivault.engine.detokenizer import Detokenizer
from minivault.engine.execution import Execution, Group
from minivault.engine.possible import ensure_possible
from minivault.engine.prefix_cache import PrefixCache
from minivault.engine.runner import Runner
from minivault.engine.sampler import Choice, Logits, SamplingState, logprobs_of, sample
from minivault.engine.scheduler import Scheduler
from minivault.engine.sequence import Sequence
from minivault.engine.slots import Slots
from minivault.errors import BadRequest, DeadlineExceeded, GenerationFailed, MiniVaultError
from minivault.types import (
    Delta,
    Event,
    Failed,
    Finished,
    FinishReason,
    Job,
    Started,
    Tokenizer,
    TokenLogprob,
    TopLogprob,
)
from minivault.watermark import Mark

log = logging.getLogger("minivault.engine")

Entry = TypeVar("Entry", bound=TopLogprob)

STEP_TOKENS = 200
"""Prompt tokens a step may process (fewer, far into a prompt): what first tokens gain, running answers wait."""


class Engine:
    """Drives a runner. `stats` counts since the start: steps, prompt tokens and those of them that were cached, sampled
    tokens, tokens that were guessed and those of them that were right (of answers that have ended), failures, and
    preemptions: how often a sequence had to begin again because the cache was full."""

    def __init__(
        self,
        runner: Runner,
        tokenizer: Tokenizer,
        *,
        max_running: int,
        prefix_cache_bytes: int = 0,
        step_tokens: int = STEP_TOKENS,
        mark: Mark | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._runner = runner
        self._tokenizer = tokenizer
        self._clock = clock
        self._mark = mark
        self._slots = Slots(min(max_running, runner.num_slots), runner.context)
        self._prefix_cache = PrefixCache(runner, prefix_cache_bytes)
        self._blocks = Blocks(runner, self._prefix_cache)
        self._scheduler = Scheduler(self._slots, self._blocks, self._prefix_cache, runner.chunk_tokens, step_tokens)
        self._execution = Execution(runner, self._prefix_cache)
        self._sequences: dict[str, Sequence] = {}
        self._events: list[tuple[str, Event]] = []
        counted = (
            "steps",
            "prompt_tokens",
            "cached_tokens",
            "completion_tokens",
            "guessed",
            "guessed_right",
            "failures",
        )
        self._counts = dict.fromkeys(counted, 0)

    @property
    def stats(self) -> dict[str, int]:
        return {**self._counts, "preemptions": self._scheduler.num_preempted}

    @property
    def cache(self) -> dict[str, int]:
        """See `Blocks.usage`."""
        return self._blocks.usage

    @property
    def has_work(self) -> bool:
        """A step has something to do or to tell."""
        return bool(self._sequences or self._events)

    @property
    def max_running(self) -> int:
        """How many sequences there are slots for."""
        return self._slots.num_slots

    @property
    def num_running(self) -> int:
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        return self._scheduler.num_waiting

    def submit(self, job: Job) -> None:
        """Queue a job. Raises ContextExceeded or BadRequest when it can never run."""
        if job.id in self._sequences:
            raise BadRequest(f"job {job.id} is already submitted", field="id")
        runner = self._runner
        ensure_possible(job, self._slots.context, runner.vocabulary_size, runner.chunk_tokens, self._mark)
        mark = None if job.params.watermark is None else self._mark
        now = self._clock()
        self._sequences[job.id] = sequence = Sequence(
            job=job,
            sampling=SamplingState(job.params, job.prompt_tokens, job.constraint, self._ends(job), mark),
            detokenizer=Detokenizer(self._tokenizer.decoder(), job.params.stop, job.thought, job.marks),
            max_new_tokens=min(job.params.max_tokens, self._slots.context - len(job.prompt_tokens)),
            submitted_ns=now,
            eos_ids=() if job.params.ignore_eos else self._tokenizer.eos_ids,
            prefix_keys=self._prefix_cache.keys(job.prompt_tokens),
        )
        self._scheduler.add(sequence)

    def cancel(self, job_id: str, reason: FinishReason = "cancelled") -> None:
        """End a job with `reason`; the next step tells. A job that has ended already, or never was, is ignored."""
        if (sequence := self._sequences.get(job_id)) is not None:
            self._retire(sequence, reason)

    def embed(self, tokens: Ids[int]) -> NDArray[np.float32]:
        """See `Runner.embed`; the blocks it needs are made free."""
        self._scheduler.make_room(self._blocks.spanned(0, len(tokens)))
        return self._runner.embed(tokens)

    def step(self) -> list[tuple[str, Event]]:
        """Give every decoding sequence its next token and process one chunk of prompt; return (job id, event) pairs."""
        now = self._clock()
        self._end_overdue(now)
        scheduler = self._scheduler
        if any(sequence.begins_block(self._blocks.size) for sequence in scheduler.decoding):
            scheduler.make_room()
        stops = scheduler.plan(now) if scheduler.waiting or scheduler.prefilling else None
        if scheduler.decoding:
            self._advance(self._decoded(scheduler.decoding))
        if stops:  # last: first tokens are told at the end of the step, and need not wait for the others' next
            self._advance(self._execution.prefill(stops))
            scheduler.promote()
        self._counts["steps"] += bool(scheduler.decoding or stops)
        self._finish()
        events, self._events = self._events, []
        return events

    def check_integrity(self) -> None:
        """Raises RuntimeError if a slot or a sequence is lost, doubled or left over."""
        self._scheduler.check_integrity()
        self._prefix_cache.check_integrity()
        if sorted(map(id, self._scheduler)) != sorted(map(id, self._sequences.values())):
            raise RuntimeError("the scheduler and the engine disagree on which sequences exist")

    def _decoded(self, sequences: list[Sequence]) -> Iterable[Group]:
        """The next token of each; of one that is alone, several where they can be guessed. In company guesses would
        take time from others."""
        sequence = sequences[0]
        if self._scheduler.num_running == 1 and not self._scheduler.num_waiting:
            in_block = self._blocks.size - 1 - sequence.next_position % self._blocks.size
            if guess := sequence.guess(min(self._runner.num_drafts, in_block)):
                return self._execution.follow(sequence, guess)
        return self._execution.decode(sequences)

    # -- advance ---------------------------------------------------------------------------------------------------

    def _advance(self, groups: Iterable[Group]) -> None:
        """Give each sequence its token, or its failure, and tell what it says."""
        for sequences, logits in groups:
            choices = sample(logits, [sequence.sampling for sequence in sequences])
            for sequence, choice, row in zip(sequences, choices, logits, strict=True):
                if sequence.prefilled_ns is None:
                    self._start(sequence)
                if sequence.judging is not None:
                    sequence.end("length")
                    continue
                if not sequence.max_new_tokens:
                    sequence.end("length")
                    continue
                try:
                    if sequence.job.labels:
                        self._measure(sequence, row)
                    else:
                        self._append(sequence, choice)
                except Exception as error:  # the job's own constraint or its decoder
                    sequence.end(error)

    def _start(self, sequence: Sequence) -> None:
        """The first time that there are logits to sample from, the prompt is processed."""
        sequence.prefilled_ns = self._clock()
        self._counts["prompt_tokens"] += len(sequence.prompt)
        self._counts["cached_tokens"] += sequence.num_cached
        scores = None if sequence.scores is None else tuple(map(self._spelled, sequence.scores.known))
        self._emit(sequence, Started(len(sequence.prompt), sequence.num_cached, scores))

    def _append(self, sequence: Sequence, choice: Choice | Exception) -> None:
        if isinstance(choice, Exception):
            raise choice
        logprobs = () if choice.logprob is None else (self._spelled(choice.logprob),)
        text = sequence.append(choice.token_id)
        if sequence.first_token_ns is None:
            sequence.first_token_ns = self._clock()
        self._counts["completion_tokens"] += 1
        thought = sequence.job.thought
        self._emit(sequence, Delta(text, (choice.token_id,), logprobs, "" if thought is None else thought.take()))

    def _measure(self, sequence: Sequence, row: Logits) -> None:
        """Tell the log-probabilities of this step's labels, and read the first of them on."""
        steps = sequence.job.labels
        labels = steps[len(sequence.token_ids)]
        self._emit(sequence, Delta("", logprobs=logprobs_of(row, labels)))
        sequence.token_ids.append(labels[0])
        if len(sequence.token_ids) == len(steps):
            sequence.end("stop")

    def _spelled(self, logprob: TokenLogprob) -> TokenLogprob:
        """With the bytes of every token in it, or its name."""
        return replace(self._named(logprob), top=tuple(map(self._named, logprob.top)))

    def _named(self, entry: Entry) -> Entry:
        data = self._tokenizer.token_bytes(entry.token_id)
        return replace(entry, data=data, name="" if data else self._tokenizer.token_name(entry.token_id))

    # -- finish ----------------------------------------------------------------------------------------------------

    def _end_overdue(self, now_ns: int) -> None:
        for sequence in list(self._sequences.values()):
            if sequence.job.deadline_ns is not None and now_ns >= sequence.job.deadline_ns:
                late = DeadlineExceeded("the deadline passed before the first token")
                self._retire(sequence, "deadline" if sequence.token_ids else late)

    def _finish(self) -> None:
        """Retire every sequence that ends."""
        for sequence in list(self._sequences.values()):
            if sequence.ending is not None:
                self._retire(sequence, sequence.ending)

    def _retire(self, sequence: Sequence, ending: FinishReason | Exception) -> None:
        """The rest of its text, its slot, its terminal event."""
        sequence.end(ending)
        self._release(sequence)
        if not isinstance(ending, Exception):
            rest = sequence.detokenizer.flush(is_cut=ending != "stop")
            reasoning = "" if sequence.job.thought is None else sequence.job.thought.take()
            if (judging := sequence.judging) is not None:
                told = Delta(judging.text + rest, tuple(sequence.token_ids), (), reasoning, judging.judgement())
                self._emit(sequence, told)
            elif rest or reasoning:
                self._emit(sequence, Delta(rest, reasoning=reasoning))
        self._emit(sequence, self._terminal(sequence, ending))

    def _release(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        del self._sequences[sequence.job.id]
        if sequence.drafts is not None:
            self._counts["guessed"] += sequence.drafts.num_drafted
            self._counts["guessed_right"] += sequence.drafts.num_right

    def _terminal(self, sequence: Sequence, ending: FinishReason | Exception) -> Finished | Failed:
        usage, timings = sequence.usage(), sequence.timings(self._clock())
        if isinstance(ending, Exception):
            return Failed(self._shown(sequence, ending), usage, timings)
        return Finished(ending, usage, timings, sequence.detokenizer.stopped_by)

    def _shown(self, sequence: Sequence, error: Exception) -> MiniVaultError:
        """The error as the client may see it; what is not ours to show goes to the log."""
        self._counts["failures"] += 1
        if isinstance(error, MiniVaultError):
            return error
        log.error("generation %s failed", sequence.job.id, exc_info=error)
        return GenerationFailed(f"the model failed with {type(error).__name__}; the server's log says more")

    def _emit(self, sequence: Sequence, event: Event) -> None:
        self._events.append((sequence.job.id, event))

    # -- submit ---------------------------------------------------------------------------------------------------

    def _ends(self, job: Job) -> set[int]:
        """The tokens that end its answer."""
        eos_ids = () if job.params.ignore_eos else self._tokenizer.eos_ids
        return {i for i in (*eos_ids, *job.params.stop_token_ids) if i < self._runner.vocabulary_size}
