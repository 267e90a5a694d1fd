"""Loads a checkpoint's weights through transformers, for runners that use the library's own forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from minivault.errors import ModelError
from minivault.models.model_files import ModelFiles
from minivault.models.progress import quiet_libraries

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


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
            model = _load(files, kind) if weights is None else _fill(files, kind, weights)
        _add(model, changes or {})
        return model.to(device).eval().requires_grad_(False)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelError(f"model {files.name} cannot be loaded: {reason}") from error


def _load(files: ModelFiles, dtype: torch.dtype) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(files.directory),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=dtype,
        output_loading_info=True,
    )
    return _whole(loaded)


def _whole(loaded: Any) -> torch.nn.Module:
    """A model and the library's report, which must not lack anything."""
    model: torch.nn.Module = loaded[0]
    report: dict[str, Any] = loaded[1]
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"its weights lack {len(missing)} tensors, the first is {missing[0]}; get the model again")
    if mismatched := list(report["mismatched_keys"]):
        raise ValueError(f"tensor {mismatched[0]} has another shape than config.json says; get the model again")
    return model


def _add(model: torch.nn.Module, changes: Mapping[str, Change]) -> None:
    """Add what an adapter changes, in the model's own type."""
    import numpy as np
    import torch
    from transformers.pytorch_utils import Conv1D

    shared: Any = model.get_input_embeddings().weight  # type: ignore[operator]
    for name, change in changes.items():
        module: Any = model.get_submodule(name)
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
