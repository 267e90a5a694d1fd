"""How long work in this package reports how far it is, without knowing who watches."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as (stage, done, total): a few words, and two counts of bytes. `total` 0 means it is not known."""


def silent(stage: str, done: int, total: int) -> None:
    """A Progress that nobody watches."""
