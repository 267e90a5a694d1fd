"""Structured output: a schema is judged before anything is generated, held while tokens are chosen, and the finished
answer is checked against it.

`grammar` is the way in. What a schema costs is found out in a process of its own (`judge`, `process`), which reads
neither numpy nor torch; only a schema that passed there is compiled here.
"""

from __future__ import annotations

RULES = 2
"""Counted up whenever the same schema may lead to other tokens than before; part of the fingerprint."""
