"""DuckDB, as all readers of tables use it."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from schuss import threads

try:
    import duckdb
    import pyarrow as pa
except ImportError as error:
    raise ImportError(
        f'tables need DuckDB and pyarrow: pip install "schuss[files]" ({error})'
    ) from error

__all__ = ["arrow_batches", "call", "connect", "duckdb", "gathered", "literal"]

# Rows that DuckDB hands out at a time.
_BATCH_ROWS = 1 << 16


def connect() -> Any:
    """A connection to a database in memory."""
    return duckdb.connect(
        config={
            "threads": threads.available(),
            # Nothing is loaded from a network.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": tempfile.gettempdir(),
        }
    )


def literal(value: Any) -> str:
    """A value as SQL writes it."""
    if isinstance(value, dict):
        items = ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items())
        return f"{{{items}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower()


def call(function: str, path: Any, **options: Any) -> str:
    """SQL that reads a file, or a list of files, whose names are no patterns."""
    paths = [_exactly(part) for part in (path if isinstance(path, list) else [path])]
    arguments = [literal(paths if isinstance(path, list) else paths[0])]
    arguments += [f"{key}={literal(value)}" for key, value in options.items()]
    return f"SELECT * FROM {function}({', '.join(arguments)})"


def _exactly(path):
    return "".join(f"[{c}]" if c in "*?[" else c for c in os.path.abspath(path))


def arrow_batches(connection: Any, query: str) -> Iterator[pa.RecordBatch]:
    """The rows of a query, in batches that DuckDB computes as they are wanted."""
    relation = connection.sql(query)
    # Before DuckDB 1.5 by another name.
    fetch = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
    return fetch(_BATCH_ROWS)


def gathered(batches: Iterable[pa.RecordBatch], n_rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Lists of Arrow batches of so many rows in all, the last of fewer."""
    parts, missing = [], n_rows
    for batch in batches:
        first = 0
        while first < len(batch):
            part = batch.slice(first, min(missing, len(batch) - first))
            parts.append(part)
            first += len(part)
            missing -= len(part)
            if not missing:
                yield parts
                parts, missing = [], n_rows
    if parts:
        yield parts
