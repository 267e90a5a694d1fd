"""From a question about a state to what is measured, and from what was measured to probabilities.

The state comes first and the question after it, so that questions about one state share all but their own tokens. The
answer begins with `Answer:` and goes on with a label of one token: the options' own names where each is a token of its
own, else letters. Nothing is generated: what counts is how probable each label is, against the other labels.

Relevance is how likely a model is, having read a document, to ask the query (Sachan et al., "Improving Passage
Retrieval with Zero-Shot Question Generation", 2022). Of what small models can do it ranks best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Context, Decimal
from typing import Literal, TypeVar

from minivault.errors import (
    ContextExceeded,
    DeadlineExceeded,
    Draining,
    GenerationFailed,
    MiniVaultError,
)
from minivault.service.engine_loop import Generation
from minivault.service.labels import BEGINNING, Labels
from minivault.service.prompt import Prompt, read_prompt
from minivault.types import (
    Delta,
    Failed,
    Finished,
    FinishReason,
    GenerationRequest,
    Measurement,
    MeasureTask,
    Message,
    ModelInfo,
    Option,
    Question,
    Tokenizer,
)

ASK = "{document}\n\nWrite a question that this text answers."
T = TypeVar("T")
_EXACT = Context(prec=30)


def read_decision(
    state: GenerationRequest, question: Question, num_orders: int, labels: Labels, tokenizer: Tokenizer, info: ModelInfo
) -> MeasureTask:
    """See `Model.prepare_decision`. The orders are rotations of the options, as far from each other as there are."""
    names, prompts, measurements = [option.name for option in question.options], list[Prompt](), list[Measurement]()
    own = labels.of_names(names)
    marks = () if own else labels.letters(len(names))
    for shift in _shifts(len(names), num_orders):
        asked = _asked(question.instructions, _rotated(question.options, shift), [text for text, _ in marks])
        prompt = _begun(read_prompt(_with_question(state, asked), tokenizer), tokenizer)
        _ensure_fits(prompt, 1, info)
        prompts.append(prompt)
        tokens = own or _rotated([token for _, token in marks], -shift)  # that of each option, in their own order
        measurements.append(Measurement(prompt.tokens, (tuple(tokens),)))
    return _task(prompts, measurements, "decision", tuple(names))


def read_relevance(query: str, document: str, tokenizer: Tokenizer, info: ModelInfo) -> MeasureTask:
    """See `Model.prepare_relevance`."""
    prompt = read_prompt(GenerationRequest(prompt=ASK.format(document=document), thinks=False), tokenizer)
    asked = tokenizer.read(query)
    tokens = asked.tokens[len(tokenizer.read("").tokens) :]  # without what begins a text: it goes on here
    _ensure_fits(prompt, len(tokens), info)
    prompt = replace(prompt, has_control_text=prompt.has_control_text or asked.has_control_text)
    steps = tuple((token,) for token in tokens)
    return _task([prompt], [Measurement(prompt.tokens, steps)], "relevance", (query,))


def weighed(logprobs: Sequence[Sequence[float]], answerer: str) -> tuple[float, ...]:
    """The probability of each option among the options, the mean over all orders; or of the query, a token's on
    (geometric) average. The same bits on any machine: exp is rounded correctly and sums are exact."""
    if answerer == "relevance":
        (read,) = logprobs
        return (_exp(math.fsum(read) / len(read)),)
    orders = [_softmax(order) for order in logprobs]
    return tuple(math.fsum(of_one) / len(orders) for of_one in zip(*orders, strict=True))


def _softmax(logprobs: Sequence[float]) -> list[float]:
    peak = max(logprobs)
    weights = [_exp(logprob - peak) for logprob in logprobs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _exp(x: float) -> float:
    return float(Decimal(x).exp(_EXACT))


class Cancelled(GenerationFailed):
    """Whoever asked has gone."""

    code = "cancelled"


def measured(generation: Generation) -> tuple[tuple[float, ...], int]:
    """What a measurement found, step by step, and how many of its tokens were cached. Raises what ended it early."""
    found = list[float]()
    for event in generation.events():
        if isinstance(event, Delta):
            found.extend(entry.logprob for entry in event.logprobs)
        elif isinstance(event, Failed):
            raise event.error
        elif isinstance(event, Finished):
            if event.reason == "stop":
                return tuple(found), event.usage.cached_tokens
            raise _early(event.reason)
    raise AssertionError("a generation ends in Finished or Failed")


def _early(reason: FinishReason) -> MiniVaultError:
    if reason == "shutdown":
        return Draining("the server is stopping", retry_after_s=5)
    if reason == "deadline":
        return DeadlineExceeded("the deadline passed before everything was measured")
    return Cancelled("the request was cancelled")


# -- what the model reads ------------------------------------------------------------------------------------------


def _shifts(num_options: int, num_orders: int) -> list[int]:
    num = min(num_orders, num_options)
    return [order * num_options // num for order in range(num)]


def _rotated(items: Sequence[T], shift: int) -> list[T]:
    """The items from the one at `shift` on."""
    return [items[(index + shift) % len(items)] for index in range(len(items))]


def _asked(instructions: str, options: Sequence[Option], letters: Sequence[str]) -> str:
    """The question as it is put: options in a sentence where they are names alone, else a line each."""
    if not letters and not any(option.description for option in options):
        *others, last = [option.name for option in options]
        return f"{instructions} {', '.join(others)} or {last}?"
    marks = [f"{letter}. " for letter in letters[: len(options)]] or ["- "] * len(options)
    lines = [
        f"{mark}{option.name}{option.description and ': '}{option.description}"
        for mark, option in zip(marks, options, strict=True)
    ]
    return "\n".join([instructions, *lines])


def _with_question(state: GenerationRequest, asked: str) -> GenerationRequest:
    """The state with the question at its end, in the last turn where that is the user's: templates want turns."""
    if state.messages is None:
        return replace(state, prompt=f"{state.prompt}\n\n{asked}", thinks=False)
    *before, last = state.messages
    if last.role == "user":
        turns = [*before, replace(last, content=f"{last.content}\n\n{asked}")]
    else:
        turns = [*state.messages, Message("user", asked)]
    return replace(state, messages=tuple(turns), thinks=False)


def _begun(prompt: Prompt, tokenizer: Tokenizer) -> Prompt:
    """The prompt with the beginning of its answer."""
    tokens = (*prompt.tokens, *tokenizer.encode(BEGINNING, add_special=False))
    return replace(prompt, rendered=prompt.rendered + BEGINNING, tokens=tokens)


def _ensure_fits(prompt: Prompt, num_steps: int, info: ModelInfo) -> None:
    num_tokens = len(prompt.tokens) + num_steps
    if num_tokens > info.context:
        message = f"to answer takes {num_tokens} tokens and the context holds {info.context}: shorten what is sent"
        raise ContextExceeded(message, field="input")


def _task(
    prompts: Sequence[Prompt],
    measurements: Sequence[Measurement],
    answerer: Literal["decision", "relevance"],
    options: tuple[str, ...],
) -> MeasureTask:
    return MeasureTask(
        text=prompts[0].text,
        rendered="\n".join(prompt.rendered for prompt in prompts),
        measurements=tuple(measurements),
        answerer=answerer,
        options=options,
        has_control_text=any(prompt.has_control_text for prompt in prompts),
    )
