"""The models of this machine, one folder each, and the only code that adds or removes them.

A model is built in `.partial/`, and renamed into place when it is whole, its manifest written last: whatever interrupts
a pull, no half of a model is ever taken for one. Pulls of the same model wait for each other (a file lock), different
ones do not. `resolve` never downloads.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from minivault.errors import ModelError
from minivault.models import build, layout
from minivault.models.catalog import (
    CATALOG,
    DirectoryOrigin,
    GgufOrigin,
    HubOrigin,
    KnownModel,
    ModelOrigin,
    canonical_name,
    identify,
    served_name,
    spelled,
    store_key,
)
from minivault.models.digest import digest_of_set, sha256_files
from minivault.models.manifest import Manifest, find_change, read_manifest, write_manifest
from minivault.models.model_files import ModelFiles
from minivault.models.packer import Packer
from minivault.models.progress import Progress, silent
from minivault.models.template import chat_template


@dataclass(frozen=True, slots=True)
class ModelStore:
    """The store in `models_dir`, which is created by the first pull. `clock` gives nanoseconds since 1970."""

    models_dir: Path
    clock: Callable[[], int] = time.time_ns
    catalog: Mapping[str, KnownModel] = field(default_factory=lambda: CATALOG)

    def list(self) -> list[ModelFiles]:
        """Every model that is here and looks whole, by name."""
        found = []
        for folder in sorted(self.models_dir.glob("[!.]*")):
            with contextlib.suppress(ModelError):
                manifest = read_manifest(folder)
                if manifest is not None and not find_change(manifest, _place(manifest, folder), verify=False):
                    found.append(_files_of(manifest, folder))
        return found

    def resolve(self, name: str, *, verify: bool = False, progress: Progress = silent) -> ModelFiles:
        """The model called `name`, checked by names and sizes, or with `verify` by digests.

        Raises ModelError with one line that says what to do when it is missing or damaged. A directory needs no pull:
        it is checked and its digests taken when first seen, or when one of its files has changed.
        """
        origin = identify(name, self.catalog)
        folder = self.models_dir / store_key(name, origin, self.catalog)
        if isinstance(origin, DirectoryOrigin):
            return self._resolve_directory(name, origin, folder, verify=verify, progress=progress)
        manifest = read_manifest(folder)
        if manifest is None or (isinstance(origin, GgufOrigin) and build.is_outdated(manifest, origin)):
            raise ModelError(f"model {name} is not on this machine; get it with `minivault models pull {name}`")
        if change := find_change(manifest, folder, verify=verify, progress=progress):
            raise ModelError(f"model {name} is damaged: {change}; repair it with `minivault models pull {name}`")
        return _files_of(manifest, folder)

    def pull(self, name: str, progress: Progress = silent, packer: Packer | None = None) -> ModelFiles:
        """Make sure that `name` is here and whole: fetch, convert and check whatever is missing or damaged.

        With a packer, a GGUF file's weights stay on its grid; a model that was pulled without is fetched again."""
        origin = identify(name, self.catalog)
        if isinstance(origin, DirectoryOrigin):
            return self.resolve(name, verify=True, progress=progress)
        key = store_key(name, origin, self.catalog)
        with self._writing(), self._lock(key):
            with contextlib.suppress(ModelError):
                files = self.resolve(name, verify=True, progress=progress)
                manifest = read_manifest(self.models_dir / key)
                if not (manifest and packer and build.can_be_packed(manifest, files.config, origin, packer)):
                    return files
            self._build(name, origin, key, progress, packer)
            self._drop_unused()
            return self.resolve(name)

    def remove(self, name: str) -> None:
        """Delete what the store holds of `name`; a directory or `.gguf` file of the user's own is never touched."""
        key = store_key(name, identify(name, self.catalog), self.catalog)
        folder = self.models_dir / key
        if not folder.is_dir():
            raise ModelError(f"model {name} is not on this machine; `minivault models list` shows what is")
        with self._writing(), self._lock(key):
            (folder / "minivault.json").unlink(missing_ok=True)
            shutil.rmtree(folder)
            self._drop_unused()

    def _drop_unused(self) -> None:
        """Remove what was prepared from weights that no model here has."""
        used = {self.prepared_path(files) for files in self.list() if not files.is_packed}
        for folder in (self.models_dir / ".prepared").glob("*"):
            if folder not in used:
                shutil.rmtree(folder, ignore_errors=True)

    def prepared(self, files: ModelFiles, name: str, make: Callable[[Path], None]) -> Path:
        """A runner's own form of this model, in a folder named by all that it is made from, and made once.

        `name` tells the form and its version up to its last `-`; what is there of others goes when this one is made."""
        path = self.prepared_path(files) / name
        if not path.is_file():
            with self._writing(), self._lock(path.parent.name):
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.is_file():
                    make(path)
                for old in path.parent.iterdir():
                    if not old.name.startswith(name.rpartition("-")[0]):
                        old.unlink()
        return path

    def prepared_path(self, files: ModelFiles) -> Path:
        """The folder of what is prepared from a model, there or not."""
        made_from = digest_of_set({"weights": files.weights_digest, "config": files.config_digest})
        return self.models_dir / ".prepared" / made_from.removeprefix("sha256:")[:32]

    def _build(self, name: str, origin: ModelOrigin, key: str, progress: Progress, packer: Packer | None) -> None:
        work = self.models_dir / ".partial" / key
        work.mkdir(parents=True, exist_ok=True)
        known_as = canonical_name(name, origin)
        known = self.catalog.get(spelled(name, self.catalog))
        try:
            whole = build.build(
                known_as,
                origin,
                work,
                now_ns=self.clock(),
                known_license=known.license if known else "",
                progress=progress,
                packer=packer,
            )
        except BaseException:
            if not isinstance(origin, HubOrigin):  # whose finished files the next pull goes on with
                shutil.rmtree(work, ignore_errors=True)
            raise
        folder = self.models_dir / key
        if folder.exists():
            shutil.rmtree(folder)
        whole.rename(folder)
        shutil.rmtree(work, ignore_errors=True)

    def _resolve_directory(
        self, name: str, origin: DirectoryOrigin, folder: Path, *, verify: bool, progress: Progress
    ) -> ModelFiles:
        with contextlib.suppress(ModelError):
            manifest = read_manifest(folder)
            if manifest is not None and not find_change(manifest, origin.path, verify=verify, progress=progress):
                return _files_of(manifest, folder)
        manifest = build.describe_directory(canonical_name(name, origin), origin, self.clock(), progress)
        with contextlib.suppress(OSError):  # only remembered; where that cannot be, it is computed again next time
            folder.mkdir(parents=True, exist_ok=True)
            write_manifest(folder, manifest)
        return _files_of(manifest, folder)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise ModelError(f"cannot write models to {self.models_dir}: {reason}; see MINIVAULT_HOME") from error

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        locks = self.models_dir / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / f"{key}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _place(manifest: Manifest, folder: Path) -> Path:
    return Path(manifest.directory) if manifest.directory else folder


def _digest_now(directory: Path, manifest: Manifest, names: Iterable[str]) -> str:
    """Of small files, as they are now: what is loaded decides, not what was recorded once."""
    paths = [directory / name for name in names if name in manifest.files]
    return digest_of_set(sha256_files(paths))


def _files_of(manifest: Manifest, folder: Path) -> ModelFiles:
    directory = _place(manifest, folder)
    weights = {name: record for name, record in manifest.files.items() if layout.is_weights(name)}
    template = chat_template(directory)
    return ModelFiles(
        name=served_name(manifest.name),
        reference=manifest.name,
        directory=directory,
        config=layout.read_json(directory / layout.CONFIG),
        source=manifest.source,
        weights_digest=digest_of_set({name: record.sha256 for name, record in weights.items()}),
        config_digest=_digest_now(directory, manifest, (layout.CONFIG, layout.GENERATION_CONFIG)),
        tokenizer_digest=_digest_now(directory, manifest, layout.TOKENIZER_FILES),
        template_digest=template.digest,
        chat_template=template.text,
        num_parameters=manifest.num_parameters,
        size_bytes=sum(record.size for record in weights.values()),
        license=manifest.license,
        is_packed=layout.PACKED in manifest.files,
        modified_ns=manifest.created_ns,
    )
