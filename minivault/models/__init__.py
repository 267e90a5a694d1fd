"""Models: names → files → something a runner can run.

Only safetensors and GGUF, never pickle, never a model's own code. Everything that is loaded was digested first. Only
`pull` uses the network. Nothing here knows of HTTP or Flask; torch, transformers and the hub client are imported when a
function needs them, so that listing models is instant.
"""

from __future__ import annotations

from minivault.models.loader import load_transformers_model
from minivault.models.model_files import ModelFiles
from minivault.models.store import ModelStore
from minivault.models.tokenizer import load_tokenizer

__all__ = ["ModelFiles", "ModelStore", "load_tokenizer", "load_transformers_model"]
