"""Whether an engine elsewhere has kept to the format that was asked for: checked here at the end of an answer, since
some engines ignore what they do not know. An answer that breaks it has failed, as one of a local model would have.
"""

from __future__ import annotations

import json
import re
import threading
from functools import partial
from typing import TYPE_CHECKING

from minivault.types import Calls, Constraint, SamplingParams

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from minivault.structured.judge import Judge

_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


class Held:
    """Checks answers to schemas and patterns, in the judge's process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._judge: Judge | None = None

    def constraint(self, params: SamplingParams) -> Constraint | None:
        """What an answer to a request is to keep to; None where that is nothing."""
        if params.grammar is None:
            return None
        if params.grammar == "json":
            return Checked(_fault_of_object, None)
        return Checked(partial(self._fault, params.grammar), params.calls)

    def close(self) -> None:
        with self._lock:
            if self._judge is not None:
                self._judge.close()

    def _fault(self, grammar: str, text: str) -> str | None:
        from minivault.structured.judge import Judge

        with self._lock:
            if self._judge is None:  # its vocabulary is for compiling, which is done elsewhere
                self._judge = Judge([*(bytes([byte]) for byte in range(256)), b""], [256])
        return self._judge.fault(grammar, text)


class Checked:
    """A `types.Constraint` that looks at the whole answer only: another engine draws the tokens."""

    has_to_parse = True

    def __init__(self, fault: Callable[[str], str | None], calls: Calls | None) -> None:
        self._fault_of = fault
        self._calls = calls

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Nothing: no token is drawn here."""

    def accept(self, token_id: int) -> None:
        """Nothing: no token is drawn here."""

    def fault(self, text: str) -> str | None:
        """See `types.Constraint`."""
        if self._calls is None:
            return self._fault_of(text)
        calls = _CALL.findall(text)
        if self._calls == "forced" and not calls:
            return "no tool was called"
        return next((fault for call in calls if (fault := self._fault_of(call)) is not None), None)


def _fault_of_object(text: str) -> str | None:
    try:
        return None if isinstance(json.loads(text), dict) else "it is no object"
    except ValueError as error:
        return str(error)
