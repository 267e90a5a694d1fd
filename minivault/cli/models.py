"""`models`: which models are on this machine; fetching, showing and removing them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from minivault.cli.options import current_settings, examples, json_option
from minivault.cli.recording import record_act
from minivault.cli.show.output import print_json, print_pairs
from minivault.cli.show.terminal import note
from minivault.cli.show.transfer import show_transfer

if TYPE_CHECKING:
    from minivault.models import ModelFiles, ModelStore


@click.group(epilog=examples("models list", "models pull distilgpt2"))
def models() -> None:
    """List, fetch, show and remove models.

    A model is a catalog name, a hub id like org/name, org/name:Q4_K_M or org/name@revision, a directory, or a .gguf
    file.
    """


@models.command("list", epilog=examples("models list"))
@json_option
def list_models(as_json: bool) -> None:
    """List the models that are here, and those that can be fetched by a short name."""
    from minivault.models.catalog import CATALOG

    here = {files.reference: files for files in _store().list()}
    absent = [entry for entry in CATALOG.values() if entry.name not in here]
    if as_json:
        available = [{"name": entry.name, "summary": entry.summary, "license": entry.license} for entry in absent]
        print_json({"models": [_as_object(files) for files in here.values()], "available": available})
        return
    rows = [(name, f"{_size(files.size_bytes):>9}  {files.source}") for name, files in here.items()]
    rows += [(entry.name, f"not here   {entry.summary}; about {_size(entry.download_bytes)}") for entry in absent]
    print_pairs(rows)


@models.command(epilog=examples("models pull org/name --file Q4_K_M", "models pull ./model.gguf"))
@click.argument("name")
@click.option("--file", help="Of a hub's GGUF files the one of this name or quantisation: Q4_K_M, Q8_0 and so on.")
@json_option
def pull(name: str, file: str | None, as_json: bool) -> None:
    """Fetch NAME and make it ready to serve; repairs a damaged one, and is quick when all is there.

    Where a FILE is given, the model is called NAME:FILE from then on."""
    from minivault.service.backends import pull_model

    name = f"{name}:{file}" if file else name
    before = {files.reference: files.modified_ns for files in _store().list()}
    with show_transfer(name) as progress:
        files = pull_model(current_settings(), name, progress)
    if before.get(files.reference) != files.modified_ns:
        known = {"model": files.name, "source": files.source, "size_bytes": files.size_bytes}
        signed = {"signature": str(files.signature)} if files.signature else {}
        record_act("models pull", name=name, **known, **signed)
    if as_json:
        print_json(_as_object(files))
        return
    note(f"{files.name} is ready: {_size(files.size_bytes)} in {files.directory}")


@models.command(epilog=examples("models show smollm2-135m --verify"))
@click.argument("name")
@click.option("--verify", is_flag=True, help="Read every file again and compare its digest.")
@json_option
def show(name: str, verify: bool, as_json: bool) -> None:
    """Show what is known of NAME. Fails when it is missing or damaged."""
    with show_transfer(name) as progress:
        files = _store().resolve(name, verify=verify, progress=progress)
    if as_json:
        print_json(_as_object(files) | {"is_verified": verify})
        return
    print_pairs((key, _shown(key, value)) for key, value in _as_object(files).items())
    if verify:
        note("every file has its recorded digest")


@models.command("rm", epilog=examples("models rm distilgpt2"))
@click.argument("name")
def remove(name: str) -> None:
    """Remove NAME from this machine. A directory or .gguf file of your own is never touched."""
    _store().remove(name)
    record_act("models rm", name=name)
    note(f"{name} is removed")


def _store() -> ModelStore:
    from minivault.service.store import store

    return store(current_settings())


def _as_object(files: ModelFiles) -> dict[str, Any]:
    values = asdict(files) | {"directory": str(files.directory)}
    values["modified"] = datetime.fromtimestamp(files.modified_ns / 1e9, timezone.utc).isoformat(timespec="seconds")
    values["architecture"] = str(files.config.get("model_type", ""))
    values["has_chat_template"] = bool(files.chat_template)
    values["signature"] = str(files.signature or "")
    values["adapter"] = f"{files.adapter.directory}, {files.adapter.digest}" if files.adapter else ""
    hidden = ("config", "chat_template", "modified_ns")
    return {key: value for key, value in values.items() if key not in hidden}


def _shown(key: str, value: Any) -> str:
    if key == "size_bytes":
        return f"{value} ({_size(value)})"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:.1f} GB"
