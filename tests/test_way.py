"""How far a request travels: counted, so that the way does not grow unseen.

A profile hook counts every call of a function of ours, on every thread, while a scripted model answers one token at a
time. What docs/architecture.md says of a token's way is held here.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from minivault.app import create_app
from minivault.config import load_settings
from minivault.engine import sampler
from minivault.interaction import Recorder
from minivault.service import LocalModel, Roster
from tests.scripted import backend

PACKAGE = str(Path(__file__).resolve().parent.parent / "minivault") + "/"
SHORT, LONG = 10, 20


class Way:
    """Calls by thread and file since the last `clear`."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.calls[threading.current_thread().name, frame.f_code.co_filename.removeprefix(PACKAGE)] += 1


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Way]:
    hook = Way()
    sampler.load(tmp_path)  # compiling under a hook takes half a minute
    threading.setprofile(hook)
    sys.setprofile(hook)
    yield hook
    sys.setprofile(None)
    threading.setprofile(None)  # type: ignore[arg-type]


def test_a_token_and_a_first_byte_come_a_short_way(path: Way, tmp_path: Path) -> None:
    env = {"MINIVAULT_HOME": str(tmp_path / "home"), "MINIVAULT_LOG_DIR": str(tmp_path / "vault")}
    settings = load_settings(env, tmp_path / ".env")
    model = LocalModel(settings, backend)
    recorder = Recorder(settings, Roster(model))
    model.wait_loaded(30)
    client = create_app(settings, recorder).test_client()

    def ask(num_tokens: int) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
        """Calls up to the first byte, and all."""
        path.calls.clear()
        body = {"prompt": "delay=0.02 say " + "x" * num_tokens}
        response = client.post("/stream-generate", json=body, buffered=False)
        pieces = iter(response.response)
        next(pieces)
        before = path.calls.copy()
        list(pieces)
        response.close()
        return before, path.calls.copy()

    ask(1)
    before, short = ask(SHORT)
    _, long = ask(LONG)
    model.close()
    recorder.close()
    here = threading.current_thread().name
    assert sum(num for (thread, _), num in before.items() if thread == here) < 160
    token = Counter({file: 0 for _, file in long})
    for (_, file), num in (long - short).items():
        token[file] += num
    files = [file for file, num in token.items() if num > (LONG - SHORT) / 2]
    assert len(files) < 14, files
    assert sum(token.values()) < 60 * (LONG - SHORT)
