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
from dataclasses import dataclass, field, replace
from pathlib import Path

from minivault.errors import ModelError
from minivault.models import build, layout
from minivault.models.adapter import WEIGHTS, Adapter, read_adapter
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
from minivault.models.signers import Signers
from minivault.models.template import chat_template


@dataclass(frozen=True, slots=True)
class ModelStore:
    """The store in `models_dir`, which is created by the first pull. `clock` gives nanoseconds since 1970."""

    models_dir: Path
    clock: Callable[[], int] = time.time_ns
    catalog: Mapping[str, KnownModel] = field(default_factory=lambda: CATALOG)
    signing_key: Signers | None = None
    """Whose signature a model must have that has one."""

    def list(self) -> list[ModelFiles]:
        """Every model that is here and looks whole, by name."""
        found = []
        for folder in sorted(self.models_dir.glob("[!.]*")):
            with contextlib.suppress(ModelError):
                manifest = read_manifest(folder)
                if manifest is not None and not find_change(manifest, _place(manifest, folder), verify=False):
                    found.append(self._files_of(manifest, folder))
        return found

    def resolve(self, name: str, *, verify: bool = False, progress: Progress = silent) -> ModelFiles:
        """The model called `name`, checked by names and sizes, or with `verify` by digests.

        Raises ModelError with one line that says what to do when it is missing or damaged. A directory needs no pull:
        it is checked and its digests taken when first seen, or when one of its files has changed. An adapter is there
        when its base is, too.
        """
        return self._files_of(*self._found(name, verify, progress), verify, progress)

    def _found(self, name: str, verify: bool, progress: Progress) -> tuple[Manifest, Path]:
        """What the store knows of a model or an adapter, and in which folder."""
        origin = identify(name, self.catalog)
        folder = self.models_dir / store_key(name, origin, self.catalog)
        if isinstance(origin, DirectoryOrigin):
            return self._found_directory(name, origin, folder, verify=verify, progress=progress)
        manifest = read_manifest(folder)
        if manifest is None or (isinstance(origin, GgufOrigin) and build.is_outdated(manifest, origin)):
            raise ModelError(f"model {name} is not on this machine; get it with `minivault models pull {name}`")
        if change := find_change(manifest, folder, verify=verify, progress=progress):
            raise ModelError(f"model {name} is damaged: {change}; repair it with `minivault models pull {name}`")
        return manifest, folder

    def _files_of(
        self, manifest: Manifest, folder: Path, verify: bool = False, progress: Progress = silent
    ) -> ModelFiles:
        if layout.ADAPTER not in manifest.files:
            return _files_of(manifest, folder)
        adapter = _adapter_of(manifest, folder)
        try:
            base = self._found(adapter.base, verify, progress)
        except ModelError as error:
            raise ModelError(f"adapter {served_name(manifest.name)} needs its base: {error.message}") from None
        if layout.ADAPTER in base[0].files:
            raise ModelError(f"adapter {served_name(manifest.name)} has an adapter as its base; merge them with PEFT")
        return _adapted(_files_of(*base), adapter, manifest)

    def pull(self, name: str, progress: Progress = silent, packer: Packer | None = None) -> ModelFiles:
        """Make sure that `name` is here and whole: fetch, convert and check whatever is missing or damaged.

        With a packer, a GGUF file's weights stay on its grid; a model that was pulled without is fetched again. Of an
        adapter the base is pulled, too."""
        manifest, folder = self._pull(name, progress, packer)
        if layout.ADAPTER in manifest.files:
            self._pull(_adapter_of(manifest, folder).base, progress, packer)
        return self._files_of(manifest, folder)

    def _pull(self, name: str, progress: Progress, packer: Packer | None) -> tuple[Manifest, Path]:
        origin = identify(name, self.catalog)
        if isinstance(origin, DirectoryOrigin):
            return self._found(name, verify=True, progress=progress)
        key = store_key(name, origin, self.catalog)
        with self._writing(), self._lock(key):
            with contextlib.suppress(ModelError):
                manifest, folder = self._found(name, verify=True, progress=progress)
                if self._counts(manifest) and not (packer and build.can_be_packed(manifest, folder, origin, packer)):
                    return manifest, folder
            self._build(name, origin, key, progress, packer)
            self._drop_unused()
            return self._found(name, verify=False, progress=silent)

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
        made_from = {"weights": files.weights_digest, "config": files.config_digest}
        made_from |= {"adapter": files.adapter.digest} if files.adapter else {}
        return self.models_dir / ".prepared" / digest_of_set(made_from).removeprefix("sha256:")[:32]

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
                key=self.signing_key,
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

    def _found_directory(
        self, name: str, origin: DirectoryOrigin, folder: Path, *, verify: bool, progress: Progress
    ) -> tuple[Manifest, Path]:
        with contextlib.suppress(ModelError):
            manifest = read_manifest(folder)
            if (
                manifest is not None
                and self._counts(manifest)
                and not build.is_newly_signed(manifest, origin)
                and not find_change(manifest, origin.path, verify=verify, progress=progress)
            ):
                return manifest, folder
        known_as = canonical_name(name, origin)
        manifest = build.describe_directory(known_as, origin, self.clock(), progress, self.signing_key)
        with contextlib.suppress(OSError):  # only remembered; where that cannot be, it is computed again next time
            folder.mkdir(parents=True, exist_ok=True)
            write_manifest(folder, manifest)
        return manifest, folder

    def _counts(self, manifest: Manifest) -> bool:
        """False for a model that is signed and was not verified with the key that is known now."""
        key, signature = self.signing_key, manifest.signature
        return key is None or signature is None or signature.key == key.digest

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


def _adapter_of(manifest: Manifest, folder: Path) -> Adapter:
    files = {name: manifest.files[name].sha256 for name in (layout.ADAPTER, WEIGHTS)}
    has_tokenizer = "tokenizer.json" in manifest.files
    return read_adapter(_place(manifest, folder), digest_of_set(files), has_tokenizer=has_tokenizer)


def _adapted(base: ModelFiles, adapter: Adapter, manifest: Manifest) -> ModelFiles:
    """What a base is with an adapter."""
    name = served_name(manifest.name)
    if base.is_packed:
        told = (
            f"adapter {name} is for {base.name}, which is kept as a GGUF file has it, and nothing can be added to that"
        )
        raise ModelError(f"{told}; set base_model_name_or_path to the model in safetensors")
    files = replace(
        base,
        name=name,
        reference=manifest.name,
        source=f"{manifest.source} on {base.source}",
        size_bytes=base.size_bytes + manifest.files[WEIGHTS].size,
        modified_ns=manifest.created_ns,
        adapter=adapter,
    )
    if not adapter.has_tokenizer:
        return files
    template = chat_template(adapter.directory)
    digest = _digest_now(adapter.directory, manifest, layout.TOKENIZER_FILES)
    return replace(files, tokenizer_digest=digest, template_digest=template.digest, chat_template=template.text)


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
        signature=manifest.signature,
        modified_ns=manifest.created_ns,
    )
