"""One request, one record: runs a generation and guarantees that the vault knows of it, however it ends.

The HTTP dialects and the CLI both come through here; nothing else submits work or writes interactions.
"""

from minivault.interaction.interaction import Answer, Interaction
from minivault.interaction.interactions import Interactions, Origin, next_id, open_local

__all__ = ["Answer", "Interaction", "Interactions", "Origin", "next_id", "open_local"]
