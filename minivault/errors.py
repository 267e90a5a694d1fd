"""Every error MiniVault raises on purpose, as one tree.

MiniVaultError
├── BadRequest            400  the request's own fault; names the field
│   └── ContextExceeded   400  prompt plus answer cannot fit the model's context
├── Unauthorized          401  no valid key
├── Forbidden             403  the key's role, the host or the origin may not do this
├── NotFound              404  no such model, record or route
├── BodyTimeout           408  the body arrived too slowly
├── Retained              409  the vault may not lose this yet
├── TooLarge              413  the body exceeds the limit
├── UnsupportedMediaType  415  not JSON
├── QuotaExceeded         429  a limit of this key or client
├── GenerationFailed      500  the model raised
├── Unavailable           503  try again later; carries `retry_after_s`
│   ├── Loading                the model is not loaded yet
│   ├── LoadFailed             the model cannot be loaded
│   ├── Overloaded             every slot and waiting place is taken
│   ├── Draining               the server is stopping
│   ├── UpstreamUnavailable    no engine elsewhere can answer now
│   └── VaultUnavailable       the answer could not be recorded, so it is not given
├── DeadlineExceeded      504  the deadline passed before the first token
├── ConfigError                a MINIVAULT_* setting is unknown or out of range
├── ModelError                 a model is missing, damaged or unsupported
├── VaultError                 the vault's files are not usable as asked
│   └── NothingToRedact   409  the record holds no content, or no longer
└── ServerError                (CLI) a server's reply is cut or is not one of ours
    └── Unreachable            (CLI) no server answers there

Each class carries the HTTP `status` and a stable machine-readable `code`. The HTTP layer and the CLI each map the
tree once; nothing else turns exceptions into replies.
"""

from __future__ import annotations

from typing import ClassVar


class MiniVaultError(Exception):
    """Root of the tree. `field` names the request field or setting at fault, if one is."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class BadRequest(MiniVaultError):
    status = 400
    code = "invalid_request"


class Unsupported(BadRequest):
    """A known field or value that this server does not offer."""

    code = "unsupported"


class ContextExceeded(BadRequest):
    code = "context_length_exceeded"


class Unauthorized(MiniVaultError):
    status = 401
    code = "unauthorized"


class Forbidden(MiniVaultError):
    status = 403
    code = "forbidden"


class NotFound(MiniVaultError):
    status = 404
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class BodyTimeout(MiniVaultError):
    status = 408
    code = "body_timeout"


class Retained(MiniVaultError):
    """A retention floor or a legal hold keeps what was to be removed; the message names it."""

    status = 409
    code = "retained"


class TooLarge(MiniVaultError):
    status = 413
    code = "too_large"


class UnsupportedMediaType(MiniVaultError):
    status = 415
    code = "unsupported_media_type"


class QuotaExceeded(MiniVaultError):
    """A limit was reached. `retry_after_s` is when to come back; `headers` are the rate-limit headers to send, and
    `details` the same numbers for the error object of the body."""

    status = 429
    code = "quota_exceeded"

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: int,
        headers: dict[str, str] | None = None,
        details: dict[str, int | str] | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, retry_after_s)
        self.headers = headers or {}
        self.details = details or {}


class GenerationFailed(MiniVaultError):
    code = "generation_failed"


class Unavailable(MiniVaultError):
    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, retry_after_s)


class Loading(Unavailable):
    code = "loading"


class LoadFailed(Unavailable):
    code = "load_failed"


class Overloaded(Unavailable):
    code = "overloaded"


class Draining(Unavailable):
    code = "draining"


class UpstreamUnavailable(Unavailable):
    code = "upstream_unavailable"


class VaultUnavailable(Unavailable):
    code = "vault_unavailable"


class DeadlineExceeded(MiniVaultError):
    status = 504
    code = "deadline_exceeded"


class ConfigError(MiniVaultError):
    code = "bad_setting"


class ModelError(MiniVaultError):
    code = "model_error"


class VaultError(MiniVaultError):
    code = "vault_error"


class NothingToRedact(VaultError):
    status = 409
    code = "nothing_to_redact"


class ServerError(MiniVaultError):
    code = "server_error"


class Unreachable(ServerError):
    code = "unreachable"
