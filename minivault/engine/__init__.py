"""The engine: continuous batching over a runner. Only one runner (`transformers`) knows of torch.

`Sequence` is state, `Scheduler` is policy, a runner is tensors, and `Engine.step` is the story. Nothing here knows of
HTTP, files, threads or the wall clock.
"""

from minivault.engine.engine import Engine

__all__ = ["Engine"]
