"""What this process's arithmetic does to the last bit: part of the fingerprint, and checked before serving.

MKL, fbgemm and torch choose kernels by CPU and by settings of their own (ATEN_CPU_CAPABILITY, MKL_CBWR). Rather than
guess at all of them, a fixed set of the operations that a step uses is run on fixed numbers and its bits are hashed:
two processes with the same digest compute alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import torch
from torch.nn.functional import gelu, layer_norm, pad, silu

from minivault.engine.fused.attention import MIN_ROWS, attend
from minivault.engine.fused.packing import multiply, pack
from minivault.engine.fused.rotation import BLOCK, hadamard
from minivault.errors import ModelError

PROBED_ROWS = (1, 2, 3, 5, 16)
Operation = Callable[[torch.Tensor], torch.Tensor]


def numbers(*sizes: int) -> torch.Tensor:
    """Fixed, irregular float32 values in [-1, 1), made by integer arithmetic and so the same everywhere."""
    count = torch.Size(sizes).numel()
    mixed = (torch.arange(count) * 2654435761 + 12345) % 4294967291 * 40503 % 16777213
    return (mixed.float() / 8388606.5 - 1).view(sizes)


def operations() -> Iterator[Operation]:
    """The kernels of a step, each from rows [n, 576] to rows."""
    packed = pack((numbers(96, 576) * 127).to(torch.int8), numbers(96).abs(), numbers(96))
    keys, values = numbers(2, 1, 256, 64), numbers(2, 1, 256, 64).flip(0)
    mask, turn = torch.zeros(1, 3, 448), torch.view_as_complex(numbers(32, 2))

    def attention(rows: torch.Tensor) -> torch.Tensor:
        batch = 3 * len(rows)
        shared = [store.expand(-1, batch, -1, -1).contiguous() for store in (keys, values)]
        return attend(rows.view(batch, 3, 64), shared[0], shared[1], mask.repeat(batch, 1, 1)).view(-1, 576)

    def attention_of_one(rows: torch.Tensor) -> torch.Tensor:
        queries = rows.view(-1, 64)
        padded = pad(queries, (0, 0, 0, max(0, MIN_ROWS - len(queries))))
        attended = attend(padded[None], keys, values, mask[:, :1].repeat(1, len(padded), 1))
        return attended[0, : len(queries)].view(-1, 576)

    def rotated(rows: torch.Tensor) -> torch.Tensor:
        rotation = hadamard(BLOCK).float().expand(len(rows), BLOCK, BLOCK)
        return torch.bmm(rows.view(len(rows), -1, BLOCK), rotation).flatten(1)

    def turned(rows: torch.Tensor) -> torch.Tensor:
        pairs = torch.view_as_complex(rows.view(len(rows), 9, 32, 2))
        return torch.view_as_real(pairs * turn).flatten(1)

    yield lambda rows: multiply(rows, 1 / 90, 91, packed)
    yield attention
    yield attention_of_one
    yield rotated
    yield turned
    yield lambda rows: layer_norm(rows, (576,), None, None, 1e-5)
    yield lambda rows: gelu(silu(rows), approximate="tanh")


@torch.inference_mode()
def digest() -> str:
    """`sha256:` over the bits that this process computes for fixed inputs."""
    rows, seen = numbers(PROBED_ROWS[-1], 576), hashlib.sha256()
    for operation in operations():
        seen.update(operation(rows).contiguous().view(torch.int32).numpy().tobytes())
    return f"sha256:{seen.hexdigest()}"


@torch.inference_mode()
def ensure_rows_independent() -> None:
    """Raise ModelError where some kernel of this process gives a row other bits in other company."""
    for number, operation in enumerate(operations()):
        alone = operation(numbers(1, 576))
        for count in PROBED_ROWS:
            rows = numbers(count, 576).flip(0)
            rows[count // 2] = numbers(1, 576)[0]
            if not torch.equal(operation(rows)[count // 2], alone[0]):
                raise ModelError(
                    f"operation {number} of the fused runner depends on the batch on this CPU: "
                    "choose the transformers runner (MINIVAULT_RUNNER=transformers)"
                )
