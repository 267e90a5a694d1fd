"""UpstreamModel: one model of the engines elsewhere, a `Model` like any that is computed here.

What it is, its servers say; what they do not say is not made up. It generates, embeds and tells tokens as
far as they do; what needs the model's own numbers (decisions, scored prompts) is refused.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from minivault.config import Settings
from minivault.errors import LoadFailed, Loading
from minivault.service.builtin import builtin_answer
from minivault.service.engine_loop import Generation, ready_made
from minivault.service.model import ModelStatus, State
from minivault.service.tokens import Tokens
from minivault.service.upstream.asking import asked, left_out
from minivault.service.upstream.fleet import Fleet
from minivault.service.upstream.generation import UpstreamGeneration
from minivault.service.upstream.holding import Held
from minivault.service.upstream.kinds import Kind, context_in, facts_of
from minivault.service.upstream.refusing import GeneratesOnly
from minivault.service.upstream.server import Server
from minivault.service.upstream.whole import TOKENS_S, ToldTokens, embedded, embedding_task, whole_reply
from minivault.types import (
    Embedding,
    EmbedTask,
    FinishReason,
    GenerateTask,
    GenerationRequest,
    Job,
    ModelInfo,
)

PREFIX = "upstream:"
"""How the fingerprint of an engine elsewhere begins: it says who answered, not that it would answer so again."""
DRAWN_SEED_BITS = 31
"""Every engine takes seeds of so many."""
CONTEXT = 1 << 17
"""What a model reads whose servers do not say."""


class UpstreamModel(GeneratesOnly):
    """A `Model`. Without a name it is the first that the servers list."""

    def __init__(self, settings: Settings, fleet: Fleet, name: str = "") -> None:
        self._settings = settings
        self._fleet = fleet
        self._name = name
        self._info: tuple[object, ModelInfo] | None = None
        self._held = Held()

    # -- life -----------------------------------------------------------------------------------------------------

    def start(
        self,
        is_stopping: Callable[[], bool] = lambda: False,
        *,
        delay_s: float = 0.0,  # noqa: ARG002 - there is nothing to load again
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        """See `Model.start`. There is nothing to load: the servers are asked what they are."""
        self._fleet.start(is_stopping, on_loaded)

    def wait_loaded(self, timeout_s: float | None = None) -> ModelInfo:
        """See `Model.wait_loaded`."""
        self.start()
        self._fleet.wait_known(timeout_s)
        return self.info

    def ensure_loaded(self, deadline_ns: int | None = None) -> None:  # noqa: ARG002 - nothing is waited for
        """See `Model.ensure_loaded`."""
        self.start()
        _ = self.info

    def keep(self, seconds: float | None) -> None:
        """See `Model.keep`. Engines elsewhere look after their own memory."""

    def unload(self, timeout_s: float = 0.0) -> bool:  # noqa: ARG002
        """See `Model.unload`."""
        return False

    def cancel_all(self, reason: FinishReason = "shutdown") -> None:
        """See `Model.cancel_all`."""
        self._fleet.cancel_all(reason)

    def close(self, timeout_s: float = 5.0) -> None:
        """See `Model.close`."""
        self._fleet.close(timeout_s)
        self._held.close()

    # -- facts ----------------------------------------------------------------------------------------------------

    @property
    def info(self) -> ModelInfo:
        """See `Model.info`. Once known it stays, also while nobody answers."""
        name = self._name or next(iter(self._fleet.names()), "")
        servers = self._fleet.serving(name, also_down=True) if name else []
        if servers:
            self._name = name
            known = [(server, server.kind, server.described, server.entries.get(name, {})) for server in servers]
            key = [(one.url, kind.name, id(described), json.dumps(entry)) for one, kind, described, entry in known]
            if self._info is None or self._info[0] != key:
                self._info = (key, _info(name, servers, self._settings))
        if self._info is not None:
            return self._info[1]
        if not self._fleet.is_known:
            raise Loading("the engines elsewhere have not answered yet", retry_after_s=2)
        raise LoadFailed(f"no engine elsewhere answers: {self._fleet.reasons}", retry_after_s=5)

    def status(self) -> ModelStatus:
        """See `Model.status`."""
        state: State = "ready"
        reason = ""
        if self._fleet.is_draining:
            state, reason = "draining", "the server is stopping"
        elif not (self._info and self._fleet.serving(self._name)):
            state = "failed" if self._fleet.is_known else "loading"
            reason = f"no engine elsewhere answers: {self._fleet.reasons}"
            try:
                state = "ready" if self.info and self._fleet.serving(self._name) else state
            except (Loading, LoadFailed) as error:
                reason = error.message
        return ModelStatus(state, reason if state != "ready" else "", self._fleet.num_live_of(self._name), 0, {})

    # -- work -----------------------------------------------------------------------------------------------------

    def prepare(self, request: GenerationRequest) -> GenerateTask:
        """See `Model.prepare`. `rendered` is what is sent, path and body."""
        self.start()
        info, kind = self.info, self._kind
        seed = request.params.seed
        params = replace(request.params, seed=secrets.randbits(DRAWN_SEED_BITS) if seed is None else seed)
        if request.tools and params.calls is None:
            params = replace(params, calls="auto")
        sent = asked(request, params, kind, info.name, info.context)
        return GenerateTask(request, _text(request), sent, (), params, builtin_answer(request, info))

    def generate(self, task: GenerateTask, job_id: str, deadline_ns: int | None = None) -> Generation:
        """See `Model.generate`."""
        info = self.info
        job = Job(job_id, (), task.params, deadline_ns, self._held.constraint(task.params))
        if task.known_answer is not None:
            return ready_made(job, task.known_answer, ())
        dropped = left_out(task.params, self._kind)
        prefix = task.rendered[task.rendered.find(_PROMPT.get(task.rendered.partition(" ")[0], " ")) :]
        generation = UpstreamGeneration(job, self._fleet, info.name, task.rendered, prefix, dropped)
        self._fleet.admit(generation, info.name)
        try:
            generation.send()
        except BaseException:
            self._fleet.forget(generation)
            raise
        return generation

    @property
    def tokens(self) -> Tokens:
        """See `Model.tokens`. Where the engine tells them."""
        self.start()
        name = self.info.name

        def ask(path: str, body: Mapping[str, Any]) -> dict[str, Any]:
            return whole_reply(self._fleet, name, path, body, TOKENS_S)[0]

        return ToldTokens(ask, self._kind, name)

    def count(self, request: GenerationRequest) -> int:
        """See `Model.count`."""
        return len(self.tokens.of_request(request))

    def prepare_embedding(self, inputs: Sequence[str | Sequence[int]], *, truncate: bool) -> EmbedTask:  # noqa: ARG002
        """See `Model.prepare_embedding`. Whether an input is too long, the engine says."""
        self.start()
        return embedding_task(inputs, self.info.name, self._kind)

    def embed(self, task: EmbedTask) -> Embedding:
        """See `Model.embed`."""
        return embedded(self._fleet, self.info.name, task, self._settings.deadline_s)

    @property
    def _kind(self) -> Kind:
        return self._fleet.serving(self.info.name, also_down=True)[0].kind


_PROMPT = {"/chat/completions": '"messages"', "/completions": '"prompt"'}
"""Where in a body the prompt begins."""


def _text(request: GenerationRequest) -> str:
    """What the person wrote."""
    if request.prompt is not None:
        return request.prompt
    messages = request.messages or ()
    return next((message.content for message in reversed(messages) if message.role == "user"), "")


def _info(name: str, servers: Sequence[Server], settings: Settings) -> ModelInfo:
    """What is known of a model, by its servers: the smallest context, and all that they say of themselves."""
    told = [(server, server.entries.get(name, {})) for server in servers]
    contexts = [found for server, entry in told if (found := context_in(entry, server.described))]
    context = min(contexts, default=CONTEXT)
    parts = _parts([facts_of(server.kind, entry, server.described) for server, entry in told])
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    meta = told[0][1].get("meta")
    meta = meta if isinstance(meta, dict) else {}
    return ModelInfo(
        name=name,
        architecture=servers[0].kind.name,
        num_parameters=_count(meta.get("n_params")),
        context=min(context, settings.context) if settings.context else context,
        embedding_length=0,
        num_layers=0,
        num_heads=0,
        quantization=str(parts.get("quantization", "")),
        weights_digest=f"sha256:{digest}",
        size_bytes=_count(meta.get("size")),
        license="",
        runner="upstream",
        fingerprint=f"{PREFIX}{digest}",
        fingerprint_parts=parts,
        device="elsewhere",
        has_chat=True,
        has_tools=True,
        thought_format="think",
        source=", ".join(server.url for server in servers),
    )


def _parts(told: Sequence[dict[str, str]]) -> dict[str, str]:
    """One description where all servers give the same, else each that is given, numbered."""
    different = list(dict.fromkeys(json.dumps(one, sort_keys=True) for one in told))
    if len(different) == 1:
        return told[0]
    return {
        f"{name} ({number})": value
        for number, one in enumerate(sorted(different), start=1)
        for name, value in json.loads(one).items()
    }


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
