"""Execution: a plan becomes logits. The one place that calls the runner for tokens, and that survives its exceptions.

A runner that raises ends the sequences at fault, and no others: a pass that fails is repeated sequence by sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Rows

import numpy as np
from numpy.typing import NDArray

from minivault.engine.prefix_cache import PrefixCache
from minivault.engine.runner import Chunk, Runner
from minivault.engine.sequence import Sequence

Logits = NDArray[np.float32]
Group = tuple[Rows[Sequence], Logits]
"""Sequences, and the logits [rows, vocabulary] to sample their next tokens from."""


class Execution:
    """Runs plans on `runner`, with the help of a prefix cache. What it returns is one group, unless a pass failed."""

    def __init__(self, runner: Runner, prefix_cache: PrefixCache) -> None:
        self._runner = runner
        self._prefix_cache = prefix_cache

    def decode(self, sequences: Rows[Sequence]) -> list[Group]:
        """One token for each."""

        def forward(rows: Rows[Sequence]) -> Group:
            return rows, self._run([sequence.newest() for sequence in rows])

        return self._attempt(forward, sequences)

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
        logits = self._runner.forward(chunks)
        if len(logits) != len(chunks):
            raise ValueError(f"the runner gave {len(logits)} rows of logits for {len(chunks)} chunks")
        return logits

    def _prefill(self, stops: Mapping[Sequence, int]) -> Group:
        chunks, ends = list[Chunk](), dict[Sequence, int]()
        for sequence, stop in stops.items():
            self._restore(sequence, stop)
            chunks += sequence.chunks(stop, self._runner.chunk_tokens)
            ends[sequence] = len(chunks) - 1
        logits = self._run(chunks)
        for sequence, stop in stops.items():
            assert sequence.slot is not None
            self._prefix_cache.store(sequence.slot, sequence.prefix_keys, sequence.num_prefilled, stop)
        for sequence, stop in stops.items():
            sequence.num_prefilled = stop
        done = [sequence for sequence in stops if sequence.is_prefilled]
        return done, logits[[ends[sequence] for sequence in done]]

    def _restore(self, sequence: Sequence, stop: int) -> None:
        """Copy what the prefix cache has of what comes next, and leave something to compute before `stop`."""
        assert sequence.slot is not None
        start = self._prefix_cache.restore(sequence.slot, sequence.prefix_keys, sequence.num_prefilled, stop)
        if sequence.prefilled_ns is None:
            sequence.num_cached += start - sequence.num_prefilled
        sequence.num_prefilled = start
