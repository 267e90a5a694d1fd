"""How a model's name may be written: with the hub's host before it, and with a tag behind it, as Ollama's users do."""

from __future__ import annotations

DEFAULT_TAG = "latest"
HOSTS = ("hf.co/", "huggingface.co/")


def without_host(name: str) -> str:
    """A hub repository's name alone, of its address; any other name as it is."""
    plain = name.removeprefix("https://")
    return next((plain[len(host) :] for host in HOSTS if plain.lower().startswith(host)), name)


def split_tag(name: str) -> tuple[str, str]:
    """A name and the tag behind its last part; empty where there is none."""
    folder, slash, last = name.rpartition("/")
    head, _, tag = last.partition(":")
    return f"{folder}{slash}{head}", tag
