"""`keys`: who may use the server. A new key is printed once, on stdout, and cannot be shown again."""

from __future__ import annotations

import csv
import re
import time
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click

from minivault.access.keys import Key, KeyFile, NewKey
from minivault.access.roles import ROLES, Role
from minivault.cli.options import examples, json_option
from minivault.cli.recording import record_act
from minivault.cli.show.output import print_json, print_table
from minivault.cli.show.terminal import one_line, write
from minivault.config import load_settings
from minivault.errors import ConfigError

_DURATION = re.compile(r"(\d{1,6})([hdw])")
_UNIT_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}
_COLUMNS = ("name", "role", "expires", "rate", "tokens_per_day")


@click.group(epilog=examples("keys create alice --expires 90d", "keys list"))
def keys() -> None:
    """Make, list and revoke access keys.

    Without any key the server answers only callers on this machine. Once a key exists every request needs one, except
    GET /ready. A running server follows changes at once.
    """


@keys.command(
    epilog=examples("keys create alice --rate 60/minute", "keys create --from class.csv --expires 30d > keys.csv")
)
@click.argument("name", required=False)
@click.option("--role", type=click.Choice(ROLES), default="use", show_default=True, help="What the key may do.")
@click.option("--expires", metavar="WHEN", help="12h, 30d, 4w, or the last day as 2027-01-31 (UTC).")
@click.option("--rate", metavar="LIMIT", help="Requests per window instead of the server's, like 60/minute.")
@click.option("--tokens-per-day", type=click.IntRange(min=1), help="Prompt and answer tokens a day.")
@click.option(
    "--from",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A key for each line of a CSV file. Columns: name, and if wanted role, expires, rate, tokens_per_day.",
)
@json_option
def create(
    *,
    name: str | None,
    role: Role,
    expires: str | None,
    rate: str | None,
    tokens_per_day: int | None,
    file: Path | None,
    as_json: bool,
) -> None:
    """Make a key and print it, once.

    Roles: `use` asks for answers, `audit` reads the vault, `admin` may do both and the rest.
    With --from the options are for the lines that leave them empty, and the result is CSV: name,key.
    """
    defaults = {
        "role": role,
        "expires": expires or "",
        "rate": rate or "",
        "tokens_per_day": str(tokens_per_day or ""),
    }
    if (name is None) == (file is None):
        raise click.UsageError("give either a NAME or --from FILE")
    rows = [{**defaults, "name": name}] if file is None else _read_rows(file, defaults)
    created = _file().create(*(_new_key(row) for row in rows))
    record_act("keys create", keys=[_noted(key) for key, _ in created])
    if as_json:
        print_json({"keys": [{**_shown(key), "key": token} for key, token in created]})
    elif file is not None:
        write("name,key\n" + "".join(f"{_cell(key.name)},{token}\n" for key, token in created))
    else:
        _hand_over(*created[0])


@keys.command("list", epilog=examples("keys list"))
@json_option
def list_keys(as_json: bool) -> None:
    """Show all keys, without their secrets."""
    found = sorted(_file().read().values(), key=lambda key: (key.created_at, key.name))
    if as_json:
        print_json({"keys": [_shown(key) for key in found]})
        return
    head = ("NAME", "ID", "ROLE", "STATE", "EXPIRES", "RATE", "TOKENS/DAY")
    none = "There are no keys: only callers on this machine are answered."
    print_table(head, [*map(_row, found)], if_none=none)


@keys.command(epilog=examples("keys revoke alice"))
@click.argument("key")
@json_option
def revoke(key: str, as_json: bool) -> None:
    """Make KEY (a name or an id) invalid, at once and for good."""
    revoked = _file().revoke(key)
    record_act("keys revoke", keys=[_noted(revoked)])
    if as_json:
        print_json(_shown(revoked))
    else:
        click.echo(f"Revoked {one_line(revoked.name)} ({revoked.id}).", err=True)


@keys.command(epilog=examples("keys rotate alice"))
@click.argument("key")
@json_option
def rotate(key: str, as_json: bool) -> None:
    """Give KEY (a name or an id) a new secret and print it, once; the old one is invalid at once."""
    rotated, token = _file().rotate(key)
    record_act("keys rotate", keys=[_noted(rotated)])
    if as_json:
        print_json({**_shown(rotated), "key": token})
    else:
        _hand_over(rotated, token)


@keys.command(epilog=examples("keys watermark ~/watermark.key"))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def watermark(file: Path) -> None:
    """Make a key that answers are marked with, in a new FILE for MINIVAULT_WATERMARK_KEY_FILE.

    Whoever has it can tell marked text, and can write some. Keep a copy: without it what it marked cannot be told, and
    those answers cannot be replayed.
    """
    from minivault.watermark import create_key

    mark = create_key(file)
    record_act("keys watermark", **mark.told)
    click.echo(f"Key {mark.key_id} is in {one_line(str(file))}. Keep a copy of it.", err=True)
    write(f"MINIVAULT_WATERMARK_KEY_FILE={one_line(str(file.absolute()))}\n")


def _file() -> KeyFile:
    return KeyFile(load_settings().keys_file)


def _hand_over(key: Key, token: str) -> None:
    click.echo(f"Key {one_line(key.name)} ({key.id}, {key.role}). Keep it now: it is not shown again.", err=True)
    write(f"{token}\n")


def _read_rows(path: Path, defaults: dict[str, str]) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, skipinitialspace=True, strict=True)
        try:
            unknown = set(reader.fieldnames or ()) - set(_COLUMNS)
            if "name" not in (reader.fieldnames or ()) or unknown:
                raise ConfigError(f"{path}: the first line must name the columns: {', '.join(_COLUMNS)}", field="from")
            rows = [{**defaults, **{name: cell.strip() for name, cell in row.items() if cell}} for row in reader]
        except (csv.Error, UnicodeDecodeError, AttributeError) as error:
            raise ConfigError(f"{path} is not a CSV file: {one_line(str(error))}", field="from") from None
    if not rows:
        raise ConfigError(f"{path} has no lines after its first", field="from")
    return rows


def _new_key(row: dict[str, Any]) -> NewKey:
    if row["role"] not in ROLES:
        raise ConfigError(f"{row['role']!r} is no role; write {', '.join(ROLES)}", field="role")
    if row["rate"]:
        from minivault.access.rates import parse_limit

        parse_limit(row["rate"])
    return NewKey(
        name=row.get("name", ""),
        role=row["role"],
        expires_at=_expiry(row["expires"]) if row["expires"] else None,
        rate=row["rate"] or None,
        tokens_per_day=_count(row["tokens_per_day"]) if row["tokens_per_day"] else None,
    )


def _expiry(text: str) -> int:
    """Unix seconds of `30d` from now, or of the end of the day `2027-01-31`."""
    duration = _DURATION.fullmatch(text)
    if duration:
        return int(time.time()) + int(duration[1]) * _UNIT_SECONDS[duration[2]]
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc)
    except ValueError:
        raise ConfigError(f"{text!r} is no expiry; write 12h, 30d, 4w or 2027-01-31", field="expires") from None
    return int((day + timedelta(days=1)).timestamp())


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{text!r} is no number of tokens", field="tokens_per_day")
    return int(text)


def _shown(key: Key) -> dict[str, Any]:
    fields = asdict(key)
    del fields["sha256"]
    return {**fields, "state": _state(key)}


def _noted(key: Key) -> dict[str, Any]:
    """What the vault keeps of a key: nothing that helps to guess it."""
    return {name: value for name, value in asdict(key).items() if name != "sha256" and value is not None}


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "valid" if key.is_valid_at(time.time()) else "expired"


def _row(key: Key) -> tuple[str, ...]:
    expires = "never" if key.expires_at is None else _utc(key.expires_at)
    tokens = str(key.tokens_per_day or "-")
    return one_line(key.name), key.id, key.role, _state(key), expires, key.rate or "-", tokens


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%d %H:%M")


def _cell(text: str) -> str:
    """A CSV cell that no spreadsheet takes for a formula."""
    safe = f"'{text}" if text[:1] in "=+-@" else text
    return '"' + safe.replace('"', '""') + '"' if re.search('[",]', safe) else safe
