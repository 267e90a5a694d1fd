"""One decoder described as data: its sizes and switches, and the names that its family gives to tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Config = Mapping[str, Any]
"""A checkpoint's config.json."""
Rotation = Mapping[str, Any]
"""`rope_type`, `rope_theta` and what a type needs besides, as a config names them."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What may differ from one layer to the next."""

    window: int = 0
    """Most positions that attention looks at, the row's own included; 0: all before it."""
    rotation: int = 0
    """Which of the block's `rotations` turns queries and keys; -1: none does."""


@dataclass(frozen=True, slots=True)
class Experts:
    """MLPs of which a router chooses some for each token; what these give is added up, each by its share."""

    num: int
    used: int
    """Chosen for a token: those with the largest of the router's numbers, and of equal ones the first."""
    mlp: int
    is_normalized: bool = True
    """The shares of the chosen are a softmax over these alone, else over all."""
    has_shared: bool = False
    """The layer's own MLP serves every token as well, by a share that the router gives: sigmoid of a last number."""
    gate_slope: float = 1.0
    gate_limit: float = 0.0
    """Other than 0: the gate is x * sigmoid(slope * x) of numbers cut off above the limit, and multiplies numbers that
    are cut off on both sides and raised by one (gpt-oss)."""


@dataclass(frozen=True, slots=True)
class Block:
    """Defaults are what most families have. `is_centred`: its norms subtract the mean (LayerNorm)."""

    hidden: int
    num_layers: int
    num_heads: int
    num_groups: int
    """Key/value heads; each serves `num_heads / num_groups` query heads."""
    head_size: int
    mlp: int
    """Width of the MLP that all tokens go through; 0 where all that there is are experts."""
    vocabulary: int
    positions: int
    """Most positions the model was made for."""
    norm_eps: float
    activation: str
    is_gated: bool
    is_centred: bool
    is_tied: bool = True
    """The embedding serves as head."""
    biased: tuple[str, ...] = ()
    """Maps of a layer (query, key, value, gate, up, down) that must have a bias; others have one where a file does."""
    experts: Experts | None = None
    has_sinks: bool = False
    """Each head has one more score, a number of its own, that takes a share of the attention and gives nothing."""
    norm_offset: float = 0.0
    """Added to every norm's weights that a checkpoint has (a GGUF file has them added)."""
    has_input_norms: bool = True
    """Attention and MLP read what a norm makes of the stream, else the stream itself."""
    has_output_norms: bool = False
    """What attention and MLP give is normed before it joins the stream."""
    head_norm: Literal["", "head", "all"] = ""
    """Queries and keys are normed before they are turned: each head by itself, or all together."""
    is_parallel: bool = False
    """Attention and MLP read the same stream, and both are added to it."""
    is_scaled_by_depth: bool = False
    """Attention scores are divided by the layer's number as well (a GPT-2 option)."""
    attention_scale: float | None = None
    """What queries are multiplied with; None: 1 / sqrt(head_size)."""
    attention_cap: float = 0.0
    """Scores become cap * tanh(score / cap); 0: they stay. Likewise `logit_cap`."""
    logit_cap: float = 0.0
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    """What attention and MLP give is multiplied with before it joins the stream."""
    logit_scale: float = 1.0
    rotations: tuple[Rotation, ...] = ()
    """Empty for a model with learned positions."""
    rotary_size: int = 0
    """Numbers of a head that are turned, from its first; 0: all."""
    is_interleaved: bool = False
    """Neighbours in a head are turned together, else those half a head apart."""
    layers: tuple[Layer, ...] = ()
    """Empty: all as `Layer()`."""

    @property
    def num_queries(self) -> int:
        """Query heads in each group."""
        return self.num_heads // self.num_groups

    @property
    def attention(self) -> int:
        """Width of what attention hands to its output projection."""
        return self.num_heads * self.head_size

    @property
    def turned(self) -> int:
        """Numbers of a head that are turned."""
        return (self.rotary_size or self.head_size) if self.rotations else 0

    def layer(self, index: int) -> Layer:
        return self.layers[index] if self.layers else Layer()


@dataclass(frozen=True, slots=True)
class Names:
    """How files name the tensors of a model: each is followed by `.weight` or `.bias`.

    Those of a layer follow `layer`, with its number for `{}`, and all but the head may follow `prefix`.
    """

    prefix: str
    embedding: str
    norm: str
    head: str
    """Absent where the embedding serves."""
    layer: str
    qkv: tuple[str, ...]
    """Query, key and value; or one for the three, joined along the outputs."""
    output: str
    ups: tuple[str, ...]
    """(gate, up) where the MLP is gated, or one for both, joined along the outputs; else (up,)."""
    down: str
    attention_norm: str | None = None
    mlp_norm: str | None = None
    attention_output_norm: str | None = None
    mlp_output_norm: str | None = None
    query_norm: str | None = None
    key_norm: str | None = None
    positions: str | None = None
    """Where they are learned."""
    router: str | None = None
    expert_ups: tuple[str, ...] = ()
    """As `ups`, with the expert's number for `{}`; without one, of all experts together, [experts, …]."""
    expert_down: str = ""
    expert_suffixes: tuple[str, str] = (".weight", ".bias")
    """What follows the names of experts' maps instead."""
    shared_router: str | None = None
    """One row that gives the shared MLP's share."""
    sinks: str | None = None
    """The whole name."""
    is_alternating: bool = False
    """One map for gate and up of all experts has their outputs in turn."""
    are_experts_transposed: bool = False
    """Maps of experts are stored as [in, out], where they are not packed."""
    is_transposed: bool = False
    """Linear maps are stored as [in, out]."""
    is_joined_by_head: bool = False
    """One map for query, key and value has those of a head together, else all queries first."""
    has_biases: bool = False
    """Every norm and linear map of a layer has one, and the last norm. Otherwise only those that do."""

    @property
    def of_layer(self) -> tuple[str, ...]:
        """All that a layer has, in an order of our own."""
        norms = (self.attention_output_norm, self.mlp_output_norm, self.query_norm, self.key_norm)
        experts = (self.router, *self.expert_ups, self.expert_down, self.shared_router)
        found = (self.attention_norm, *self.qkv, self.output, self.mlp_norm, *self.ups, self.down, *norms, *experts)
        return tuple(dict.fromkeys(name for name in found if name))


@dataclass(frozen=True, slots=True)
class Family:
    """Models that differ in numbers only. `why_not` tells in one line why a config is none that `block` describes."""

    model_types: tuple[str, ...]
    names: Names
    block: Callable[[Config], Block]
    why_not: Callable[[Config], str | None]
    gguf: Mapping[str, Names] = field(default_factory=dict)
    """GGUF's name of the architecture → how its files name tensors."""
    defaults: Mapping[str, Config] = field(default_factory=dict)
    """What configs within larger models leave out, by `model_type`."""
    gguf_paired: tuple[str, ...] = ()
    """Architectures whose GGUF files have query and key rows in pairs, whatever checkpoints have."""


def stream_norms(block: Block, names: Names) -> dict[str, str]:
    """A file's names of the norms of a layer that the stream passes, by what they norm; one may serve two places."""
    found: dict[str, str | None] = {}
    if block.has_input_norms:
        found |= {"attention_norm": names.attention_norm, "mlp_norm": names.mlp_norm or names.attention_norm}
    if block.has_output_norms:
        found |= {"attention_output_norm": names.attention_output_norm, "mlp_output_norm": names.mlp_output_norm}
    return {part: name for part, name in found.items() if name is not None}


def head_norms(block: Block, names: Names) -> dict[str, str]:
    """The same of queries and keys."""
    found = {"query": names.query_norm, "key": names.key_norm} if block.head_norm else {}
    return {part: name for part, name in found.items() if name is not None}


def missing(config: Config, *names: str) -> str | None:
    """A line about the first of `names` that a config does not have."""
    absent = [name for name in names if config.get(name) is None]
    return f"the config has no {absent[0]}" if absent else None


def is_set(config: Config, *names: str) -> str | None:
    """A line about the first of `names` that a config switches on, where that is not supported."""
    found = [name for name in names if config.get(name)]
    return f"{found[0]} is set, which is not supported" if found else None
