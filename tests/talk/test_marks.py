"""Control tokens that mark calls and thoughts: seen by who reads them, and by nobody else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from minivault.engine.detokenizer import Detokenizer
from minivault.models.template import ChatTemplate
from minivault.models.tokenizer import ModelTokenizer
from minivault.service.shaping import shaped
from minivault.structured.grammar import GrammarCompiler
from minivault.talk.calls import FORMATS, marks
from minivault.talk.thoughts import FORMATS as THOUGHTS
from minivault.types import Calls, Job, ModelInfo, SamplingParams, Thinking
from tests.talk.test_families import TEMPLATES
from tests.talk.test_holding import CALLS

INFO = ModelInfo("m", "", 0, 1000, 0, 0, 0, "", "", 0, "", "", "")
CONTROL = ["<s>", "</s>", *(mark for form in FORMATS.values() for mark in marks(form))]
CONTROL += [mark for form in THOUGHTS.values() for mark in form.marks]


def tokenizer() -> ModelTokenizer:
    """Bytes, and every mark of every family as a control token."""
    alphabet = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(alphabet, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in dict.fromkeys(CONTROL)])
    template = ChatTemplate(TEMPLATES["mistral-nemo"])
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    eos = made.token_to_id("</s>")
    return ModelTokenizer(made, template=template, special_tokens=special, eos_ids=[eos], bos_id=None, now=datetime.now)


def said(
    text: str, calls: Calls | None, thinking: Thinking | None, call_format: str, thought_format: str
) -> tuple[str, str]:
    """Thought and text of an answer whose tokens spell `text`."""
    reader = tokenizer()
    info = replace(INFO, call_format=call_format, thought_format=thought_format)
    params = SamplingParams(calls=calls, thinking=thinking)
    job = shaped(Job("1", (1,), params), info, reader, lambda: GrammarCompiler(reader))
    detokenizer = Detokenizer(reader.decoder(), (), job.thought, job.marks)
    shown = "".join(detokenizer.feed(token) for token in reader.encode(text, add_special=False)) + detokenizer.flush()
    return job.thought.take() if job.thought else "", shown


@pytest.mark.parametrize(
    ("text", "call_format", "thought_format", "thought", "with_tools", "without"),
    [
        ('[TOOL_CALLS]add[ARGS]{"a": 1}', "mistral", "", "", '[TOOL_CALLS]add[ARGS]{"a": 1}', 'add{"a": 1}'),
        ("[THINK]Hm.[/THINK]Four</s>", "mistral", "mistral", "Hm.", "Four", "Four"),
        ("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Four", "harmony",
         "harmony", "Hm.", "Four", "Four"),
        ("<|python_tag|>{}", "llama3", "", "", "<|python_tag|>{}", "{}"),
        ("<|tool_call>call:f{}<tool_call|>", "gemma", "gemma", "", "<|tool_call>call:f{}<tool_call|>", "call:f{}"),
    ],
)  # fmt: skip
def test_marks_are_seen_where_they_are_read(
    text: str, call_format: str, thought_format: str, thought: str, with_tools: str, without: str
) -> None:
    thinking: Thinking | None = "possible" if thought_format else None
    assert said(text, "auto", thinking, call_format, thought_format) == (thought, with_tools)
    assert said(text, None, thinking, call_format, thought_format) == (thought, without)


@pytest.mark.parametrize("name", ["mistral", "granite"])
def test_a_forced_call_begins_with_the_control_token(name: str) -> None:
    reader = tokenizer()
    params = SamplingParams(calls="forced", grammar=json.dumps(CALLS))
    job = shaped(Job("1", (1,), params), replace(INFO, call_format=name), reader, lambda: GrammarCompiler(reader))
    assert job.constraint is not None
    logits = np.zeros(reader.vocabulary_size, np.float32)
    job.constraint.mask(logits)
    opening = FORMATS[name].brackets[0].opening
    assert np.flatnonzero(np.isfinite(logits)).tolist() == reader.encode(opening, add_special=False)
