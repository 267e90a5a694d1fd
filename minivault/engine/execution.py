"""Execution: a plan becomes logits. The one place that calls the runner for tokens, and that survives its exceptions.

A runner that raises ends the sequences at fault, and no others: a pass that fails is repeated sequence by sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Rows

import numpy as np
from numpy.typing import NDArray

from minivault.engine.prefix_cache import PrefixCache
from minivault.engine.runner import Chunk, Runner
from minivault.engine.sequence import Sequence

Logits = NDArray[np.float32]
Group = tuple[Rows[Sequence], Logits]
"""Sequences, and the logits [rows, vocabulary] to sample their next tokens from."""
Work = tuple[Sequence, Chunk]
MAX_LOGITS = 64
"""Most rows of logits held at once, unless a single chunk has more."""


class Execution:
    """Runs plans on `runner`, with the help of a prefix cache. What it returns is one group, unless a pass failed."""

    def __init__(self, runner: Runner, prefix_cache: PrefixCache) -> None:
        self._runner = runner
        self._prefix_cache = prefix_cache

    def decode(self, sequences: Rows[Sequence]) -> list[Group]:
        """A token for each."""

        def forward(rows: Rows[Sequence]) -> Group:
            return rows, self._run([sequence.newest() for sequence in rows])

        return self._attempt(forward, sequences)

    def follow(self, sequence: Sequence, guess: Rows[int]) -> Iterator[Group]:
        """A token for it, and while what it says is what was guessed, the next, out of one pass. The caller gives it
        each token before it asks for the next."""
        try:
            logits = self._run([sequence.newest(guess)])
        except Exception:  # whatever is at fault, a guess must not be
            yield from self.decode([sequence])
            return
        for at, said in enumerate(guess):
            yield [sequence], logits[at : at + 1]
            if sequence.ending is not None or sequence.token_ids[-1] != said:
                return
        yield [sequence], logits[-1:]

    def prefill(self, stops: Mapping[Sequence, int]) -> list[Group]:
        """Each prompt up to its stop; the groups hold those whose prompt is processed."""

        def forward(rows: Rows[Sequence]) -> Group:
            return self._prefill({sequence: stops[sequence] for sequence in rows})

        return self._attempt(forward, list(stops))

    def _attempt(self, forward: Callable[[Rows[Sequence]], Group], sequences: Rows[Sequence]) -> list[Group]:
        """All together; if that raises, each alone. A sequence that was alone in it ends by the exception."""
        try:
            return [forward(sequences)]
        except Exception as error:
            if len(sequences) == 1:
                sequences[0].end(error)
                return []
        return [group for sequence in sequences for group in self._attempt(forward, [sequence])]

    def _run(self, chunks: Rows[Chunk]) -> Logits:
        logits, num_wanted = self._runner.forward(chunks), sum(chunk.num_logits for chunk in chunks)
        if len(logits) != num_wanted:
            raise ValueError(f"the runner gave {len(logits)} rows of logits, not {num_wanted}")
        return logits

    def _prefill(self, stops: Mapping[Sequence, int]) -> Group:
        work = list[Work]()
        for sequence, stop in stops.items():
            self._restore(sequence, stop)
            work += [(sequence, chunk) for chunk in sequence.chunks(stop, self._runner.chunk_tokens)]
        last = dict[Sequence, Logits]()
        for part in _parts(work):
            last |= self._read(part)
        for sequence, stop in stops.items():
            assert sequence.slot is not None
            keys = sequence.prefix_keys
            self._prefix_cache.store(sequence.slot, keys, sequence.num_prefilled, stop, sequence.scores)
        for sequence, stop in stops.items():
            sequence.num_prefilled = stop
        done = [sequence for sequence in stops if sequence.is_prefilled]
        return done, np.array([last[sequence] for sequence in done], np.float32)

    def _read(self, part: Rows[Work]) -> dict[Sequence, Logits]:
        """Process chunks, score what is to be scored, and return the logits after each sequence's last."""
        logits, row, last = self._run([chunk for _, chunk in part]), 0, dict[Sequence, Logits]()
        for sequence, chunk in part:
            rows, position = logits[row : row + chunk.num_logits], chunk.start + len(chunk.tokens) - chunk.num_logits
            for reader in (sequence.scores, sequence.judging):
                if reader is not None:
                    reader.read(position, rows)
            row += chunk.num_logits
            last[sequence] = logits[row - 1].copy()  # not to keep them all
        return last

    def _restore(self, sequence: Sequence, stop: int) -> None:
        """Copy what the prefix cache has of what comes next, and leave something to compute before `stop`."""
        assert sequence.slot is not None
        keys, scores = sequence.prefix_keys, sequence.scores
        start = self._prefix_cache.restore(sequence.slot, keys, sequence.num_prefilled, stop, scores)
        if sequence.prefilled_ns is None:
            sequence.num_cached += start - sequence.num_prefilled
        sequence.num_prefilled = start


def _parts(work: Rows[Work]) -> Iterator[list[Work]]:
    """All of it in order, so much at once as MAX_LOGITS allows."""
    part, num = list[Work](), 0
    for sequence, chunk in work:
        if part and num + chunk.num_logits > MAX_LOGITS:
            yield part
            part, num = [], 0
        part.append((sequence, chunk))
        num += chunk.num_logits
    yield part
