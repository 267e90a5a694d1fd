"""What stands between the marks of a call, read: one function a notation.

Each takes the text and the tools on offer, and gives every call in it or, where anything is not a call of an offered
tool, none. A text that is no call is no error: models also write about calls.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

ARGUMENTS, CALL_ID, ESCAPE, QUOTE, MESSAGE = "[ARGS]", "[CALL_ID]", "<escape>", '<|"|>', "<|message|>"
INNER_MARKS = (ARGUMENTS, CALL_ID, ESCAPE, QUOTE)
"""Marks inside calls that may be control tokens."""

_FUNCTION = re.compile(r"<function=([^>\n]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>(.*?)(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)
_KEY = re.compile(r"([{,]\s*)([A-Za-z_][\w.-]*)(?=\s*:)")
_NONE = re.compile(r"\bNone\b")
_BETWEEN = re.compile(r"[\s;,]*")
_GEMMA_CALL = re.compile(r"\s*call:([\w.-]+)\s*")
_RECIPIENT = re.compile(r"\s*(?:functions\.)?([\w.-]+)")


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: dict[str, Any]


Offered = Mapping[str, Mapping[str, Any]]
"""The tools whose calls are read: name → JSON schema of the parameters. None: text is text."""
Read = Callable[[str, Offered], list[ToolCall]]


def json_calls(text: str, tools: Offered) -> list[ToolCall]:
    """`{"name": …, "arguments": {…}}` (or `parameters`): one, a list, or several in a row."""
    items = [item for value in _values(text) for item in (value if isinstance(value, list) else [value])]
    return _all([_call(item, tools) for item in items])


def mistral_calls(text: str, tools: Offered) -> list[ToolCall]:
    """A JSON list of calls, or `name[ARGS]{…}`, several after one `[TOOL_CALLS]` each."""
    parts = [part.strip() for part in text.split("[TOOL_CALLS]")]
    if parts[0][:1] in ("[", "{"):
        return json_calls(";".join(parts), tools)
    calls: list[ToolCall | None] = []
    for part in parts:
        head, mark, arguments = part.partition(ARGUMENTS)
        if not mark:
            head, brace, rest = part.partition("{")
            arguments = brace + rest
        name = head.partition(CALL_ID)[0].strip()
        calls.append(_call({"name": name, "arguments": _json(arguments)}, tools))
    return _all(calls)


def harmony_calls(text: str, tools: Offered) -> list[ToolCall]:
    """`functions.name …<|message|>{…}`."""
    recipient, _, arguments = text.partition(MESSAGE)
    found = _RECIPIENT.match(recipient)
    return _all([_call({"name": found[1], "arguments": _json(arguments or "{}")}, tools) if found else None])


def xml_calls(text: str, tools: Offered) -> list[ToolCall]:
    """`<function=name><parameter=x>…</parameter></function>`, also several; or JSON in their place."""
    found = list(_FUNCTION.finditer(text))
    if not found:
        return json_calls(text, tools)
    return _all([_xml_call(match[1].strip(), match[2], tools) for match in found])


def function_calls(text: str, tools: Offered) -> list[ToolCall]:
    """The same without its first mark."""
    return xml_calls("<function=" + text, tools)


def gemma_calls(text: str, tools: Offered) -> list[ToolCall]:
    """`call:name{key:<escape>text<escape>,other:5}`; Gemma 4 has another quote."""
    found = _GEMMA_CALL.match(text)
    if found is None:
        return json_calls(text, tools)
    quote = QUOTE if QUOTE in text else ESCAPE
    parts = text[found.end() :].split(quote)
    spelled = (json.dumps(part) if index % 2 else _as_json(part) for index, part in enumerate(parts))
    return _all([_call({"name": found[1], "arguments": _json("".join(spelled))}, tools)])


def _as_json(text: str) -> str:
    return _NONE.sub("null", _KEY.sub(r'\1"\2"', text))


def python_calls(text: str, tools: Offered) -> list[ToolCall]:
    """Python: `name(x=1)`, in a list, in `print`, a line each."""
    try:
        body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    nodes = [node for statement in body for node in _expressions(getattr(statement, "value", None))]
    return _all([_python_call(node, tools) for node in nodes])


def _expressions(node: ast.expr | None) -> Sequence[ast.expr | None]:
    if isinstance(node, ast.List | ast.Tuple):
        return node.elts
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        return node.args
    return [node]


def _python_call(node: ast.expr | None, tools: Offered) -> ToolCall | None:
    if not isinstance(node, ast.Call):
        return None
    name = ast.unparse(node.func).removeprefix("default_api.")
    places = iter(tools.get(name, {}).get("properties", {}))
    try:
        arguments = {place: ast.literal_eval(value) for place, value in zip(places, node.args, strict=False)}
        arguments |= {word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg}
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return None
    return _call({"name": name, "arguments": arguments}, tools)


def _xml_call(name: str, body: str, tools: Offered) -> ToolCall | None:
    if body.lstrip().startswith("{"):
        return _call({"name": name, "arguments": _json(body)}, tools)
    types = tools.get(name, {}).get("properties", {})
    arguments = {
        found[1].strip(): _typed(found[2].removeprefix("\n").removesuffix("\n"), types.get(found[1].strip(), {}))
        for found in _PARAMETER.finditer(body)
    }
    return _call({"name": name, "arguments": arguments}, tools)


def _typed(text: str, schema: Any) -> Any:
    """Text where the schema asks for text, else the JSON value that it spells."""
    kinds = schema.get("type") if isinstance(schema, dict) else None
    if kinds == "string":
        return text
    word = {"True": "true", "False": "false", "None": "null"}.get(text.strip(), text)
    value = _json(word)
    is_null = value is None and word.strip() == "null"
    return text if value is None and not is_null else value


def _values(text: str) -> Iterator[Any]:
    """The JSON values that follow each other in a text that holds nothing else; what is none gives None."""
    decoder, at = json.JSONDecoder(parse_constant=_refuse_constant), 0
    while (at := _end_of_blanks(text, at)) < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            yield None
            return
        yield value


def _end_of_blanks(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def _all(calls: Sequence[ToolCall | None]) -> list[ToolCall]:
    found = [call for call in calls if call is not None]
    return found if len(found) == len(calls) else []


def _call(item: Any, tools: Offered) -> ToolCall | None:
    if isinstance(item, dict) and isinstance(item.get("function"), dict):
        item = item["function"]
    name = item.get("name") if isinstance(item, dict) else None
    if not isinstance(name, str) or name not in tools:
        return None
    arguments = item.get("arguments", item.get("parameters"))
    if isinstance(arguments, str) and arguments:
        arguments = _json(arguments)
    elif not arguments and not tools[name].get("required"):
        arguments = {}
    return ToolCall(name, arguments) if isinstance(arguments, dict) else None


def _json(text: str) -> Any:
    """The value, or None where the text is not JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
