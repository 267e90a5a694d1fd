"""Marking generated text: what a mark is, and which tokens of an answer carry it. It knows no model and no logits:
`engine/sampler` draws by it, `engine/detection` looks for it, and a record counts it, each by the one rule that is
here. docs/watermark.md states the scheme to the byte."""

from minivault.watermark.key_file import create_key, read_mark
from minivault.watermark.mark import (
    LANES,
    SCHEME,
    WIDTH,
    Context,
    Contexts,
    Mark,
    lane_of,
    marked,
    num_marked,
    purpose_of,
)

__all__ = [
    "LANES",
    "SCHEME",
    "WIDTH",
    "Context",
    "Contexts",
    "Mark",
    "create_key",
    "lane_of",
    "marked",
    "num_marked",
    "purpose_of",
    "read_mark",
]
