"""Engines elsewhere: any server that speaks OpenAI's API answers, and this one keeps the API, the keys and the vault.

`kinds` knows what each kind of engine takes; `asking` makes its request of ours, `reading` our events of its reply;
`connection` carries both; a `Server` is one address and its health, a `Fleet` all of them; `model` is a `Model` like
any other. Whatever an engine is not known to honour is refused or noticed, and recorded.
"""

from minivault.service.upstream.fleet import Fleet
from minivault.service.upstream.model import UpstreamModel

__all__ = ["Fleet", "UpstreamModel"]
