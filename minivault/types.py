"""The values that travel between layers: what is asked, how, and what comes back.

Everything here is immutable and knows nothing of HTTP, torch or files. A dialect decodes bytes into a
`GenerationRequest`; a model makes a `Task` of it, as it reads it itself, and answers with `Event`s; the dialect encodes
those back into bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PATTERN = "pattern:"
"""How a grammar begins that is a regular expression, which all of the output matches."""
FinishReason = Literal["stop", "length", "cancelled", "deadline", "shutdown", "error"]
Role = Literal["system", "user", "assistant", "tool"]
Calls = Literal["auto", "strict", "forced"]
Thinking = Literal["possible", "begun"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. `extra` holds what only some templates read (tool calls, tool names)."""

    role: Role
    content: str
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens. `seed` None means: draw one; by the time a `Job` exists it is always set."""

    max_tokens: int = 256
    """0 = the prompt is processed and nothing is sampled."""
    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """Number of top alternatives to report with each token (0 = only the chosen one); None = no log-probabilities."""
    prompt_logprobs: int | None = None
    """The same for each token of the prompt, given those before it; None = the prompt is not scored."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    grammar: str | None = None
    """What the output must parse as: the string `json`, a JSON schema as JSON text, or `PATTERN` and a regular
    expression. None = anything."""
    ignore_eos: bool = False
    """The model's own end of a text ends no answer: it goes on until something else does."""
    min_tokens: int = 0
    """Before so many tokens none is drawn that ends the answer."""
    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end the answer as the model's own end does; they have no text."""
    calls: Calls | None = None
    """None: no tools were offered. `auto`: calls are part of the text, as the model marks them. `strict`: where the
    model calls, the call keeps to `grammar`. `forced`: the answer is one call, which keeps to `grammar`."""
    thinking: Thinking | None = None
    """Where thoughts are told from the answer. `possible`: it may begin with one; `begun`: it begins inside one."""
    thinking_budget: int | None = None
    """Most tokens of thought, after which it is ended."""
    watermark: str | None = None
    """The mark (scheme and key id) that tokens are drawn by instead of the seed; None = they are not marked."""
    unsaid: tuple[str, ...] = ()
    """Of a request: parameters that it does not say, whose values are only the dialect's. Of a task: those that took
    the model's own value for that reason."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One request after a dialect has decoded it. Exactly one of `prompt`, `messages` and `prompt_tokens` is given."""

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    prompt_tokens: tuple[int, ...] | None = None
    system: str | None = None
    raw: bool | None = None
    """True: no chat template. None: the template where the model has one."""
    after: tuple[int, ...] = ()
    """Token ids of an earlier exchange, which `prompt` continues."""
    continues: bool = False
    """The last message is the beginning of the assistant's answer, which goes on from there."""
    thinks: bool | None = None
    """Whether the model is to think first; None: as its template does by default."""
    thinking_effort: str | None = None
    """How much, in the template's words; None: as its template does by default."""
    thinking_budget: int | None = None
    """Most tokens of thought; None: no bound of its own."""
    template_options: tuple[tuple[str, Any], ...] = ()
    """Variables of the chat template, by name, as the client sent them."""
    drops_turns: bool = False
    """A conversation that does not fit loses its oldest turns."""
    num_keep: int | None = None
    """The same, and what still does not fit is cut, this many tokens at the front kept; None = it is refused."""
    most_read: int | None = None
    """Most tokens of the prompt; None: as many as leave room for an answer in the model's context."""
    tools: tuple[dict[str, Any], ...] = ()
    model: str | None = None
    is_patient: bool = False
    """Nobody waits for it: those whom somebody waits for go first."""
    stream: bool = False
    params: SamplingParams = field(default_factory=SamplingParams)


class Constraint(Protocol):
    """Restricts what may be sampled next, so that the output parses (structured output). One object an answer."""

    @property
    def has_to_parse(self) -> bool:
        """The whole answer must parse: one that is cut is none."""
        ...

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits [vocabulary] of tokens that may not come next to -inf, in place."""

    def accept(self, token_id: int) -> None:
        """Advance by a sampled token."""

    def fault(self, text: str) -> str | None:
        """Where a whole answer breaks what it was to keep to; None when it does not. Called by whoever reads it."""
        ...


class Thought(Protocol):
    """Tells an answer's text from the thoughts in it. One object an answer, fed with its text piece by piece."""

    @property
    def is_open(self) -> bool:
        """What comes next is thought."""
        ...

    def feed(self, text: str) -> str:
        """The part of the text so far that is now known to be the answer's."""
        ...

    def take(self) -> str:
        """The thoughts that have become known since the last call."""
        ...

    def finish(self) -> str:
        """What was held back at the end of the answer and is its text; thoughts in it are to be taken."""
        ...


@dataclass(frozen=True, slots=True)
class GenerateTask:
    """A request as one model reads it. `text` is what the person wrote, `rendered` what the model reads, `tokens` how
    it reads it (empty where only an engine elsewhere knows), `params` the parameters as they will be applied."""

    request: GenerationRequest
    text: str
    rendered: str
    tokens: tuple[int, ...]
    params: SamplingParams
    known_answer: str | None = None  # set where no model is needed to answer
    has_control_text: bool = False
    num_dropped: int = 0
    """Messages at the conversation's beginning that were left out because they did not fit."""
    num_cut: int = 0
    """Tokens that were cut out of the prompt's middle because it still did not fit."""

    @property
    def answerer(self) -> str:
        """Who answers, in the record's words."""
        return "model" if self.known_answer is None else "builtin"

    @property
    def truncated(self) -> dict[str, int]:
        """What of the request the model did not read, where that is not all."""
        left_out = {"dropped_messages": self.num_dropped, "cut_tokens": self.num_cut}
        return {name: number for name, number in left_out.items() if number}

    @property
    def parameters(self) -> dict[str, Any]:
        named = {name: getattr(self.params, name) for name in SamplingParams.__slots__}
        from_model = named.pop("unsaid")
        return named | ({"from_model": from_model} if from_model else {}) | self.truncated

    @property
    def is_streamed(self) -> bool:
        return self.request.stream


@dataclass(frozen=True, slots=True)
class EmbedTask:
    """Texts to embed, and the token ids of each as the model reads it."""

    texts: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    has_control_text: bool = False
    num_cut: int = 0
    """Tokens at the ends of inputs that were left out because they did not fit."""
    answerer: str = "embedding"
    is_streamed: bool = False
    sent: str = ""
    """What an engine elsewhere is sent, path and body; it counts the tokens itself."""

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    @property
    def rendered(self) -> str:
        return self.sent or self.text

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for tokens in self.inputs for token in tokens)

    @property
    def parameters(self) -> dict[str, Any]:
        return {"num_inputs": len(self.texts)} | self.truncated

    @property
    def truncated(self) -> dict[str, int]:
        """As a `GenerateTask`'s."""
        return {"cut_tokens": self.num_cut} if self.num_cut else {}


@dataclass(frozen=True, slots=True)
class Embedding:
    """A unit vector for each input, in order, and how many tokens were read."""

    vectors: list[list[float]]
    num_tokens: int
    told: Mapping[str, Any] | None = None
    """What an engine elsewhere said of it, for the record."""


@dataclass(frozen=True, slots=True)
class Option:
    """One of the things that a question may be answered with."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be decided of a state, and between which options, in their own order."""

    instructions: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """Log-probabilities to be read after a prompt: of the tokens `labels[0]` as the next one, then, with the first of
    these read on, of `labels[1]`, and so on."""

    prompt: tuple[int, ...]
    labels: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class MeasureTask:
    """What is measured to decide one question (a measurement for each order of its options, each with a label for
    every option), or how relevant one document is (the tokens of the query, one after the other)."""

    text: str
    rendered: str
    measurements: tuple[Measurement, ...]
    answerer: Literal["decision", "relevance"]
    options: tuple[str, ...] = ()
    """What the labels stand for."""
    has_control_text: bool = False
    part_of: str = ""
    """The id of the record that has the body of the same request, where this is not the first."""
    is_streamed: bool = False

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(token for measurement in self.measurements for token in measurement.prompt)

    @property
    def num_tokens(self) -> int:
        """Tokens that are read."""
        return sum(len(measurement.prompt) + len(measurement.labels) - 1 for measurement in self.measurements)

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "options": self.options,
            "labels": [measurement.labels for measurement in self.measurements],
            "num_prompt_tokens": [len(measurement.prompt) for measurement in self.measurements],
            "part_of": self.part_of,
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of a `MeasureTask`: for each measurement the log-probability of every label, in order, and the
    probability of each option, or of the query."""

    logprobs: tuple[tuple[float, ...], ...]
    probabilities: tuple[float, ...]
    usage: Usage
    receipt: Mapping[str, Any] | None = None
    """What the client may keep of its record."""


Task = GenerateTask | EmbedTask | MeasureTask
"""Every kind of work that is recorded."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the engine is asked to do. `params.seed` is set; `deadline_ns` is on the monotonic clock, None = never."""

    id: str
    prompt_tokens: tuple[int, ...]
    params: SamplingParams
    deadline_ns: int | None = None
    constraint: Constraint | None = None
    labels: tuple[tuple[int, ...], ...] = ()
    """Not empty: nothing is chosen, but measured, as `Measurement` says; each step is a `Delta` without tokens."""
    thought: Thought | None = None
    marks: Mapping[int, bytes] = field(default_factory=dict)
    """Control tokens that belong to the text of this answer, since its reader looks for them: id → their text."""
    is_patient: bool = False
    answer: tuple[int, ...] = ()
    """Not empty: nothing is drawn; these are the tokens of an answer that is known, and one `Delta` judges them all."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Tokens of an answer that is known, each beside what is drawn here after those before it."""

    drawn: tuple[int, ...]
    """May be fewer than there are: what comes after the answer's end is not looked at."""
    distances: tuple[float, ...]
    """By how much logits would have to move for each to be drawn, in units of logits; infinite where it might not come
    at all."""
    num_forced: int = 0
    """Of them, those that alone might have come."""
    ending: FinishReason | None = None
    """How it ends with the last of them; None where it goes on."""


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    """Those of the completion that are thought."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations of one generation in nanoseconds, all on the monotonic clock."""

    queued_ns: int = 0
    prefill_ns: int = 0
    first_token_ns: int = 0
    """From submission to the first sampled token."""
    total_ns: int = 0


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """Natural-log probability of one token under the unmodified model distribution."""

    token_id: int
    logprob: float
    data: bytes = b""
    """The token's own bytes, none where it is no text; the sampler does not know them, the engine does."""
    name: str = field(default="", kw_only=True)
    """What one that is no text is called, such as `<|im_end|>`."""


@dataclass(frozen=True, slots=True)
class TokenLogprob(TopLogprob):
    """That of the token that was sampled, or stands in the prompt, and of the most likely ones in its place."""

    top: tuple[TopLogprob, ...] = ()
    rank: int = 0
    """Its place among all tokens, from 1, the most likely: higher logit first, equal logits by lower id."""


@dataclass(frozen=True, slots=True)
class Started:
    """The sequence left the queue and its prompt has been processed; the first token follows.

    `prompt_logprobs` has an entry for every token of the prompt where they were asked for. The first, which nothing
    precedes, is taken as given: log-probability 0, rank 0, no alternatives."""

    prompt_tokens: int
    cached_tokens: int = 0
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """New output. `text` is valid UTF-8 on its own and may be empty while bytes or a possible stop string are held
    back; `token_ids` are the tokens sampled since the last Delta, in order. `reasoning` is what the model thought,
    without the tags around it, and no part of `text`."""

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    reasoning: str = ""
    judgement: Judgement | None = None
    """Of a whole answer that was known before."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a generation that produced an answer, whole or cut (`cancelled`, `deadline`, `shutdown`)."""

    reason: FinishReason
    usage: Usage
    timings: Timings
    stop: str | None = None
    """The stop string that ended it, which is no part of the text."""
    receipt: Mapping[str, Any] | None = None
    """What the client may keep of its record; once that is durable."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The last event of a generation that raised. `error` is from our own tree and safe to show."""

    error: Exception
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)


Event = Started | Delta | Finished | Failed


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is served, as told to clients."""

    name: str
    architecture: str
    num_parameters: int
    context: int
    """Most tokens of a prompt and its answer."""
    embedding_length: int
    num_layers: int
    num_heads: int
    quantization: str
    weights_digest: str
    """`sha256:` and 64 hex digits."""
    size_bytes: int
    license: str
    runner: str
    fingerprint: str
    fingerprint_parts: Mapping[str, str] = field(default_factory=dict)
    """What the fingerprint is made of: all that can change a token."""
    device: str = "cpu"
    has_chat: bool = False
    """It takes conversations."""
    has_tools: bool = False
    """It can be told of tools."""
    call_format: str = "hermes"
    """How it writes tool calls: a name in `talk.calls`."""
    thought_format: str = ""
    """How it writes thoughts: a name in `talk.thoughts`; empty where it does not think."""
    source: str = ""
    chat_template: str = ""
    modified_ns: int = 0
    context_setting: str = ""
    """The setting that would allow for a larger context; empty where that is all that the model reads."""
    sampling: tuple[tuple[str, float], ...] = ()
    """How tokens are drawn where a request does not say: names of `SamplingParams`, and their values."""
    watermark: str = ""
    """The mark (scheme and key id) that answers carry; empty where they are not marked."""
    unmarked_fingerprint: str = ""
    """Of the same engine where answers are not marked, if they are."""
    vocabulary_kind: str = "gpt2"
    """In GGUF's words: `gpt2` for byte-level BPE, `llama` for SentencePiece."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Text as a model reads it."""

    text: str
    tokens: tuple[int, ...]
    has_control_text: bool = False  # people wrote what spells control tokens: it was read as plain text


class TokenDecoder(Protocol):
    """Turns the token ids of one answer into bytes, one at a time, in order."""

    def __call__(self, token_id: int) -> bytes: ...


NO_OPTIONS: Mapping[str, Any] = {}


class Tokenizer(Protocol):
    """A model's tokenizer: what it gives is exactly what the model sees."""

    vocabulary_size: int
    eos_ids: frozenset[int]
    has_chat_template: bool
    has_tool_template: bool

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        """A raw text: what spells a control token is one. `add_special`: with what belongs around a text."""

    def read(self, text: str) -> Reading:
        """Plain text with what belongs around a text: nothing in it is a control token."""

    def read_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        options: Mapping[str, Any] = NO_OPTIONS,
        *,
        continues: bool = False,
    ) -> Reading:
        """A conversation up to the assistant's next turn, or, where `continues`, up to where its last message ends: the
        template alone writes control tokens. `options` are variables of the template's own."""

    def decoder(self) -> TokenDecoder: ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token on its own, for log-probabilities; empty for special tokens."""

    def token_name(self, token_id: int) -> str:
        """What a token is called in the vocabulary, special tokens included."""
