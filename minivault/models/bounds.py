"""An end to whatever a chat template does: it comes with a model, from anyone, and is a program.

Steps are counted (a round of a loop, a call, a filter, an operator that can grow a value) and every value that a step
makes is bounded before it is made, so no single step is long or large. Both bounds depend on the conversation alone: a
prompt that renders once renders always. A deadline stands behind them.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

BASE_STEPS = 200_000
"""And one more for every eight that the conversation weighs, which are dozens for the shortest turn."""
BASE_SIZE = 4 << 20
"""What a value may weigh, and four times the conversation besides: a character one, every value 64 by itself."""
MAX_INTEGER = 100_000
"""A width, a count or a range that a template may ask for."""
MAX_FORMAT_CHARACTERS = 10_000
MAX_BITS = 100_000
"""Of a number."""
DEADLINE_S = 5.0
NODE_SIZE = 64
_FIELD = re.compile(r"%(?:\([^)]*\))?[^%a-zA-Z]*|\{[^{}]*")
_NUMBER = re.compile(r"\d{1,9}")


class Endless(Exception):
    """A template asked for more than any prompt needs."""


class Budget:
    """What one rendering may still do."""

    def __init__(self, size: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = BASE_SIZE + 4 * size
        self._max_steps = BASE_STEPS + size / 8
        self._clock = clock
        self._deadline = clock() + DEADLINE_S
        self._num_steps = 0

    def step(self) -> None:
        """Raises Endless when it was one too many."""
        self._num_steps += 1
        if self._num_steps > self._max_steps:
            raise Endless(f"it takes more than {self._max_steps:.0f} steps")
        if self._clock() > self._deadline:
            raise Endless(f"it takes longer than {DEADLINE_S:g} s")

    def fit(self, size: int) -> None:
        """Raises Endless for a value that would be larger than any may be."""
        if size > self._size:
            raise Endless(f"it makes a value larger than {self._size:.0f} characters")

    def kept(self, value: Any) -> Any:
        """The value, which a step has made."""
        self.fit(self.weight(value))
        return value

    def weight(self, value: Any) -> int:
        """The size of a value as if nothing in it were shared. Raises Endless as soon as that is too large."""
        total, rest = 0, [value]
        while rest:
            item = rest.pop()
            total += NODE_SIZE
            if isinstance(item, str | bytes):
                total += len(item)
            elif isinstance(item, int):
                total += item.bit_length() >> 3
            elif isinstance(item, Mapping):
                rest += [*item.keys(), *item.values()]
            elif isinstance(item, list | tuple):
                rest += item
            self.fit(total + NODE_SIZE * len(rest))
        return total

    def gathered(self, parts: Iterable[Any]) -> Iterator[str]:
        """The parts as text, which together are bounded."""
        total = 0
        for part in parts:
            text = part if isinstance(part, str) else str(part)
            total += len(text) + 1
            self.fit(total)
            yield text


_current: ContextVar[Budget] = ContextVar("budget")


def budget() -> Budget:
    """That of the rendering under way."""
    return _current.get()


@contextmanager
def bounded(*inputs: Any) -> Iterator[None]:
    """A budget for what happens inside, by the size of the inputs."""
    token = _current.set(Budget(Budget(math.inf).weight(inputs)))
    try:
        yield
    finally:
        _current.reset(token)


def ensure_small(values: Iterable[Any]) -> None:
    """Raises Endless for a number that is no width, count or range of a prompt."""
    for value in values:
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise Endless(f"it asks for {value if value.bit_length() < 200 else 'a number'} of something")


# -- how large a value would become --------------------------------------------------------------------------------


def product(left: Any, right: Any) -> int:
    """Of a text or list repeated; of two numbers nothing, if they may be multiplied."""
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_BITS:
            raise Endless("it makes a number too large")
        return 0
    number, other = (left, right) if isinstance(left, int) else (right, left)
    return max(number, 0) * budget().weight(other) if isinstance(number, int) else 0


def power(left: Any, right: Any) -> int:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MAX_BITS:
        raise Endless("it makes a number too large")
    return 0


def total(left: Any, right: Any) -> int:
    if isinstance(left, int | float) and isinstance(right, int | float):
        return 0
    return budget().weight(left) + budget().weight(right)


def replaced(text: Any, old: Any, new: Any, *_: Any, **__: Any) -> int:
    whole = str(text)
    return len(whole) + whole.count(str(old)) * len(str(new))


def indented(text: Any, width: int | str = 4, *_: Any, **__: Any) -> int:
    text = str(text)
    lines, blanks = len(text.splitlines()) + 1, width if isinstance(width, int) else len(str(width))
    return int(len(text) + lines * blanks)


def expanded(text: str | bytes, tabsize: int = 8) -> int:
    return len(text) + (text.count("\t") if isinstance(text, str) else text.count(b"\t")) * tabsize


def formatted(text: Any, *args: Any, **kwargs: Any) -> int:
    """Of `%` and `format`, where every field may be as wide as the widest and as long as the longest value."""
    text = str(text)
    if len(text) > MAX_FORMAT_CHARACTERS:
        raise Endless(f"it formats with more than {MAX_FORMAT_CHARACTERS} characters")
    fields = _FIELD.findall(text)
    widths = [int(number) for field in fields for number in _NUMBER.findall(field)]
    if any(mark in text for mark in "*{"):  # a width may be a value
        widths += [abs(value) for value in _flat([*args, *kwargs.values()]) if isinstance(value, int)]
    longest = budget().weight([*args, *kwargs.values()])
    return len(text) + len(fields) * (max(widths, default=0) + 6 * longest)


def laid_out(value: Any, width: int) -> int:
    """Of JSON with this much indentation for each level."""
    weight, depth, level = budget().weight(value), 0, [value]
    while level := [inner for item in level for inner in _inside(item)]:
        depth += 1
    return weight + weight // NODE_SIZE * width * (depth + 1)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        elif isinstance(value, Mapping):
            yield from _flat(value.values())
        else:
            yield value
