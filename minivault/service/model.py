"""What a model is to everyone above: it takes a request, says how it reads it, and answers with events.

A model may be computed in this process or elsewhere; nobody above sees a tokenizer, a template or a tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from minivault.service.engine_loop import Generation
from minivault.service.tokens import Tokens
from minivault.types import (
    Embedding,
    EmbedTask,
    FinishReason,
    GenerateTask,
    GenerationRequest,
    Measurement,
    MeasureTask,
    ModelInfo,
    Question,
    Tokenizer,
)

if TYPE_CHECKING:
    from minivault.engine.runner import Runner

State = Literal["unloaded", "loading", "ready", "resting", "failed", "draining"]
"""`resting`: it has given its memory back, and is loaded again when it is asked for."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What a model is doing. `stats` counts since the start."""

    state: State
    reason: str
    running: int
    waiting: int
    stats: dict[str, int]
    cache: dict[str, int] = field(default_factory=dict)
    """Memory for what running answers attend to: `bytes`, `tokens` that it holds, `used_tokens`, and of these
    `reusable_tokens`, which are given up when somebody needs their memory."""
    goes_in_s: float | None = None
    """When it will give its memory back if nobody asks for it; None = not until another model needs it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a backend's function hands over: a model's facts, its tokenizer and a runner that computes it."""

    info: ModelInfo
    tokenizer: Tokenizer
    runner: Runner


class Model(Protocol):
    """One model. All methods may be called from any thread."""

    @property
    def info(self) -> ModelInfo:
        """What is served; of what is not loaded as much as is known, without a fingerprint where it never was. Raises
        Loading or LoadFailed while nothing is known."""
        ...

    def status(self) -> ModelStatus: ...

    @property
    def tokens(self) -> Tokens:
        """What its tokenizer makes of text, for those who count. Raises Loading or LoadFailed."""
        ...

    def prepare(self, request: GenerationRequest) -> GenerateTask:
        """The request as this model reads it. Raises BadRequest naming the field that it cannot take."""
        ...

    def count(self, request: GenerationRequest) -> int:
        """How many tokens the prompt of a request has, whether it fits or not. Raises as `prepare`."""
        ...

    def generate(self, task: GenerateTask, job_id: str, deadline_ns: int | None = None) -> Generation:
        """Begin an answer. Raises Loading, LoadFailed, Draining or Overloaded at once, never after waiting, and
        BadRequest for a grammar that cannot be compiled. `deadline_ns` is on the monotonic clock."""
        ...

    def judge(self, task: GenerateTask, answer: Sequence[int], job_id: str) -> Generation:
        """Begin to judge an answer that is known, in one pass over its tokens: one `Delta` with a `Judgement`. Raises
        as `generate`, and Unsupported where no logits are to be had."""
        ...

    def prepare_embedding(self, inputs: Sequence[str | Sequence[int]], *, truncate: bool) -> EmbedTask:
        """Texts or token ids as this model reads them. Raises BadRequest, or ContextExceeded for an input that is too
        long, unless it may be truncated."""
        ...

    def embed(self, task: EmbedTask) -> Embedding:
        """The vectors of its inputs. Raises what keeps an engine elsewhere from giving them."""
        ...

    def prepare_decision(self, state: GenerationRequest, question: Question, num_orders: int) -> MeasureTask:
        """How a question about a state (a prompt or a conversation) is decided: with its options in their own order and
        in `num_orders` - 1 others. Raises BadRequest where there are more options than labels, or ContextExceeded."""
        ...

    def prepare_relevance(self, query: str, document: str) -> MeasureTask:
        """How relevant a document is to a query: how likely the model, having read it, is to ask that. Raises
        ContextExceeded."""
        ...

    def measure(self, measurement: Measurement, job_id: str, deadline_ns: int | None = None) -> Generation:
        """Begin a measurement: a `Delta` without tokens for each of its steps. Raises as `generate`."""
        ...

    def start(
        self,
        is_stopping: Callable[[], bool] = lambda: False,
        *,
        delay_s: float = 0.0,
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin loading in the background, after `delay_s`; idempotent. `is_stopping` tells when the worker was asked
        to stop; `on_loaded` is called once loading has ended, well or not."""
        ...

    def wait_loaded(self, timeout_s: float | None = None) -> ModelInfo:
        """Start if needed and block until the model is there. Raises LoadFailed, or Loading on timeout."""
        ...

    def ensure_loaded(self, deadline_ns: int | None = None) -> None:
        """Have it ready to be asked, waiting until the deadline on the monotonic clock where it is to be loaded.
        Raises Loading while it loads for the first time, LoadFailed, Draining, or Overloaded where there is no room."""
        ...

    def keep(self, seconds: float | None) -> None:
        """From now on give its memory back when nobody has asked for it for so long; negative = never, None = as the
        settings say."""
        ...

    def unload(self, timeout_s: float = 0.0) -> bool:
        """Give its memory back once nobody uses it; False where somebody still does when the time is over."""
        ...

    def cancel_all(self, reason: FinishReason = "shutdown") -> None:
        """End every generation now."""
        ...

    def close(self, timeout_s: float = 5.0) -> None:
        """End every generation with `shutdown` and free the model."""
        ...
