"""Who may ask, and how much.

This folder decides before a route runs and knows nothing of models, prompts or the vault. Only `guard` knows Flask.
Nothing here is opened before the fork; nothing here needs a server besides MiniVault.
"""

from minivault.access.caller import Caller, charge_tokens, generation_permit
from minivault.access.exposure import check_access
from minivault.access.guard import init_app
from minivault.access.offline import install_offline_guard
from minivault.access.permits import Permit

__all__ = [
    "Caller",
    "Permit",
    "charge_tokens",
    "check_access",
    "generation_permit",
    "init_app",
    "install_offline_guard",
]
