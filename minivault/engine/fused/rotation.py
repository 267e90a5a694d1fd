"""Orthogonal matrices that spread outliers, so that 8 bits are enough for activations (QuaRot, arXiv:2404.00456).

Two kinds. The *stream* matrix takes the residual stream once and for all to coordinates in which its mean is zero;
there an RMS norm is a LayerNorm, one kernel instead of nine. The *block* matrix mixes neighbouring channels where
the stream matrix cannot reach: values within a head (folded into weights) and the MLP's inner activation (at run time).
"""

from __future__ import annotations

import math

import torch

BLOCK = 64
WIDTH_MULTIPLE = 4
"""fbgemm packs input channels by four."""


def hadamard(size: int) -> torch.Tensor:
    """The symmetric orthogonal Hadamard matrix [size, size] in float64; `size` is a power of two."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)


def cosine(size: int) -> torch.Tensor:
    """The orthogonal cosine transform (DCT-II) [size, size] in float64: for factors that are no power of two."""
    place = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(math.pi / size * (place + 0.5) * place[:, None]) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def spread(size: int) -> torch.Tensor:
    """An orthogonal matrix [size, size] that mixes every coordinate with every other."""
    power = size & -size
    return torch.kron(cosine(size // power), hadamard(power))


def stream_width(hidden: int) -> int:
    """Coordinates of the rotated residual stream: at least one more than `hidden`."""
    return hidden // WIDTH_MULTIPLE * WIDTH_MULTIPLE + WIDTH_MULTIPLE


def stream(hidden: int, width: int, is_centred: bool) -> torch.Tensor:
    """The matrix [width, hidden], width > hidden, that keeps lengths and angles, and whose columns sum to zero.

    `is_centred` takes the mean out of its input first: what a LayerNorm would do anyway.
    """
    ones = torch.full((width,), width**-0.5, dtype=torch.float64)
    normal = ones.clone()
    normal[0] += 1.0
    mirror = torch.eye(width, dtype=torch.float64) - 2 * torch.outer(normal, normal) / normal.dot(normal)
    turned = mirror[:, 1 : hidden + 1] @ spread(hidden)
    return turned - turned.mean(1, keepdim=True) if is_centred else turned


def block_size(width: int) -> int:
    """The largest power of two up to 64 that divides `width`."""
    return min(width & -width, BLOCK)


def rotate_inputs(weight: torch.Tensor, block: int) -> torch.Tensor:
    """`weight` [out, in] for inputs that were rotated in blocks."""
    rotated: torch.Tensor = weight.reshape(len(weight), -1, block) @ hadamard(block).to(weight.dtype)
    return rotated.flatten(1)


def rotate_outputs(weight: torch.Tensor, block: int) -> torch.Tensor:
    """`weight` [out] or [out, in] so that its outputs come rotated in blocks."""
    blocks = weight.reshape(-1, block, weight[0].numel())
    return (hadamard(block).to(weight.dtype) @ blocks).reshape(weight.shape)
