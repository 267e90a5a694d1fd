"""What long work in this package lets others hear: how far it is, and nothing of the libraries that do it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator

Progress = Callable[[str, int, int], None]
"""Called as (stage, done, total): a few words, and two counts of bytes. `total` 0 means it is not known."""


def silent(stage: str, done: int, total: int) -> None:
    """A Progress that nobody watches."""


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside the block transformers reports only errors and draws nothing; afterwards it is as it was."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def quiet_hub() -> Iterator[None]:
    """Inside the block the hub client reports only errors; afterwards it is as it was."""
    from huggingface_hub.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
