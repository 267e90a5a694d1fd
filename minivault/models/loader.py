"""Loads a checkpoint's weights through transformers, for runners that use the library's own forward pass.

The library passes over what it does not know, in a config and among tensors: here that is refused by name, for what
would be computed is another model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from minivault.errors import ModelError
from minivault.families import TABLES, switched_on
from minivault.models.model_files import ModelFiles
from minivault.models.progress import quiet_libraries

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


_ROTATIONS = ("default", "mrope", "su")
"""Types of rotary positions that the library has besides those of its table."""

_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function")


class Change(Protocol):
    """What an adapter adds to a map."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Of these outputs [rows, inputs]."""
        ...


def load_transformers_model(
    files: ModelFiles,
    device: str = "cpu",
    dtype: Any = "float32",
    weights: Mapping[str, NDArray[np.float32]] | None = None,
    changes: Mapping[str, Change] | None = None,
) -> torch.nn.Module:
    """The causal language model in evaluation mode on `device` (as torch names it), without gradients.

    `dtype` is a torch dtype or its name. Only safetensors are read, from the directory alone, and no code of the
    model's; `weights` by the hub's names stand in for them where they are packed. `changes` are added to the maps of
    these names. Raises ModelError with one line when that fails.
    """
    import torch

    kind = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    try:
        with quiet_libraries():
            _ensure_named(files.config)
            model = _load(files, kind) if weights is None else _fill(files, kind, weights)
        _ensure_known(files.config, model.config)
        _ensure_finite(model)
        _add(model, changes or {})
        return model.to(device).eval().requires_grad_(False)
    except Exception as error:  # the library may fail in any way at a config that it does not expect
        reason = " ".join(str(error).split())[:300]
        reason = reason if isinstance(error, ValueError) and reason else f"{type(error).__name__}: {reason}"
        raise ModelError(f"model {files.name} cannot be loaded: {reason}") from error


def _ensure_known(said: Mapping[str, Any], config: Any) -> None:
    """Raise ValueError for what config.json says and the library has passed over."""
    text, kind = said.get("text_config"), type(config.get_text_config(decoder=True))
    if isinstance(text, Mapping) and (named := text.get("model_type", kind.model_type)) != kind.model_type:
        wanted = f"{config.model_type} models have {kind.model_type!r} there"
        raise ValueError(f"text_config.model_type is {named!r}, and {wanted}")
    for name in switched_on(text if isinstance(text, Mapping) else said):
        if not hasattr(kind, name) and name not in kind.attribute_map:
            raise ValueError(f"config.json sets {name}, which {kind.model_type} models do not have")


def _ensure_named(said: Mapping[str, Any]) -> None:
    """Raise ValueError for a name that the library knows nothing by."""
    from transformers.activations import ACT2FN
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    text = said.get("text_config")
    for name, value in {**said, **(text if isinstance(text, Mapping) else {})}.items():
        if name in _ACTIVATIONS and isinstance(value, str) and value not in ACT2FN:
            raise ValueError(f"{name} {value!r} is not supported ({', '.join(ACT2FN)})")
    known = (*ROPE_INIT_FUNCTIONS, *_ROTATIONS)
    if unknown := [turn for turn in _rotation_types(said) if turn not in known]:
        raise ValueError(f"rope_type {unknown[0]!r} is not supported ({', '.join(known)})")


def _rotation_types(said: Mapping[str, Any]) -> Iterator[Any]:
    for key, value in said.items():
        if isinstance(value, Mapping) and key in ("rope_scaling", "rope_parameters"):
            for rope in (value, *(part for part in value.values() if isinstance(part, Mapping))):
                yield from (rope[name] for name in ("rope_type", "type") if rope.get(name))
        elif key == "text_config" and isinstance(value, Mapping):
            yield from _rotation_types(value)


def _ensure_finite(model: torch.nn.Module) -> None:
    import torch

    for name, values in model.named_parameters():
        if not torch.isfinite(torch.stack((values.min(), values.max()))).all():
            raise ValueError(f"tensor {name} holds NaN or infinite values; get the model again")


def _load(files: ModelFiles, dtype: torch.dtype) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(files.directory),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # for the report to name them
    )
    return _whole(loaded)


def _whole(loaded: Any) -> torch.nn.Module:
    """A model and the library's report, which must not lack anything."""
    model: torch.nn.Module = loaded[0]
    report: dict[str, Any] = loaded[1]
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"its weights lack {len(missing)} tensors, the first is {missing[0]}; get the model again")
    if mismatched := sorted(report["mismatched_keys"], key=str):
        name, found, wanted = mismatched[0]
        raise ValueError(
            f"tensor {name} has shape {tuple(found)}, and config.json asks for {tuple(wanted)}; get the model again"
        )
    if foreign := _foreign(model, report["unexpected_keys"]):
        raise ValueError(f"tensor {foreign[0]} is none that the library knows of in this kind of model")
    return model


def _foreign(model: torch.nn.Module, unexpected: Iterable[str]) -> list[str]:
    """Tensors that would belong to a layer; not those of whole parts that are left out, as what sees and hears."""
    import torch

    lists = [name for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)]
    prefix = f"{model.base_model_prefix}."
    layers = tuple(f"{name}." for one in lists for name in (one, one.removeprefix(prefix)))
    return sorted(name for name in unexpected if name.startswith(layers) and not name.endswith(TABLES))


def _add(model: torch.nn.Module, changes: Mapping[str, Change]) -> None:
    """Add what an adapter changes, in the model's own type."""
    import numpy as np
    import torch
    from transformers.pytorch_utils import Conv1D

    shared: Any = model.get_input_embeddings().weight  # type: ignore[operator]
    modules = dict(model.named_modules())
    for name, change in changes.items():
        module: Any = modules.get(name)
        if not isinstance(module, torch.nn.Linear | Conv1D) or module.weight is shared:
            raise ValueError(f"the adapter changes {name}, which is no map of its own in this model")
        added = torch.from_numpy(change.of(np.arange(change.shape[0])))
        with torch.no_grad():
            module.weight.add_(added.T if isinstance(module, Conv1D) else added)


def _fill(files: ModelFiles, dtype: torch.dtype, weights: Mapping[str, NDArray[np.float32]]) -> torch.nn.Module:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    where = str(files.directory)
    config = AutoConfig.from_pretrained(where, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        kind: Any = type(AutoModelForCausalLM.from_config(config))  # type: ignore[no-untyped-call]
    tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
    loaded: Any = kind.from_pretrained(None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True)
    return _whole(loaded)
