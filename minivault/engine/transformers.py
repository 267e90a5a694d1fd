"""The transformers runner: any causal language model that the library loads, exact and general before fast.

Prompts are computed alone, with the library's own forward pass and their own caches. Sampled tokens of several
sequences share passes where that changes no bit of any (`company`), and are computed alone where it would. Logits are
those of the model in the precision it was loaded in, returned as float32.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers.cache_utils import DynamicCache, DynamicLayer

from minivault.engine.company import Together, cache_name, length_of
from minivault.engine.host import host_signature
from minivault.engine.runner import Chunk
from minivault.errors import ModelError

log = logging.getLogger("minivault.engine")

VERSION = "2"
"""To be raised with any change here that can change a logit."""
CHUNK_TOKENS = 512

Block = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of a range of positions, one pair for each layer."""


class TransformersRunner:
    """Runs `model` (a causal LM in eval mode, on its device, in its dtype) over at most `num_slots` caches.

    `context` is lowered to the positions that the model has. Each slot has memory of its own: of `cache_bytes` there
    are as many slots as fit with a full context each, and where not even one does, the context is lowered to it.
    """

    name = "transformers"
    num_drafts = 0

    def __init__(
        self,
        model: Any,
        *,
        num_slots: int,
        context: int,
        chunk_tokens: int = CHUNK_TOKENS,
        cache_bytes: int | None = None,
    ) -> None:
        self._model = model
        self._forward_takes, self._cache_name = inspect.signature(model.forward).parameters, cache_name(model)
        text_config = model.config.get_text_config(decoder=True)
        context = min(context, getattr(text_config, "max_position_embeddings", None) or context)
        probe = self._new_cache()
        self.vocabulary_size = int(self._pass([0], probe).shape[-1])
        of_token, of_states = _num_bytes(probe), _num_state_bytes(probe)
        if cache_bytes is not None:
            context = max(1, min(context, (cache_bytes - of_states) // max(1, of_token)))
            num_slots = max(1, min(num_slots, cache_bytes // max(1, of_token * context + of_states)))
        self.context, self.num_slots = context, num_slots
        self._caches: list[DynamicCache | None] = [None] * self.num_slots
        self.can_copy = all(type(layer) is DynamicLayer for layer in _layers(probe))
        # A cache that is no plain range of positions may not survive being filled in pieces: the prompt goes in whole.
        self.chunk_tokens = min(chunk_tokens, self.context) if self.can_copy else self.context
        self.block_tokens = self.chunk_tokens
        self.bytes_per_slot = of_token * self.context + of_states
        self.num_blocks = self.num_slots * -(-self.context // self.block_tokens)
        self._ensure_memory()
        self._together: Together | None = Together(model)
        if reason := self._together.why_not():
            log.info("sequences are computed one by one: %s", reason)
            self._together = None
        rows = f"{self._together.num_rows} rows" if self._together else "1 row"
        self.signature = _signature(model) | {"decoding": rows}

    @property
    def num_free_blocks(self) -> int:
        lengths = (length_of(cache) for cache in self._caches if cache is not None)
        return self.num_blocks - sum(-(-length // self.block_tokens) for length in lengths)

    @torch.inference_mode()
    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        parts = [self._logits(chunk) for chunk in chunks if self._is_alone(chunk)]
        parts += self._shared([chunk for chunk in chunks if not self._is_alone(chunk)])
        # Those of a scored prompt may take gigabytes: a single part is not copied.
        logits: NDArray[np.float32] = (parts[0] if len(parts) == 1 else torch.cat(parts)).cpu().numpy()
        return logits

    def _is_alone(self, chunk: Chunk) -> bool:
        """Chunks are all of prompts, or all sampled tokens."""
        return self._together is None or chunk.is_prompt

    def _shared(self, chunks: Sequence[Chunk]) -> list[torch.Tensor]:
        if self._together is None:
            return []
        parts, num_rows = list[torch.Tensor](), self._together.num_rows
        for first in range(0, len(chunks), num_rows):
            rows = chunks[first : first + num_rows]
            caches = [self._cache_at(chunk.slot, chunk.start) for chunk in rows]
            tokens, positions = [chunk.tokens[0] for chunk in rows], [chunk.start for chunk in rows]
            parts.append(self._together.forward(tokens, positions, caches))
        return parts

    def _logits(self, chunk: Chunk) -> torch.Tensor:
        """After the chunk's last `num_logits` tokens [rows, vocabulary], float32."""
        if chunk.start == 0:
            self._caches[chunk.slot] = self._new_cache()
        return self._pass(chunk.tokens, self._cache_at(chunk.slot, chunk.start), chunk.num_logits)

    def release(self, slot: int) -> None:
        self._caches[slot] = None

    @torch.inference_mode()
    def copy_out(self, slot: int, start: int, stop: int) -> object:
        layers = _layers(self._cache(slot))
        return [tuple(_positions(part, start, stop).clone() for part in (layer.keys, layer.values)) for layer in layers]

    @torch.inference_mode()
    def copy_in(self, slot: int, start: int, block: object) -> None:
        if start == 0:
            self._caches[slot] = self._new_cache()
        cache = self._cache_at(slot, start)
        assert isinstance(block, list)
        for index, (keys, values) in enumerate(block):
            cache.update(keys, values, index)

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        hidden = self._model.base_model(input_ids=self._ids(tokens), use_cache=False).last_hidden_state
        vector: NDArray[np.float32] = torch.nn.functional.normalize(hidden[0].float().mean(0), dim=0).cpu().numpy()
        return vector

    def close(self) -> None:
        self._caches = [None] * self.num_slots
        self._model = self._together = None

    def _ensure_memory(self) -> None:
        """Raises ModelError where logits are no numbers, or a token after others is computed as one after none."""
        cache = self._new_cache()
        tokens = [place % self.vocabulary_size for place in (3, 5, 7, 11)]
        self._pass(tokens[:-1], cache)
        continued, whole, alone = (
            self._pass(given, to)[-1]
            for given, to in ((tokens[-1:], cache), (tokens, self._new_cache()), (tokens[-1:], self._new_cache()))
        )
        kind = self._model.config.model_type
        if not torch.isfinite(whole).all():
            raise ModelError(f"this {kind} model's logits are NaN or infinite: its config or its weights are damaged")
        if torch.dist(continued, alone) < torch.dist(continued, whole):
            raise ModelError(f"a {kind} model forgets what it has read: its cache is none that this server knows")

    def _new_cache(self) -> DynamicCache:
        return DynamicCache(config=self._model.config)

    def _cache(self, slot: int) -> DynamicCache:
        cache = self._caches[slot]
        if cache is None:
            raise RuntimeError(f"slot {slot} is empty")
        return cache

    def _cache_at(self, slot: int, position: int) -> DynamicCache:
        """The cache of `slot`, holding exactly `position` positions: what a failed call left behind is cut off."""
        cache = self._cache(slot)
        if not self.can_copy:
            return cache
        for layer in _layers(cache):
            if layer.is_initialized:
                layer.keys = _positions(layer.keys, 0, position)
                layer.values = _positions(layer.values, 0, position)
        if cache.get_seq_length() != position:
            raise RuntimeError(f"slot {slot} holds {cache.get_seq_length()} positions, not {position}")
        return cache

    @torch.inference_mode()
    def _pass(self, tokens: Sequence[int], cache: DynamicCache, num_logits: int = 1) -> torch.Tensor:
        """Append `tokens` to `cache`; return the logits of the last `num_logits` [rows, vocabulary], float32."""
        last_only = {"logits_to_keep": num_logits} if "logits_to_keep" in self._forward_takes else {}
        output = self._model(input_ids=self._ids(tokens), use_cache=True, **{self._cache_name: cache}, **last_only)
        logits: torch.Tensor = output.logits[0, -num_logits:]
        return logits.float()

    def _ids(self, tokens: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(tokens)], device=self._model.device)


def _positions(part: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    """Positions [start, stop) of keys or values [batch, heads, positions, head size]."""
    return part[..., start:stop, :]


def _num_bytes(cache: DynamicCache) -> int:
    """Bytes that the keys and values of a cache take."""
    parts = [getattr(layer, name, None) for layer in _layers(cache) for name in ("keys", "values")]
    return sum(part.numel() * part.element_size() for part in parts if part is not None)


def _num_state_bytes(cache: DynamicCache) -> int:
    """Bytes of the states that stand for all positions, however many."""
    kinds = [getattr(layer, name, {}) for layer in _layers(cache) for name in ("conv_states", "recurrent_states")]
    parts = [part for states in kinds for part in states.values() if part is not None]
    return sum(part.numel() * part.element_size() for part in parts)


def _layers(cache: DynamicCache) -> list[Any]:
    return list(cache.layers)


def _signature(model: Any) -> dict[str, str]:
    device = model.device
    return host_signature() | {
        "runner": TransformersRunner.name,
        "version": VERSION,
        "transformers": transformers.__version__,
        "quantization": str(model.dtype).removeprefix("torch."),
        "attention": str(getattr(model.config, "_attn_implementation", "")),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }
