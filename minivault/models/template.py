"""Chat templates: Jinja programs that come with a model and turn a conversation into one prompt string.

They are rendered as transformers renders them (same whitespace rules, filters, globals and errors), in a `sandbox`: a
template can neither reach Python objects nor change its inputs nor go on without end. The time that a template may ask
for is an argument, so that a prompt can be rendered again later and be the same.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault.errors import BadRequest, ModelError
from minivault.models import layout
from minivault.types import NO_OPTIONS

if TYPE_CHECKING:
    import jinja2


MAX_TEMPLATE_CHARACTERS = 256 << 10
MAX_DATE_CHARACTERS = 200
MAX_REASON_CHARACTERS = 400
_LAST_PRIVATE = 0x10FFFD
_FAILURES = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError, MemoryError)


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
        options: Mapping[str, Any] = NO_OPTIONS,
        special_tokens: Mapping[str, str],
        now: datetime,
        continues: bool = False,
    ) -> str:
        """The prompt for the assistant's next turn, or, where `continues`, up to where the last message ends. `options`
        are variables besides those that every template has. Raises BadRequest when the template refuses."""
        from minivault.models.bounds import bounded

        compiled = _compile(self.tool_text if tools and self.tool_text else self.text)
        turns, end = [dict(message) for message in messages], ""
        if continues:
            end = _unused(turns, tools)
            turns[-1]["content"] += end
        variables = {
            "messages": turns,
            "tools": [dict(tool) for tool in tools] or None,
            "add_generation_prompt": not continues,
            "strftime_now": functools.partial(_strftime, now),
            **special_tokens,
        }
        _ensure_free(options, variables)
        with _refusals(), bounded(messages, tools, options):
            text = compiled.render({"documents": None} | dict(options) | variables)
        return _up_to(text, end) if continues else text


@contextmanager
def _refusals() -> Iterator[None]:
    """Whatever a template runs into is a refusal of the conversation, in one line."""
    import jinja2

    from minivault.models.bounds import Endless

    try:
        yield
    except jinja2.TemplateError as error:
        reason = f"the model's chat template refuses this conversation: {_one_line(error)}"
        raise BadRequest(reason, field="messages") from None
    except Endless as error:
        reason = f"the model's chat template does not come to an end with this conversation: {error}"
        raise BadRequest(reason, field="messages") from None
    except _FAILURES as error:
        kind = type(error).__name__
        reason = f"the model's chat template cannot render this conversation: {kind}: {_one_line(error)}"
        raise BadRequest(reason, field="messages") from None


def _ensure_free(options: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    if taken := sorted(options.keys() & variables.keys()):
        message = f"chat_template_kwargs: {taken[0]} is the request's own and no variable to set; leave it out"
        raise BadRequest(message, field=f"chat_template_kwargs.{taken[0]}")


def _unused(*values: Any) -> str:
    """The last private character that nobody wrote; marks that others set begin with the first."""
    used = json.dumps(values, ensure_ascii=False)
    return next(char for code in range(_LAST_PRIVATE, 0, -1) if (char := chr(code)) not in used)


def _up_to(text: str, end: str) -> str:
    """What stands before the end of the last message. Raises BadRequest where the template has left it out."""
    before, found, _ = text.rpartition(end)
    if not found:
        message = "the model's chat template cannot continue an answer: end the conversation with another role"
        raise BadRequest(message, field="messages")
    return before


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


def _strftime(now: datetime, form: str) -> str:
    if len(form) > MAX_DATE_CHARACTERS:
        raise ValueError(f"a date's format has more than {MAX_DATE_CHARACTERS} characters")
    return now.strftime(form)


@functools.lru_cache(maxsize=8)
def _compile(text: str) -> jinja2.Template:
    import jinja2

    from minivault.models.bounds import Endless, bounded
    from minivault.models.sandbox import Sandbox

    try:
        _ensure_short(text)
        with bounded():
            return Sandbox().from_string(text)
    except (jinja2.TemplateError, SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        reason = f"the model's chat template is not valid Jinja: {_one_line(error)}; get the model again"
        raise ModelError(reason) from None
    except Endless as error:
        raise ModelError(f"the model's chat template has no end: {error}; get the model again") from None


@functools.lru_cache(maxsize=8)
def _reads(text: str, variable: str) -> bool:
    from jinja2 import TemplateError, meta

    from minivault.models.bounds import Endless, bounded
    from minivault.models.sandbox import Sandbox

    try:
        _ensure_short(text)
        with bounded():
            return variable in meta.find_undeclared_variables(Sandbox().parse(text))
    except (TemplateError, SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError, Endless):
        return False


def _ensure_short(text: str) -> None:
    if len(text) > MAX_TEMPLATE_CHARACTERS:
        raise ValueError(f"it has more than {MAX_TEMPLATE_CHARACTERS} characters")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:MAX_REASON_CHARACTERS] or type(error).__name__
