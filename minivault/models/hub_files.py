"""Which files of a hub's repository are a model: its safetensors, or one of its GGUF files."""

from __future__ import annotations

import re
from collections.abc import Collection

from minivault.errors import ModelError
from minivault.models.catalog import HubOrigin
from minivault.models.gguf.parts import whole_name

USUAL = "Q4_K_M"
"""The quantisation that is meant where nobody says which."""
_TYPE = re.compile(r"(?:I?Q\d[A-Z0-9_]*|TQ\d_\d|MXFP4[A-Z_]*|BF16|F16|F32|FP16|FP32)", re.IGNORECASE)
_PROJECTOR = "mmproj"
"""How files begin that belong to a model's eyes."""


def gguf_files(origin: HubOrigin, names: Collection[str]) -> list[str]:
    """The GGUF file that is wanted of a repository, all of its parts in order; none where the repository's safetensors
    are. Raises ModelError naming those there are where it has no such file, or several and none is the usual one."""
    models = dict[str, list[str]]()
    for name in sorted(names):
        last = name.rpartition("/")[2]
        if name.endswith(".gguf") and not last.lower().startswith(_PROJECTOR):
            models.setdefault(whole_name(last), []).append(name)
    if not origin.file and (not models or any(name.endswith(".safetensors") for name in names)):
        return []
    wanted = origin.file or USUAL
    found = [files for whole, files in models.items() if _is_called(whole, files, wanted)]
    if not origin.file and not found and len(models) == 1:
        found = list(models.values())
    if len(found) == 1:
        return found[0]
    if not models:
        raise ModelError(f"hub model {origin.repository} has no GGUF files; leave out :{origin.file}")
    there, what = ", ".join(sorted(map(_type_of, models))), "several files" if found else "no file"
    told = f"hub model {origin.repository} has {what} called {wanted}"
    raise ModelError(f"{told}; choose one with --file or behind a colon: {there}")


def _is_called(whole: str, files: list[str], wanted: str) -> bool:
    """By its name, its path, or the end of its name that begins after a mark."""
    if wanted.endswith(".gguf"):
        return wanted.removesuffix(".gguf") == whole or wanted in files
    return re.search(rf"(?:^|[-._]){re.escape(wanted)}$", whole, re.IGNORECASE) is not None


def _type_of(whole: str) -> str:
    """What a file is called apart from others of its repository: its quantisation, where its name ends in one."""
    last = re.split(r"[-.]", whole)[-1]
    return last if _TYPE.fullmatch(last) else f"{whole}.gguf"
