"""Sampled tokens of several sequences in one pass of the library's model, with the bits that each has alone.

Only attention looks at other positions, so all else may be computed for several rows at once, and each row's attention
by itself, over its own cache. States that stand for all positions before are stacked for a pass, a row for each
sequence. What is left of the company is the shape of matrices, by which libraries choose their order of additions: so
the number of rows is always the same, filled up where there are fewer sequences, and an expert computes all rows where
one has chosen it. Whether a model on this machine keeps to that is tried when it is loaded; one that does not goes on
sequence by sequence.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from transformers import cache_utils
from transformers.cache_utils import Cache, DynamicCache
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

OURS = "minivault-each"
"""The name of our attention and of our experts among the library's. Attention has no mask there, and needs none: a
row's cache holds what it sees."""
ROWS_ON_CPU, ROWS_ON_GPU = 8, 32
"""Rows of a pass. More cost a single sequence time on a CPU, and next to nothing on a GPU."""
_ROTATIONS = {"default", "linear", "llama3", "yarn", "proportional"}
"""Those by which a row's positions are turned whatever the positions of other rows."""
_STATES = (cache_utils.LinearAttentionLayer, cache_utils.LinearAttentionAndFullAttentionLayer)
_LAYERS = (cache_utils.DynamicLayer, cache_utils.DynamicSlidingWindowLayer, cache_utils.DummyLayer, *_STATES)
_NEARNESS = 1e-3


class Company(Cache):
    """The caches of several sequences, for one pass of `num_rows`: a layer's new keys and values go to each one's own.
    States are each one's own again once they are `given_back`."""

    def __init__(self, caches: Sequence[DynamicCache], num_rows: int, attend: Callable[..., Any]) -> None:
        super().__init__(layers=[])
        self.caches, self.attend, self._num_rows = caches, attend, num_rows
        self._seen = dict[int | None, tuple[Any, list[Any]]]()
        self._stacked = dict[tuple[str, int, int], Any]()

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
        rows = [(key_states[i : i + 1], value_states[i : i + 1]) for i in range(len(self.caches))]
        pairs = zip(self.caches, rows, strict=True)
        seen = [cache.update(*row, layer_idx, *args, **kwargs) for cache, row in pairs]
        self._seen[id(key_states)] = self._seen[None] = key_states, seen
        return key_states, value_states

    def seen(self, key_states: Any) -> list[Any]:
        """What each sequence sees in the layer that these came to, which others may share; of others, in the last."""
        return self._seen.get(id(key_states), self._seen[None])[1]

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Any:
        return self._stack("conv_states", layer_idx, state_idx)

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Any:
        return self._stack("recurrent_states", layer_idx, state_idx)

    def update_recurrent_state(self, recurrent_states: Any, layer_idx: int, state_idx: int = 0, **_kwargs: Any) -> Any:
        self._stacked["recurrent_states", layer_idx, state_idx] = recurrent_states
        return recurrent_states

    def _stack(self, kind: str, layer: int, state: int) -> Any:
        """The states of all sequences, and of rows that are free; the library writes into these."""
        key = kind, layer, state
        if key not in self._stacked:
            rows = [getattr(cache.layers[layer], kind)[state] for cache in self.caches]
            free = [torch.zeros_like(rows[0])] * (self._num_rows - len(rows))
            self._stacked[key] = torch.cat([*rows, *free])
        return self._stacked[key]

    def give_back(self) -> None:
        for (kind, layer, state), rows in self._stacked.items():
            for row, cache in enumerate(self.caches):
                getattr(cache.layers[layer], kind)[state].copy_(rows[row : row + 1])

    def has_previous_state(self, layer_idx: int | None = None, state_idx: int | None = None) -> bool:  # noqa: ARG002
        return True

    def is_recording_past(self, layer_idx: int) -> bool:  # noqa: ARG002
        return False

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return max(length_of(cache, layer_idx) for cache in self.caches)

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.get_seq_length(layer_idx) + query_length, 0


_company: ContextVar[Company] = ContextVar("company")
"""Whose pass it is, in each thread that computes."""


def _attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,  # noqa: ARG001
    attention_mask: Any,  # noqa: ARG001
    **kwargs: Any,
) -> tuple[Any, None]:
    """Each row's attention as the library computes it of one sequence."""
    company = _company.get()
    expand = getattr(module, "expand_kv", lambda *seen: seen)  # of what a cache holds in few numbers (MLA)
    rows = [
        company.attend(module, query[i : i + 1], *expand(*seen), None, **kwargs)[0]
        for i, seen in enumerate(company.seen(key))
    ]
    rows += [torch.zeros_like(rows[0])] * (len(query) - len(rows))
    return torch.cat(rows), None


def _ask_experts(module: Any, hidden: Any, chosen: Any, shares: Any) -> Any:
    """As the library computes one expert of all rows, for each that a sequence's row has chosen, in their order.

    `hidden` [rows, width], `chosen` and `shares` [rows, choices]."""
    one, num = inspect.unwrap(type(module).forward), len(_company.get().caches)
    total = torch.zeros_like(hidden)
    for expert in chosen[:num].unique().tolist():
        answers = one(module, hidden, torch.full_like(chosen[:, :1], expert), torch.ones_like(shares[:, :1]))
        is_choice = chosen == expert
        share = (shares * is_choice).sum(1, keepdim=True)
        given = (share * answers).to(total.dtype)
        total = torch.where(is_choice.any(1, keepdim=True), total + given, total)
    return total


AttentionInterface.register(OURS, _attend)
ALL_EXPERTS_FUNCTIONS.register(OURS, _ask_experts)


class Together:
    """Runs one token of each of up to `num_rows` sequences of `model`."""

    def __init__(self, model: Any) -> None:
        self._model, self._config = model, model.config.get_text_config(decoder=True)
        self.num_rows = ROWS_ON_CPU if model.device.type == "cpu" else ROWS_ON_GPU
        self._own, self._own_experts = self._config._attn_implementation, self._config._experts_implementation
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._cache_name = cache_name(model)

    @torch.inference_mode()
    def forward(self, tokens: Sequence[int], positions: Sequence[int], caches: Sequence[DynamicCache]) -> torch.Tensor:
        """Logits after each token [sequences, vocabulary], float32; the caches hold what came before."""
        free = [0] * (self.num_rows - len(tokens))
        ids, places = (torch.tensor([*given, *free], device=self._model.device) for given in (tokens, positions))
        company = Company(caches, self.num_rows, ALL_ATTENTION_FUNCTIONS.get(self._own) or self._eager())
        token = _company.set(company)
        self._config._attn_implementation = self._config._experts_implementation = OURS
        given = {"position_ids": places[:, None]} if self._takes_positions else {}
        try:
            output = self._model(input_ids=ids[:, None], use_cache=True, **{self._cache_name: company}, **given)
        finally:
            self._config._attn_implementation, self._config._experts_implementation = self._own, self._own_experts
            _company.reset(token)
        company.give_back()
        logits: torch.Tensor = output.logits[: len(tokens), -1].float()
        return logits

    def _eager(self) -> Any:
        """The model's own attention, which its module calls by this name."""
        return vars(sys.modules[type(self._model).__module__]).get("eager_attention_forward")

    def why_not(self) -> str | None:
        """One line saying why sequences cannot share a pass with the bits that they have alone; None where they can."""
        return self._why_not_config() or self._why_not_found()

    def _why_not_config(self) -> str | None:
        said = self._config.to_dict()
        turns = {turn for turn in _rotation_types(said) if turn is not None} - _ROTATIONS
        if turns:
            return f"rope_type {min(turns)!r} depends on the longest sequence"
        if any("chunked" in str(kind) for kind in said.get("layer_types") or ()):
            return "attention in chunks depends on the position"
        modules = [(name, module) for name, module in self._model.named_modules() if name.endswith(".experts")]
        if experts := [name for name, module in modules if not hasattr(type(module).forward, "__wrapped__")]:
            return f"{experts[0]} computes as many rows at once as come to it"
        if self._own != "eager" and not ALL_ATTENTION_FUNCTIONS.get(self._own):
            return f"attention {self._own!r} is none of the library's"
        return None

    def _why_not_found(self) -> str | None:
        """Some sequences in every row of a pass and one of them alone: the same bits, and those of the library to
        rounding. A model that is not made for it may fail in any way."""
        try:
            return self._tried()
        except Exception as error:
            return f"a pass of several sequences fails: {type(error).__name__}: {str(error).splitlines()[:1]}"

    @torch.inference_mode()
    def _tried(self) -> str | None:
        prompts = [[(7 * row + 3 * place) % 50 for place in range(1 + row % 5)] for row in range(self.num_rows)]
        before = [self._prefilled(prompt) for prompt in prompts]
        if unknown := {type(layer).__name__ for layer in before[0].layers if type(layer) not in _LAYERS}:
            return f"its cache has a {min(unknown)}"
        if not self._takes_positions and any(type(layer) is not _STATES[0] for layer in before[0].layers):
            return "the model takes no position_ids"
        alone = [self._one(prompts, before, [row])[0] for row in (0, 3)]
        for first in range(self.num_rows):
            order = [(first + row) % self.num_rows for row in range(self.num_rows)]
            found = self._one(prompts, before, order)
            if any(not torch.equal(found[order.index(row)], one) for row, one in zip((0, 3), alone, strict=True)):
                return "a row's bits depend on its place in a pass"
        given = {"input_ids": torch.tensor([[5]], device=self._model.device), "use_cache": True}
        expected = self._model(**given, **{self._cache_name: copy.deepcopy(before[3])}).logits[0, -1]
        distance = torch.linalg.vector_norm(alone[1] - expected.float()) / torch.linalg.vector_norm(expected.float())
        most = _NEARNESS if self._model.dtype == torch.float32 else 0.1
        return None if distance < most else f"logits of a pass of several sequences are {float(distance):.2g} away"

    def _prefilled(self, prompt: Sequence[int]) -> DynamicCache:
        cache = DynamicCache(config=self._model.config)
        ids = torch.tensor([prompt], device=self._model.device)
        self._model(input_ids=ids, use_cache=True, **{self._cache_name: cache})
        return cache

    def _one(self, prompts: Any, caches: Sequence[DynamicCache], order: Sequence[int]) -> torch.Tensor:
        """The next token after these prompts, whose caches stay as they are."""
        copies = [copy.deepcopy(caches[row]) for row in order]
        return self.forward([5] * len(order), [len(prompts[row]) for row in order], copies)


def length_of(cache: Any, layer: int = 0) -> int:
    """Positions that a cache holds; 0 where it holds states alone."""
    keeps_positions = any(isinstance(one, cache_utils.CacheLayerMixin) for one in cache.layers)
    return int(cache.get_seq_length(layer)) if keeps_positions else 0


def cache_name(model: Any) -> str:
    """What the model's forward pass calls the cache that it is given."""
    return "cache_params" if "cache_params" in inspect.signature(model.forward).parameters else "past_key_values"


def _rotation_types(said: Mapping[str, Any]) -> Iterator[Any]:
    for key, value in said.items():
        if key in ("rope_type", "type") and isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _rotation_types(value)
