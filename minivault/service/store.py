"""The model store that the settings name."""

from __future__ import annotations

from pathlib import Path

from minivault.config import Settings
from minivault.models import ModelStore
from minivault.models.signers import read_signers


def store(settings: Settings) -> ModelStore:
    """Raises ConfigError where the key that models are to be signed with cannot be read."""
    file = settings.model_signing_key_file
    return ModelStore(settings.models_dir, signing_key=read_signers(Path(file)) if file else None)
