"""Control text: the tokens that steer a model (turns, roles, ends), and who may write them.

Only a chat template's own text becomes control tokens. What people write is read as plain text, even where it spells
one. Where nobody wrote such text, the tokens are exactly what transformers gives: the checkpoint's tokenizer reads the
whole. Otherwise its twin does (`twin`), in which control tokens have names that nobody can write; the template's own
are put in by those names.

Which text is the template's own shows when it renders a second time, with a mark inside everything people wrote that
spells a control token or could become one beside other text. A mark breaks the spelling and is taken out again.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from minivault.errors import BadRequest
from minivault.models import twin
from minivault.types import Reading

if TYPE_CHECKING:
    import tokenizers

Render = Callable[[Any, Any], str]
"""A conversation, and what else its template is given, as JSON values → the prompt."""
FORMAT_KEYS = ("role", "type")
"""Members that hold words of a format, which templates compare: marked only where they spell a whole token."""
MARKS = range(0xE000, 0x110000)
"""A mark is the first of these characters, private ones and beyond, that nobody used."""


class ControlTokens:
    """The control tokens of one tokenizer: those declared special, and those that its template writes."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, template: str) -> None:
        added = tokenizer.get_added_tokens_decoder().items()
        found = {token.content: index for index, token in added if _is_control(token, template)}
        unknown = _unknown(tokenizer)
        self._tokenizer = tokenizer
        self._names = twin.names(found)
        self._ids = frozenset(index for text, index in found.items() if text != unknown)
        self._written = _any_of(text for text in found if text != unknown)
        self._spelling = _Spelling(found)
        self._lock = threading.Lock()
        self._made: tokenizers.Tokenizer | None = None

    def read(self, text: str) -> Reading:
        """Plain text, whatever it spells, with what the tokenizer puts around a text."""
        inside = self._tokenizer.encode(text, add_special_tokens=False).ids
        if self._spelling.exact.search(text) or not self._ids.isdisjoint(inside):
            self._ensure(0, self._twin.encode(text, add_special_tokens=False).ids)
            return Reading(text, tuple(self._twin.encode(text, add_special_tokens=True).ids), has_control_text=True)
        return Reading(text, tuple(self._tokenizer.encode(text, add_special_tokens=True).ids))

    def is_spelled_in(self, value: Any) -> bool:
        """True where a string or a key of a JSON value spells a control token."""
        return bool(self._spelling.exact.search(json.dumps(value, ensure_ascii=False)))

    def read_chat(self, render: Render, messages: Any, given: Any) -> Reading:
        """What `render` makes of a conversation; the control tokens are those that it writes itself."""
        whole = render(messages, given)
        mark = _unused(whole, messages, given)
        marked = self._spelling.marked([messages, given], mark)
        is_suspect = marked != [messages, given]
        named = self._named(render(*marked) if is_suspect else whole)
        if named.replace(mark, "") == self._named(whole):
            ids = self._tokenizer.encode(whole, add_special_tokens=False).ids
            if self._num_control(ids) == len(self._written.findall(whole)):
                return Reading(whole, tuple(ids))
        return self._read_apart(named.replace(mark, ""))

    def _read_apart(self, named: str) -> Reading:
        """A prompt in which the template's control tokens have their other names."""
        ids = self._twin.encode(named, add_special_tokens=False).ids
        num_named, text = 0, named
        for token, name in self._names.items():
            num_named += named.count(name) if self._written.fullmatch(token) else 0
            text = text.replace(name, token)
        self._ensure(num_named, ids)
        return Reading(text, tuple(ids), has_control_text=True)

    def _named(self, rendered: str) -> str:
        return self._spelling.exact.sub(lambda found: self._names[found[0]], rendered)

    def _num_control(self, ids: Iterable[int]) -> int:
        return sum(token_id in self._ids for token_id in ids)

    def _ensure(self, num_control: int, ids: Iterable[int]) -> None:
        if self._num_control(ids) != num_control:
            raise BadRequest("the text spells a control token that this model cannot read as plain text")

    @property
    def _twin(self) -> tokenizers.Tokenizer:
        """Made when first needed: most servers never meet such text, and it is as large as the tokenizer."""
        with self._lock:
            self._made = self._made or twin.make(self._tokenizer, self._names)
            return self._made


class _Spelling:
    """Finds text that spells control tokens, in any case, or parts of them."""

    def __init__(self, tokens: Mapping[str, int]) -> None:
        lower = sorted({text.lower() for text in tokens})
        self.exact = _any_of(tokens)
        self._any_case = _any_of(tokens, re.IGNORECASE)
        self._heads = tuple({text[:size] for text in lower for size in range(1, len(text))})
        self._tails = tuple({text[size:] for text in lower for size in range(1, len(text))})
        self._all = "\0".join(lower)

    def marked(self, value: Any, mark: str, key: str = "") -> Any:
        """The JSON value with `mark` in every string that spells a control token or could be a part of one."""
        if isinstance(value, str):
            whole = self._broken(value, mark)
            return whole if key in FORMAT_KEYS or not self._may_be_part(value) else _edged(whole, mark)
        if isinstance(value, Mapping):
            return {self._broken(name, mark): self.marked(item, mark, name) for name, item in value.items()}
        return [self.marked(item, mark, key) for item in value] if isinstance(value, list | tuple) else value

    def _broken(self, text: str, mark: str) -> str:
        return self._any_case.sub(lambda found: _split(found[0], mark), text)

    def _may_be_part(self, text: str) -> bool:
        core = text.strip().lower()
        return bool(core) and (core.startswith(self._tails) or core.endswith(self._heads) or core in self._all)


def _is_control(token: Any, template: str) -> bool:
    """Blanks are none: people write them, and so do templates that mean no more by them."""
    return bool(token.content.strip()) and (token.special or token.content in template)


def _unknown(tokenizer: tokenizers.Tokenizer) -> str | None:
    """The token that stands for what the vocabulary lacks: it comes from text that spells nothing, too."""
    model = tokenizer.model
    found = re.search(rb'"unk_id":(\d+)', model.__getstate__()) if type(model).__name__ == "Unigram" else None
    return tokenizer.id_to_token(int(found[1])) if found else getattr(model, "unk_token", None)


def _split(token: str, mark: str) -> str:
    if len(token) == 1:
        raise BadRequest(f"{token!r} is a control token of this model and no plain text; leave it out")
    return token[0] + mark + token[1:]


def _any_of(texts: Iterable[str], flags: int = 0) -> re.Pattern[str]:
    """A pattern of the texts, the longest first, as the tokenizer prefers; of none, one that never matches."""
    return re.compile(_tree(frozenset(texts)) or r"(?!)", flags)


def _tree(texts: frozenset[str]) -> str:
    """An expression that reads what texts have in common once: a text of nothing but beginnings costs no more."""
    heads = sorted({text[0] for text in texts if text})
    branches = [re.escape(head) + _tree(frozenset(text[1:] for text in texts if text[:1] == head)) for head in heads]
    if not branches:
        return ""
    return f"(?:{'|'.join(branches)})" + ("?" if "" in texts else "")


def _edged(text: str, mark: str) -> str:
    """A mark at both ends, inside the blanks that a template may trim."""
    core = text.strip()
    start = text.find(core)
    return text[:start] + mark + core + mark + text[start + len(core) :]


def _unused(rendered: str, *values: Any) -> str:
    used = set(rendered).union(*map(_characters, values))
    mark = next((code for code in MARKS if chr(code) not in used), None)
    if mark is None:
        raise BadRequest("the conversation uses every private character of Unicode", field="messages")
    return chr(mark)


def _characters(value: Any) -> set[str]:
    if isinstance(value, str):
        return set(value)
    if isinstance(value, Mapping):
        return set().union(*map(_characters, value.keys()), *map(_characters, value.values()))
    return set().union(*map(_characters, value)) if isinstance(value, list | tuple) else set()
