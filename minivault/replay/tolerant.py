"""Judges recorded answers in one pass over their tokens, whatever computes them here.

The number that a token is drawn with belongs to its seed, its place and its id, so each token can be drawn again after
those that were recorded before it. Where engines differ in the last digits of a logit, few tokens change, and those
that do were nearly drawn; where a seed, a model or a token is not what the record says, many change, by far.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from minivault.errors import GenerationFailed, MiniVaultError
from minivault.replay.exact import (
    ELSEWHERE,
    MEASURED,
    PARTS_OF_A_MODEL,
    Parts,
    is_same_engine,
    task_from_record,
    why_another_mark,
    why_empty,
)
from minivault.replay.limits import Kind, Limits
from minivault.service import Generation, Model
from minivault.types import Delta, Failed, Judgement, ModelInfo

Finding = Literal["identical", "consistent", "inconsistent", "too few tokens", "not comparable"]
FINDINGS: tuple[Finding, ...] = ("identical", "consistent", "inconsistent", "too few tokens", "not comparable")
JUDGED: frozenset[Finding] = frozenset({"identical", "consistent", "inconsistent"})


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one pass found of a record. Distances are in units of logits (`types.Judgement`), of the `num_tokens` that
    were compared; tokens that alone might have come are not among them."""

    id: str
    seq: int
    model: str
    outcome: Finding
    reason: str = ""
    kind: Kind = "sampled"
    num_tokens: int = 0
    num_matching: int = 0
    mean: float | None = None
    worst: float | None = None
    position: int | None = None
    """Of the token that is farthest off, where one is."""

    @property
    def match_rate(self) -> float | None:
        """The part of the tokens that would be drawn here."""
        return self.num_matching / self.num_tokens if self.num_tokens else None


@dataclass(frozen=True, slots=True)
class _Run:
    record: Mapping[str, Any]
    generation: Generation


def judge(
    model: Model,
    records: Iterable[Mapping[str, Any]],
    num_parallel: int,
    parts: Mapping[str, Parts] | None = None,
    limits: Limits | None = None,
) -> Iterator[Opinion]:
    """An opinion of each interaction record, in order, up to `num_parallel` at once; `parts` by fingerprint."""
    pending: list[_Run | Opinion] = []
    for record in records:
        pending.append(_start(model, record, parts or {}))
        if len(pending) >= num_parallel:
            yield _opinion(pending.pop(0), limits or Limits())
    for run in pending:
        yield _opinion(run, limits or Limits())


def judgements(model: Model, records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Judgement]]:
    """Each record with what is found of its tokens, whoever gave it. Raises what keeps one from being judged."""
    for record in records:
        task = task_from_record(record, logprobs=None, prompt_logprobs=None)
        run = _Run(record, model.judge(task, record["completion_tokens"], f"judge-{record['id']}"))
        yield record, _ended(run)[0]


def not_comparable(record: Mapping[str, Any], reason: str) -> Opinion:
    """Of a record that is not judged."""
    return Opinion(record["id"], record["seq"], str(record.get("model")), "not comparable", reason, _kind(record))


def why_not_judged(record: Mapping[str, Any], info: ModelInfo, parts: Mapping[str, Parts]) -> str | None:
    """Why no pass over a record's tokens can tell anything; None when it can."""
    if (reason := why_empty(record)) is not None:
        return reason
    if record.get("source") in MEASURED:
        return "numbers that were measured, not an answer: `replay` without --tolerant compares them"
    if str(record.get("fingerprint")).startswith(ELSEWHERE):
        return "an engine elsewhere gave it, whose draws are its own"
    if record.get("status") == "failed":
        return "it failed"
    if not record.get("completion_tokens"):
        return f"it holds no tokens ({record.get('status')})"
    return _why_another(record, info, parts)


def _why_another(record: Mapping[str, Any], info: ModelInfo, parts: Mapping[str, Parts]) -> str | None:
    """Another model, or tokens that were drawn by other rules, as far as the mark and the fingerprints' parts tell."""
    if (reason := why_another_mark(record, info)) is not None:
        return reason
    fingerprint = str(record.get("fingerprint"))
    if is_same_engine(fingerprint, info, parts):
        return None
    theirs, ours = parts.get(fingerprint, {}), info.fingerprint_parts
    if not theirs or not ours:
        return None
    which = PARTS_OF_A_MODEL - {"template"} | {"sampler"}  # the prompt's tokens are recorded
    if record["parameters"].get("grammar") is not None:
        which |= {"grammar"}
    changed = sorted(name for name in which if theirs.get(name) != ours.get(name))
    return f"made by something else ({', '.join(changed)}): {fingerprint}" if changed else None


def _start(model: Model, record: Mapping[str, Any], parts: Mapping[str, Parts]) -> _Run | Opinion:
    try:
        model.ensure_loaded()
        if (reason := why_not_judged(record, model.info, parts)) is not None:
            return not_comparable(record, reason)
        task = task_from_record(record, logprobs=None, prompt_logprobs=None)
        return _Run(record, model.judge(task, record["completion_tokens"], f"judge-{record['id']}"))
    except MiniVaultError as error:
        return not_comparable(record, error.message)


def _opinion(run: _Run | Opinion, limits: Limits) -> Opinion:
    if isinstance(run, Opinion):
        return run
    try:
        return opinion_of(run.record, *_ended(run), limits)
    except MiniVaultError as error:
        return not_comparable(run.record, error.message)


def _ended(run: _Run) -> tuple[Judgement, str]:
    """What a pass has found, and the text of the tokens. Raises the error that it ended with."""
    judgement, text = None, list[str]()
    for event in run.generation.events():
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Delta):
            judgement = event.judgement or judgement
            text.append(event.text)
    if judgement is None:
        raise GenerationFailed("it was not judged to its end")
    return judgement, "".join(text)


def opinion_of(record: Mapping[str, Any], judgement: Judgement, text: str, limits: Limits) -> Opinion:
    """What follows from a judgement of a record's tokens, which say `text`."""
    recorded: Sequence[int] = record["completion_tokens"]
    distances, num_tokens = judgement.distances, len(judgement.drawn) - judgement.num_forced
    mean = sum(distances) / num_tokens if num_tokens else 0.0
    worst = max(distances, default=0.0)
    num_matching = sum(drawn == token for drawn, token in zip(judgement.drawn, recorded, strict=False))
    outcome, reason = _found(record, judgement, text, mean, num_tokens, limits)
    is_finite = math.isfinite(worst)
    return Opinion(
        record["id"],
        record["seq"],
        str(record.get("model")),
        outcome,
        reason,
        _kind(record),
        num_tokens,
        max(0, num_matching - judgement.num_forced),
        round(mean, 6) if is_finite else None,
        round(worst, 6) if is_finite else None,
        distances.index(worst) if worst else None,
    )


def _found(
    record: Mapping[str, Any], judgement: Judgement, text: str, mean: float, num_tokens: int, limits: Limits
) -> tuple[Finding, str]:
    if (reason := _why_impossible(record, judgement, text)) is not None:
        return "inconsistent", reason
    if list(judgement.drawn) == list(record["completion_tokens"]):
        return "identical", ""
    if (worst := max(judgement.distances)) > limits.worst:
        return "inconsistent", f"token {judgement.distances.index(worst)} may be off by {limits.worst:g}"
    limit = limits.of(_kind(record))
    if num_tokens < limits.num_tokens:
        return "too few tokens", f"{num_tokens} that could have been others; {limits.num_tokens} are needed"
    return ("consistent", "") if mean <= limit else ("inconsistent", f"the mean may be {limit:g}")


def _why_impossible(record: Mapping[str, Any], judgement: Judgement, text: str) -> str | None:
    """What no difference in arithmetic explains."""
    num_recorded, num_judged = len(record["completion_tokens"]), len(judgement.drawn)
    if judgement.distances and math.isinf(judgement.distances[-1]):
        return f"token {num_judged - 1} cannot come there, whatever is drawn"
    if num_judged < num_recorded:
        return f"it goes on after its end: {num_recorded} tokens are recorded, {num_judged} can be"
    is_whole = record.get("status") == "completed"
    if is_whole and record.get("finish_reason") == "stop" and judgement.ending != "stop":
        return "it does not end with its last token"
    if is_whole and text != record.get("response"):
        return "its text is not what its tokens say"
    return None


def _kind(record: Mapping[str, Any]) -> Kind:
    return "sampled" if float(record.get("parameters", {}).get("temperature") or 0) > 0 else "greedy"
