"""LocalModel: a model computed in this process.

Requests come from any thread: they are rendered and encoded where they come from, and only token ids reach the engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from minivault.service.decision import read_decision, read_relevance
from minivault.service.engine_loop import Generation, ready_made
from minivault.service.prompt import read_inputs, read_prompt, read_request
from minivault.service.resident import Resident
from minivault.service.shaping import shaped
from minivault.service.tokens import LocalTokens, Tokens
from minivault.types import (
    Embedding,
    EmbedTask,
    GenerateTask,
    GenerationRequest,
    Job,
    Measurement,
    MeasureTask,
    Question,
    SamplingParams,
)


class LocalModel(Resident):
    """One model and what it does: a `Model`. All public methods may be called from any thread."""

    @property
    def tokens(self) -> Tokens:
        """See `Model.tokens`."""
        with self.using() as engine:
            return LocalTokens(engine.loaded.tokenizer)

    def prepare(self, request: GenerationRequest) -> GenerateTask:
        """See `Model.prepare`."""
        with self.using() as engine:
            loaded = engine.loaded
            return read_request(request, loaded.tokenizer, loaded.info)

    def count(self, request: GenerationRequest) -> int:
        """See `Model.count`."""
        with self.using() as engine:
            return len(read_prompt(request, engine.loaded.tokenizer).tokens)

    def generate(self, task: GenerateTask, job_id: str, deadline_ns: int | None = None) -> Generation:
        """See `Model.generate`."""
        return self._answer(
            task, Job(job_id, task.tokens, task.params, deadline_ns, is_patient=task.request.is_patient)
        )

    def judge(self, task: GenerateTask, answer: Sequence[int], job_id: str) -> Generation:
        """See `Model.judge`."""
        return self._answer(task, Job(job_id, task.tokens, task.params, answer=tuple(answer)))

    def _answer(self, task: GenerateTask, job: Job) -> Generation:
        params = task.params
        with self.using(job.deadline_ns) as engine:
            loaded = engine.loaded
            if task.known_answer is not None:
                tokens = tuple(loaded.tokenizer.encode(task.known_answer, add_special=False))
                return ready_made(job, task.known_answer, tokens)
            if params.grammar is not None or params.calls is not None or params.thinking is not None:
                job = shaped(job, loaded.info, loaded.tokenizer, engine.compiler)
            return engine.submit(job)

    def prepare_embedding(self, inputs: Sequence[str | Sequence[int]], *, truncate: bool) -> EmbedTask:
        """See `Model.prepare_embedding`."""
        with self.using() as engine:
            return read_inputs(inputs, engine.loaded.tokenizer, engine.loaded.info, truncate=truncate)

    def embed(self, task: EmbedTask) -> Embedding:
        """See `Model.embed`. Each input is one call on the engine thread, so that answers go on between them."""
        with self.using() as engine:
            return Embedding([engine.embed(tokens) for tokens in task.inputs], len(task.tokens))

    def prepare_decision(self, state: GenerationRequest, question: Question, num_orders: int) -> MeasureTask:
        """See `Model.prepare_decision`."""
        with self.using() as engine:
            loaded = engine.loaded
            return read_decision(state, question, num_orders, engine.labels, loaded.tokenizer, loaded.info)

    def prepare_relevance(self, query: str, document: str) -> MeasureTask:
        """See `Model.prepare_relevance`."""
        with self.using() as engine:
            return read_relevance(query, document, engine.loaded.tokenizer, engine.loaded.info)

    def measure(self, measurement: Measurement, job_id: str, deadline_ns: int | None = None) -> Generation:
        """See `Model.measure`."""
        params = SamplingParams(max_tokens=len(measurement.labels), temperature=0.0, seed=0)
        job = Job(job_id, measurement.prompt, params, deadline_ns, labels=measurement.labels)
        with self.using(deadline_ns) as engine:
            return engine.submit(job)
