"""What `Stream` reads of files and of Arrow data: tables through DuckDB, and LIBSVM."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import scipy.sparse as sp

from schuss.data import Rows
from schuss.duck import arrow_batches, call, connect, duckdb, gathered
from schuss.hashing import columns_and_signs, murmur3
from schuss.stream import rows_of_block
from schuss.stream_paths import ARROW, PARQUET, Watched

# DuckDB's types of numbers; text is anything of `_TEXT`.
_NUMBERS = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
    "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN",
)  # fmt: skip
_TEXT = ("VARCHAR", "ENUM")


def table(source: Any, paths: list[Path] | None, **options: Any) -> "_Table":
    """The reader of a table in files, or where there are none of Arrow data."""
    return _Table(_Arrow(source) if paths is None else _Files(paths), **options)


class _Files(Watched):
    """Tables in files, as DuckDB reads them."""

    def __init__(self, paths):
        super().__init__(paths)
        kinds = {_kind(path) for path in paths}
        if len(kinds) > 1:
            raise ValueError(
                f"{paths[0]}: and other files of the stream are of several formats "
                f"({', '.join(sorted(kinds))}), expected one."
            )
        (self._kind,) = kinds
        self.name = str(paths[0]) if len(paths) == 1 else f"{len(paths)} files ({paths[0]}, …)"

    def open(self, connection):
        """Make them the view ``data``."""
        if self._kind == "Arrow":
            dataset = pyarrow.dataset.dataset([str(path) for path in self.paths], format="ipc")
            connection.register("data", dataset)
            return
        function = {"Parquet": "read_parquet", "CSV": "read_csv"}[self._kind]
        connection.execute(f"create or replace view data as {call(function, self.paths)}")

    def explain(self, error):
        """The error of a file that cannot be read, with its name."""
        for path in self.paths:
            if self._kind == "Parquet":
                with open(path, "rb") as file:
                    begin = file.read(4)
                    file.seek(max(0, os.path.getsize(path) - 4))
                    end = file.read(4)
                if begin != b"PAR1" or end != b"PAR1":
                    return ValueError(
                        f"{path}: not a whole Parquet file (truncated, or another format)"
                    )
        text = " ".join(str(error).split())
        named = next((path for path in self.paths if str(path) in text), self.name)
        return ValueError(f"{named}: cannot be read as {self._kind} ({text})")


def _kind(path):
    if path.name.endswith(ARROW):
        return "Arrow"
    with open(path, "rb") as file:
        return "Parquet" if file.read(4) == b"PAR1" or path.name.endswith(PARQUET) else "CSV"


class _Arrow:
    """Arrow data in memory, a dataset, or a function that returns a reader."""

    def __init__(self, source):
        if hasattr(source, "read_next_batch"):
            raise TypeError(
                f"Stream: a {type(source).__name__} can be read only once, but each epoch reads "
                "all rows. Give a function that returns a new one, or a Dataset."
            )
        self._source = source
        self.name = "the reader" if callable(source) else f"the {type(source).__name__}"

    def check(self):
        pass

    def open(self, connection):
        source = self._source() if callable(self._source) else self._source
        connection.register("data", source)

    def explain(self, error):
        return ValueError(f"{self.name}: {' '.join(str(error).split())}")


class _Table:
    """Blocks of a table: DuckDB reads, fills and scales, NumPy makes matrices of its columns."""

    def __init__(
        self, files, *, target, weight, features, drop, categories, n_hashed, max_levels, scale,
        dtype, block_rows,
    ):  # fmt: skip
        if target is None:
            raise ValueError(f"{files.name}: which column is the target? Name it as target=….")
        if categories not in ("dictionary", "hash"):
            raise ValueError(f"categories={categories!r}: expected 'dictionary' or 'hash'.")
        if n_hashed < 1:
            raise ValueError(f"n_hashed={n_hashed}: expected a number of 1 or more.")
        self._files, self._dtype = files, dtype
        self._hashed = n_hashed if categories == "hash" else None
        types = self._types()
        given = [*(features or ()), *(drop or ()), target, *([weight] if weight else ())]
        self._check_names(given, types)
        names = features or [n for n in types if n not in (target, weight, *(drop or ()))]
        for name in names:
            if not types[name].startswith((*_NUMBERS, *_TEXT)):
                raise ValueError(
                    f"{files.name}: the column {name!r} is of type {types[name]}, expected numbers "
                    f"or text. Leave it out by drop=[{name!r}]."
                )
        self._target, self._weight = target, weight
        self._numbers = [name for name in names if types[name].startswith(_NUMBERS)]
        self._texts = [name for name in names if types[name].startswith(_TEXT)]
        self.columns = names
        self._learn(scale, max_levels)
        n_stored = len(self._numbers) + len(self._texts)
        width = n_stored if not self._texts and self._hashed is None else 2 * n_stored
        self._rows = block_rows or rows_of_block(width, dtype)

    @property
    def feature_names(self):
        """Names of the features where each is a column as it is, else None."""
        plain = not self._texts and self._hashed is None and not self._changed
        return self._numbers if plain else None

    # ----- reading

    @contextlib.contextmanager
    def _connected(self):
        connection = connect()
        try:
            self._files.open(connection)
            yield connection
        except (duckdb.Error, OSError) as error:
            if isinstance(error, OSError) and error.filename is None and error.errno is None:
                raise
            self._files.check()
            raise self._files.explain(error) from None
        finally:
            connection.close()

    def _types(self):
        with self._connected() as connection:
            rows = connection.execute("describe data").fetchall()
        return {row[0]: row[1] for row in rows}

    def _check_names(self, names, types):
        for name in names:
            if name not in types:
                raise ValueError(
                    f"{self._files.name}: has no column {name!r}, expected one of "
                    f"{', '.join(map(repr, types))}."
                )

    def column(self, name):
        """Values of a column in the rows of the blocks, in their order."""
        self._files.check()
        self._check_names([name], self._types())
        query = f"select {_name(name)} from data where {_name(self._target)} is not null"
        with self._connected() as connection:
            parts = [part.column(0) for part in arrow_batches(connection, query)]
        if missing := sum(part.null_count for part in parts):
            raise ValueError(
                f"{self._files.name}: the column {name!r} has no value in {missing:,} rows. Leave "
                "those rows out, or give them a value of their own."
            )
        return _labels(parts)

    def _learn(self, scale, max_levels):
        """Medians, scales and the values of text, where they are wanted."""
        wanted = [f"count(*) - count({_name(n)})" for n in self._numbers]
        if scale:
            for n in self._numbers:
                wanted += [f"avg({_name(n)})", f"stddev_pop({_name(n)})"]
        self._changed = scale
        self._expressions, self._levels = [], {}
        where = f"from data where {_name(self._target)} is not null"
        with self._connected() as connection:
            found = connection.execute(
                f"select count(*), {', '.join(wanted) or 0} {where}"
            ).fetchone()
            if not found[0]:
                raise ValueError(
                    f"{self._files.name}: has no rows with a value in {self._target!r}."
                )
            m = len(self._numbers)
            missing = [n for n, k in zip(self._numbers, found[1 : m + 1], strict=True) if k]
            medians = {}
            if missing:
                self._changed = True
                names = ", ".join(f"median({_name(n)})" for n in missing)
                values = connection.execute(f"select {names} {where}").fetchone()
                medians = dict(zip(missing, values, strict=True))
            for i, n in enumerate(self._numbers):
                value = _name(n)
                if n in medians:
                    if medians[n] is None:
                        raise ValueError(
                            f"{self._files.name}: the column {n!r} has no values; leave it out by "
                            f"drop=[{n!r}]."
                        )
                    value = f"coalesce({value}::double, {float(medians[n])!r})"
                if scale:
                    mean, deviation = found[1 + m + 2 * i], found[2 + m + 2 * i]
                    value = f"({value}::double - {mean!r}) / {deviation or 1.0!r}"
                self._expressions.append(f"({value})::{_sql_type(self._dtype)}")
            if self._hashed is None:
                for n in self._texts:
                    rows = connection.execute(
                        f"select distinct {_name(n)}::varchar {where} limit {max_levels + 1}"
                    ).fetchall()
                    if len(rows) > max_levels:
                        raise ValueError(
                            f"{self._files.name}: the column {n!r} has more than {max_levels:,} "
                            "different values. Hash them (categories='hash'), leave it out by "
                            f"drop=[{n!r}], or raise max_levels."
                        )
                    self._levels[n] = sorted(
                        (row[0] for row in rows), key=lambda level: (level is None, level)
                    )

    def blocks(self) -> Iterator[tuple[str, Rows]]:
        self._files.check()
        columns = [
            *self._expressions, *(f"{_name(n)}::varchar" for n in self._texts), _name(self._target),
        ]  # fmt: skip
        if self._weight:
            columns.append(f"{_name(self._weight)}::double")
        named = ", ".join(f"{column} as c{i}" for i, column in enumerate(columns))
        query = f"select {named} from data where {_name(self._target)} is not null"
        with self._connected() as connection:
            first = 0
            for parts in gathered(arrow_batches(connection, query), self._rows):
                n = sum(len(part) for part in parts)
                name = f"{self._files.name}, rows {first:,} to {first + n:,}"
                yield name, self._rows_of(parts, n)
                first += n
        self._files.check()

    # ----- matrices

    def _rows_of(self, parts, n):
        """A block of some Arrow batches."""
        m, texts = len(self._numbers), len(self._texts)
        dense = np.empty((n, m), self._dtype, order="F")
        first = 0
        for part in parts:
            for j in range(m):
                dense[first : first + len(part), j] = part.column(j)
            first += len(part)
        X = dense if not texts and self._hashed is None else self._sparse(dense, parts, n)
        y = _labels([part.column(m + texts) for part in parts])
        weights = None
        if self._weight:
            weights = np.concatenate(
                [np.asarray(part.column(m + texts + 1), np.float64) for part in parts]
            )
        return Rows(X, y, weights)

    def _sparse(self, dense, parts, n):
        """CSR with an entry for each column of the table in each row."""
        m, width = dense.shape[1], dense.shape[1] + len(self._texts)
        # By columns of the table; those of CSR come last, in one go.
        columns, values = np.empty((width, n), np.int32), np.ones((width, n), self._dtype)
        values[:m], columns[:m] = dense.T, np.arange(m)[:, None]
        if self._hashed is not None and m:
            text = np.frombuffer("".join(self._numbers).encode(), np.uint8)
            ends = np.cumsum([0, *(len(name.encode()) for name in self._numbers)])
            places, signs = columns_and_signs(murmur3(text, ends), self._hashed)
            columns[:m] = places[:, None]
            values[:m] *= signs[:, None]
        begin = m
        for j, name in enumerate(self._texts, start=m):
            first = 0
            for part in parts:
                rows = slice(first, first + len(part))
                self._write_text(name, part.column(j), begin, columns[j, rows], values[j, rows])
                first += len(part)
            begin += len(self._levels.get(name, ()))
        n_features = begin if self._hashed is None else self._hashed
        return sp.csr_array(
            (
                values.T.ravel(),
                columns.T.ravel(),
                np.arange(0, n * width + 1, width, dtype=np.int32),
            ),
            shape=(n, n_features),
        )

    def _write_text(self, name, column, begin, columns, values):
        """Columns and values of one text column."""
        if self._hashed is None:
            levels = pa.array(self._levels[name], column.type)
            columns[...] = begin + np.asarray(pc.index_in(column, levels))
            return
        words = column.fill_null("").cast(pa.large_string())
        offsets = np.frombuffer(words.buffers()[1], np.int64)[words.offset :][: len(words) + 1]
        text = np.frombuffer(words.buffers()[2] or b"", np.uint8)
        columns[...], values[...] = columns_and_signs(
            murmur3(text, offsets, f"{name}=".encode()), self._hashed
        )


def _labels(columns):
    """Arrow arrays of labels or numbers as one array."""
    if str(columns[0].type) in ("string", "large_string", "string_view"):
        words = []
        for column in columns:
            coded = column.dictionary_encode()
            levels = np.array(coded.dictionary.to_pylist(), object)
            words.append(levels[np.asarray(coded.indices)])
        return np.concatenate(words)
    return np.concatenate([column.to_numpy(zero_copy_only=False) for column in columns])


def _sql_type(dtype):
    return {4: "float", 8: "double"}[dtype.itemsize]


def _quoted(text, mark):
    return mark + text.replace(mark, 2 * mark) + mark


def _name(column):
    return _quoted(column, '"')
