"""Which models a setting names: one, several by comma, or all in a folder."""

from __future__ import annotations

from pathlib import Path

from minivault.errors import ConfigError
from minivault.models import layout
from minivault.models.gguf.parts import is_later_part


def names_in(setting: str) -> list[str]:
    """The models that a setting names, in order. Raises ConfigError where it names none, or one twice."""
    names = [setting] if Path(setting).expanduser().is_dir() else [name.strip() for name in setting.split(",")]
    found = [one for name in names if name for one in _in_folder(name) or [name]]
    if not found:
        raise ConfigError(f"MINIVAULT_MODEL={setting!r} names no model", field="MINIVAULT_MODEL")
    if twice := next((name for name in found if found.count(name) > 1), None):
        raise ConfigError(f"MINIVAULT_MODEL={setting!r} names {twice} twice", field="MINIVAULT_MODEL")
    return found


def _in_folder(name: str) -> list[str]:
    """The directories and `.gguf` files of a folder that is no model itself, by name."""
    folder = Path(name).expanduser()
    if not folder.is_dir() or _is_model(folder):
        return []
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [str(path.absolute()) for path in inside if _is_model(path)]


def _is_model(path: Path) -> bool:
    if path.suffix == ".gguf":
        return path.is_file() and not is_later_part(path)
    return any((path / name).is_file() for name in (layout.CONFIG, layout.ADAPTER))
