"""Chat templates: Jinja programs that come with a model and turn a conversation into one prompt string.

They are rendered as transformers renders them (same whitespace rules, filters, globals and errors), in Jinja's
immutable sandbox: a template can neither reach Python objects nor change its inputs. The time that a template may ask
for is an argument, so that a prompt can be rendered again later and be the same.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault.errors import BadRequest, ModelError
from minivault.models import layout

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The source of a model's template, "" when it has none, and of a separate one for tools, "" when there is none."""

    text: str
    tool_text: str = ""

    @property
    def digest(self) -> str:
        """`sha256:` and hex over the template (and tool template); empty when there is none."""
        if not self.text:
            return ""
        whole = self.text + ("\0" + self.tool_text if self.tool_text else "")
        return "sha256:" + hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def reads_tools(self) -> bool:
        """True when the template does something with `tools`."""
        return bool(self.tool_text) or _reads(self.text, "tools")

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        special_tokens: Mapping[str, str],
        now: datetime,
    ) -> str:
        """The prompt for the assistant's next turn. Raises BadRequest when the template refuses the conversation."""
        import jinja2

        compiled = _compile(self.tool_text if tools and self.tool_text else self.text)
        try:
            return compiled.render(
                messages=[dict(message) for message in messages],
                tools=[dict(tool) for tool in tools] or None,
                documents=None,
                add_generation_prompt=True,
                strftime_now=functools.partial(_strftime, now),
                **special_tokens,
            )
        except jinja2.TemplateError as error:
            reason = f"the model's chat template refuses this conversation: {error}"
            raise BadRequest(reason, field="messages") from None
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            reason = f"the model's chat template cannot render this conversation: {type(error).__name__}: {error}"
            raise BadRequest(reason, field="messages") from None


def chat_template(directory: Path) -> ChatTemplate:
    """The template of the checkpoint in `directory`: chat_template.jinja, else the one in tokenizer_config.json."""
    file = directory / "chat_template.jinja"
    if file.is_file():
        try:
            return ChatTemplate(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{file} cannot be read ({error}); get the model again") from None
    config = directory / "tokenizer_config.json"
    found = layout.read_json(config).get("chat_template") if config.is_file() else None
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template", "") for entry in found if isinstance(entry, dict)}
        return ChatTemplate(str(named.get("default", "")), str(named.get("tool_use", "")))
    return ChatTemplate(found if isinstance(found, str) else "")


def _environment() -> jinja2.Environment:
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag(), jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _generation_tag() -> type[jinja2.ext.Extension]:
    """`{% generation %}` marks what an assistant said, for training; here it renders as its contents."""
    import jinja2.ext
    from jinja2 import nodes
    from jinja2.parser import Parser

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    return Generation


def _strftime(now: datetime, form: str) -> str:
    return now.strftime(form)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)


@functools.lru_cache(maxsize=8)
def _compile(text: str) -> jinja2.Template:
    import jinja2

    try:
        return _environment().from_string(text)
    except jinja2.TemplateError as error:
        raise ModelError(f"the model's chat template is not valid Jinja: {error}; get the model again") from None


@functools.lru_cache(maxsize=8)
def _reads(text: str, variable: str) -> bool:
    from jinja2 import TemplateError, meta

    try:
        return variable in meta.find_undeclared_variables(_environment().parse(text))
    except TemplateError:
        return False
