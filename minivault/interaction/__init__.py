"""One request, one record: does a piece of work and guarantees that the vault knows of it, however it ends.

The HTTP dialects and the CLI both come through here; nothing else asks a model for work or writes interactions. Each
kind of work is a file: `interaction` for answers, `embedding`, `measuring`.
"""

from minivault.interaction.embedding import embed
from minivault.interaction.interaction import Answer, Interaction
from minivault.interaction.measuring import Measuring
from minivault.interaction.recorder import Origin, Recorder, next_id, open_local

__all__ = ["Answer", "Interaction", "Measuring", "Origin", "Recorder", "embed", "next_id", "open_local"]
