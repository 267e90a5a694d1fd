from __future__ import annotations

import pytest

from minivault.talk.thoughts import FORMATS, thought_format_of
from minivault.types import Thinking, Thought

H = "<|channel|>analysis<|message|>Hm, {}.<|end|><|start|>assistant<|channel|>final<|message|>{}"
CALL = "<|channel|>commentary to=functions.add <|constrain|>json<|message|>{}"

CASES: list[tuple[str, Thinking, str, str, str]] = [
    ("think", "possible", "<think>\nHm.\nSo.\n</think>\n\nFour. ", "Hm.\nSo.", "Four. "),
    ("think", "possible", "  Four <think>no</think>", "", "  Four <think>no</think>"),
    ("think", "possible", "<thin air", "", "<thin air"),
    ("think", "begun", "Hm. </thing> </think>Four", "Hm. </thing>", "Four"),
    ("think", "begun", "<think>Hm.</think>Four", "Hm.", "Four"),
    ("think", "begun", "never ends </th", "never ends </th", ""),
    ("think", "begun", "</think>\n\nFour", "", "Four"),
    ("think", "possible", "", "", ""),
    ("reasoning", "possible", "<reasoning>Hm.</reasoning>Four", "Hm.", "Four"),
    ("mistral", "possible", "[THINK]Hm.[/THINK]Four", "Hm.", "Four"),
    ("gemma", "possible", "<|channel>thought\nHm.\n<channel|>Four", "Hm.", "Four"),
    ("granite", "possible", "<think>Hm.</think><response>Four</response>", "Hm.", "Four"),
    ("granite", "possible", "Four < five", "", "Four < five"),
    ("harmony", "possible", H.format("two", "Four"), "Hm, two.", "Four"),
    ("harmony", "possible", "Four without a header", "", "Four without a header"),
    ("harmony", "possible", "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant" + CALL.format("{}"),
     "", "Let me see.<|channel|>commentary to=functions.add<|message|>{}"),
    ("harmony", "possible", " to=functions.add<|channel|>commentary json<|message|>{}<|call|>", "",
     "<|channel|>commentary to=functions.add<|message|>{}<|call|>"),
]  # fmt: skip


def told(reader: Thought, pieces: list[str]) -> tuple[str, str]:
    thought, text = "", ""
    for piece in pieces:
        text += reader.feed(piece)
        thought += reader.take()
    text += reader.finish()
    return thought + reader.take(), text


@pytest.mark.parametrize(("name", "begins", "whole", "thought", "text"), CASES)
def test_a_thought_is_told_from_the_answer_however_it_comes(
    name: str, begins: Thinking, whole: str, thought: str, text: str
) -> None:
    for size in (1, 2, 3, 7, len(whole) or 1):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert told(FORMATS[name].reader(begins), pieces) == (thought, text)


@pytest.mark.parametrize("name", FORMATS)
def test_a_thought_can_be_ended(name: str) -> None:
    form = FORMATS[name]
    opening = "<|channel|>analysis<|message|>" if name == "harmony" else form.opening
    reader = form.reader("possible")
    for character in f"{opening}Hm":
        reader.feed(character)
        assert reader.take() in ("", "H", "m", "Hm")
    assert reader.is_open
    assert reader.feed(form.ending + "Four") == "Four"
    assert not reader.is_open


def test_a_prompt_tells_how_an_answer_begins() -> None:
    form = FORMATS["think"]
    begins = [form.begins(end) for end in ("<|assistant|>", "<think>\n", "<think>\n\n</think>\n\n")]
    assert begins == ["possible", "begun", None]


def test_a_template_that_knows_no_thoughts_has_no_format() -> None:
    assert thought_format_of("{% for m in messages %}{{ m.content }}{% endfor %}") == ""
