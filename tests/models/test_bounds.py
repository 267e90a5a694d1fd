"""No template goes on without end or asks for memory without end, and none of those in use is ever near a bound."""

from __future__ import annotations

import tracemalloc
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import BadRequest, ModelError
from minivault.models.bounds import DEADLINE_S, Budget, Endless
from minivault.models.template import ChatTemplate
from tests.models.chat_templates import TEMPLATES

NOW = datetime(2024, 2, 29)
MESSAGES = [{"role": "user", "content": "abc"}]
DOUBLED = "{% set ns = namespace(x='ab', l=[1]) %}{% for i in range(99) %}{% set ns.x = EXPRESSION %}{% endfor %}"
LISTED = "{% set ns = namespace(l=[1, 2]) %}{% for i in range(99) %}{% set ns.l = EXPRESSION %}{% endfor %}{{ ns.l }}"
LONG = "{% set long = 'ab' * 1000000 %}{% set many = range(99999) | map(attribute='x', default=long) %}"
STEPS = {
    "nested ranges": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a filtered loop": "{% for a in range(9999) %}{% for b in range(9999) if b < 0 %}{% endfor %}{% endfor %}",
    "macros that call themselves twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}"
    "{% endmacro %}{{ f(60) }}",
    "a loop that recurs": "{% for a in range(40) recursive %}{% if loop.depth < 40 %}{{ loop(range(40)) }}{% endif %}"
    "{% endfor %}",
    "a test of every item": "{% set l = range(9999) | list %}{{ range(99999) | select('in', [-1]) | list }}"
    "{{ range(99999) | map('int') | reject('in', [-1]) | list | length }}",
    "a caller": "{% macro f(n) %}{{ caller() }}{% if n %}{% call f(n - 1) %}{% endcall %}"
    "{% call f(n - 1) %}{% endcall %}{% endif %}"
    "{% endmacro %}{% call f(60) %}{% endcall %}",
}
SIZES = {
    "a product": "{{ 'a' * 1000000000 }}",
    "a product of lists": "{{ [1] * 1000000000 }}",
    "a product of products": "{{ ('a' * 99999) * 99999 }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "powers": "{% set ns = namespace(n=3) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "text that doubles": DOUBLED.replace("EXPRESSION", "ns.x ~ ns.x"),
    "text that is added": DOUBLED.replace("EXPRESSION", "ns.x + ns.x"),
    "text that replaces": DOUBLED.replace("EXPRESSION", "ns.x | replace('a', ns.x)"),
    "text whose method replaces": DOUBLED.replace("EXPRESSION", "ns.x.replace('a', ns.x)"),
    "text that joins": DOUBLED.replace("EXPRESSION", "ns.x | join(ns.x)"),
    "text whose method joins": DOUBLED.replace("EXPRESSION", "ns.x.join([ns.x, ns.x])"),
    "text that formats": DOUBLED.replace("EXPRESSION", "'%s%s' % (ns.x, ns.x)"),
    "text that a filter formats": DOUBLED.replace("EXPRESSION", "'%s%s' | format(ns.x, ns.x)"),
    "text whose method formats": DOUBLED.replace("EXPRESSION", "'{0}{0}'.format(ns.x)"),
    "text that maps": DOUBLED.replace("EXPRESSION", "'{x}{x}'.format_map(ns.d)").replace(
        "l=[1]", "d={'x': 'a' * 999999}"
    )
    + "{{ '{x}' * 9999 }}{{ ('{x}' * 3000).format_map({'x': 'a' * 99999}) }}",
    "a block that doubles": DOUBLED.replace(
        "{% set ns.x = EXPRESSION %}", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"
    ),
    "lists that nest": LISTED.replace("EXPRESSION", "[ns.l, ns.l]"),
    "tuples that nest": LISTED.replace("EXPRESSION", "(ns.l, ns.l)"),
    "dictionaries that nest": LISTED.replace("EXPRESSION", "{'a': ns.l, 'b': ns.l}"),
    "dictionaries that are made": LISTED.replace("EXPRESSION", "dict(a=ns.l, b=ns.l)"),
    "lists that are added": LISTED.replace("EXPRESSION", "ns.l + ns.l"),
    "arguments that nest": "{% macro f(n) %}{% if n %}{{ f(n - 1, varargs, varargs) }}{% else %}{{ varargs }}"
    "{% endif %}{% endmacro %}{{ f(60, 1, 2) }}",
    "lists by default": LISTED.replace("EXPRESSION", "range(99) | map(attribute='x', default=ns.l) | list"),
    "widths": "{{ 'a'.center(1000000000) }}",
    "a filter's width": "{{ 'a' | center(1000000000) }}",
    "zeros": "{{ 'a'.zfill(1000000000) }}",
    "tabs": "{{ ('\\t' * 99999).expandtabs(99999) }}",
    "a percent's width": "{{ '%1000000000d' % 1 }}",
    "a named percent's width": "{{ '%(name)1000000000d' % {'name': 1} }}",
    "a percent's star": "{{ '%*d' % (1000000000, 1) }}",
    "a field's width": "{{ '{:>1000000000}'.format(1) }}",
    "a field's field": "{{ '{:{}}'.format(1, 1000000000) }}",
    "a precision": "{{ '%.1000000000f' % 1.5 }}",
    "indentation": "{{ ('\\n' * 99999) | indent(99999) }}",
    "indented JSON": "{{ {'a': [1]} | tojson(indent=1000000000) }}",
    "batches": "{{ [1] | batch(1000000000, 0) | list }}",
    "slices": "{{ [1] | slice(1000000000) | list }}",
    "a range": "{{ range(1000000000) | list }}",
    "a translation": "{{ ('a' * 99999).translate({97: 'b' * 99999}) }}",
    "bytes that replace": "{{ ('ab' * 99999).encode().replace('a'.encode(), ('b' * 99999).encode()) }}",
    "bytes": "{{ (1).to_bytes(1000000000, 'big') }}",
    "many long texts": LONG + "{{ many | join }}",
    "many long texts in a list": LONG + "{{ many | list }}",
    "many long lists": LONG.replace("'ab' * 1000000", "range(99999) | list") + "{{ many | sum(start=[]) }}",
    "a date": "{{ strftime_now('%d' * 99999) }}",
    "a long refusal": "{{ raise_exception('a ' * 99999) }}",
    "rounding": "{{ 1.5 | round(1000000000) }}",
    "lipsum": "{{ lipsum(n=100000) }}",
}
BROKEN = {
    "deep brackets": "{{ " + "(" * 99999 + "1" + ")" * 99999 + " }}",
    "deep blocks": "{% if 1 %}" * 200 + "{% endif %}" * 200,
    "a long program": "{{ 1 }}" * 99999,
    "an absent filter": "{{ 'a' | lipsum }}",
    "a constant without end": "{{ 'a' | center(1000000000) | pprint }}",
}


def render(text: str, messages: Any = MESSAGES) -> str:
    return ChatTemplate(text).render(messages, special_tokens={}, now=NOW)


@pytest.mark.parametrize("name", STEPS)
def test_a_template_without_end_is_ended(name: str) -> None:
    with pytest.raises(BadRequest, match="come to an end") as caught:
        render(STEPS[name])
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", SIZES)
def test_a_template_that_allocates_without_end_is_refused(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(BadRequest, match="the model's chat template") as caught:
        render(SIZES[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in caught.value.message and len(caught.value.message) < 600
    assert peak < 64 << 20


@pytest.mark.parametrize("name", BROKEN)
def test_a_template_that_cannot_be_read_is_a_damaged_model(name: str) -> None:
    with pytest.raises(ModelError, match="get the model again") as caught:
        render(BROKEN[name])
    assert "\n" not in caught.value.message
    assert not ChatTemplate(BROKEN[name]).reads_tools


def test_a_deadline_stands_behind_the_counts() -> None:
    times = iter([0.0, 1.0, DEADLINE_S + 1])
    budget = Budget(0, clock=lambda: next(times))
    budget.step()
    with pytest.raises(Endless, match="longer"):
        budget.step()


@pytest.mark.parametrize("name", TEMPLATES)
def test_long_conversations_are_far_from_every_bound(name: str) -> None:
    turns = [{"role": "user", "content": "word " * 40, "name": "Ann"}] * 3000
    assert len(render(TEMPLATES[name], turns)) > 3000 * 190
    assert "x" * 3_000_000 in render(TEMPLATES[name], [{"role": "user", "content": "x" * 3_000_000, "name": "Ann"}])


@settings(max_examples=60, deadline=None)
@given(value=st.recursive(st.none() | st.text(max_size=9) | st.integers(), lambda inner: st.lists(inner, max_size=4)))
def test_a_weight_bounds_what_a_value_prints_as(value: Any) -> None:
    assert len(str(value)) <= 12 * Budget(0).weight(value)
