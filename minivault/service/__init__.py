"""Models as those above see them: the only door between requests and engines.

A `Model` takes a request and answers with events; the `Roster` finds it by name. `backends` chooses what loads a model;
`local` computes it in this process, on an engine thread. Nothing here knows HTTP, dialects or the vault.
"""

from minivault.service.decision import Cancelled, measured, weighed
from minivault.service.engine_loop import Generation
from minivault.service.local import LocalModel
from minivault.service.marking import mark_of
from minivault.service.model import Loaded, Model, ModelStatus
from minivault.service.room import Room
from minivault.service.roster import Roster, roster_of

__all__ = [
    "Cancelled",
    "Generation",
    "Loaded",
    "LocalModel",
    "Model",
    "ModelStatus",
    "Room",
    "Roster",
    "mark_of",
    "measured",
    "roster_of",
    "weighed",
]
