"""Sequence: the state of one job in the engine, from submission to its terminal event."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from collections.abc import Sequence as Ids
from dataclasses import dataclass, field

from minivault.engine.detokenizer import Detokenizer
from minivault.engine.drafts import Drafts
from minivault.engine.judging import Judging
from minivault.engine.runner import Chunk
from minivault.engine.sampler import SamplingState
from minivault.engine.scoring import PromptScores
from minivault.types import FinishReason, Job, Timings, Usage


@dataclass(slots=True, eq=False)
class Sequence:
    """One job on its way. All times are nanoseconds on the engine's clock."""

    job: Job
    sampling: SamplingState
    detokenizer: Detokenizer
    max_new_tokens: int
    submitted_ns: int
    eos_ids: Collection[int] = ()
    """The model's own ends of a text, where they end this answer."""
    prefix_keys: tuple[bytes, ...] = ()
    slot: int | None = None
    num_prefilled: int = 0
    num_cached: int = 0
    token_ids: list[int] = field(default_factory=list)
    """Every sampled token, the one that ends the answer included."""
    num_thought: int = 0
    """Sampled tokens that are thought, the tags around it included."""
    prompt: tuple[int, ...] = field(init=False)
    given: tuple[int, ...] = field(init=False)
    """What is processed before its next token can be sampled: its prompt; once it lost its slot, its answer too. Of an
    answer that is judged, all but its last token."""
    scores: PromptScores | None = field(init=False, default=None)
    """Of its prompt, where they are asked for."""
    judging: Judging | None = field(init=False, default=None)
    """Of its answer, where that is known."""
    drafts: Drafts | None = field(init=False, default=None)
    """Once it has been alone."""
    rank: int = 0
    """Its place in the order of arrival."""
    ending: FinishReason | Exception | None = None
    """Why it ends, once that is known; the engine retires it at the next opportunity."""
    admitted_ns: int | None = None
    prefilled_ns: int | None = None
    first_token_ns: int | None = None

    def __post_init__(self) -> None:
        self.prompt = self.given = self.job.prompt_tokens
        if (num_top := self.job.params.prompt_logprobs) is not None:
            self.scores = PromptScores(self.prompt, num_top)
        if answer := self.job.answer:
            self.given += answer[:-1]
            self.judging = Judging(self, answer, len(self.prompt))

    @property
    def num_positions(self) -> int:
        """Positions it may need at worst."""
        return len(self.prompt) + self.max_new_tokens

    @property
    def is_prefilled(self) -> bool:
        return self.num_prefilled == len(self.given)

    @property
    def next_position(self) -> int:
        """The first one that the model has not seen."""
        return self.num_prefilled + max(0, len(self.prompt) + len(self.token_ids) - 1 - len(self.given))

    def begins_block(self, size: int) -> bool:
        """Its next token is the first of a block of `size` positions."""
        return self.next_position % size == 0

    def newest(self, guess: Ids[int] = ()) -> Chunk:
        """Its newest token, to be processed, and behind it a guess."""
        assert self.slot is not None
        tokens = [self.token_ids[-1], *guess]
        return Chunk(self.slot, tokens, self.next_position, is_prompt=False, num_logits=len(tokens))

    def guess(self, most: int) -> list[int]:
        """Up to `most` tokens that it may say next."""
        most = min(most, self.max_new_tokens - len(self.token_ids) - 1)
        if most <= 0 or self.job.labels:
            return []
        if self.drafts is None:
            self.drafts = Drafts(self.prompt)
        self.drafts.see(self.token_ids[len(self.drafts.known) - len(self.prompt) :])
        return self.drafts.guess(most)

    def chunks(self, stop: int, chunk_tokens: int) -> Iterator[Chunk]:
        """The rest of what is given up to `stop`, cut on a grid of `chunk_tokens`."""
        assert self.slot is not None
        start = self.num_prefilled
        while start < stop:
            end = min(self.chunk_end(start, chunk_tokens), stop)
            # All of them where it is scored, known or not: to some runners the number of rows makes a difference.
            num_logits = end - start if self.scores is not None or self._is_judged(end) else 1
            yield Chunk(self.slot, self.given[start:end], start, True, num_logits)
            start = end

    def _is_judged(self, stop: int) -> bool:
        """Tokens of its answer are compared with the logits before `stop`."""
        return self.judging is not None and stop >= len(self.prompt)

    def chunk_end(self, start: int, chunk_tokens: int) -> int:
        """Where the chunk of what is given that begins at `start` ends, on a grid of `chunk_tokens`."""
        return min((start // chunk_tokens + 1) * chunk_tokens, len(self.given))

    def begin_again(self) -> None:
        """Its slot is lost: all that is known of it is processed anew, and it goes on as if nothing had happened."""
        self.slot, self.num_prefilled = None, 0
        if self.judging is None:
            self.given = (*self.prompt, *self.token_ids)
        if self.prefilled_ns is None:
            self.num_cached = 0

    def end(self, reason: FinishReason | Exception) -> None:
        """Let it end for `reason`, unless it ends already."""
        if self.ending is None:
            self.ending = reason

    def append(self, token_id: int) -> str:
        """Take a sampled token; return the text that is now certain. One that ends the answer has none."""
        is_eos = token_id in self.eos_ids
        if is_eos or token_id in self.job.params.stop_token_ids:
            self.token_ids.append(token_id)
            self.end("stop" if is_eos or self.job.constraint is None else "length")
            return ""
        self.sampling.accept(token_id)
        thought = self.job.thought
        was_open = thought is not None and thought.is_open
        text = self.detokenizer.feed(token_id)
        self.token_ids.append(token_id)
        self.num_thought += was_open or (thought is not None and thought.is_open)
        if self.detokenizer.is_stopped:
            self.end("length" if self._has_to_parse else "stop")  # in the middle of what had to parse, it is a cut
        elif len(self.token_ids) >= self.max_new_tokens:
            self.end("length")
        return text

    @property
    def _has_to_parse(self) -> bool:
        return self.job.constraint is not None and self.job.constraint.has_to_parse

    def usage(self) -> Usage:
        return Usage(len(self.prompt), len(self.token_ids), self.num_cached, self.num_thought)

    def timings(self, now_ns: int) -> Timings:
        """Durations up to `now_ns`; a phase that was not reached took 0, one that was cut ends now."""
        admitted = now_ns if self.admitted_ns is None else self.admitted_ns
        prefilled = now_ns if self.prefilled_ns is None else self.prefilled_ns
        return Timings(
            queued_ns=admitted - self.submitted_ns,
            prefill_ns=prefilled - admitted,
            first_token_ns=0 if self.first_token_ns is None else self.first_token_ns - self.submitted_ns,
            total_ns=now_ns - self.submitted_ns,
        )
