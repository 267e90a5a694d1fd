"""Calibration: where the line runs between honest answers and others, measured on answers of both kinds.

A model gives answers; then each is judged by the same model under other arithmetic, which is honest, and with another
seed and by the same model at fewer bits a weight, which are not. Half of the answers give the line, the others try it.
Nothing is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from minivault.config import Settings
from minivault.errors import GenerationFailed
from minivault.replay.limits import Kind, Limits
from minivault.replay.tolerant import judgements
from minivault.service import LocalModel
from minivault.service.backends import Backend, each_model, load_local
from minivault.types import Delta, Failed, GenerationRequest, SamplingParams

PROMPTS = (
    "Why is the sky blue?",
    "Write a short poem about the sea.",
    "Explain to a child what a hash function is.",
    "List five countries of Africa and their capitals.",
    "How do I bake bread?",
    "Tell a story about a fox and a crow.",
    "What is the difference between TCP and UDP?",
    "Write a Python function that adds two numbers.",
    "Give three reasons to learn a language.",
    "Who was Marie Curie?",
    "Describe a winter morning in the mountains.",
    "Translate 'good morning, my friend' into French, and say how it is pronounced.",
)
HELD_OUT = (
    "Why do leaves turn red in autumn?",
    "Write a short letter to a friend who has moved away.",
    "Explain to a child how a bicycle stays upright.",
    "List five rivers of Europe and the seas they flow into.",
    "How do I repair a flat tyre?",
    "Tell a story about a lighthouse keeper and a storm.",
    "What is the difference between a virus and a bacterium?",
    "Write a Python function that reverses a string.",
    "Give three reasons to walk to work.",
    "Who was Johannes Kepler?",
    "Describe a market in a small town on a Saturday.",
    "Translate 'where is the station, please?' into Spanish, and say how it is pronounced.",
)
"""What the line is tried on: no answer to these has moved it."""
LENGTHS = (8, 16, 24, 32, 48, 64)
"""Of windows: an answer of so many tokens is judged."""
MARGIN = 1.25
"""The line is at least so many times above all that is honest, and as far below the others."""
Records = list[dict[str, Any]]
Told = Callable[[str], None]


@dataclass(slots=True)
class Judged:
    """What one way of judging found: the distances of each answer's tokens."""

    name: str
    is_honest: bool
    is_held_out: bool = False
    """They say how good the line is, and have no part in it."""
    found: dict[Kind, list[Sequence[float]]] = field(default_factory=lambda: {"sampled": [], "greedy": []})

    def summary(self, kind: Kind) -> dict[str, Any]:
        """As a table shows it."""
        tokens = [distance for answer in self.found[kind] for distance in answer]
        num = len(tokens)
        return {
            "tokens": num,
            "match_rate": round(sum(distance == 0 for distance in tokens) / num, 4) if num else None,
            "mean": round(sum(tokens) / num, 4) if num else None,
            "worst": round(max(tokens), 3) if num else None,
        }

    def means(self, kind: Kind, length: int) -> list[float]:
        """Of all windows of `length` tokens, none of which overlap."""
        return [sum(window) / length for window in self._windows(kind, length)]

    def num_within(self, kind: Kind, limits: Limits) -> tuple[int, int]:
        """How many windows of the fewest tokens keep to the limits, and how many there are."""
        windows = list(self._windows(kind, limits.num_tokens))
        limit = limits.of(kind) * limits.num_tokens
        return sum(sum(window) <= limit and max(window) <= limits.worst for window in windows), len(windows)

    def _windows(self, kind: Kind, length: int) -> Iterator[Sequence[float]]:
        for answer in self.found[kind]:
            yield from (answer[at : at + length] for at in range(0, len(answer) - length + 1, length))


def calibrate(settings: Settings, told: Told, max_tokens: int = 96) -> list[Judged]:
    """Answers by the settings' first model, judged in every way. `told` hears what is being done."""
    told("giving answers")
    settings = replace(each_model(settings)[0], watermark_key_file="")  # a seed must make a difference
    runs = list[Judged]()
    with _loaded(settings, load_local) as model:
        records, runner = list(_answers(model, max_tokens)), model.info.runner
        told("judging: another seed")
        runs += _judge("another seed", False, model, [_reseeded(record) for record in records if _is_drawn(record)])
    for name, is_honest, alter in _ways(runner):
        told(f"judging: {name}")
        other = replace(settings, runner="transformers")
        with _loaded(other, partial(load_local, alter=alter)) as model:
            runs += _judge(name, is_honest, model, records)
    return runs


def line(runs: Sequence[Judged]) -> Limits | None:
    """The limits that tell them apart, for the fewest tokens that do; None where none do. Those held out are not
    looked at."""
    runs = [run for run in runs if not run.is_held_out]
    worst = max(
        distance for run in runs if run.is_honest for kind in run.found for a in run.found[kind] for distance in a
    )
    for length in LENGTHS:
        between = [_between(runs, kind, length) for kind in ("sampled", "greedy")]
        if None not in between:
            sampled, greedy = (round(value or 0.0, 4) for value in between)
            return Limits(sampled, greedy, length, math.ceil(2 * worst * 10) / 10)
    return None


def _between(runs: Sequence[Judged], kind: Kind, length: int) -> float | None:
    """Between the highest mean that is honest and all but one in twenty of the others."""
    honest = max((mean for run in runs if run.is_honest for mean in run.means(kind, length)), default=0.0)
    edges = list[float]()
    for run in runs:
        if not run.is_honest and (means := sorted(run.means(kind, length))):
            edges.append(means[len(means) // 20])
    lowest = min(edges, default=math.inf)
    return math.sqrt(honest * lowest) if honest * MARGIN**2 <= lowest < math.inf else None


def _ways(runner: str) -> Iterator[tuple[str, bool, Callable[[Any], Any] | None]]:
    """What else the model is computed by: name, whether that is honest, and what becomes of the library's model."""
    from minivault.engine.editions import halved, rounded

    if runner != "transformers":
        yield "transformers, float32", True, None
    yield "transformers, bfloat16", True, halved
    yield "4 bits a weight", False, rounded


def _answers(model: LocalModel, max_tokens: int) -> Iterator[dict[str, Any]]:
    for temperature in (0.7, 1.0, 0.0):
        begun = []
        for number, prompt in enumerate(PROMPTS + HELD_OUT):
            params = SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=number)
            task = model.prepare(GenerationRequest(prompt=prompt, params=params))
            begun.append((task, model.generate(task, f"calibrate-{temperature}-{number}")))
        for task, generation in begun:
            tokens, text = list[int](), list[str]()
            for event in generation.events():
                if isinstance(event, Failed):
                    raise GenerationFailed(f"no answer to calibrate with: {event.error}")
                if isinstance(event, Delta):
                    tokens += event.token_ids
                    text.append(event.text)
            yield {
                "id": generation.job.id,
                "parameters": task.parameters,
                "prompt": task.text,
                "rendered_prompt": task.rendered,
                "prompt_tokens": task.tokens,
                "completion_tokens": tokens,
            }


@contextmanager
def _loaded(settings: Settings, backend: Backend) -> Iterator[LocalModel]:
    model = LocalModel(settings, backend)
    try:
        model.wait_loaded()
        yield model
    finally:
        model.close()


def _reseeded(record: Mapping[str, Any]) -> dict[str, Any]:
    parameters = record["parameters"]
    return {**record, "parameters": {**parameters, "seed": parameters["seed"] + 1000}}


def _is_drawn(record: Mapping[str, Any]) -> bool:
    return bool(record["parameters"]["temperature"])


def _judge(name: str, is_honest: bool, model: LocalModel, records: Records) -> tuple[Judged, Judged]:
    """What gives the line, and what is held out of it."""
    both = Judged(name, is_honest), Judged(name, is_honest, is_held_out=True)
    for record, judgement in judgements(model, records):
        judged = both[record["prompt"] in HELD_OUT]
        judged.found["sampled" if _is_drawn(record) else "greedy"].append(judgement.distances)
    return both
