"""One model, one engine thread, one worker process: the only door between requests and the engine.

Callers `submit` a job from any thread and read its events from a `Generation`; the engine itself is single-threaded and
is touched by the service's own thread only. Nothing here knows HTTP, dialects or the vault.
"""

from minivault.service.generation import Generation
from minivault.service.model_service import ModelService, ServiceStatus
from minivault.service.served import ServedModel, resolve_backend

__all__ = ["Generation", "ModelService", "ServedModel", "ServiceStatus", "resolve_backend"]
