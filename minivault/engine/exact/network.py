"""The forward pass of a decoder: any rows of any sequences, prompts and single tokens alike, by any number of threads.

Every thread runs `forward`, which reads like the equations: a phase a line. A phase's units can be done by any thread
in any order, and each row's numbers come from that row and its own past alone: nothing here depends on the company.
"""

from __future__ import annotations

from typing import Any

from minivault.engine.exact import threads
from minivault.engine.exact.compiling import part, whole
from minivault.engine.exact.ends import embedded, finally_normalized, scored
from minivault.engine.exact.experts import NUM_PHASES as EXPERT_PHASES
from minivault.engine.exact.experts import experts
from minivault.engine.exact.layer import activated, added, attended, headed, joined, normalized, projected
from minivault.engine.exact.ops import load
from minivault.engine.exact.shape import Shape
from minivault.engine.exact.tensors import (
    ATTENTION_OUTPUT_NORM,
    DOWN,
    MLP_OUTPUT_NORM,
    NUM_MAPS,
    NUM_NORMS,
    OUTPUT,
    Model,
)

OTHER_PHASES = 3


def num_phases(shape: Shape) -> int:
    return _of_layer(shape) * shape.layers + OTHER_PHASES


def _of_layer(shape: Shape) -> int:
    return 10 + (EXPERT_PHASES if shape.experts else 0)


_phases_of_layer = part(_of_layer)


@whole
def work(kind: Any, m: Model, thread: int, num: int, tiles: int, wanted: int, wants_logits: bool) -> None:
    """Thread 0 does a step over so many rows, tiles and wanted rows; others do step after step, until a call with a
    negative number sends them home. One function, so that there is one to compile."""
    if thread < 0:
        threads.dismiss(m.board)
    elif thread == 0:
        forward(kind, m, 0, threads.begin(m.board, num, tiles, wanted, wants_logits))
    else:
        step = threads.await_step(m.board, 0)
        while step > 0:
            forward(kind, m, thread, step)
            step = threads.await_step(m.board, step)


@part
def forward(kind: Any, m: Model, thread: int, step: int) -> bool:
    """One step; False if it was over before we came."""
    num, tiles = load(m.board, threads.NUM_ROWS), load(m.board, threads.NUM_TILES)
    if not embedded(m, 0, step, num):
        return False
    per_layer = _phases_of_layer(m.shape)
    for layer in range(m.shape.layers):
        at = 1 + layer * per_layer
        mlp = at + per_layer - 3
        norm, first, s = layer * NUM_NORMS, layer * NUM_MAPS, m.scratch
        on = (
            normalized(m, at, step, thread, norm, False, num)
            and projected(kind, m, at + 1, step, thread, layer, num)
            and headed(kind, m, at + 2, step, thread, layer, num)
            and attended(kind, m, at + 3, step, thread, layer, tiles)
            and added(kind, m, at + 4, step, first + OUTPUT, s.for_output, num)
            and joined(m, at + 5, step, thread, norm + ATTENTION_OUTPUT_NORM, num)
            and normalized(m, at + 6, step, thread, norm, True, num)
            and experts(kind, m, at + 7, step, layer, num)
            and activated(kind, m, mlp, step, first, num)
            and added(kind, m, mlp + 1, step, first + DOWN, s.for_down, num)
            and joined(m, mlp + 2, step, thread, norm + MLP_OUTPUT_NORM, num)
        )
        if not on:
            return False
    return _finish(kind, m, thread, step, 1 + m.shape.layers * per_layer)


@part
def _finish(kind: Any, m: Model, thread: int, step: int, phase: int) -> bool:
    """The last norm of the wanted rows, and their logits where these are wanted."""
    num = load(m.board, threads.NUM_WANTED)
    if not finally_normalized(m, phase, step, thread, num):
        return False
    return not load(m.board, threads.WANTS_LOGITS) or scored(kind, m, phase + 1, step, num)
