"""Call formats: how families of models write tool calls, found by the text of their chat templates.

A format is a row of brackets, each with what a call begins and ends with and what reads the text between, and the
bracket around a call that is forced: JSON in it, whatever the family writes of its own accord, since every format reads
that too. A reply that is nothing but the JSON of calls is read in every format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minivault.talk import call_text
from minivault.talk.call_text import Read

HERMES = "hermes"


@dataclass(frozen=True, slots=True)
class Bracket:
    """`closing` is empty where a call goes on to the end of the answer."""

    opening: str
    closing: str
    read: Read


@dataclass(frozen=True, slots=True)
class CallFormat:
    """`is_in` tells from a chat template that knows tools whether its model writes calls so."""

    name: str
    is_in: Callable[[str], bool]
    brackets: tuple[Bracket, ...]
    forced: tuple[str, str] = ("", "")
    """What stands before and after the JSON of a forced call."""


def _has(*marks: str) -> Callable[[str], bool]:
    return lambda template: all(mark in template for mark in marks)


def _has_any(*marks: str) -> Callable[[str], bool]:
    return lambda template: any(mark in template for mark in marks)


_TAGGED = Bracket("<tool_call>", "</tool_call>", call_text.json_calls)

FORMATS = {
    form.name: form
    for form in (
        CallFormat(
            "harmony",
            _has("<|channel|>", "<|message|>"),
            (Bracket("<|channel|>commentary to=", "<|call|>", call_text.harmony_calls),),
        ),
        CallFormat(
            "mistral",
            _has("[TOOL_CALLS]"),
            (Bracket("[TOOL_CALLS]", "", call_text.mistral_calls),),
            ("[TOOL_CALLS][", "]"),
        ),
        CallFormat(
            "gemma",
            _has_any("<start_function_call>", "<|tool_call>", "<start_of_turn>"),
            (
                Bracket("<start_function_call>", "<end_function_call>", call_text.gemma_calls),
                Bracket("<|tool_call>", "<tool_call|>", call_text.gemma_calls),
                Bracket("```tool_code", "```", call_text.python_calls),
                _TAGGED,
            ),
        ),
        CallFormat(
            "qwen-xml",
            _has("<function="),
            (
                Bracket("<tool_call>", "</tool_call>", call_text.xml_calls),
                Bracket("<function=", "</function>", call_text.function_calls),
            ),
            ("<tool_call>\n", "\n</tool_call>"),
        ),
        CallFormat(
            "llama3",
            _has_any("<|python_tag|>", '{"name": function name, "parameters":'),
            (Bracket("<|python_tag|>", "", call_text.json_calls),),
        ),
        CallFormat(
            "granite",
            _has("<|tool_call|>"),
            (Bracket("<|tool_call|>", "", call_text.json_calls), _TAGGED),
            ("<|tool_call|>[", "]"),
        ),
        CallFormat(HERMES, lambda _template: True, (_TAGGED,), ("<tool_call>\n", "\n</tool_call>")),
    )
}
"""By name, in the order in which a template is asked."""


def call_format_of(template: str) -> str:
    """The name of the format in which a model with this chat template writes calls."""
    return next(form.name for form in FORMATS.values() if form.is_in(template))


def call_format(name: str) -> CallFormat:
    return FORMATS[name]


def marks(form: CallFormat) -> tuple[str, ...]:
    """Texts of a format that may be control tokens of a model's vocabulary."""
    brackets = (mark for bracket in form.brackets for mark in (bracket.opening, bracket.closing))
    return tuple(dict.fromkeys(mark for mark in (*brackets, *call_text.INNER_MARKS) if mark))
