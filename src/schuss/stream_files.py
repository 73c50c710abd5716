"""What `Stream` reads of files and of Arrow data: tables through DuckDB, and LIBSVM."""

import contextlib
import os
from collections.abc import Iterator
from glob import glob
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_svmlight_file

from schuss.data import Rows
from schuss.hashing import columns_and_signs, murmur3
from schuss.stream import rows_of_block

LIBSVM = (".svm", ".libsvm", ".svmlight")
ARROW = (".arrow", ".feather", ".ipc")
TEXTS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".csv.zst", ".tsv.zst")
PARQUET = (".parquet", ".pq")

# DuckDB's types of numbers; text is anything of `_TEXT`.
_NUMBERS = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
    "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN",
)  # fmt: skip
_TEXT = ("VARCHAR", "ENUM")

# Bytes of a LIBSVM file that become a block.
_TEXT_BYTES = 1 << 23
# Rows that DuckDB hands out at a time, of the blocks that they are made of.
_FETCHED = 1 << 16


def reader(source: Any, **options: Any) -> Any:
    """The reader of a source, or None where it is neither files nor Arrow data."""
    paths = _paths(source)
    if paths is not None:
        if all(path.name.endswith(LIBSVM) for path in paths):
            return _LibSVM(paths, options["dtype"], options["n_features"], options["block_rows"])
        return _Table(_Files(paths), **options)
    if type(source).__module__.partition(".")[0] == "pyarrow":
        return _Table(_Arrow(source), **options)
    if callable(source) and options["target"] is not None:
        return _Table(_Arrow(source), **options)
    if options["target"] is not None:
        raise ValueError(
            f"target={options['target']!r} goes with a table, but the stream is of "
            f"{type(source).__name__}. Give files, or Arrow data."
        )
    return None


def _paths(source):
    """Files that a name, a pattern, a folder or a list stands for, sorted within each."""
    if isinstance(source, str | os.PathLike):
        source = [source]
    elif not (
        isinstance(source, list | tuple)
        and source
        and all(isinstance(part, str | os.PathLike) for part in source)
    ):
        return None
    found = []
    for part in source:
        path = Path(part)
        if path.is_dir():
            files = sorted(
                file
                for file in path.rglob("*")
                if file.name.endswith((*LIBSVM, *ARROW, *TEXTS, *PARQUET))
            )
            if not files:
                raise FileNotFoundError(
                    f"{path}: the folder holds no CSV, Parquet, Arrow or LIBSVM file"
                )
        elif path.exists():
            files = [path]
        else:
            files = sorted(map(Path, glob(os.fspath(part), recursive=True)))
            if not files:
                raise FileNotFoundError(f"{path}: no such file, and no file of this pattern")
        found += files
    return found


class _Watched:
    """Files, and whether they are those of the first pass."""

    def __init__(self, paths):
        self.paths = paths
        self._marks = [self._mark(path) for path in paths]

    @staticmethod
    def _mark(path):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns

    def check(self):
        """Refuse files that changed or vanished since they were seen first."""
        for path, mark in zip(self.paths, self._marks, strict=True):
            try:
                now = self._mark(path)
            except OSError as error:
                raise OSError(
                    f"{path}: vanished between two passes over it ({error.strerror})"
                ) from None
            if now != mark:
                raise ValueError(
                    f"{path}: changed between two passes over it ({mark[0]:,} bytes before, "
                    f"{now[0]:,} now). Train on a file that nobody writes to."
                )


class _Files(_Watched):
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
            dataset = _imported("pyarrow.dataset").dataset(
                [str(path) for path in self.paths], format="ipc"
            )
            connection.register("data", dataset)
            return
        function = {"Parquet": "read_parquet", "CSV": "read_csv"}[self._kind]
        names = ", ".join(_quoted(str(path), "'") for path in self.paths)
        connection.execute(f"create or replace view data as select * from {function}([{names}])")

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
        dtype, n_features, block_rows,
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
        for name in given:
            if name not in types:
                raise ValueError(
                    f"{files.name}: has no column {name!r}, expected one of "
                    f"{', '.join(map(repr, types))}."
                )
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
        duckdb = _imported("duckdb")
        connection = duckdb.connect()
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
            relation = connection.sql(query)
            # Before DuckDB 1.5 by another name.
            fetch = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
            batches = fetch(_FETCHED)
            first = 0
            for parts in _gathered(batches, self._rows):
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
        columns = np.empty((n, width), np.int32)
        values = np.ones((n, width), self._dtype)
        values[:, :m] = dense
        columns[:, :m] = np.arange(m)
        if self._hashed is not None and m:
            text = np.frombuffer("".join(self._numbers).encode(), np.uint8)
            ends = np.cumsum([0, *(len(name.encode()) for name in self._numbers)])
            places, signs = columns_and_signs(murmur3(text, ends), self._hashed)
            columns[:, :m] = places
            values[:, :m] *= signs
        begin = m
        for j, name in enumerate(self._texts):
            first = 0
            for part in parts:
                rows = slice(first, first + len(part))
                self._write_text(name, part.column(m + j), begin, columns[rows, m + j],
                                 values[rows, m + j])  # fmt: skip
                first += len(part)
            begin += len(self._levels.get(name, ()))
        n_features = begin if self._hashed is None else self._hashed
        return sp.csr_array(
            (values.ravel(), columns.ravel(), np.arange(0, n * width + 1, width, dtype=np.int32)),
            shape=(n, n_features),
        )

    def _write_text(self, name, column, begin, columns, values):
        """Columns and values of one text column."""
        pa, pc = _imported("pyarrow"), _imported("pyarrow.compute")
        if self._hashed is None:
            levels = pa.array(self._levels[name], column.type)
            columns[...] = begin + np.asarray(pc.index_in(column, levels))
            return
        coded = column.dictionary_encode(null_encoding="encode")
        words = coded.dictionary.fill_null("").cast(pa.large_string())
        offsets = np.frombuffer(words.buffers()[1], np.int64)[words.offset :][: len(words) + 1]
        text = np.frombuffer(words.buffers()[2] or b"\0", np.uint8)
        places, signs = columns_and_signs(murmur3(text, offsets, f"{name}=".encode()), self._hashed)
        codes = np.asarray(coded.indices)
        columns[...], values[...] = places[codes], signs[codes]


def _gathered(batches, n_rows):
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


def _imported(name):
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f'a stream of tables needs duckdb and pyarrow: pip install "schuss[files]" ({error})'
        ) from error


def _sql_type(dtype):
    return {4: "float", 8: "double"}[dtype.itemsize]


def _quoted(text, mark):
    return mark + text.replace(mark, 2 * mark) + mark


def _name(column):
    return _quoted(column, '"')


class _LibSVM:
    """Blocks of LIBSVM files: label, then ``index:value`` by ascending index, counted from 1."""

    def __init__(self, paths, dtype, n_features, block_rows):
        self._files, self._dtype, self._rows = _Watched(paths), dtype, block_rows
        self.feature_names = None
        self.n_features = n_features or max(
            (X.shape[1] for path in paths for _, X, _ in self._parts(path, None)), default=0
        )

    def blocks(self):
        self._files.check()
        for path in self._files.paths:
            for name, X, y in self._parts(path, self.n_features):
                yield name, Rows(X, y, None)
        self._files.check()

    def _parts(self, path, n_features):
        """Some lines after the other, as CSR and labels."""
        first = 1
        with open(path, "rb") as file:
            while lines := self._lines(file):
                n, text = lines
                try:
                    X, y = load_svmlight_file(
                        BytesIO(text), n_features=n_features, dtype=self._dtype, zero_based=False
                    )
                except ValueError as error:
                    raise _wrong_line(path, text, first, n_features, error) from None
                if X.shape[0]:
                    yield f"{path}, from line {first:,}", X, y
                first += n

    def _lines(self, file):
        if self._rows:
            lines = [line for _, line in zip(range(self._rows), file, strict=False)]
            return (len(lines), b"".join(lines)) if lines else None
        text = file.read(_TEXT_BYTES)
        text += file.readline() if text else b""
        return (text.count(b"\n") + (not text.endswith(b"\n")), text) if text else None


def _wrong_line(path, text, first, n_features, error):
    """The error of the line that is not LIBSVM's."""
    for i, line in enumerate(text.split(b"\n"), start=first):
        words = line.split(b"#")[0].split()
        last = 0
        try:
            float(words[0]) if words else None
            for word in words[1:]:
                index, _, value = word.partition(b":")
                if index == b"qid":
                    continue
                float(value)
                if int(index) <= last or (n_features and int(index) > n_features):
                    raise ValueError
                last = int(index)
        except ValueError:
            shown = line[:60].decode(errors="replace")
            return ValueError(
                f"{path}, line {i:,}: {shown!r} is not a label and index:value pairs, of indices "
                f"that ascend from 1{f' to {n_features:,}' if n_features else ''} ({error})"
            )
    return ValueError(f"{path}, from line {first:,}: {error}")
