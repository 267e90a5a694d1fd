"""What `doctor` looks at, one function a subject. Each yields findings and raises nothing that `run` does not catch."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from minivault.cli.client.address import bound_address
from minivault.config import Settings, load_settings
from minivault.errors import ConfigError, MiniVaultError, Unreachable, VaultError

GIB = 1 << 30
MIN_FREE_DISK = 1 * GIB
MIN_FREE_MEMORY = GIB // 2
MIN_FILES = 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one thing: `ok`, a `note` worth reading, or a `fault`; and what to do about it."""

    verdict: Literal["ok", "note", "fault"]
    about: str
    found: str
    advice: str = ""


Check = Callable[[], Iterator[Finding]]


def run(check: Check) -> list[Finding]:
    """What a check finds; an error of ours that it meets is a fault with the error's own advice."""
    about = check.__name__.removeprefix("check_")
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except MiniVaultError as error:
        findings.append(Finding("fault", about, error.message))
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        findings.append(Finding("fault", about, f"{error.strerror or error}{place}"))
    return findings


def check_settings() -> Iterator[Finding]:
    """They can be read, and are not the defaults of somebody else's folder."""
    from minivault.config import explain_settings, variable

    given = {variable(name): one for name, one in explain_settings().items() if one.source != "default"}
    shown = ", ".join(f"{name} ({one.source})" for name, one in given.items())
    yield Finding("ok", "settings", shown or "all defaults", "")


def check_packages() -> Iterator[Finding]:
    """Python, and that what is installed is what this version asks for."""
    yield Finding("ok", "python", f"{platform.python_version()} in {sys.prefix}")
    wrong = list(_mismatches())
    if not wrong:
        yield Finding("ok", "packages", "all that MiniVault requires")
    else:
        advice = "`pip install -c constraints.txt -e .` in a checkout, or install the package again"
        yield Finding("fault", "packages", "; ".join(wrong), advice)


def _mismatches() -> Iterator[str]:
    from packaging.requirements import Requirement

    for line in metadata.requires("minivault") or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            here = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            yield f"{wanted.name} is missing"
            continue
        if not wanted.specifier.contains(here, prereleases=True):
            yield f"{wanted.name} is {here}, not {wanted.specifier}"


def check_model() -> Iterator[Finding]:
    """It is here, whole as far as sizes tell, and who computes it."""
    from minivault.engine.exact.support import why_not
    from minivault.service.store import store

    settings = load_settings()
    if settings.backend != "local":
        yield Finding("ok", "model", f"from {settings.backend}")
        return
    try:
        files = store(settings).resolve(settings.model)
    except MiniVaultError as error:
        yield Finding(
            "fault", "model", error.message, f"`minivault models pull {settings.model}` fetches and repairs it"
        )
        return
    yield Finding("ok", "model", f"{files.name}, {files.size_bytes / 1e6:.0f} MB in {files.directory}")
    reason = why_not(files.config)
    if settings.device.startswith("cuda") or settings.runner == "transformers":
        yield Finding("ok", "engine", f"transformers on {settings.device}, as set")
    elif reason is None:
        yield Finding("ok", "engine", "exact: the same tokens on every CPU, many answers at once")
    else:
        yield Finding("note", "engine", f"transformers, one answer at a time: {reason}")


def check_cpu() -> Iterator[Finding]:
    """Which kernels it runs, on how many threads."""
    from minivault.engine.exact.kinds import Plain, kinds
    from minivault.engine.host import Machine, num_cores

    settings, machine, cores = load_settings(), Machine.here(), num_cores()
    threads = settings.cpu_threads or max(1, cores // settings.workers)
    quickest = kinds(machine.flags)[0]
    found = f"{cores} cores, {settings.workers} workers with {threads} threads each; kernels {quickest.__name__}"
    if quickest is Plain:
        yield Finding("note", "cpu", found, "Without AVX2 every token takes several times as long.")
    elif threads * settings.workers > cores:
        yield Finding("note", "cpu", found, "More threads than cores wait for each other: lower MINIVAULT_CPU_THREADS.")
    else:
        yield Finding("ok", "cpu", found)


def check_memory() -> Iterator[Finding]:
    """What is free, by the system and by the limits of this process."""
    from minivault.service.memory import free_bytes

    free = free_bytes()
    found = f"{free / GIB:.1f} GiB free for this process and those it starts"
    is_low = free < MIN_FREE_MEMORY
    advice = "Little for a model and its conversations: fewer MINIVAULT_WORKERS, or a lower MINIVAULT_CONTEXT." * is_low
    yield Finding("note" if is_low else "ok", "memory", found, advice)


def check_vault() -> Iterator[Finding]:
    """Where it is, whether it may lie and be written there, and what is in it."""
    from minivault.vault.directory import LOCK, filesystem_type, network_name
    from minivault.vault.reader import last_records

    directory = load_settings().log_dir
    place = _existing(directory)
    if network := network_name(filesystem_type(place)):
        yield Finding("fault", "vault", f"{directory} is on {network}", "MINIVAULT_LOG_DIR must name a local disk.")
    elif not os.access(place, os.W_OK):
        advice = f"`chown {os.getuid()} {place}`, or another MINIVAULT_LOG_DIR"
        yield Finding("fault", "vault", f"{place} cannot be written by this user", advice)
    elif not (directory / LOCK).exists():
        yield Finding("ok", "vault", f"{directory}: none yet, it is made when the server first starts")
    else:
        [last] = last_records(directory, 1)
        yield Finding("ok", "vault", f"{directory}: {last['seq']} records, the last of {str(last['timestamp'])[:19]}Z")
        yield from _signer(directory)
        yield from _clock_against(int(last["time_ns"]))
        open_ = [path.name for path in (directory / "journal").glob("*.jsonl") if path.stat().st_size]
        if open_:
            yield Finding(
                "note",
                "vault",
                f"{len(open_)} journals hold open answers",
                "A running server's, or else `minivault vault recover`.",
            )


def _signer(directory: Path) -> Iterator[Finding]:
    """Whether an agent that holds the signing key signs."""
    from minivault.vault.proof.key import SigningKey

    key = SigningKey.load(directory)
    if key is not None and key.is_elsewhere:
        try:
            key.sign(b"minivault: does this key sign?")
            yield Finding("ok", "signing key", "the ssh-agent holds it and signs")
        except VaultError as error:
            advice = "Until the agent signs, answers are recorded without receipts and checkpoints."
            yield Finding("fault", "signing key", error.message, advice)


def _clock_against(last_ns: int) -> Iterator[Finding]:
    ahead_s = (last_ns - time.time_ns()) / 1e9
    if ahead_s > 1:
        advice = "Set the clock (`timedatectl`): records are in order all the same, but their times are not."
        yield Finding("note", "clock", f"{ahead_s:.0f} s behind the vault's last record", advice)
    else:
        yield Finding("ok", "clock", time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime()))


def check_disk() -> Iterator[Finding]:
    """Room for records and for models."""
    settings = load_settings()
    for name, path in (("vault", settings.log_dir), ("models", settings.home)):
        free = shutil.disk_usage(_existing(path)).free
        found = f"{free / GIB:.1f} GiB free for {name} at {path}"
        advice = "Without room for a record no answer is given." if name == "vault" else "A model needs its size twice."
        yield Finding("ok", "disk", found) if free > MIN_FREE_DISK else Finding("note", "disk", found, advice)


def check_address() -> Iterator[Finding]:
    """Who has the port, and whether it may be opened."""
    settings = load_settings()
    address = bound_address(settings.bind)
    if address is None:
        yield Finding("ok", "address", f"{settings.bind}: a free port is chosen at the start")
        return
    from minivault.cli.client.client import Client

    try:
        with Client(address, api_key=settings.api_key) as client:
            is_ours = client.probe()
    except Unreachable as error:
        yield Finding("fault", "address", error.message, "Another program has it: set MINIVAULT_BIND to another port.")
        return
    if is_ours:
        yield Finding("ok", "address", f"a MiniVault answers at {address}")
    else:
        yield _bindable(settings)
    yield from _exposure(settings)


def _bindable(settings: Settings) -> Finding:
    if settings.bind.startswith("unix:"):
        return Finding("ok", "address", f"{settings.bind} is free")
    host, _, port = settings.bind.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            advice = "Another program has it: set MINIVAULT_BIND to another port."
            return Finding("fault", "address", f"{settings.bind}: {error.strerror}", advice)
    return Finding("ok", "address", f"{settings.bind} is free")


def _exposure(settings: Settings) -> Iterator[Finding]:
    from minivault.access.exposure import check_access
    from minivault.access.keys import KeyFile

    valid = [key for key in KeyFile(settings.keys_file).read().values() if key.is_valid_at(time.time())]
    try:
        check_access(settings)
    except ConfigError as error:
        yield Finding("fault", "keys", error.message)
    else:
        yield Finding("ok", "keys", f"{len(valid)} valid" if valid else "none: callers on this machine need none")


def check_limits() -> Iterator[Finding]:
    """What the system lets a process open."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    advice = "Each connection takes one: `ulimit -n 4096`, or LimitNOFILE= of systemd."
    verdict: Literal["ok", "note"] = "ok" if files >= MIN_FILES else "note"
    yield Finding(verdict, "limits", f"{files} open files", "" if files >= MIN_FILES else advice)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    return path if path.exists() or path == path.parent else _existing(path.parent)


CHECKS: tuple[Check, ...] = (
    check_settings,
    check_packages,
    check_model,
    check_cpu,
    check_memory,
    check_vault,
    check_disk,
    check_address,
    check_limits,
)
