"""Which models and machines the fused runner serves, decided from a config alone: no file, no torch."""

from __future__ import annotations

from minivault.engine.host import Machine
from minivault.families import MODEL_TYPES, Block, Config, family_of

ACTIVATIONS = ("silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu")


def why_not(config: Config, machine: Machine | None = None) -> str | None:
    """One line saying why the fused runner cannot serve a model of this config here; None where it can."""
    machine = machine or Machine.here()
    if not machine.is_x86:
        return f"this CPU is {machine.architecture}: the fused runner's int8 kernels are for x86"
    if "avx2" not in machine.flags:
        return "this CPU has no AVX2, which the fused runner's int8 kernels need"
    family = family_of(config)
    if family is None:
        return f"model_type {config.get('model_type')!r} is not one the fused runner knows ({', '.join(MODEL_TYPES)})"
    return family.why_not(config) or _block_reason(family.block(config))


def _block_reason(block: Block) -> str | None:
    if block.head_size % 2:
        return f"head size {block.head_size} has no power-of-two factor to rotate by"
    if block.activation not in ACTIVATIONS:
        return f"activation {block.activation!r} is not supported ({', '.join(ACTIVATIONS)})"
    return None
