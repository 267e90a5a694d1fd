"""The choices of one request: each an interaction of its own, with its own seed and record, begun as places come free.

As many as the model computes at once are begun with the request; a choice that has been told leaves its place, and its
caller's right to generate, to the next that has not begun. So a request with many prompts waits its turn like many
requests, and fails like one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import filterfalse
from operator import attrgetter
from typing import Protocol

from minivault.access.caller import Caller, charge_tokens, generation_permit
from minivault.access.permits import Permit
from minivault.api.disconnect import Forget, Watch
from minivault.errors import BadRequest, Overloaded, QuotaExceeded
from minivault.interaction import Interaction, Origin
from minivault.types import GenerateTask

RETRY_S = 0.05
"""How long a choice waits before it asks again for a place that somebody else has taken."""


class Begin(Protocol):
    def __call__(self, task: GenerateTask, origin: Origin) -> Interaction:
        """Begin an answer and its record."""


@dataclass(slots=True, eq=False)
class Watched:
    """One choice; once it has begun, with the watch on its client's socket and its caller's right to generate."""

    task: GenerateTask
    source: Origin
    caller: Caller
    patience_s: float
    """How long to wait for a place that somebody else has taken."""
    _begin: Begin
    _watch: Watch | None
    interaction: Interaction = field(init=False)
    """Only once it has begun."""
    has_begun: bool = field(default=False, init=False)
    is_left: bool = field(default=False, init=False)
    """Its client has gone."""
    _permit: Permit | None = field(default=None, init=False)
    _forget: Forget | None = field(default=None, init=False)

    def begin(self, permit: Permit) -> None:
        """Raises what `Interaction.begin` raises; the permit is then still the caller's."""
        self.interaction = self._begin(self.task, self.source)
        self.has_begun, self._permit = True, permit
        if self._watch is not None:
            self._forget = self._watch(self._leave)

    def _leave(self) -> None:
        self.is_left = True
        self.interaction.cancel()

    def end(self, *, is_served: bool = True) -> Permit | None:
        """Stop the interaction, charge its tokens if it was served, and give up the right to generate; idempotent."""
        permit, self._permit = self._permit, None
        if permit is None:
            return None
        if self._forget is not None:
            self._forget()
        self.interaction.close()
        if is_served:
            charge_tokens(self.caller, self.interaction.usage.total_tokens)
        return permit

    def close(self, *, is_served: bool = True) -> None:
        """End it, if it has begun, and let somebody else of its caller generate; idempotent."""
        if permit := self.end(is_served=is_served):
            permit.release()


def begin(choices: Sequence[Watched]) -> None:
    """Begin the first choice, and as many others as there are places and rights for. Raises why there is none for the
    first, or why another was refused."""
    for choice in choices:
        try:
            permit = generation_permit(choice.caller)
        except QuotaExceeded:
            if choice is choices[0]:
                raise
            return
        try:
            choice.begin(permit)
        except BaseException as error:
            permit.release()
            if isinstance(error, Overloaded) and choice is not choices[0]:
                return
            raise


def in_turn(choices: Sequence[Watched]) -> Iterator[Watched]:
    """Each choice, begun, once those before it have been told. Raises what keeps one from beginning."""
    waiting = deque(filterfalse(attrgetter("has_begun"), choices))
    free = deque[Permit]()
    try:
        for choice in choices:
            if waiting and choice is waiting[0]:
                _begin_in_time(waiting.popleft(), free.popleft())
            yield choice
            if waiting and choice.is_left:
                raise BadRequest("the client has gone")
            if waiting and (permit := choice.end()):
                free.append(permit)
            while waiting and free and _has_begun(waiting[0], free[0]):
                waiting.popleft(), free.popleft()
    finally:
        for permit in free:
            permit.release()


def _has_begun(choice: Watched, permit: Permit) -> bool:
    try:
        choice.begin(permit)
    except Overloaded:
        return False
    return True


def _begin_in_time(choice: Watched, permit: Permit) -> None:
    end = time.monotonic() + choice.patience_s
    try:
        while not _has_begun(choice, permit):
            if time.monotonic() >= end:
                raise Overloaded("every place is taken; try again shortly", retry_after_s=1)
            time.sleep(RETRY_S)
    except BaseException:
        permit.release()
        raise
