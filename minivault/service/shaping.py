"""What an answer is held to and how it is read on its way: its thoughts, its calls, its schema.

All of it follows from the parameters, the model and nothing else, so that a recorded answer can be given again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from minivault.talk.calls import CallFormat, call_format, marks
from minivault.talk.thoughts import ThoughtFormat, thought_format
from minivault.types import Constraint, Job, ModelInfo, SamplingParams, Thought, Tokenizer

if TYPE_CHECKING:
    from minivault.structured.grammar import GrammarCompiler
    from minivault.structured.stages import Frame


def shaped(job: Job, info: ModelInfo, tokenizer: Tokenizer, compiler: Callable[[], GrammarCompiler]) -> Job:
    """The job with all that its parameters ask for beyond sampling. Raises BadRequest for a grammar that cannot be
    compiled."""
    params = job.params
    thinking, calling = thought_format(info.thought_format), call_format(info.call_format)
    thought = thinking.reader(params.thinking) if thinking and params.thinking else None
    constraint = _grammar(params, calling, tokenizer, compiler)
    if thought and thinking and (constraint is not None or params.thinking_budget is not None):
        constraint = _after(thought, thinking, params, constraint, tokenizer)
    texts = (*(thinking.marks if thought and thinking else ()), *(marks(calling) if params.calls else ()))
    return replace(job, constraint=constraint, thought=thought, marks=_control_tokens(texts, tokenizer))


def _grammar(
    params: SamplingParams, form: CallFormat, tokenizer: Tokenizer, compiler: Callable[[], GrammarCompiler]
) -> Constraint | None:
    if params.grammar is None:
        return None
    begun = compiler().compile(params.grammar)
    if params.calls not in ("strict", "forced"):
        return begun
    from minivault.structured.stages import Framed, WhereCalled

    before, after = form.forced
    if params.calls == "forced":
        return Framed(_frame(before, after, tokenizer), begun)
    opening = form.brackets[0].opening if before else ""
    frame = _frame(before.removeprefix(opening), after, tokenizer)
    tokens = compiler().tokens.copy()
    for index, text in _control_tokens(marks(form), tokenizer).items():
        tokens[index] = text
    grammar = params.grammar
    return WhereCalled(frame, opening.encode(), lambda: compiler().compile(grammar), tokens)


def _frame(before: str, after: str, tokenizer: Tokenizer) -> Frame:
    from minivault.structured.stages import Frame

    return Frame(before, after, _spelled(before, tokenizer), _spelled(after, tokenizer))


def _after(
    thought: Thought, form: ThoughtFormat, params: SamplingParams, inner: Constraint | None, tokenizer: Tokenizer
) -> Constraint:
    from minivault.structured.stages import AfterThought

    opening = _spelled(form.opening.strip(), tokenizer)
    may_open = params.thinking == "possible" and len(opening) == 1
    return AfterThought(
        thought,
        inner,
        budget=params.thinking_budget,
        ending=_spelled(form.ending, tokenizer),
        opening=opening[0] if may_open else None,
        eos_ids=tokenizer.eos_ids,
    )


def _spelled(text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special=False)) if text else ()


def _control_tokens(texts: Iterable[str], tokenizer: Tokenizer) -> dict[int, bytes]:
    """Those of the texts that are control tokens, which have no text of their own otherwise."""
    spelled = ((text, _spelled(text, tokenizer)) for text in texts)
    return {ids[0]: text.encode() for text, ids in spelled if len(ids) == 1 and not tokenizer.token_bytes(ids[0])}
