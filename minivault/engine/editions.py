"""Other editions of a model, made in memory: to measure how far apart the answers of two are."""

from __future__ import annotations

from typing import Any

import torch

GROUP = 32


@torch.inference_mode()
def rounded(model: Any, bits: int = 4) -> Any:
    """The same model with its linear maps at so many bits a weight, one scale for each 32 inputs; embedding and head
    stay as they are. Another model by any measure that asks for bits."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    kept = {id(module.weight) for module in ends if module is not None}
    for parameter in model.parameters():
        if parameter.ndim == 2 and id(parameter) not in kept:
            parameter.data = _on_a_grid(parameter.data, 2 ** (bits - 1) - 1)
    return model


def halved(model: Any) -> Any:
    """The same model computed in bfloat16, as on a GPU: the same model by any measure."""
    return model.to(torch.bfloat16)


def _on_a_grid(weight: torch.Tensor, most: int) -> torch.Tensor:
    """Rounded to -most … most times a scale of each group."""
    size = GROUP if weight.shape[-1] % GROUP == 0 else weight.shape[-1]
    groups = weight.reshape(-1, size)
    scale = groups.abs().amax(1, keepdim=True).clamp_min(1e-12) / most
    return (torch.round(groups / scale) * scale).reshape(weight.shape)
