"""Templates render as transformers renders them, in a sandbox, with a clock that is an argument."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from minivault.errors import BadRequest, ModelError
from minivault.models.template import ChatTemplate, chat_template

NOW = datetime(2024, 2, 29, 12, 0)
MESSAGES = [{"role": "system", "content": "S"}, {"role": "user", "content": "ä <b> & 'q'\n"}]
TOOL = {"type": "function", "function": {"name": "f", "description": "dé", "parameters": {"b": [1, None], "a": True}}}
TEMPLATES = {
    "whitespace": "{% for m in messages %}\n    {% if m.role == 'user' %}\n  U: {{ m.content }}\n"
    "    {% endif %}\n{% endfor %}\n",
    "loop controls": "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% break %}"
    "{% endfor %}",
    "json": "{% for tool in tools or [] %}{{ tool | tojson }}\n{{ tool | tojson(indent=2) }}{% endfor %}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "special tokens": "{{ bos_token }}{{ messages[-1].content | trim }}{{ eos_token }}{{ undefined_thing }}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "prompt": "{% if add_generation_prompt %}A:{% endif %}{% if tools is none %}none{% endif %}{{ documents }}",
    "dict": "{{ dict(a=1) | tojson }}{% for k, v in messages[0] | dictsort %}{{ k }}{{ v }}{% endfor %}",
    "macro": "{% macro say(m) %}[{{ m.content }}]{% endmacro %}{{ say(messages[0]) }}{{ messages | length }}",
}


def render(text: str, tools: Any = ()) -> str:
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    return ChatTemplate(text).render(MESSAGES, tools=tools, special_tokens=special, now=NOW)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("tools", [[], [TOOL]], ids=["no tools", "tools"])
def test_renders_as_transformers_does(name: str, tools: list[dict[str, Any]]) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    special = {"bos_token": "<s>", "eos_token": "</s>"}
    options: dict[str, Any] = {"tools": tools or None, "add_generation_prompt": True, **special}
    expected: Any = render_jinja_template([MESSAGES], chat_template=TEMPLATES[name], **options)
    assert render(TEMPLATES[name], tools) == expected[0][0]


@pytest.mark.parametrize(
    "attack",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ strftime_now.__globals__['os'] }}",
        "{{ raise_exception.__globals__['json'] }}",
    ],
)
def test_the_sandbox_holds(attack: str) -> None:
    with pytest.raises(BadRequest):
        render(attack)


def test_a_refusal_of_the_template_is_the_callers_fault_in_its_words() -> None:
    with pytest.raises(BadRequest, match="roles must alternate") as caught:
        render("{{ raise_exception('roles must alternate') }}")
    assert caught.value.field == "messages"


@pytest.mark.parametrize("text", ["{{ messages[9].content }}", "{{ 1 / 0 }}", "{{ 'a' + 1 }}", "{{ x.y.z }}"])
def test_a_template_that_cannot_cope_is_a_bad_request_not_a_crash(text: str) -> None:
    with pytest.raises(BadRequest, match="template"):
        render(text)


def test_a_template_that_is_not_jinja_is_a_damaged_model() -> None:
    with pytest.raises(ModelError, match="not valid Jinja"):
        render("{% for %}")


def test_inputs_are_not_changed_by_rendering() -> None:
    message = {"role": "user", "content": "x"}
    ChatTemplate("{{ messages[0].content }}").render([message], special_tokens={}, now=NOW)
    assert message == {"role": "user", "content": "x"}


def test_reading_tools_is_told_from_the_template() -> None:
    assert ChatTemplate("{{ tools }}").reads_tools
    assert ChatTemplate("x", tool_text="{{ x }}").reads_tools
    assert not ChatTemplate("{{ messages }}").reads_tools


def test_a_separate_tool_template_is_used_when_there_are_tools() -> None:
    template = ChatTemplate("plain", tool_text="{{ tools[0].function.name }}")
    assert template.render(MESSAGES, special_tokens={}, now=NOW) == "plain"
    assert template.render(MESSAGES, tools=[TOOL], special_tokens={}, now=NOW) == "f"


def test_the_digest_names_the_template_and_none_has_none() -> None:
    assert ChatTemplate("").digest == ""
    assert ChatTemplate("a").digest != ChatTemplate("b").digest
    assert ChatTemplate("a").digest.startswith("sha256:")


def test_a_template_file_wins_over_the_settings(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "old"}')
    assert chat_template(tmp_path).text == "old"
    (tmp_path / "chat_template.jinja").write_text("new")
    assert chat_template(tmp_path).text == "new"


def test_named_templates_are_found_by_name(tmp_path: Path) -> None:
    names = '[{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]'
    (tmp_path / "tokenizer_config.json").write_text(f'{{"chat_template": {names}}}')
    assert chat_template(tmp_path) == ChatTemplate("d", "t")
