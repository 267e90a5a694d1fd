"""The end of an answer in the native dialect, which the server sends and the terminal's own model gives alike."""

from __future__ import annotations

import time
from typing import Any

from minivault.interaction.interaction import Interaction
from minivault.types import Finished
from minivault.wire import native


def summary(interaction: Interaction, finished: Finished) -> dict[str, Any]:
    """What a whole reply and a stream's last line say of the interaction that ends now."""
    return native.summary(
        id=interaction.id,
        model=interaction.info.name,
        fingerprint=interaction.info.fingerprint,
        seed=interaction.seed,
        finished=finished,
        generated_at_ns=time.time_ns(),
    )
