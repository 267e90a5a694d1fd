"""Files of a model hub's repository, through the hub's own client library.

The library reads its own settings (HF_ENDPOINT, HF_TOKEN, proxies). Only one GGUF file, or safetensors weights and the
settings files that we use, are asked for; configuration comes first, so that an unusable model is refused before its
weights are fetched. A dropped connection is resumed; after a killed pull the next one keeps every finished file, and
goes on with an unfinished one by HTTP's ranges.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivault.errors import ModelError
from minivault.models import adapter, layout, signature
from minivault.models.catalog import HubOrigin
from minivault.models.digest import sha256_file
from minivault.models.hub_files import gguf_files
from minivault.models.progress import Progress, quiet_hub

_UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was downloaded: the files, the commit they are from, and the license the repository states."""

    files: list[Path]
    commit: str
    license: str
    repository_files: list[str]
    """The paths of all that the repository has."""
    is_gguf: bool = False
    """They are one GGUF file, or its parts."""


def fetch(origin: HubOrigin, folder: Path, progress: Progress) -> Fetched:
    """Download the repository's model into `folder`, which may hold the rest of an earlier attempt.

    Raises ModelError with one line when the hub refuses, cannot be reached, or has nothing that may be loaded.
    """
    folder.mkdir(exist_ok=True)
    with _hub_errors(origin), quiet_hub():
        from huggingface_hub import HfApi

        info = HfApi().model_info(origin.repository, revision=origin.revision, files_metadata=True)
        download = _Download(origin.repository, str(info.sha), folder, _files(info), progress)
        download.drop_unusable()
        parts = gguf_files(origin, download.files)
        names = download.fetch(parts) if parts else download.all()
        download.fetch([name for name in download.files if name == signature.NAME])
    files = [folder / name for name in names]
    return Fetched(files, str(info.sha), _license(info), list(download.files), bool(parts))


@dataclass(frozen=True, slots=True)
class _RemoteFile:
    size: int
    sha256: str
    """Empty where the hub states none (small files)."""


@dataclass(slots=True)
class _Download:
    repository: str
    commit: str
    folder: Path
    files: dict[str, _RemoteFile]
    progress: Progress
    total: int = 0
    done: int = 0

    def all(self) -> list[str]:
        """Fetch settings, check them, then fetch the weights; return the names."""
        if names := adapter.wanted(self.files):
            self._get([layout.ADAPTER])
            adapter.read_adapter(self.folder)
            self._get([name for name in names if name != layout.ADAPTER])
            return names
        settings = [name for name in self.files if not name.endswith(".safetensors") and layout.is_wanted(name)]
        if layout.CONFIG not in settings:
            raise ModelError(f"hub model {self.repository} has no config.json, so it cannot be loaded; choose another")
        self._get(settings)
        layout.check_architecture(layout.read_json(self.folder / layout.CONFIG), self.folder)
        weights = layout.weight_files(self.folder, set(self.files))
        self._get(weights)
        return settings + weights

    def fetch(self, names: list[str]) -> list[str]:
        """Fetch these files; return their names."""
        self._get(names)
        return names

    def drop_unusable(self) -> None:
        """Remove unfinished files that the library would start again, or that the repository no longer has."""
        usable = {self._unfinished(name) for name in self.files}
        for path in (*self.folder.rglob("*.incomplete"), *self.folder.rglob(f"*{_UNFINISHED}")):
            if path not in usable:
                path.unlink()

    def _get(self, names: list[str]) -> None:
        self.done, self.total = 0, sum(self.files[name].size for name in names)
        here = sum(path.stat().st_size for path in map(self._unfinished, names) if path.exists())
        if shutil.disk_usage(self.folder).free < self.total - here:
            raise ModelError(f"{self.folder} has no room for {self.total >> 20} MiB; free some or move MINIVAULT_HOME")
        for name in names:
            self.progress("downloading", self.done, self.total)
            if self._is_resumable(name):
                self._go_on(name)
            else:
                self._from_library(name)
            self._check(name)
            self.done += self.files[name].size
        self.progress("downloading", self.total, self.total)

    def _is_resumable(self, name: str) -> bool:
        """Large files have a digest, which tells whether what is here is of the same one; the largest are not to be had
        in one piece over HTTP."""
        from huggingface_hub.constants import MAX_HTTP_DOWNLOAD_SIZE

        is_plain = all(layout.is_plain_name(part) for part in name.split("/"))
        return is_plain and bool(self.files[name].sha256) and self.files[name].size <= MAX_HTTP_DOWNLOAD_SIZE

    def _from_library(self, name: str) -> None:
        from huggingface_hub import hf_hub_download

        options: dict[str, Any] = {"local_dir": self.folder, "tqdm_class": self._bar(self.done)}
        hf_hub_download(self.repository, name, revision=self.commit, **options)

    def _go_on(self, name: str) -> None:
        """Fetch what is not here of a file yet. The library has this for a file of its caller's."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it is documented

        path, unfinished = self.folder / name, self._unfinished(name)
        if path.exists() and self._is_whole(name):
            return
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("ab") as file:
            options: dict[str, Any] = {"expected_size": self.files[name].size, "tqdm_class": self._bar(self.done)}
            url = hf_hub_url(self.repository, name, revision=self.commit)
            http_get(url, file, resume_size=file.tell(), headers=build_hf_headers(), **options)
        unfinished.replace(path)

    def _unfinished(self, name: str) -> Path:
        return self.folder / f"{name}.{self.files[name].sha256[:16]}{_UNFINISHED}"

    def _is_whole(self, name: str) -> bool:
        path, expected = self.folder / name, self.files[name]
        return path.stat().st_size == expected.size and expected.sha256 in ("", sha256_file(path, self.progress))

    def _check(self, name: str) -> None:
        if self._is_whole(name):
            return
        (self.folder / name).unlink()
        raise ModelError(f"{name} of {self.repository} is not what the hub says it is (size or digest); pull it again")

    def _bar(self, before: int) -> type:
        """What the library takes for its progress bar: counts, and tells our own progress."""
        from tqdm.auto import tqdm  # type: ignore[import-untyped]

        progress, total = self.progress, self.total

        class Bar(tqdm):  # type: ignore[misc]
            def __init__(self, *args: Any, initial: int = 0, **options: Any) -> None:
                options.pop("name", None)
                super().__init__(*args, **(options | {"disable": True}))
                self.so_far = before + initial

            def update(self, n: float | None = 1) -> None:
                self.so_far += int(n or 0)
                progress("downloading", min(self.so_far, total), total)

        return Bar


def _files(info: Any) -> dict[str, _RemoteFile]:
    files = {}
    for sibling in info.siblings or []:
        large = sibling.lfs
        files[sibling.rfilename] = _RemoteFile(int(sibling.size or 0), large.sha256 if large else "")
    return files


def _license(info: Any) -> str:
    for tag in info.tags or []:
        if tag.startswith("license:"):
            return str(tag.removeprefix("license:"))
    return ""


def _said(error: Any) -> str:
    """The hub's own reason, in one line, where it gives one."""
    reason = " ".join(str(getattr(error, "server_message", None) or "").split())[:200]
    return f" ({reason.rstrip('.')})" if reason else ""


@contextlib.contextmanager
def _hub_errors(origin: HubOrigin) -> Iterator[None]:
    """The library's errors as ours: one line, with what to do."""
    from huggingface_hub import errors
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever client it is built on

    name = origin.repository
    try:
        yield
    except errors.GatedRepoError as error:
        told = f"hub model {name} is gated{_said(error)}: accept its terms on the hub and set HF_TOKEN"
        raise ModelError(told) from None
    except errors.RevisionNotFoundError:
        raise ModelError(f"hub model {name} has no revision {origin.revision!r}; check the part after @") from None
    except errors.RepositoryNotFoundError as error:
        told = f"the hub has no model {name}{_said(error)}; check the name, or set HF_TOKEN if it is private"
        raise ModelError(told) from None
    except errors.OfflineModeIsEnabled:
        raise ModelError(f"cannot pull {name}: HF_HUB_OFFLINE is set; unset it and try again") from None
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, HTTPError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelError(f"pulling {name} from the hub failed: {reason}; pull again to go on") from None
