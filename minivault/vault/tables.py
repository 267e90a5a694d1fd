"""Interactions as a table, for the tools that people analyse tables with: SQLite and Parquet, without proof.

One row an interaction, with the columns below; times are milliseconds, `parameters` is JSON text. What was redacted is
null.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from minivault.errors import ConfigError

Row = dict[str, Any]
COLUMNS: Mapping[str, type] = {
    "seq": int,
    "id": str,
    "timestamp": str,
    "status": str,
    "finish_reason": str,
    "api": str,
    "model": str,
    "key": str,
    "client": str,
    "prompt": str,
    "response": str,
    "reasoning": str,
    "prompt_tokens": int,
    "completion_tokens": int,
    "first_token_ms": float,
    "total_ms": float,
    "seed": int,
    "parameters": str,
    "fingerprint": str,
    "hash": str,
}
TABLE = "interactions"
BATCH = 1000
_SQL_TYPES = {int: "INTEGER", float: "REAL", str: "TEXT"}


def row_of(record: Mapping[str, Any]) -> Row:
    """One interaction as a row of `COLUMNS`."""
    usage, timings, parameters = (record.get(name) or {} for name in ("usage", "timings", "parameters"))
    made = {
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "first_token_ms": _ms(timings.get("first_token_ns")),
        "total_ms": _ms(timings.get("total_ns")),
        "parameters": json.dumps(parameters) if parameters else None,
    }
    return {name: made[name] if name in made else _text(record.get(name)) for name in COLUMNS}


def write_sqlite(records: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Fill a new SQLite database at `path` (an empty file may be there); returns how many rows."""
    names = list(COLUMNS)
    columns = ", ".join(f"{name} {_SQL_TYPES[COLUMNS[name]]}" + " PRIMARY KEY" * (name == "seq") for name in names)
    insert = f"INSERT INTO {TABLE} VALUES ({', '.join('?' * len(names))})"
    database, count = sqlite3.connect(path), 0
    try:
        with database:
            database.execute(f"CREATE TABLE {TABLE} ({columns})")
            for rows in _batches(records):
                database.executemany(insert, [[row[name] for name in names] for row in rows])
                count += len(rows)
    finally:
        database.close()
    return count


def write_parquet(records: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Fill a Parquet file at `path`; returns how many rows. Raises ConfigError without pyarrow (extra `parquet`)."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ConfigError("parquet needs pyarrow: `pip install 'minivault[parquet]'`", field="format") from None
    types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for rows in _batches(records):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


WRITERS: Mapping[str, Callable[[Iterable[Mapping[str, Any]], Path], int]] = {
    "sqlite": write_sqlite,
    "parquet": write_parquet,
}


def _batches(records: Iterable[Mapping[str, Any]]) -> Iterator[list[Row]]:
    rows = map(row_of, records)
    while batch := list(islice(rows, BATCH)):
        yield batch


def _ms(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6


def _text(value: Any) -> Any:
    """Lone surrogates, which JSON can hold and these files cannot, as escapes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
