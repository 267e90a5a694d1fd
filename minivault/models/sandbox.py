"""The Jinja that chat templates run in: as transformers sets it up, immutable, sandboxed, and with an end (`bounds`).

What a prompt has no use for is not there: `lipsum`, and filters that lay out web pages or draw at random.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from typing import Any

import jinja2.ext
from jinja2 import nodes
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context, pass_environment
from jinja2.visitor import NodeTransformer

from minivault.models import bounds
from minivault.models.bounds import Endless, budget

ABSENT_FILTERS = ("pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr")
STEP, WEIGHED, JOINED = "a step", "weighed", "joined"
"""Filters that only the instrumented program names: no template can spell them."""
MAX_BLANKS = 64
GROWTH: dict[str, Callable[..., int]] = {
    "replace": bounds.replaced,
    "indent": bounds.indented,
    "format": bounds.formatted,
}
METHODS: dict[str, Callable[..., int]] = GROWTH | {"expandtabs": bounds.expanded, "format_map": bounds.formatted}
OPERATORS: dict[str, Callable[[Any, Any], int]] = {
    "*": bounds.product,
    "**": bounds.power,
    "+": bounds.total,
    "%": lambda left, right: bounds.formatted(left, right) if isinstance(left, str | bytes) else 0,
}


class Sandbox(ImmutableSandboxedEnvironment):
    """Every loop, call, filter and growing operator of a template is a step within the budget of its rendering."""

    intercepted_binops = frozenset(OPERATORS)

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
        self.filters |= {"tojson": _tojson, "join": _join, "sum": _sum}
        for name in ABSENT_FILTERS:
            del self.filters[name]
        self.filters = {name: _bounded_filter(name, function) for name, function in self.filters.items()}
        self.tests = {name: _a_test(function) for name, function in dict[str, Any](self.tests).items()}
        own: dict[str, Callable[..., Any]] = {STEP: _step, WEIGHED: _weighed, JOINED: _joined}
        self.filters |= own
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _raise_exception, "namespace": _Namespace}

    @staticmethod
    def concat(parts: Iterable[str]) -> str:  # how Jinja joins what a template wrote
        return "".join(budget().gathered(parts))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Instrument().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget().step()
        budget().fit(OPERATORS[operator](left, right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        budget().step()
        bounds.ensure_small([*args, *kwargs.values()])
        budget().kept([args, kwargs])
        owner = getattr(__obj, "__self__", getattr(getattr(__obj, "__wrapped__", None), "__self__", None))
        if isinstance(owner, str | bytes):
            args = _bounded_method(__obj.__name__, owner, args, kwargs)
        result = super().call(__context, __obj, *args, **kwargs)
        return budget().kept(result) if isinstance(result, str | list | tuple) else result


class _Instrument(NodeTransformer):
    """Puts a step into every loop and macro, and weighs every collection that a template writes down."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_a_step()))
        if node.test is not None:
            node.test = nodes.And(_a_step(), node.test)
        return node

    def visit_Macro(self, node: nodes.Macro | nodes.CallBlock) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_a_step()))
        return node

    visit_CallBlock = visit_Macro

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes), JOINED)

    def visit_List(self, node: nodes.List | nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, WEIGHED)

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, WEIGHED) if node.ctx == "load" else node


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None)


def _a_step() -> nodes.Filter:
    return _filter(nodes.Const(True), STEP)


@pass_context  # what needs the context is not worked out beforehand
def _step(_context: Context, value: bool) -> bool:
    budget().step()
    return value


def _weighed(value: Any) -> Any:
    budget().step()
    return budget().kept(value)


def _joined(parts: list[Any]) -> str:
    budget().step()
    return "".join(budget().gathered(parts))


def _bounded_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    growth = GROWTH.get(name)
    num_passed = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        budget().step()
        given = args[num_passed:]
        bounds.ensure_small([*given[1:], *kwargs.values()])
        if growth is not None:
            budget().fit(growth(*given, **kwargs))
        result = function(*args, **kwargs)
        return budget().kept(result) if isinstance(result, str | list | tuple | dict) else result

    return bounded


def _a_test(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        budget().step()
        return function(*args, **kwargs)

    return counted


def _bounded_method(name: str, owner: str | bytes, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of a text's method that can make it larger, once they are known not to. Raises Endless."""
    if name == "translate" or (isinstance(owner, bytes) and name != "decode"):
        raise Endless(f"it calls {name}, which no template needs")
    if name == "join" and args:
        return (_within(list(args[0]), len(owner)), *args[1:])
    if growth := METHODS.get(name):
        budget().fit(growth(owner, *args, **kwargs))
    return args


def _within(parts: list[Any], separator: int) -> list[Any]:
    budget().fit(budget().weight(parts) + separator * len(parts))
    return parts


@pass_environment
def _join(
    environment: jinja2.Environment, value: Iterable[Any], d: str = "", attribute: str | int | None = None
) -> str:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    parts = list(budget().gathered(value))
    return str(d).join(_within(parts, len(str(d))))


@pass_environment
def _sum(
    environment: jinja2.Environment, iterable: Iterable[Any], attribute: str | int | None = None, start: float = 0
) -> Any:
    if attribute is not None:
        iterable = map(make_attrgetter(environment, attribute), iterable)
    numbers = [start, *iterable]
    if not all(isinstance(number, int | float) for number in numbers):
        raise TypeError("sum adds numbers")
    return sum(numbers)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    blanks = [part if isinstance(part, int) else len(part) for part in (*(separators or ()), indent or 0)]
    if max(blanks) > MAX_BLANKS:
        raise Endless(f"it lays out JSON with more than {MAX_BLANKS} blanks")
    budget().fit(bounds.laid_out(value, max(blanks) if indent else 0))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


class _Namespace(Namespace):
    """Prints as nothing but itself: what it holds may hold it."""

    def __repr__(self) -> str:
        return "<Namespace>"


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what an assistant said, for training; here it renders as its contents."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)
