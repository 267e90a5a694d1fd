"""Every setting, once: its name, type, default, range and meaning.

Settings come from `MINIVAULT_*` environment variables, then from a `.env` file in the working directory, then from the
defaults below. An empty variable counts as not set, but for limits, which it switches off. Reading is strict: an
unknown name or a value out of range is a `ConfigError` that names the key, the value and what would be right. This is
the only module that reads the environment.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import platformdirs
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from minivault.errors import ConfigError
from minivault.faults import reason

PREFIX = "MINIVAULT_"
EMPTY_IS_NO_LIMIT = frozenset({"rate_limit", "token_limit", "auth_failure_limit"})
MIN_CONTEXT = 64
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1", "[::1]")

Count = Annotated[int, Field(ge=1)]


def _logs(given: Mapping[str, Any]) -> Path:
    """`logs` beside `wsgi.py` in a checkout, else in MINIVAULT_HOME."""
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "wsgi.py").is_file() else Path(given["home"])) / "logs"


class Settings(BaseModel):
    """The whole configuration, immutable. Field order is the order of `minivault config` and of docs/settings.md."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), validate_default=True)

    model: str = Field(
        "smollm2-135m",
        min_length=1,
        description="catalog name, hub id, directory or `.gguf` file; several by comma, or a folder of them: the first "
        "is loaded at start, the others when they are asked for",
    )
    home: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("minivault")),
        description="models, keys and run files",
    )
    log_dir: Path = Field(default_factory=_logs, description="the vault")
    bind: str = Field("127.0.0.1:8000", description="`host:port`, or `unix:PATH`")
    workers: int = Field(1, ge=1, le=64, description="gunicorn processes, one model copy each")
    threads: int = Field(64, ge=4, le=1024, description="request threads in each worker")
    max_running: int = Field(16, ge=1, le=256, description="sequences decoding at once, per worker")
    max_waiting: int = Field(32, ge=0, le=4096, description="requests waiting for a place, per worker")
    context: int = Field(
        0, ge=0, le=1 << 24, description="tokens of prompt plus answer; 0 = the model's own, as far as memory goes"
    )
    cache_mb: int = Field(
        0,
        ge=0,
        le=1 << 24,
        description="memory of each worker for all that its answers attend to, taken as needed, 45 tokens a MB for "
        "the default model; 0 = half of what is free, divided by workers",
    )
    models_mb: int = Field(
        0,
        ge=0,
        le=1 << 24,
        description="memory of each worker for all models that are loaded, with what their answers attend to; whoever "
        "was used least recently goes when another needs the room; 0 = what is free, divided by workers",
    )
    keep_alive_s: float = Field(
        -1, le=1e9, description="seconds that a model stays loaded unused; below 0 = until another needs its memory"
    )
    deadline_s: float = Field(300, gt=0, le=86400, description="wall-clock limit of one generation, in seconds")
    load_timeout_s: float = Field(600, gt=0, le=86400, description="limit for loading the model, in seconds")
    graceful_timeout_s: int = Field(30, ge=2, le=3600, description="seconds from SIGTERM to the end of the last stream")
    backend: str = Field(
        "local",
        pattern=r"^(local|upstream|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$",
        description="`local`, `upstream`, or `package.module:function` that returns a model to serve",
    )
    upstream_url: str = Field(
        "", description="OpenAI-compatible servers that answer, like `http://gpu1:8000/v1`, by comma"
    )
    upstream_models: str = Field("", description="which of their models to serve, by comma; empty = all that they list")
    upstream_key_file: str = Field("", description="file that holds the key they want; empty = none")
    upstream_timeout_s: float = Field(
        20, gt=0, le=3600, description="seconds without a sign of life after which one of them counts as down"
    )
    runner: Literal["auto", "exact", "transformers"] = Field("auto", description="how a local model is computed")
    weight_bits: Literal["8", "4"] = Field(
        "8", description="bits of a weight where a checkpoint has floats: `8`, or `4` for half the memory"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="`auto`, `cpu`, `cuda` or `cuda:N`")
    cpu_threads: int = Field(
        0, ge=0, le=1024, description="compute threads in each worker; 0 = cores divided by workers"
    )
    prefix_cache_mb: int = Field(
        256,
        ge=0,
        le=65536,
        description="how much of that may keep prompt prefixes for reuse until others need it; 0 = off",
    )
    node: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,64}$",
        description="this machine's name among several fronts: the beginning of `boot` in each of its records",
    )
    vault_sync: Literal["synced", "written", "async"] = Field(
        "synced", description="when a record counts as kept: on disk, handed to the kernel, or queued"
    )
    vault_segment_mb: int = Field(64, ge=1, le=4096, description="size at which the log starts a new segment")
    vault_keep_days: float = Field(
        0, ge=0, le=36525, description="days for which nothing may be pruned or redacted; 0 = no floor"
    )
    disconnect_check: bool = Field(True, description="stop a generation when its client closes its sending side")
    receive_timeout_s: float = Field(10, gt=0, le=3600, description="limit for a request's header and for each receive")
    send_timeout_s: float = Field(20, gt=0, le=3600, description="limit for each send to a client that does not read")
    body_timeout_s: float = Field(60, gt=0, le=3600, description="limit for a request's whole body, in seconds")
    body_rate: int = Field(
        1024, ge=1, le=1 << 30, description="bytes a second that a body must come with once the receive timeout is over"
    )
    max_body_kb: int = Field(1024, ge=1, le=65536, description="largest request body, in KiB")
    batch_dir: str = Field("", description="files and batches; empty = `batches` in MINIVAULT_HOME")
    batch_lines: int = Field(
        2, ge=0, le=64, description="requests of batches under way at once, per worker; 0 = batches wait"
    )
    max_file_mb: int = Field(100, ge=1, le=4096, description="largest file of requests, in MiB")
    max_files_mb: int = Field(1024, ge=1, le=1 << 20, description="all uploaded files together, in MiB")
    rate_limit: str = Field("600/minute", description="requests per window for each key or client; empty = no limit")
    token_limit: str = Field("", description="generated and prompt tokens per window, like `100000/day`; empty = none")
    concurrency_limit: int = Field(0, ge=0, le=4096, description="generations at once per key or client; 0 = no limit")
    auth_failure_limit: str = Field("20/minute", description="failed key checks per window for each client")
    rate_storage: str = Field("embedded", description="`embedded` (exact over workers), or `redis://…`")
    trusted_hosts: str = Field("", description="host names clients may use besides loopback and the bind, by comma")
    allowed_origins: str = Field(
        "", description="origins (web, app, extension) whose pages may call this server, by comma"
    )
    strict: bool = Field(False, description="refuse fields of a request that are unknown here, instead of noting them")
    offline: bool = Field(True, description="the server process may open no connection beyond this machine")
    url: str = Field("", description="server the CLI talks to; empty = the bind address, if one answers there")
    api_key: str = Field("", description="key the CLI sends", repr=False)
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="application log on stderr")

    @field_validator("bind")
    @classmethod
    def _bind_is_an_address(cls, value: str) -> str:
        if value.startswith("unix:") and len(value) > len("unix:"):
            return value
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise ValueError("must be HOST:PORT or unix:PATH")
        return value

    @field_validator("upstream_url")
    @classmethod
    def _upstreams_are_urls(cls, value: str) -> str:
        for url in filter(None, map(str.strip, value.split(","))):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
                raise ValueError("must be http://HOST:PORT/v1 or https://…, several by comma")
        return value

    @field_validator("context")
    @classmethod
    def _context_has_room(cls, value: int) -> int:
        if 0 < value < MIN_CONTEXT:
            raise ValueError(f"must be 0 or at least {MIN_CONTEXT}")
        return value

    @property
    def is_loopback(self) -> bool:
        """True when nobody outside this machine can reach the bind address."""
        host = self.bind.rpartition(":")[0]
        return self.bind.startswith("unix:") or host in LOOPBACK_HOSTS or host.startswith("127.")

    @property
    def upstream_urls(self) -> tuple[str, ...]:
        """The engines elsewhere, each without a slash at its end."""
        return tuple(url.strip().rstrip("/") for url in self.upstream_url.split(",") if url.strip())

    @property
    def digest(self) -> str:
        """`sha256:` over the settings that are not secret: tells whether two runs were configured alike."""
        public = self.model_dump_json(exclude={"api_key"})
        return f"sha256:{hashlib.sha256(public.encode()).hexdigest()}"

    @property
    def models_dir(self) -> Path:
        return self.home / "models"

    @property
    def kernels_dir(self) -> Path:
        """Machine code of the exact engine, for the kinds of CPU that it was compiled on."""
        return self.home / "kernels"

    @property
    def batches_path(self) -> Path:
        return Path(self.batch_dir) if self.batch_dir else self.home / "batches"

    @property
    def max_upload_bytes(self) -> int:
        """The largest file, and what a form has around it."""
        return (self.max_file_mb << 20) + (64 << 10)

    @property
    def run_dir(self) -> Path:
        return self.home / "run"

    @property
    def keys_file(self) -> Path:
        return self.home / "keys.json"


@dataclass(frozen=True, slots=True)
class Given:
    """A setting's value and where it came from: `environment`, `.env` or `default`."""

    value: Any
    source: Literal["environment", ".env", "default"]


def variable(name: str) -> str:
    """The environment variable of a settings field."""
    return PREFIX + name.upper()


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
    """Read the settings from `environ` (default: the process's) and a `.env` file (default: `./.env`).

    Raises ConfigError for an unknown name or a value that does not fit.
    """
    return _build(_read(environ, dotenv))


def explain_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> dict[str, Given]:
    """Every setting by field name with its value and where that came from."""
    given = _read(environ, dotenv)
    settings = _build(given)
    return {
        name: Given(getattr(settings, name), given[name].source if name in given else "default")
        for name in Settings.model_fields
    }


def _read(environ: Mapping[str, str] | None, dotenv: Path | None) -> dict[str, Given]:
    env = os.environ if environ is None else environ
    file = dotenv_values(Path.cwd() / ".env" if dotenv is None else dotenv)
    # The `flask` command copies `.env` into the environment; what is the same in both came from the file.
    own = {key: value for key, value in env.items() if file.get(key) != value}
    return _given(file, ".env") | _given(own, "environment")


def _given(variables: Mapping[str, str | None], source: Literal["environment", ".env"]) -> dict[str, Given]:
    """Our variables by field name; an empty one counts as not set, except where empty has a meaning of its own."""
    ours = {_field(key): value or "" for key, value in variables.items() if key.startswith(PREFIX)}
    return {name: Given(value, source) for name, value in ours.items() if value.strip() or name in EMPTY_IS_NO_LIMIT}


def _field(key: str) -> str:
    name = key.removeprefix(PREFIX).lower()
    if name in Settings.model_fields and key == variable(name):
        return name
    known = [variable(field) for field in Settings.model_fields]
    close = difflib.get_close_matches(key.upper(), known, n=1)
    hint = f"did you mean {close[0]}?" if close else "`flask minivault config` lists all settings."
    raise ConfigError(f"{key} is not a setting; {hint}", field=key)


def _build(given: Mapping[str, Given]) -> Settings:
    try:
        return Settings(**{name: one.value for name, one in given.items()})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        meaning = Settings.model_fields[name].description
        key = variable(name)
        raise ConfigError(f"{key}={first['input']!r}: {reason(first)} ({meaning})", field=key) from None


def is_color_refused() -> bool:
    """Whether whoever looks at the terminal wants no colours: NO_COLOR is set, or the terminal is a dumb one."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def metrics_dir() -> str | None:
    """Where prometheus_client keeps the workers' numbers under gunicorn; None outside it."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR")


def share_metrics(directory: Path) -> None:
    """Make `directory` that place for this process and those it forks, before prometheus_client is imported."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
