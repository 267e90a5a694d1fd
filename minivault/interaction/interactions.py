"""Starts interactions: checks what is asked, submits it to the service and opens its journal entry."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from minivault import __version__
from minivault.config import Settings
from minivault.errors import ContextExceeded, MiniVaultError, ModelNotFound, VaultError, VaultUnavailable
from minivault.interaction.builtin import builtin_answer
from minivault.interaction.interaction import Interaction
from minivault.interaction.prompt import Prompt, prepare_prompt
from minivault.metrics import Metrics
from minivault.service import Generation, ModelService, ServedModel
from minivault.types import Delta, Finished, GenerationRequest, Job, SamplingParams, Started, Timings, Usage
from minivault.vault import Closing, Opening, Vault, VaultStatus, new_id

log = logging.getLogger("minivault.interaction")

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked and through which door. `id` becomes the record's id; `body` is the request as received."""

    id: str
    api: str
    body: str = ""
    client: str = ""
    user_agent: str = ""
    key: str | None = None


class Interactions:
    """Starts interactions: the one door to the model for the HTTP dialects and the CLI alike."""

    def __init__(self, settings: Settings, service: ModelService, metrics: Metrics | None = None) -> None:
        self.settings = settings
        self.service = service
        self.metrics = metrics or Metrics()
        self._vault: Vault | None = None
        self._lock = threading.Lock()

    @property
    def vault(self) -> Vault:
        """This process's vault, opened on first use (after fork). Raises VaultUnavailable if it cannot be."""
        with self._lock:
            if self._vault is None:
                self._vault = _open_vault(self.settings)
            return self._vault

    def open_vault(self) -> None:
        """Open the vault now; a vault that cannot be opened is logged here and refuses each request."""
        try:
            _ = self.vault
        except MiniVaultError as error:
            log.error("cannot open the vault: %s", error.message)

    def vault_status(self) -> VaultStatus:
        """Where the vault stands. Raises VaultUnavailable if it cannot be opened."""
        return self.vault.status()

    def start(self, request: GenerationRequest, origin: Origin) -> Interaction:
        """Accept a request. Raises, before anything is generated, whatever makes it refusable: BadRequest,
        ModelNotFound, Overloaded, Loading, Draining, VaultUnavailable."""
        self.service.start()
        served = self.service.model
        _check_model(request, served)
        prompt = prepare_prompt(request, served.tokenizer)
        params = _effective(request.params, len(prompt.tokens), served)
        opening = _opening(request, origin, prompt, params, served)
        vault = self.vault
        vault.check_writable()
        generation = self._generate(request, origin, prompt, params, served)
        try:
            entry = vault.begin(opening)
        except MiniVaultError:
            generation.cancel()
            raise
        return Interaction(opening, served, generation, entry, self._observe)

    def record_auth_failure(self, client: str, reason: str) -> None:
        """Record a refused key. Raises VaultUnavailable: what cannot be recorded is refused all the same."""
        self.vault.append_event("auth_failed", {"client": client, "reason": reason})

    def close(self, timeout_s: float = 2.0) -> None:
        """Flush and close the vault; the service is closed by its owner."""
        with self._lock:
            if self._vault is not None:
                self._vault.close(timeout_s)
                self._vault = None

    def _generate(
        self, request: GenerationRequest, origin: Origin, prompt: Prompt, params: SamplingParams, served: ServedModel
    ) -> Generation:
        deadline_ns = time.monotonic_ns() + int(self.settings.deadline_s * 1e9)
        job = Job(origin.id, prompt.tokens, params, deadline_ns)
        answer = builtin_answer(request, served.info)
        return self.service.submit(job) if answer is None else _ready_made(job, answer, served)

    def _observe(self, api: str, closing: Closing, usage: Usage, timings: Timings) -> None:
        self.metrics.observe(api, closing.status, closing.finish_reason or "", usage, timings)


def _check_model(request: GenerationRequest, served: ServedModel) -> None:
    if request.model is not None and request.model != served.info.name:
        message = f"model {request.model!r} is not served here; this server runs {served.info.name!r}"
        raise ModelNotFound(message, field="model")


def _effective(params: SamplingParams, num_prompt_tokens: int, served: ServedModel) -> SamplingParams:
    """The parameters as they will be applied and recorded: seed drawn, `max_tokens` cut to the room there is."""
    room = served.info.context - num_prompt_tokens
    if room < 1:
        message = (
            f"the prompt has {num_prompt_tokens} tokens; with room for an answer the context takes "
            f"{served.info.context - 1}: shorten the prompt"
        )
        raise ContextExceeded(message, field="prompt")
    seed = secrets.randbelow(MAX_SEED + 1) if params.seed is None else params.seed
    vocabulary = served.tokenizer.vocabulary_size
    return replace(params, seed=seed, max_tokens=min(params.max_tokens, room), top_k=min(params.top_k, vocabulary))


def _opening(
    request: GenerationRequest, origin: Origin, prompt: Prompt, params: SamplingParams, served: ServedModel
) -> Opening:
    return Opening(
        id=origin.id,
        time_ns=time.time_ns(),
        api=origin.api,
        stream=request.stream,
        model=served.info.name,
        fingerprint=served.info.fingerprint,
        parameters=asdict(params),
        prompt=prompt.text,
        request=origin.body,
        rendered_prompt=prompt.rendered,
        prompt_tokens=prompt.tokens,
        client=origin.client,
        user_agent=origin.user_agent,
        key=origin.key,
        answerer="model" if builtin_answer(request, served.info) is None else "builtin",
    )


def _ready_made(job: Job, text: str, served: ServedModel) -> Generation:
    """A generation whose answer is known: the same events, without the engine."""
    tokens = tuple(served.tokenizer.encode(text, add_special=False))
    generation = Generation(job, lambda _id, _reason: None)
    generation.deliver(Started(len(job.prompt_tokens)))
    generation.deliver(Delta(text, tokens))
    generation.deliver(Finished("stop", Usage(len(job.prompt_tokens), len(tokens)), Timings()))
    return generation


def _open_vault(settings: Settings) -> Vault:
    start: dict[str, Any] = {"version": __version__, "settings_digest": settings.digest}
    size = settings.vault_segment_mb << 20
    try:
        return Vault.open(settings.log_dir, sync=settings.vault_sync, segment_bytes=size, start=start)
    except VaultError as error:
        raise VaultUnavailable(error.message, retry_after_s=60) from error


@contextmanager
def open_local(settings: Settings) -> Iterator[Interactions]:
    """Load the model in this process and open the vault: what the CLI does when no server runs."""
    service = ModelService(settings)
    interactions = Interactions(settings, service)
    try:
        service.wait_loaded()
        yield interactions
    finally:
        service.close()
        interactions.close()


def next_id() -> str:
    """A new record id, ordered by time."""
    return new_id(time.time_ns())
