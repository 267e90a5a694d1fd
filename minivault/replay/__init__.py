"""Replay: recorded requests again, and whether what comes out is what the vault says.

`exact` runs them again and asks for every token; `tolerant` judges recorded tokens in one pass, also where another
engine computes, against limits that `calibration` measures.
"""

from typing import TYPE_CHECKING

from minivault.lazy import front_door

if TYPE_CHECKING:
    from minivault.replay.exact import Verdict, parts_by_fingerprint, regenerate, replay
else:
    __getattr__ = front_door(
        __name__, dict.fromkeys(("Verdict", "parts_by_fingerprint", "regenerate", "replay"), "exact")
    )

__all__ = ["Verdict", "parts_by_fingerprint", "regenerate", "replay"]
