"""Tables: reading CSV and Parquet files, and `TablePreprocessor`, which makes a matrix of a table.

A table is a `pyarrow.Table` with the plain columns of `schuss.columns`: numbers (integer, float or
Boolean) or text, with null for missing values. DuckDB reads files; where something is wrong, they
are looked at line by line for its place. `TablePreprocessor` also takes any data frame that
narwhals supports (pandas, Polars, ...).
"""

import contextlib
import csv
import difflib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils.validation import check_is_fitted

from schuss.columns import (
    MIN_NUMBERS,
    OTHER_NOTATION,
    TableError,
    as_table,
    decimal_commas,
    encoded_text,
    is_large,
    is_text,
    listed,
    plain_table,
    short,
)
from schuss.duck import arrow_batches, call, connect, duckdb, gathered
from schuss.files import PathLike, can_be_reopened, unpacked

try:
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as error:
    raise ImportError(
        f'schuss.tables needs DuckDB and pyarrow: pip install "schuss[files]" ({error})'
    ) from error

__all__ = [
    "Reading", "TableError", "TablePreprocessor", "locate", "prefix_errors", "read_batches",
    "read_table", "target_values",
]  # fmt: skip

MISSING_LEVEL = "(missing)"

PARQUET_MAGIC = b"PAR1"

MAX_COLUMNS = 30_000
MAX_LEVELS = 1000
MAX_CLASSES = 1000

# With a smaller fraction of non-zeros the matrix is CSR.
SPARSE_DENSITY = 0.1

# A text column gets a warning if it has more different values than this, most of which are numbers
# in another notation.
SUSPICIOUS_LEVELS = 20

_INTEGER_AS_FLOAT = r"^([+-]?\d+)\.0+$"

# Rows from whose beginning the dialect of a file is guessed; each costs a few microseconds.
_SNIFFED_ROWS = 1000
# DuckDB reads blocks of this size in parallel; a line may be half as long.
_BLOCK_BYTES = 1 << 22
_MAX_SHOWN_LINES = 5

_IS_NUMBER = re.compile(r"\s*[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?\s*").fullmatch


@contextlib.contextmanager
def prefix_errors(source: Any) -> Iterator[None]:
    """Put the name of a file before the errors of a preprocessor, which knows no files."""
    try:
        yield
    except TableError as error:
        raise TableError(f"{source}: {error}") from None


# ----- reading ----------------------------------------------------------------------


class Reading(NamedTuple):
    """How to read a CSV file; None is to be found out.

    Attributes
    ----------
    delimiter : str or None
        Field delimiter.
    encoding : str or None
        One of Python's; UTF-8, or UTF-16 with a byte order mark.
    decimal : {".", ","} or None
        Decimal mark; by default each column's own.
    skip_bad_rows : bool
        Leave out rows that have another number of fields than the header or are not text, with
        a warning, instead of raising an error.
    """

    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    skip_bad_rows: bool = False


FOUND_OUT = Reading()


def read_table(
    path: PathLike, *, text: Collection[str] = (), numbers: Collection[str] = (),
    labels: Collection[str] = (), commas: Collection[str] = (), reading: Reading = FOUND_OUT,
) -> pa.Table:  # fmt: skip
    """Read a CSV or Parquet file as a table of plain columns, by way of DuckDB.

    Delimiter, quotes, ends of lines and a missing header are found out. A pipe is read once.

    Parameters
    ----------
    path : str or path-like
        CSV or Parquet, also compressed with gzip, bzip2, xz or zstd or alone in a zip archive,
        told by the first bytes.
    text : collection of str
        Columns to read as text, even if they look like numbers.
    numbers : collection of str
        Columns in which anything but a number is an error. Other columns are numbers if all
        their values are, with leading zeros or not.
    labels : collection of str
        Columns whose values must stay distinct: integers beyond int64 are kept as text, not
        rounded to floats.
    commas : collection of str
        Columns among `numbers` that have decimal commas.
    reading : Reading
        What is not to be found out.

    Returns
    -------
    pyarrow.Table
        `schuss.columns.decimal_commas` says which columns had decimal commas.

    Raises
    ------
    TableError
        With the file and line, what was found and what was expected.

    Examples
    --------
    >>> import os, tempfile
    >>> from schuss.tables import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "prices.csv")
    ...     with open(path, "w") as file:
    ...         _ = file.write("shop;zip\\nA;01067\\nB;10115\\n")
    ...     read_table(path).to_pydict()
    {'shop': ['A', 'B'], 'zip': ['01067', '10115']}
    """
    path = Path(path)
    with _content(path, reading.encoding) as plain:
        with open(plain, "rb") as file:
            is_parquet = file.read(4) == PARQUET_MAGIC
        where: Callable[[int], str] = partial(_where_by_row, path)
        if is_parquet:
            table = _read_parquet(path, plain)
        else:
            lines = _CSVFile(path, plain, reading)
            table, where = lines.read(), lines.where
        options: dict[str, Any] = {
            "numbers": numbers, "commas": commas, "where": where, "decimal": reading.decimal,
        }  # fmt: skip
        result = plain_table(table, text=text, **options)
        large = [name for name in result.column_names if name in labels and is_large(result[name])]
        return plain_table(table, text=[*text, *large], **options) if large else result


def read_batches(
    path: PathLike, n_rows: int, *, reading: Reading = FOUND_OUT
) -> Iterator[pa.Table]:
    """Read a CSV or Parquet file as tables of so many rows, the last of fewer.

    Parameters
    ----------
    path : str or path-like
        As of `read_table`.
    n_rows : int
    reading : Reading
        What is not to be found out.

    Yields
    ------
    pyarrow.Table
        Columns as they are, those of CSV text: `schuss.columns.plain_table` makes numbers of them.

    Raises
    ------
    TableError
        As `read_table`.
    """
    path = Path(path)
    with _content(path, reading.encoding) as plain, connect() as connection:
        with open(plain, "rb") as file:
            is_parquet = file.read(4) == PARQUET_MAGIC
        if is_parquet:
            batches = _parquet_batches(path, plain, connection)
        else:
            batches = _CSVFile(path, plain, reading).batches(connection)
        for parts in gathered(batches, n_rows):
            yield pa.Table.from_batches(parts)


def _parquet_batches(path, plain, connection):
    try:
        yield from arrow_batches(connection, call("read_parquet", plain))
    except duckdb.Error as error:
        raise TableError(f"{path}: not a whole Parquet file ({_one_line(error)})") from None


@contextlib.contextmanager
def _content(path, encoding=None):
    """Yield a file with the decompressed content of `path`; what fails is named."""
    if path.is_dir():
        raise TableError(f"{path}: a folder; expected a CSV or Parquet file")
    with contextlib.ExitStack() as stack:
        try:
            plain = stack.enter_context(unpacked(path, encoding))
            is_empty = not plain.stat().st_size
        except FileNotFoundError:
            near = difflib.get_close_matches(path.name, _names_beside(path), n=1)
            hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
            raise TableError(f"{path}: no such file{hint}") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or _one_line(error)
            raise TableError(f"{path}: cannot be read ({reason})") from None
        if is_empty:
            raise TableError(f"{path}: the file is empty; expected a header line and rows")
        yield plain


def _names_beside(path):
    try:
        return [other.name for other in path.parent.iterdir() if other.is_file()]
    except OSError:
        return []


def _read_parquet(path, plain):
    try:
        with connect() as connection:
            table = connection.sql(call("read_parquet", plain)).to_arrow_table()
    except duckdb.Error as error:
        raise TableError(f"{path}: not a whole Parquet file ({_one_line(error)})") from None
    _refuse_duplicates(path, table.column_names)
    _refuse_no_rows(path, table.num_rows)
    return table


class _CSVFile:
    """A CSV file, read by DuckDB, and line by line where an error has to be located."""

    def __init__(self, path, plain, reading):
        self.path = path
        self.plain = plain
        self.skip_bad_rows = reading.skip_bad_rows
        self.delimiter = reading.delimiter or ("\t" if ".tsv" in path.suffixes else None)
        self.quote, self.escape = '"', '"'
        self.strict = True  # the parser
        self.n_skipped = 0  # rows above the table's first, header and blank ones included

    def read(self):
        """Return a table of text; rows that cannot be read are an error, or left out."""
        with connect() as connection:
            names, options = self._options(connection)
            try:
                table = self._table(connection, options)
            except duckdb.Error as error:
                self._refuse(error, names)
            rejected = self._rejected(connection)
        if rejected:
            self._tell_rejected(rejected, len(names))
        _refuse_no_rows(self.path, table.num_rows)
        return table

    def batches(self, connection):
        """Yield Arrow batches of text; what cannot be read is told at the end, or is an error."""
        names, options = self._options(connection)
        n_rows = 0
        for strict in (True, False) if self.strict else (False,):
            query = call("read_csv", self.plain, **options, strict_mode=strict)
            try:
                for batch in arrow_batches(connection, query):
                    n_rows += batch.num_rows
                    yield batch
                break
            except duckdb.Error as error:
                # The tolerant parser would give rows again that are used already.
                if n_rows or not strict:
                    self._refuse(error, names)
        if rejected := self._rejected(connection):
            self._tell_rejected(rejected, len(names))
        _refuse_no_rows(self.path, n_rows)

    def _options(self, connection):
        names = self._begin(connection)
        return names, {
            "columns": dict.fromkeys(names, "VARCHAR"),
            "auto_detect": False,
            "header": False,
            "skip": self.n_skipped,
            "delim": self.delimiter,
            "quote": self.quote,
            "escape": self.escape,
            "nullstr": "",
            "store_rejects": True,
            "buffer_size": _BLOCK_BYTES,
            "max_line_size": _BLOCK_BYTES // 2,
        }

    def _refuse(self, error, names):
        self._refuse_first_fault(len(names))
        raise TableError(f"{self.path}: cannot be read ({_one_line(error)})") from None

    def _rejected(self, connection):
        query = "SELECT DISTINCT line, error_message FROM reject_errors ORDER BY line"
        return connection.execute(query).fetchall()

    def _table(self, connection, options):
        try:
            query = call("read_csv", self.plain, **options, strict_mode=self.strict)
            return connection.sql(query).to_arrow_table()
        except duckdb.Error:
            if not self.strict:
                raise
        query = call("read_csv", self.plain, **options, strict_mode=False)
        return connection.sql(query).to_arrow_table()

    def _begin(self, connection):
        """Find out the dialect and where the table begins; return the names of its columns."""
        first = next((text for line in self.lines() if (text := line.strip())), None)
        if first is None:
            raise TableError(f"{self.path}: only blank lines; expected a header line and rows")
        # Excel names the delimiter in a line of its own.
        of_excel = first[:4].lower() == "sep=" and len(first) == 5
        if of_excel:
            self.delimiter = self.delimiter or first[4]
        n_above, has_header = self._sniff(connection, of_excel)
        titles = []
        for line, fields, last_line in self.rows():  # noqa: B007
            self.n_skipped += 1
            if of_excel and fields:
                of_excel = False
            elif fields and len(fields) == 1 and self.n_skipped <= n_above:
                titles.append(fields[0])
            elif fields:
                break
        else:
            raise TableError(f"{self.path}: only one line, sep=; expected a header line and rows")
        # Only the tolerant parser takes several kinds of ends of lines in one file.
        ends = {line[len(line.rstrip("\r\n")) :] for line in islice(self.lines(), last_line + 1)}
        self.strict = len(ends - {""}) < 2
        if titles:
            text = "; ".join(map(short, titles[:_MAX_SHOWN_LINES]))
            _warn(f"{self.path}: what stands above the header in line {line} is left out: {text}")
        if not (has_header or n_above) and any(map(_IS_NUMBER, fields)):
            names = [f"column{place}" for place in range(1, len(fields) + 1)]
            _warn(f"{self.path}: no header line; the columns are called {listed(names, 3)}")
            self.n_skipped -= 1
        else:
            names = self._names(line, fields)
        if len(names) > MAX_COLUMNS:
            raise TableError(
                f"{self.path}, line {line}: {len(names):,} columns; expected at most "
                f"{MAX_COLUMNS:,}. Parquet, or an array in Python, is for so many"
            )
        return names

    def _sniff(self, connection, of_excel):
        """Set the dialect; return the number of rows above the header, and whether it is one."""
        options: dict[str, Any] = {
            "sample_size": _SNIFFED_ROWS,
            "buffer_size": _BLOCK_BYTES,
            "max_line_size": _BLOCK_BYTES // 2,
        }
        if of_excel:
            options["skip"] = 1
        if self.delimiter:
            options["delim"] = self.delimiter
        query = call("sniff_csv", self.plain, **options).replace(
            "*", "Delimiter, Quote, Escape, SkipRows, HasHeader", 1
        )
        try:
            sniffed = connection.execute(query).fetchall()[0]
        except duckdb.Error:
            # What is wrong is found with the dialect that is the rule.
            sniffed = ",", '"', '"', 0, True
        delimiter, quote, escape, n_above, has_header = sniffed
        self.quote, self.escape = (c if len(c) == 1 else '"' for c in (quote, escape))
        if self.delimiter is None:
            header = next(line for line in self.lines() if line.strip())
            self.delimiter = delimiter if delimiter in header or n_above else ","
        return (0 if of_excel else n_above), has_header

    def _names(self, line, fields):
        names = [name.strip() for name in fields]
        for place, name in enumerate(names, start=1):
            if not name:
                raise TableError(
                    f"{self.path}, line {line}: column {place} of {len(names)} has no name; give "
                    "it one, or write the file without a data frame's index (to_csv(index=False))"
                )
        _refuse_duplicates(f"{self.path}, line {line}", names)
        return names

    def _tell_rejected(self, rejected, n_columns):
        """Raise an error, or warn, of rows that DuckDB could not read."""
        lines = [line for line, _ in rejected]
        if self.skip_bad_rows:
            _warn(
                f"{self.path}: {len(lines):,} rows that are not {n_columns} fields of text are "
                f"left out: lines {listed(lines, _MAX_SHOWN_LINES)}"
            )
            return
        hint = ". Correct them, or leave them out (--skip-bad-rows)"
        if len(lines) > 1:
            hint = f"; {len(lines):,} such lines: {listed(lines, _MAX_SHOWN_LINES)}{hint}"
        self._refuse_first_fault(n_columns, hint)
        line, message = rejected[0]
        raise TableError(f"{self.path}, line {line}: {_one_line(message)}{hint}")

    def _refuse_first_fault(self, n_columns, hint=""):
        """Raise an error for the first line with another number of fields, or that is not text."""
        for line, fields, _ in self._data_rows():
            if len(fields) != n_columns:
                found = f"{len(fields)} field" + "s" * (len(fields) != 1)
                raise TableError(
                    f"{self.path}, line {line}: {found}, expected {n_columns} as in the header"
                    + hint
                )

    def lines(self):
        """Yield the lines as text; bytes that are not UTF-8 are an error with their position."""
        number = 0
        with open(self.plain, "rb") as file:
            for part in file:
                # A carriage return alone ends a line, too.
                for line in part.splitlines(keepends=True):
                    number += 1
                    try:
                        yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                    except UnicodeDecodeError as error:
                        raise self._not_utf_8(number, line, error.start) from None

    def _not_utf_8(self, number, line, place):
        if b"\0" in line:
            return TableError(f"{self.path}: not text; expected a CSV or Parquet file")
        return TableError(
            f"{self.path}, line {number}: byte {place + 1} is 0x{line[place]:02x}, which is not "
            "UTF-8; name the encoding (--encoding cp1252, as Windows writes it), or save the file "
            "as UTF-8"
        )

    def rows(self):
        """Yield (first line, fields, last line) for all rows; blank ones have no fields."""
        doubled = self.escape == self.quote
        reader = csv.reader(
            self.lines(), delimiter=self.delimiter or ",", quotechar=self.quote,
            doublequote=doubled, escapechar=None if doubled else self.escape,
        )  # fmt: skip
        first_line = 1
        try:
            for fields in reader:
                yield first_line, fields, reader.line_num
                first_line = reader.line_num + 1
        except csv.Error as error:
            raise TableError(f"{self.path}, line {first_line}: {error}") from None

    def _data_rows(self):
        return (row for row in islice(self.rows(), self.n_skipped, None) if row[1])

    def where(self, row):
        """Location of data row `row`, counted from 0."""
        rows = self._data_rows()
        if self.skip_bad_rows:
            return _where_by_row(self.path, row)
        line = next(islice(rows, row, None), (None,))[0]
        return f"{self.path}, line {line}" if line else _where_by_row(self.path, row)


def locate(path: PathLike, row: int, reading: Reading = FOUND_OUT) -> str:
    """Location of a row of a table from `read_table` in its file.

    Parameters
    ----------
    path : str or path-like
    row : int
        Row, counted from 0.
    reading : Reading
        As in `read_table`.

    Returns
    -------
    str
        Such as ``data.csv, line 7``; the row if the file cannot be read again.
    """
    path = Path(path)
    if not can_be_reopened(path):
        return _where_by_row(path, row)
    with _content(path, reading.encoding) as plain, open(plain, "rb") as file:
        if file.read(4) == PARQUET_MAGIC:
            return _where_by_row(path, row)
        lines = _CSVFile(path, plain, reading)
        with connect() as connection, warnings.catch_warnings(action="ignore"):
            lines._begin(connection)
        return lines.where(row)


def _where_by_row(path, row):
    return f"{path}, row {row + 1}"


def _refuse_no_rows(path, n_rows):
    if not n_rows:
        raise TableError(f"{path}: a header but no rows; expected at least one row below it")


def _refuse_duplicates(where, names):
    name, count = Counter(names).most_common(1)[0] if names else (None, 0)
    if count > 1:
        raise TableError(f"{where}: {count} columns are called {name!r}; expected unique names")


def _one_line(error):
    return " ".join(str(error).split())


def _warn(text):
    warnings.warn(text, UserWarning, stacklevel=3)


def _require_columns(names, wanted, what, source=None):
    """Raise an error with the existing columns and similar names if one is missing."""
    for name in wanted:
        if name in names:
            continue
        near = difflib.get_close_matches(name.lower(), [other.lower() for other in names], n=3)
        near = [other for other in names if other.lower() in near]
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        if not near and len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            mark = next(mark for mark in ";\t|" if mark in names[0])
            hint = f" The fields seem to be separated by {mark!r}: see --delimiter."
        where = f"{source}: " if source else ""
        raise TableError(f"{where}no column {name!r} ({what}).{hint} Columns: {listed(names)}")


# ----- targets ----------------------------------------------------------------------


def target_values(
    table: pa.Table, name: str, source: PathLike = "the table"
) -> tuple[np.ndarray, np.ndarray]:
    """Target column of a table of plain columns.

    Text and integers are class labels (true and false are 1 and 0). Numbers in [0, 1], some of
    them strictly between, are fractions. Other numbers are an error.

    Parameters
    ----------
    table : pyarrow.Table
    name : str
        Target column.
    source : str or path-like
        Name of the table in messages.

    Returns
    -------
    values : ndarray of shape (n,)
        Labels (int64 or str) or fractions (float64), without missing values.
    rows : ndarray of shape (n,)
        Indices of their rows.
    """
    _require_columns(table.column_names, [name], "the target", source)
    column = table.column(name)
    rows = np.flatnonzero(column.is_valid().to_numpy())
    if not len(rows):
        raise TableError(f"{source}: the target {name!r} has no values")
    if is_large(column):
        raise TableError(
            f"{source}: the target {name!r} holds whole numbers beyond 2**53, which are not exact "
            f"as floats; expected classes: treat it as text (--categorical {name})"
        )
    values = column.drop_null()
    if is_text(values.type):
        values = np.asarray(values.to_pylist())
    else:
        values = values.to_numpy()
        if values.dtype.kind != "f" or np.all(values == np.floor(values)):
            values = values.astype(np.int64)
    if values.dtype.kind == "f":
        outside = (values < 0) | (values > 1)
        if outside.any():
            raise TableError(
                f"{source}: the target {name!r} holds numbers with fractions from {values.min():g} "
                f"to {values.max():g}; expected classes, or fractions in [0, 1]. Divide it into "
                "classes, or scale it to [0, 1]"
            )
        return values, rows
    n_classes = len(np.unique(values))
    if n_classes > MAX_CLASSES:
        raise TableError(
            f"{source}: the target {name!r} has {n_classes:,} different values, more than "
            f"{MAX_CLASSES:,}; expected classes, or fractions in [0, 1]"
        )
    return values, rows


# ----- preprocessing ----------------------------------------------------------------


class TablePreprocessor(ColumnTransformer):
    """Standardise numbers, one-hot encode categories, and fill missing values.

    It is scikit-learn's `ColumnTransformer`, of a `SimpleImputer` and a `StandardScaler` for
    numbers and a `OneHotEncoder` for text, whose columns it chooses itself.

    A missing number becomes the column's median; a missing category is a category of its own
    if the training rows have one. Unknown categories are encoded as zeros, with a warning;
    1.0 stands for the category 1, and 1 for 1.0, if only the other one is known. Columns
    without a value or with one value only are left out.

    Parameters
    ----------
    target : str, optional
        Target column, which is no feature.
    features : list of str, optional
        Feature columns; all but the target by default.
    drop : list of str, optional
        Columns that are not features.
    categorical : list of str, optional
        Numeric columns to treat as categorical.
    max_levels : int, default=1000
        Maximum number of categories of a column; more are an error.

    Attributes
    ----------
    numeric_columns_ : list of str
    median_, mean_, scale_ : ndarray of shape ``(len(numeric_columns_),)``
        Statistics of the training rows, the last two after filling in the median.
    categorical_columns_ : list of str
    categories_ : list of list of str
        Sorted categories of each categorical column; None, at the end, for missing values.
    decimal_commas_ : list of str
        Numeric columns whose text had decimal commas.
    left_out_ : dict
        Columns without information, and why.
    n_features_out_ : int
    transformers_, named_transformers_
        Those of `sklearn.compose.ColumnTransformer`: "numbers" and "categories".

    Examples
    --------
    >>> import pyarrow as pa
    >>> from schuss.tables import TablePreprocessor
    >>> flights = pa.table({"delay": [1.0, 2.0, None], "carrier": ["UA", "AA", "UA"]})
    >>> TablePreprocessor().fit_transform(flights)
    array([[-1.2247449,  0.       ,  1.       ],
           [ 1.2247449,  1.       ,  0.       ],
           [ 0.       ,  0.       ,  1.       ]], dtype=float32)
    """

    def __init__(
        self, target: str | None = None, features: list[str] | None = None,
        drop: list[str] | None = None, categorical: list[str] | None = None,
        max_levels: int = MAX_LEVELS,
    ):  # fmt: skip
        self.target = target
        self.features = features
        self.drop = drop
        self.categorical = categorical
        self.max_levels = max_levels
        super().__init__(
            _transformers([], [], []), sparse_threshold=SPARSE_DENSITY,
            verbose_feature_names_out=False,
        )  # fmt: skip

    def fit(self, X: Any, y: Any = None) -> Self:
        """Compute medians, means, scales and categories of the rows of a table.

        Parameters
        ----------
        X : pyarrow.Table or data frame
        y : ignored

        Returns
        -------
        self
        """
        self._learn(as_table(X, text=self.categorical or ()))
        return self

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit, and return the features of the same rows.

        Parameters
        ----------
        X : pyarrow.Table or data frame
        y, **params : ignored

        Returns
        -------
        ndarray or CSR array
            As from `transform`.
        """
        return self._features(self._learn(as_table(X, text=self.categorical or ())))

    def _learn(self, table):
        """Fit, and return the columns of the features, text by its distinct values."""
        numeric, categories = [], {}
        left_out = {}
        columns = {}
        for name in self._chosen(table.column_names):
            column = columns[name] = _encoded(table.column(name))
            if column.null_count == len(column):
                left_out[name] = "no values"
            elif len(levels := self._levels(name, column)) == 1:
                left_out[name] = "one value only"
            elif pa.types.is_dictionary(column.type):
                categories[name] = levels
                if name not in (self.categorical or ()):
                    _warn_of_other_notation(name, levels)
            else:
                numeric.append(name)
        if not numeric and not categories:
            reasons = ", ".join(f"{name} ({why})" for name, why in left_out.items())
            raise TableError(
                "no column is left to learn from; expected at least one feature besides the target"
                + (f". Left out: {reasons}" if reasons else "")
            )
        numbers = np.empty((table.num_rows, len(numeric)), order="F")
        medians = []
        for values, name in zip(numbers.T, numeric, strict=True):
            values[:] = _floats(columns[name])
            missing = np.isnan(values)
            medians.append(np.median(values[~missing] if missing.any() else values))
            values[missing] = medians[-1]
        scaler = StandardScaler().fit(numbers) if numeric else StandardScaler()
        self.set_fitted_state(
            {
                "numeric_columns_": numeric,
                "median_": medians,
                "mean_": getattr(scaler, "mean_", []),
                "scale_": getattr(scaler, "scale_", []),
                "categorical_columns_": list(categories),
                "categories_": list(categories.values()),
                "decimal_commas_": [name for name in decimal_commas(table) if name in numeric],
                "left_out_": left_out,
            }
        )
        return columns

    def _choose(self, numeric, categories):
        self.numeric_columns_ = list(numeric)
        self.categorical_columns_ = list(categories)
        self.categories_ = list(categories.values())
        self.n_features_out_ = len(numeric) + sum(map(len, self.categories_))
        self.transformers = _transformers(
            self.numeric_columns_, self.categorical_columns_, self.categories_
        )

    def _chosen(self, names):
        chosen = list(names) if self.features is None else list(self.features)
        _require_columns(names, chosen, "a feature")
        # A missing column is more likely a typing error than intended.
        _require_columns(names, self.drop or (), "to drop")
        _require_columns(names, self.categorical or (), "categorical")
        return [name for name in chosen if name != self.target and name not in (self.drop or ())]

    def _levels(self, name, column):
        """Categories of text; of numbers the least and the greatest."""
        if not pa.types.is_dictionary(column.type):
            return sorted(set(pc.min_max(column).as_py().values()))
        distinct = column.dictionary
        if len(distinct) > self.max_levels:
            raise TableError(
                f"column {name!r} has {len(distinct):,} different texts, more than "
                f"{self.max_levels:,}, so it may be an identifier or a date: leave it out "
                f"(--drop {name}), use parts of it, or raise the limit (--max-levels)"
            )
        levels = sorted(distinct.to_pylist())
        return levels + [None] if column.null_count else levels

    def transform(self, X: Any, **params: Any) -> Any:
        """Features of the rows of a table.

        Parameters
        ----------
        X : pyarrow.Table or data frame
            Columns are matched by name, in any order; others are ignored.
        **params : ignored

        Returns
        -------
        ndarray of shape (n, n_features_out_), float32, C order, or CSR matrix
            CSR if less than a tenth of the entries are not zero. After `set_output` a data frame.
        """
        check_is_fitted(self)
        table = as_table(
            X, text=self.categorical_columns_, numbers=self.numeric_columns_,
            commas=self.decimal_commas_,
        )  # fmt: skip
        _require_columns(
            table.column_names,
            [*self.numeric_columns_, *self.categorical_columns_],
            "the model needs it",
        )
        names = [*self.numeric_columns_, *self.categorical_columns_]
        return self._features({name: _encoded(table.column(name)) for name in names})

    def _features(self, columns):
        """What the steps give, to the bit, without their matrices of doubles and of objects."""
        n_numeric, n_categorical = len(self.numeric_columns_), len(self.categorical_columns_)
        n_rows = len(next(iter(columns.values())))
        numbers = np.empty((n_rows, n_numeric), dtype=np.float32)
        scales = self.median_, self.mean_, self.scale_
        for j, (name, median, mean, scale) in enumerate(
            zip(self.numeric_columns_, *scales, strict=True)
        ):
            values = _floats(columns[name])
            values[np.isnan(values)] = median
            numbers[:, j] = (values - mean) / scale
        # Column of each row's 1, or -1 for an unknown category.
        places = np.empty((n_rows, n_categorical), dtype=np.int32)
        offset = n_numeric
        for j, (name, levels) in enumerate(
            zip(self.categorical_columns_, self.categories_, strict=True)
        ):
            codes = _codes(name, columns[name], pa.array(levels, pa.string()))
            places[:, j] = np.where(codes < 0, -1, codes + offset)
            offset += len(levels)
        if n_numeric + n_categorical < SPARSE_DENSITY * self.n_features_out_:
            return _sparse_rows(numbers, places, self.n_features_out_)
        out = np.zeros((n_rows, self.n_features_out_), dtype=np.float32)
        out[:, :n_numeric] = numbers
        for column in places.T:
            known = np.flatnonzero(column >= 0)
            out[known, column[known]] = 1
        return out

    @property
    def _numbers(self):
        """Steps of the numeric columns."""
        return self.named_transformers_["numbers"].named_steps

    @property
    def median_(self) -> np.ndarray:
        return self._numbers["impute"].statistics_ if self.numeric_columns_ else np.empty(0)

    @property
    def mean_(self) -> np.ndarray:
        return self._numbers["scale"].mean_ if self.numeric_columns_ else np.empty(0)

    @property
    def scale_(self) -> np.ndarray:
        return self._numbers["scale"].scale_ if self.numeric_columns_ else np.empty(0)

    def fitted_state(self) -> dict[str, Any]:
        """What a fit has found, as plain values for a model file."""
        return {name: getattr(self, name) for name in _STATE}

    def set_fitted_state(self, state: dict[str, Any]) -> None:
        """Become the preprocessor whose `fitted_state` this is.

        scikit-learn's own `fit` makes whatever the installed version keeps.

        Parameters
        ----------
        state : dict
            That of files before `decimal_commas_`, too.
        """
        numeric, median = state["numeric_columns_"], np.asarray(state["median_"], np.float64)
        categories = dict(zip(state["categorical_columns_"], state["categories_"], strict=True))
        row = {name: [value] for name, value in zip(numeric, median, strict=True)}
        row |= {name: pa.array(levels[:1], pa.string()) for name, levels in categories.items()}
        self.left_out_ = state["left_out_"]
        self.decimal_commas_ = state.get("decimal_commas_", [])
        self._choose(numeric, categories)
        super().fit_transform(pa.table(row))
        if numeric:
            scaler = self._numbers["scale"]
            scaler.mean_, scaler.scale_ = np.array(state["mean_"]), np.array(state["scale_"])
            scaler.var_ = scaler.scale_**2


_STATE = (
    "numeric_columns_", "median_", "mean_", "scale_", "categorical_columns_", "categories_",
    "decimal_commas_", "left_out_", "n_features_out_",
)  # fmt: skip


def _transformers(numeric, categorical, categories):
    steps = [
        ("impute", SimpleImputer(strategy="median")),
        ("scale", StandardScaler()),
        # Before the columns are joined, which would make doubles of the categories.
        ("round", FunctionTransformer(_as_float32, feature_names_out="one-to-one")),
    ]
    encoder = OneHotEncoder(
        categories=[np.array(levels, dtype=object) for levels in categories],
        handle_unknown="ignore", dtype=np.float32, feature_name_combiner=_feature_name,
    )  # fmt: skip
    return [("numbers", Pipeline(steps), numeric), ("categories", encoder, categorical)]


def _feature_name(column, level):
    return f"{column}={MISSING_LEVEL if level is None else level}"


def _sparse_rows(numbers, places, n_columns):
    """CSR of the numbers in the first columns, and of a 1 in each of the places."""
    n, n_numeric = numbers.shape
    columns = np.empty((n, n_numeric + places.shape[1]), dtype=np.int32)
    columns[:, :n_numeric] = np.arange(n_numeric)
    columns[:, n_numeric:] = places
    values = np.ones(columns.shape, dtype=np.float32)
    values[:, :n_numeric] = numbers
    known = columns >= 0
    ends = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(known.sum(axis=1), out=ends[1:])
    if ends[-1] < columns.size:
        values, columns = values[known], columns[known]
    return sp.csr_matrix((values.ravel(), columns.ravel(), ends), shape=(n, n_columns))


def _as_float32(X):
    return X.astype(np.float32, copy=False)


def _warn_of_other_notation(name, levels):
    texts = pa.array(levels, pa.string()).drop_null()
    is_number = pc.match_substring_regex(texts, OTHER_NOTATION)
    if len(texts) > SUSPICIOUS_LEVELS and pc.mean(is_number).as_py() > MIN_NUMBERS:
        example = texts.filter(is_number)[0].as_py()
        warnings.warn(
            f"column {name!r} has {len(texts):,} different texts, most of which look like numbers "
            f"in another notation, such as {short(example)}: each is treated as a category. Write "
            f"them as 1234.5, or confirm that they are categories (--categorical {name})",
            UserWarning,
            stacklevel=3,
        )


def _encoded(column):
    """A column whose text, if it is any, is a dictionary of its distinct values."""
    return encoded_text(column) if is_text(column.type) else column


def _codes(name, column, levels):
    """Index of each value among the levels, -1 for unknown values, which are told."""
    distinct = column.dictionary
    codes = pc.index_in(distinct, value_set=levels)
    if codes.null_count:
        # Other tools write 1 as 1.0 if a column has missing values.
        whole = partial(pc.replace_substring_regex, pattern=_INTEGER_AS_FLOAT, replacement=r"\1")
        codes = pc.coalesce(codes, pc.index_in(whole(distinct), value_set=whole(levels)))
    missing = pc.index_in(pa.nulls(1, pa.string()), value_set=levels).fill_null(-1)
    # The last of these is what indices of missing values stand for.
    known = np.append(codes.fill_null(-1).to_numpy(), missing.to_numpy()).astype(np.int32)
    places = column.indices.fill_null(len(distinct)).to_numpy()
    if codes.null_count and (n_unknown := np.isin(places, np.flatnonzero(codes.is_null())).sum()):
        example = distinct.filter(codes.is_null())[0].as_py()
        warnings.warn(
            f"column {name!r}: {n_unknown:,} of {len(column):,} values are unknown to the "
            f"model, such as {short(example)}; they are ignored",
            UserWarning,
            stacklevel=4,
        )
    return known[places]


def _floats(column):
    """The numbers of a column as a new array, with NaN for missing values."""
    column = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    column = column.cast(pa.float64(), safe=False)
    return np.array(column.to_numpy(), dtype=np.float64)
