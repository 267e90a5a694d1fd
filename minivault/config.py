"""Every setting, once: its name, type, default, range and meaning.

Settings come from `MINIVAULT_*` environment variables, then from a `.env` file in the working directory, then from the
defaults below. An empty variable counts as not set, but for limits, which it switches off. Reading is strict: an
unknown name or a value out of range is a `ConfigError` that names the key, the value and what would be right. This is
the only module that reads the environment.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs
from dotenv import dotenv_values

from minivault.errors import ConfigError
from minivault.setting import ensure_address, ensure_url, ensure_urls, kinds_of, rules_of, setting

PREFIX, HIDDEN = "MINIVAULT_", "(hidden)"
EMPTY_IS_NO_LIMIT = frozenset({"rate_limit", "token_limit", "auth_failure_limit"})
MIN_CONTEXT = 64
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1", "[::1]")

_BESIDE_MODELS = Path("logs")


def _logs(home: Path) -> Path:
    """`logs` beside `wsgi.py` in a checkout, else in MINIVAULT_HOME."""
    checkout = Path(__file__).resolve().parent.parent
    return (checkout if (checkout / "wsgi.py").is_file() else home) / "logs"


def _has_room(value: int) -> None:
    if 0 < value < MIN_CONTEXT:
        raise ValueError(f"must be 0 or at least {MIN_CONTEXT}")


@dataclass(frozen=True)
class Settings:
    """The whole configuration, immutable. Field order is the order of `minivault config` and of docs/settings.md."""

    model: str = setting(
        "smollm2-135m",
        meaning="catalog name, hub id, directory or `.gguf` file; several by comma, or a folder of them: the first "
        "is loaded at start, the others when they are asked for",
    )
    home: Path = setting(lambda: Path(platformdirs.user_data_dir("minivault")), meaning="models, keys and run files")
    log_dir: Path = setting(_BESIDE_MODELS, meaning="the vault")
    bind: str = setting("127.0.0.1:8000", check=ensure_address, meaning="`host:port`, or `unix:PATH`")
    workers: int = setting(1, ge=1, le=64, meaning="gunicorn processes, one model copy each")
    threads: int = setting(64, ge=4, le=1024, meaning="request threads in each worker")
    max_running: int = setting(16, ge=1, le=256, meaning="sequences decoding at once, per worker")
    max_waiting: int = setting(32, ge=0, le=4096, meaning="requests waiting for a place, per worker")
    context: int = setting(
        0,
        ge=0,
        le=1 << 24,
        check=_has_room,
        meaning="tokens of prompt plus answer; 0 = the model's own, as far as memory goes",
    )
    cache_mb: int = setting(
        0,
        ge=0,
        le=1 << 24,
        meaning="memory of each worker for all that its answers attend to, taken as needed, 45 tokens a MB for "
        "the default model; 0 = half of what is free, divided by workers",
    )
    models_mb: int = setting(
        0,
        ge=0,
        le=1 << 24,
        meaning="memory of each worker for all models that are loaded, with what their answers attend to; whoever "
        "was used least recently goes when another needs the room; 0 = what is free, divided by workers",
    )
    keep_alive_s: float = setting(
        -1, le=1e9, meaning="seconds that a model stays loaded unused; below 0 = until another needs its memory"
    )
    deadline_s: float = setting(300, gt=0, le=86400, meaning="wall-clock limit of one generation, in seconds")
    load_timeout_s: float = setting(600, gt=0, le=86400, meaning="limit for loading the model, in seconds")
    graceful_timeout_s: int = setting(30, ge=2, le=3600, meaning="seconds from SIGTERM to the end of the last stream")
    backend: str = setting(
        "local",
        pattern=r"^(local|upstream|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$",
        meaning="`local`, `upstream`, or `package.module:function` that returns a model to serve",
    )
    upstream_url: str = setting(
        "", check=ensure_urls, meaning="OpenAI-compatible servers that answer, like `http://gpu1:8000/v1`, by comma"
    )
    upstream_models: str = setting("", meaning="which of their models to serve, by comma; empty = all that they list")
    upstream_key_file: str = setting("", meaning="file that holds the key they want; empty = none")
    upstream_timeout_s: float = setting(
        20, gt=0, le=3600, meaning="seconds without a sign of life after which one of them counts as down"
    )
    runner: Literal["auto", "exact", "transformers"] = setting("auto", meaning="how a local model is computed")
    weight_bits: Literal["8", "4"] = setting(
        "8", meaning="bits of a weight where a checkpoint has floats: `8`, or `4` for half the memory"
    )
    device: str = setting("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", meaning="`auto`, `cpu`, `cuda` or `cuda:N`")
    cpu_threads: int = setting(0, ge=0, le=1024, meaning="compute threads in each worker; 0 = cores divided by workers")
    prefix_cache_mb: int = setting(
        256,
        ge=0,
        le=65536,
        meaning="how much of that may keep prompt prefixes for reuse until others need it; 0 = off",
    )
    node: str = setting(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,64}$",
        meaning="this machine's name among several fronts: the beginning of `boot` in each of its records",
    )
    vault_sync: Literal["synced", "written", "async"] = setting(
        "synced", meaning="when a record counts as kept: on disk, handed to the kernel, or queued"
    )
    vault_segment_mb: int = setting(64, ge=1, le=4096, meaning="size at which the log starts a new segment")
    vault_keep_days: float = setting(
        0, ge=0, le=36525, meaning="days in which nothing may be pruned or redacted; 0 = none"
    )
    watermark_key_file: str = setting(
        "",
        meaning="file of the key that answers are marked with (docs/watermark.md): 32 bytes as hex, base64 or raw; "
        "empty = they are not",
    )
    model_signing_key_file: str = setting(
        "",
        meaning="file of the public key, or of certificates (PEM), that a model must be signed with if it is signed "
        "(`model.sig`, OpenSSF model signing); empty = signatures are kept unverified",
    )
    disconnect_check: bool = setting(True, meaning="stop a generation when its client closes its sending side")
    receive_timeout_s: float = setting(10, gt=0, le=3600, meaning="limit for a request's header and for each receive")
    send_timeout_s: float = setting(20, gt=0, le=3600, meaning="limit for each send to a client that does not read")
    body_timeout_s: float = setting(60, gt=0, le=3600, meaning="limit for a request's whole body, in seconds")
    body_rate: int = setting(
        1024, ge=1, le=1 << 30, meaning="bytes a second that a body must come with once the receive timeout is over"
    )
    max_body_kb: int = setting(1024, ge=1, le=65536, meaning="largest request body, in KiB")
    batch_dir: str = setting("", meaning="files and batches; empty = `batches` in MINIVAULT_HOME")
    batch_lines: int = setting(
        2, ge=0, le=64, meaning="requests of batches under way at once, per worker; 0 = batches wait"
    )
    max_file_mb: int = setting(100, ge=1, le=4096, meaning="largest file of requests, in MiB")
    max_files_mb: int = setting(1024, ge=1, le=1 << 20, meaning="all uploaded files together, in MiB")
    rate_limit: str = setting("600/minute", meaning="requests per window for each key or client; empty = no limit")
    token_limit: str = setting("", meaning="generated and prompt tokens per window, like `100000/day`; empty = none")
    concurrency_limit: int = setting(0, ge=0, le=4096, meaning="generations at once per key or client; 0 = no limit")
    auth_failure_limit: str = setting("20/minute", meaning="failed key checks per window for each client")
    rate_storage: str = setting("embedded", meaning="`embedded` (exact over workers), or `redis://…`")
    trusted_hosts: str = setting("", meaning="host names clients may use besides loopback and the bind, by comma")
    allowed_origins: str = setting(
        "", meaning="origins (web, app, extension) whose pages may call this server, by comma"
    )
    strict: bool = setting(False, meaning="refuse fields of a request that are unknown here, instead of noting them")
    offline: bool = setting(True, meaning="the server process may open no connection beyond this machine")
    url: str = setting("", meaning="server the CLI talks to; empty = the bind address, if one answers there")
    api_key: str = setting("", meaning="key the CLI sends", is_secret=True)
    request_log: Literal["off", "line", "json"] = setting(
        "off",
        meaning="a line on stdout for each request, `line` for people or `json`; never text of prompts or answers",
    )
    otel_endpoint: str = setting(
        "", check=ensure_url, meaning="collector that gets a trace of each answer over OTLP, like `http://otel:4318`"
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", meaning="application log on stderr")

    def __post_init__(self) -> None:
        """Read every value as its rule says. Raises ConfigError for one that does not fit."""
        for name, rule in RULES.items():
            given = getattr(self, name)
            try:
                value = rule.read(_KINDS[name], given)
            except ValueError as error:
                key = variable(name)
                raise ConfigError(f"{key}={given!r}: {error} ({rule.meaning})", field=key) from None
            object.__setattr__(self, name, value)
        if self.log_dir is _BESIDE_MODELS:
            object.__setattr__(self, "log_dir", _logs(self.home))

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
        public = json.dumps({name: str(getattr(self, name)) for name, rule in RULES.items() if not rule.is_secret})
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


RULES = rules_of(Settings)
"""What each setting means and takes, by its field's name, in their order."""
_KINDS = kinds_of(Settings)


@dataclass(frozen=True, slots=True)
class Given:
    """A setting's value and where it came from: `environment`, `.env` or `default`."""

    value: Any
    source: Literal["environment", ".env", "default"]


def variable(name: str) -> str:
    """The environment variable of a settings field."""
    return PREFIX + name.upper()


def shown(name: str, value: Any) -> str:
    """A setting's value as anybody may see it: no key, and no password in an address."""
    if RULES[name].is_secret:
        return HIDDEN if value else ""
    return re.sub(r"(?<=//)[^/@\s]*@", f"{HIDDEN}@", str(value))


def load_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> Settings:
    """Read the settings from `environ` (default: the process's) and a `.env` file (default: `./.env`).

    Raises ConfigError for an unknown name or a value that does not fit.
    """
    return Settings(**{name: given.value for name, given in _read(environ, dotenv).items()})


def explain_settings(environ: Mapping[str, str] | None = None, dotenv: Path | None = None) -> dict[str, Given]:
    """Every setting by field name with its value and where that came from."""
    given = _read(environ, dotenv)
    settings = Settings(**{name: one.value for name, one in given.items()})
    return {name: Given(getattr(settings, name), given[name].source if name in given else "default") for name in RULES}


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
    if name in RULES and key == variable(name):
        return name
    known = [variable(field) for field in RULES]
    close = difflib.get_close_matches(key.upper(), known, n=1)
    hint = f"did you mean {close[0]}?" if close else "`minivault config` lists all settings."
    raise ConfigError(f"{key} is not a setting; {hint}", field=key)


def is_color_refused() -> bool:
    """Whether whoever looks at the terminal wants no colours: NO_COLOR is set, or the terminal is a dumb one."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def agent_socket() -> str:
    """Where the ssh-agent listens; empty where there is none."""
    return os.environ.get("SSH_AUTH_SOCK", "")


def metrics_dir() -> str | None:
    """Where prometheus_client keeps the workers' numbers under gunicorn; None outside it."""
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR")


def share_metrics(directory: Path) -> None:
    """Make `directory` that place for this process and those it forks, before prometheus_client is imported."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
