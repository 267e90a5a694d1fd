"""What all objects of Anthropic's requests have in common."""

from __future__ import annotations

from pydantic import ConfigDict

from minivault.wire.validation import Body


class Open(Body):
    """An object whose known members are of the exact JSON type, and whose other members are noted."""

    model_config = ConfigDict(strict=True)
