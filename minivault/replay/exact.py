"""Runs recorded requests again and compares token by token, and the scores of a prompt where these were asked for: the
proof that a record is the answer it claims to be.

Same fingerprint, same request, same tokens; a record made under another fingerprint, or one that was redacted, cannot
be compared, and the verdict says why. The same machinery re-derives what an interrupted stream had sent.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from minivault.errors import MiniVaultError, Unavailable
from minivault.service import Generation, Model, measured, weighed
from minivault.service.scores import digest
from minivault.types import (
    Delta,
    Failed,
    GenerateTask,
    GenerationRequest,
    Measurement,
    ModelInfo,
    SamplingParams,
    Started,
)

Outcome = Literal["identical", "different", "not comparable"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a replay found. `position` is the first token that differs, `recorded` and `replayed` the two token ids
    there (None = the answer had ended); of what was measured and not generated, the two log-probabilities. Where the
    scores of the prompt differ there is no position."""

    id: str
    seq: int
    outcome: Outcome
    reason: str = ""
    num_tokens: int = 0
    has_scores: bool = False
    """The prompt's log-probabilities were compared, too."""
    position: int | None = None
    recorded: float | None = None
    replayed: float | None = None
    unit: str = "token"
    """What was compared, and `num_tokens` counts: of what was measured, `number`."""


@dataclass(frozen=True, slots=True)
class _Run:
    record: Mapping[str, Any]
    generation: Generation


Parts = Mapping[str, str]
"""What a fingerprint is made of; empty where that is not known."""

MEASURED = frozenset({"decision", "relevance"})
"""The sources of records that hold log-probabilities instead of tokens."""
ELSEWHERE = "upstream:"
"""How the fingerprint of an engine elsewhere begins."""
PARTS_OF_A_MODEL = frozenset({"weights", "config", "tokenizer", "template"})
"""The others are the engine's."""


def parts_by_fingerprint(records: Iterable[Mapping[str, Any]]) -> dict[str, Parts]:
    """What a vault's `model` records say of fingerprints."""
    return {record["fingerprint"]: record["parts"] for record in records if record["type"] == "model"}


def replay(
    model: Model,
    records: Iterable[Mapping[str, Any]],
    num_parallel: int,
    parts: Mapping[str, Parts] | None = None,
) -> Iterator[Verdict]:
    """A verdict for each interaction record, in order, running up to `num_parallel` at once. `parts` by fingerprint
    tell what differs where one is not ours."""
    pending: list[_Run | Verdict] = []
    for record in records:
        pending.append(_start(model, record, parts or {}))
        if len(pending) >= num_parallel:
            yield _verdict(pending.pop(0))
    yield from map(_verdict, pending)


def why_empty(record: Mapping[str, Any]) -> str | None:
    """Why a record holds nothing that a model could give again; None where it does."""
    if "redacted" in record or "reasoning_redacted" in record:
        return "its content was redacted" if "redacted" in record else "its thoughts and tokens were redacted"
    if record.get("source") == "builtin":
        return "a built-in answer, which no model gave"
    if record.get("source", "model") not in {"model", *MEASURED}:
        return f"no answer, but work of another kind ({record['source']})"
    return None


def why_not_comparable(record: Mapping[str, Any], info: ModelInfo, parts: Mapping[str, Parts]) -> str | None:
    """Why a record cannot be replayed here; None when it can."""
    if (reason := why_empty(record)) is not None:
        return reason
    if (reason := why_another_mark(record, info)) is not None:
        return reason
    if not is_same_engine(str(record.get("fingerprint")), info, parts):
        return _what_differs(str(record.get("fingerprint")), info, parts)
    return None if _is_held(record) else f"it holds no tokens ({record.get('status')})"


def why_another_mark(record: Mapping[str, Any], info: ModelInfo) -> str | None:
    """Why the numbers that a record's tokens were drawn by are not to be had here; None where they are."""
    mark = record.get("parameters", {}).get("watermark")
    if mark is None or mark == info.watermark:
        return None
    ours = f"the key here is of {info.watermark}" if info.watermark else "there is none here"
    return f"the mark's key is not here: its tokens were drawn by {mark}, {ours} (MINIVAULT_WATERMARK_KEY_FILE)"


def is_same_engine(fingerprint: str, info: ModelInfo, parts: Mapping[str, Parts]) -> bool:
    """Whether a fingerprint is ours but for the mark, which each answer's own parameters name."""
    if fingerprint in (info.fingerprint, info.unmarked_fingerprint or info.fingerprint):
        return True
    theirs = parts.get(fingerprint, {})
    return bool(theirs) and _unmarked(theirs) == _unmarked(info.fingerprint_parts)


def _unmarked(parts: Parts) -> Parts:
    return {name: value for name, value in parts.items() if name != "watermark"}


def _is_held(record: Mapping[str, Any]) -> bool:
    """There is something to compare; what an engine elsewhere did not finish has no tokens to stop at."""
    if _is_elsewhere(record):
        return record.get("status") == "completed"
    held = "response" if record.get("source") in MEASURED else "completion_tokens"
    return bool(record.get(held) or record.get("scores"))


def _is_elsewhere(record: Mapping[str, Any]) -> bool:
    """An engine elsewhere gave it, which promises nothing: its words are compared, and no difference is held against
    the record."""
    return str(record.get("fingerprint")).startswith(ELSEWHERE)


def _what_differs(fingerprint: str, info: ModelInfo, parts: Mapping[str, Parts]) -> str:
    """Another model, or another engine, as far as the fingerprints or their parts tell."""
    told = f"made under fingerprint {fingerprint}, this is {info.fingerprint}"
    if fingerprint.partition(":")[0] != info.fingerprint.partition(":")[0]:
        return f"other engine: {told}"
    theirs, ours = parts.get(fingerprint, {}), info.fingerprint_parts
    if not theirs or not ours:
        return told
    theirs, ours = _unmarked(theirs), _unmarked(ours)
    changed = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    what = "other model" if set(changed) <= PARTS_OF_A_MODEL else "other engine"
    return f"{what} ({', '.join(changed)}): {told}"


def regenerate(
    model: Model, opening: Mapping[str, Any], num_tokens: int, num_bytes: int
) -> tuple[str, tuple[int, ...], str] | None:
    """The text, tokens and thoughts that a stream had sent when `num_tokens` tokens, `num_bytes` bytes of text and
    thoughts, had left.

    None if they cannot be re-derived here: another fingerprint, a model that cannot be loaded, a built-in answer, or a
    run that does not agree.
    """
    if opening.get("source") != "model":
        return None
    try:
        model.ensure_loaded()
    except Unavailable:
        return None
    if not is_same_engine(str(opening.get("fingerprint")), model.info, {}) or why_another_mark(opening, model.info):
        return None
    if _is_elsewhere(opening):
        return None
    generation = _submit(model, opening, "regenerate")
    text, thoughts, token_ids = list[str](), list[str](), list[int]()
    for event in generation.events():
        if isinstance(event, Failed):
            return None
        if isinstance(event, Delta) and len(token_ids) < num_tokens:
            text.append(event.text)
            thoughts.append(event.reasoning)
            token_ids.extend(event.token_ids)
            if len(token_ids) >= num_tokens:
                generation.cancel()
    answer, reasoning = "".join(text), "".join(thoughts)
    agrees = (len(token_ids), len((answer + reasoning).encode())) == (num_tokens, num_bytes)
    return (answer, tuple(token_ids), reasoning) if agrees else None


def _start(model: Model, record: Mapping[str, Any], parts: Mapping[str, Parts]) -> _Run | Verdict:
    model.ensure_loaded()
    reason = why_not_comparable(record, model.info, parts)
    if reason is not None:
        return Verdict(record["id"], record["seq"], "not comparable", reason)
    if record.get("source") in MEASURED:
        return _remeasured(model, record)
    return _Run(record, _submit(model, record, "replay"))


def _submit(model: Model, record: Mapping[str, Any], purpose: str) -> Generation:
    return model.generate(task_from_record(record), f"{purpose}-{record['id']}")


def task_from_record(record: Mapping[str, Any], **changes: Any) -> GenerateTask:
    """What was asked, as the model read it then, with some parameters changed."""
    params, tokens = replace(params_from_record(record["parameters"]), **changes), tuple(record["prompt_tokens"])
    request = GenerationRequest(prompt_tokens=tokens, params=params)
    return GenerateTask(request, record["prompt"], record["rendered_prompt"], tokens, params)


def _remeasured(model: Model, record: Mapping[str, Any]) -> Verdict:
    """Measure again, one measurement after the other, and compare every log-probability and what follows from them."""
    response, again = json.loads(record["response"]), list[tuple[float, ...]]()
    try:
        for number, measurement in enumerate(_measurements(record)):
            again.append(measured(model.measure(measurement, f"replay-{record['id']}.{number}"))[0])
    except MiniVaultError as error:
        return Verdict(record["id"], record["seq"], "not comparable", f"the replay failed: {error.message}")
    recorded = [*itertools.chain(*response["logprobs"]), *response["probabilities"]]
    return _compare(record, recorded, [*itertools.chain(*again), *weighed(again, record["source"])], "number")


def _measurements(record: Mapping[str, Any]) -> Iterator[Measurement]:
    parameters, tokens = record["parameters"], iter(record["prompt_tokens"])
    for num_tokens, labels in zip(parameters["num_prompt_tokens"], parameters["labels"], strict=True):
        yield Measurement(tuple(itertools.islice(tokens, num_tokens)), tuple(map(tuple, labels)))


def params_from_record(parameters: Mapping[str, Any]) -> SamplingParams:
    """Recorded parameters as they were applied."""
    known = {name: parameters[name] for name in SamplingParams.__slots__ if name in parameters}
    known["stop"], known["stop_token_ids"] = tuple(known.get("stop", ())), tuple(known.get("stop_token_ids", ()))
    known["logit_bias"] = tuple((int(token), float(bias)) for token, bias in known.get("logit_bias", ()))
    return SamplingParams(**known)


def _verdict(run: _Run | Verdict) -> Verdict:
    if isinstance(run, Verdict):
        return run
    record = run.record
    recorded: list[int] = list(record["completion_tokens"])
    if _is_elsewhere(record):
        return _reasked(run)
    try:
        replayed, scores = _tokens_and_scores(run, len(recorded), is_whole=record["status"] == "completed")
    except MiniVaultError as error:
        return Verdict(record["id"], record["seq"], "not comparable", f"the replay failed: {error.message}")
    if record.get("scores") not in (None, scores):
        reason = "the prompt's log-probabilities differ"
        return Verdict(record["id"], record["seq"], "different", reason, len(recorded), has_scores=True)
    return _compare(record, recorded, replayed)


def _reasked(run: _Run) -> Verdict:
    """What an engine elsewhere says now to what it was asked then, word for word."""
    record, text = run.record, list[str]()
    for event in run.generation.events():
        if isinstance(event, Failed):
            reason = f"the engine elsewhere did not answer again: {getattr(event.error, 'message', event.error)}"
            return Verdict(record["id"], record["seq"], "not comparable", reason)
        if isinstance(event, Delta):
            text.append(event.text)
    verdict = _compare(record, record["response"].encode(), "".join(text).encode(), "byte")
    if verdict.outcome == "identical":
        return replace(verdict, reason="an engine elsewhere says the same again; what it computes with is not checked")
    reason = f"an engine elsewhere says something else now, from byte {verdict.position}: it promises no more"
    return Verdict(record["id"], record["seq"], "not comparable", reason)


def _tokens_and_scores(run: _Run, num_recorded: int, *, is_whole: bool) -> tuple[list[int], str | None]:
    """The replayed tokens, of an answer that was cut as many as were recorded; and a digest of the prompt's scores."""
    token_ids, scores = list[int](), None
    for event in run.generation.events():
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Started) and event.prompt_logprobs is not None:
            scores = digest(event.prompt_logprobs)
        if isinstance(event, Delta):
            token_ids.extend(event.token_ids)
            if not is_whole and len(token_ids) >= num_recorded:
                run.generation.cancel()
    return token_ids if is_whole else token_ids[:num_recorded], scores


def _compare(
    record: Mapping[str, Any], recorded: Sequence[float], replayed: Sequence[float], unit: str = "token"
) -> Verdict:
    pairs = itertools.zip_longest(recorded, replayed)
    position = next((i for i, (old, new) in enumerate(pairs) if old != new), None)
    has_scores = "scores" in record
    if position is None:
        tokens = len(recorded)
        return Verdict(record["id"], record["seq"], "identical", num_tokens=tokens, has_scores=has_scores, unit=unit)
    return Verdict(
        record["id"],
        record["seq"],
        "different",
        f"{unit} {position} differs",
        len(recorded),
        has_scores,
        position,
        recorded[position] if position < len(recorded) else None,
        replayed[position] if position < len(replayed) else None,
        unit,
    )
