"""Execution: a plan becomes logits. The one place that calls the runner for tokens, and that survives its exceptions.

A runner that raises ends the sequences at fault, and no others: a batch that fails is repeated row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Rows
from functools import partial

import torch

from minivault.engine.prefix_cache import PrefixCache
from minivault.engine.runner import Runner
from minivault.engine.scheduler import Plan
from minivault.engine.sequence import Sequence

Group = tuple[Rows[Sequence], torch.Tensor]
"""Sequences, and the logits [rows, vocabulary] to sample their next tokens from."""


Chunk = tuple[int, Rows[int], int]
"""Slot, tokens and start."""

PrefillMany = Callable[[Rows[Chunk]], torch.Tensor]
"""A runner's `prefill` of several chunks in one pass: logits [chunks, vocabulary]."""


class Execution:
    """Runs plans on `runner`, with the help of a prefix cache."""

    def __init__(self, runner: Runner, prefix_cache: PrefixCache) -> None:
        self._runner = runner
        self._prefix_cache = prefix_cache
        self._prefill_many: PrefillMany | None = getattr(runner, "prefill_many", None)
        self.num_steps = 0

    def run(self, plan: Plan) -> Iterator[Group]:
        """Yield each group as soon as it can be sampled; sample and append before asking for the next.

        Prompts come last: their first tokens are told at the end of the step, and need not wait for the others' next.
        """
        self.num_steps += bool(plan.prefill or plan.decode)
        if plan.decode:
            yield from self._decode(plan.decode)
        if plan.prefill:
            yield from self._prefill(plan.prefill)

    def _prefill(self, stops: Mapping[Sequence, int]) -> Iterator[Group]:
        """Each prompt up to its stop, all together where the runner can; if that raises, each alone."""
        sequences = list(stops)
        is_together = len(sequences) == 1 or self._prefill_many is not None
        logits = self._attempt(sequences, partial(self._prefill_rows, stops)) if is_together else None
        if logits is None:
            for sequence in sequences if len(sequences) > 1 else ():
                yield from self._prefill({sequence: stops[sequence]})
            return
        if rows := [row for row, sequence in enumerate(sequences) if sequence.is_prefilled]:
            yield [sequences[row] for row in rows], logits[rows]

    def _prefill_rows(self, stops: Mapping[Sequence, int]) -> torch.Tensor:
        """Process what is not cached of each prompt; return their last logits [rows, vocabulary]."""
        chunks, ends = list[Chunk](), list[int]()
        for sequence, stop in stops.items():
            self._restore(sequence, stop)
            chunks += self._chunks(sequence, stop)
            ends.append(len(chunks) - 1)
        if self._prefill_many is not None and len(chunks) > 1:
            logits = self._prefill_many(chunks)
        else:
            logits = torch.stack([self._runner.prefill(*chunk) for chunk in chunks])
        for sequence, stop in stops.items():
            assert sequence.slot is not None
            start, sequence.num_prefilled = sequence.num_prefilled, stop
            self._prefix_cache.store(sequence.slot, sequence.prefix_keys, start, stop)
        return logits[ends]

    def _restore(self, sequence: Sequence, stop: int) -> None:
        """Copy what the prefix cache has of what comes next, and leave something to compute before `stop`."""
        assert sequence.slot is not None
        start = self._prefix_cache.restore(sequence.slot, sequence.prefix_keys, sequence.num_prefilled, stop)
        sequence.num_cached += start - sequence.num_prefilled
        sequence.num_prefilled = start

    def _chunks(self, sequence: Sequence, stop: int) -> Iterator[Chunk]:
        """The rest of a prompt up to `stop`, cut on the runner's grid."""
        assert sequence.slot is not None
        start = sequence.num_prefilled
        while start < stop:
            end = sequence.chunk_end(start, self._runner.chunk_tokens)
            yield sequence.slot, sequence.prompt[start:end], start
            start = end

    def _decode(self, sequences: Rows[Sequence]) -> Iterator[Group]:
        """One token for each, all together; if that raises, each alone."""
        logits = self._attempt(sequences, partial(self._decode_rows, sequences))
        if logits is not None:
            yield sequences, logits
        elif len(sequences) > 1:
            for sequence in sequences:
                yield from self._decode([sequence])

    def _decode_rows(self, sequences: Rows[Sequence]) -> torch.Tensor:
        slots = [sequence.slot for sequence in sequences if sequence.slot is not None]
        tokens = [sequence.token_ids[-1] for sequence in sequences]
        return self._runner.decode(slots, tokens, [sequence.position for sequence in sequences])

    def _attempt(self, sequences: Rows[Sequence], call: Callable[[], torch.Tensor]) -> torch.Tensor | None:
        """The runner's answer, or None after an exception. A sequence that was alone in it ends by it."""
        try:
            return call()
        except Exception as error:
            if len(sequences) == 1:
                sequences[0].end(error)
            return None
