"""Tables: reading CSV and Parquet files, and `TablePreprocessor`, which makes a matrix of a table.

A table is a `pyarrow.Table` with *plain* columns: numbers (integer, float or boolean) or text,
with null for missing values. `read_table` reads one from a file, and names the line of an error;
`TablePreprocessor` also takes any data frame that narwhals supports (pandas, Polars, ...), whose
columns it makes plain.
"""

import contextlib
import csv
import difflib
import io
import itertools
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from schuss.files import PathLike, can_be_reopened, open_to_read

try:
    import narwhals as nw
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.parquet
except ImportError as error:
    raise ImportError(
        f'schuss.tables needs pyarrow and narwhals: pip install "schuss[files]" ({error})'
    ) from error

__all__ = [
    "TableError", "TablePreprocessor", "locate", "prefix_errors", "read_table", "target_values",
]  # fmt: skip

# Missing values in a file.
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null")
MISSING_LEVEL = "(missing)"

# Squares of larger numbers, as in standard deviations, may overflow.
MAX_NUMBER = 1e150

# Larger integers are not all exact as floats.
MAX_INTEGER = 2**53

# If more than this fraction of a column are numbers, its text is an error, not a category.
MIN_NUMBERS = 0.5

PARQUET_MAGIC = b"PAR1"

MAX_LEVELS = 1000
MAX_CLASSES = 1000

# With a smaller fraction of non-zeros the matrix is CSR.
SPARSE_DENSITY = 0.1

# A text column gets a warning if it has more different values than this, most of which are numbers
# in another notation.
SUSPICIOUS_LEVELS = 20

_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|Inf|infinity|Infinity)$"
# A currency sign, groups of three digits, a decimal comma, a per cent sign, parentheses for minus.
_OTHER_NOTATION = (
    r"^\(?[+\-\x{2212}]?\s?\p{Sc}?\s?[+-]?(\d{1,3}([., '\x{a0}\x{202f}]\d{3})+|\d+)([.,]\d+)?"
    r"\s?(%|\p{Sc}|[A-Z]{3})?\)?$"
)
_INTEGER_AS_FLOAT = r"^([+-]?\d+)\.0+$"


class TableError(ValueError):
    """A table that cannot be used; the message says where and why."""


@contextlib.contextmanager
def prefix_errors(source: Any) -> Iterator[None]:
    """Put the name of a file before the errors of a preprocessor, which knows no files."""
    try:
        yield
    except TableError as error:
        raise TableError(f"{source}: {error}") from None


# ----- reading ----------------------------------------------------------------------


def read_table(
    path: PathLike, *, text: Collection[str] = (), numbers: Collection[str] = (),
    labels: Collection[str] = (), delimiter: str | None = None,
) -> pa.Table:  # fmt: skip
    """Read a CSV or Parquet file as a table of plain columns.

    A pipe or a device is read once, into memory.

    Parameters
    ----------
    path : str or path-like
        CSV (UTF-8, one header line; also compressed with gzip) or Parquet, distinguished by
        their first bytes.
    text : collection of str
        Columns to read as text, even if they look like numbers.
    numbers : collection of str
        Columns in which anything but a number is an error. Other columns are numbers if all
        their values are.
    labels : collection of str
        Columns whose values must stay distinct: integers beyond int64 are kept as text, not
        rounded to floats.
    delimiter : str, optional
        Field delimiter of a CSV file; by default a comma, or a tab for ``.tsv``.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    TableError
        With the file and line, what was found and what was expected.
    """
    path = Path(path)
    magic, content = _first_bytes(path)
    if magic == PARQUET_MAGIC:
        table = _read_parquet(path, content)
        plain = partial(_plain_table, table, where=partial(_where_by_row, path))
    else:
        plain = partial(_read_csv, _CSVFile(path, magic, content, delimiter))
    table = plain(text=text, numbers=numbers)
    large = [name for name in table.column_names if name in labels and _is_large(table[name])]
    return plain(text=[*text, *large], numbers=numbers) if large else table


def _read_parquet(path, content):
    try:
        table = pa.parquet.read_table(path if content is None else pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path}: not a whole Parquet file ({_one_line(error)})") from None
    _refuse_duplicates(path, table.column_names)
    _refuse_no_rows(path, table)
    return table


def _first_bytes(path):
    """Return the first bytes of a file, and its whole content if it can be read only once."""
    if path.is_dir():
        raise TableError(f"{path}: a folder; expected a CSV or Parquet file")
    try:
        with open_to_read(path) as file:
            content = None if can_be_reopened(path) else file.read()
            magic = file.read(4) if content is None else content[:4]
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, _names_beside(path), n=1)
        hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
        raise TableError(f"{path}: no such file{hint}") from None
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from None
    if not magic:
        raise TableError(f"{path}: the file is empty; expected a header line and rows")
    return magic, content


def _names_beside(path):
    try:
        return [other.name for other in path.parent.iterdir() if other.is_file()]
    except OSError:
        return []


class _CSVFile:
    """A CSV file that can be read again, line by line, to locate an error."""

    def __init__(self, path, magic, content, delimiter):
        self.path = path
        self.content = content  # None where the file can be opened again
        self.compression = "gzip" if magic.startswith(b"\x1f\x8b") else None
        self.delimiter = delimiter or ("\t" if ".tsv" in path.suffixes else ",")

    def open(self):
        source = str(self.path) if self.content is None else pa.py_buffer(self.content)
        return pa.input_stream(source, compression=self.compression)

    def raw_lines(self):
        """Yield the lines as bytes; LF, CR LF and CR alone end one."""
        with self.open() as stream:
            for line in io.BufferedReader(stream):
                yield from line.splitlines(keepends=True)

    def lines(self):
        """Yield the decoded lines; bytes that are not UTF-8 are an error with their position."""
        with contextlib.closing(self.raw_lines()) as raw_lines:
            for number, line in enumerate(raw_lines, start=1):
                try:
                    yield line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    utf_16 = number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff"))
                    if b"\0" in line and not utf_16:
                        raise TableError(
                            f"{self.path}: not text; expected a CSV or Parquet file"
                        ) from None
                    raise TableError(
                        f"{self.path}, line {number}: byte {error.start + 1} is "
                        f"0x{line[error.start]:02x}, which is not UTF-8; save the file as UTF-8 "
                        f"(iconv -f {'utf-16' if utf_16 else 'latin1'} -t utf-8)"
                    ) from None

    def rows(self):
        """Yield (first line, fields, last line) for the rows that are not blank."""
        reader = csv.reader(self.lines(), delimiter=self.delimiter)
        first_line = 1
        try:
            for fields in reader:
                if fields:
                    yield first_line, fields, reader.line_num
                first_line = reader.line_num + 1
        except csv.Error as error:
            raise TableError(f"{self.path}, line {first_line}: {error}") from None

    def where(self, row):
        """Location of data row `row`, counted from 0."""
        for index, (line, *_) in enumerate(self.rows()):
            if index == row + 1:
                return f"{self.path}, line {line}"
        return f"{self.path}, row {row + 1}"

    def count_rows(self):
        """Number of rows below the header; another number of fields is an error."""
        n_rows = 0
        rows = self.rows()
        expected = len(next(rows)[1])
        for line, fields, _ in rows:
            if len(fields) != expected:
                found = f"{len(fields)} field" + "s" * (len(fields) != 1)
                raise TableError(
                    f"{self.path}, line {line}: {found}, expected {expected} as in the header"
                )
            n_rows += 1
        return n_rows


class _Blocks(io.RawIOBase):
    """A stream without its first lines, read in blocks that Arrow may parse one by one.

    Arrow drops the line feed of a quoted CR LF that is split between two blocks, so a carriage
    return at the end of a block is moved to the next one.
    """

    def __init__(self, stream, n_skipped):
        self._stream = stream
        self._held = b""
        while n_skipped and (skipped := len(stream.read(min(n_skipped, 1 << 20)))):
            n_skipped -= skipped

    def readable(self):
        return True

    def read(self, size=-1):
        size = max(size, 2) if size >= 0 else size
        block = self._held + self._stream.read(size - len(self._held) if size >= 0 else None)
        self._held = b"\r" if len(block) > 1 and block.endswith(b"\r") else b""
        return block[: len(block) - len(self._held)]


def _read_csv(file, text, numbers):
    try:
        names, n_bytes = _header(file)
        table = _parse_csv(file, names, n_bytes, text)
        # Arrow would rewrite dates and times, which are kept as text.
        dates = [field.name for field in table.schema if pa.types.is_temporal(field.type)]
        if dates:
            table = _parse_csv(file, names, n_bytes, [*text, *dates])
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{file.path}: cannot be read ({_one_line(error)})") from None
    _refuse_no_rows(file.path, table)
    return _plain_table(table, text, numbers, file.where)


def _header(file):
    """Return the names of the columns, and the number of bytes before the first row."""
    first = next(file.rows(), None)
    if first is None:
        raise TableError(f"{file.path}: only blank lines; expected a header line and rows")
    line, fields, last_line = first
    names = [name.strip() for name in fields]
    for place, name in enumerate(names, start=1):
        if not name:
            raise TableError(
                f"{file.path}, line {line}: column {place} of {len(names)} has no name; give "
                "it one, or write the file without a data frame's index (to_csv(index=False))"
            )
    _refuse_duplicates(f"{file.path}, line {line}", names)
    with contextlib.closing(file.raw_lines()) as raw_lines:
        return names, sum(map(len, itertools.islice(raw_lines, last_line)))


def _parse_csv(file, names, n_bytes, text):
    with file.open() as stream:
        try:
            table = pa.csv.read_csv(
                _Blocks(stream, n_bytes),
                read_options=pa.csv.ReadOptions(column_names=names),
                parse_options=pa.csv.ParseOptions(
                    delimiter=file.delimiter, newlines_in_values=True
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types={name: pa.string() for name in text if name in names},
                    null_values=MISSING,
                    strings_can_be_null=True,
                ),
            )
        except pa.ArrowInvalid:
            # Arrow does not report the line.
            if file.count_rows() == 0:
                return pa.table({name: pa.nulls(0) for name in names})
            raise
    if any(pa.types.is_binary(field.type) for field in table.schema):
        for _ in file.lines():
            pass
    return table


def locate(path: PathLike, row: int, *, delimiter: str | None = None) -> str:
    """Location of a row of a table from `read_table` in its file.

    Parameters
    ----------
    path : str or path-like
    row : int
        Row, counted from 0.
    delimiter : str, optional
        As in `read_table`.

    Returns
    -------
    str
        Such as ``data.csv, line 7``; the row if the file cannot be read again.
    """
    path = Path(path)
    if not can_be_reopened(path):
        return _where_by_row(path, row)
    magic, content = _first_bytes(path)
    if magic == PARQUET_MAGIC:
        return _where_by_row(path, row)
    return _CSVFile(path, magic, content, delimiter).where(row)


def _where_by_row(path, row):
    return f"{path}, row {row + 1}"


def _refuse_no_rows(path, table):
    if not table.num_rows:
        raise TableError(f"{path}: a header but no rows; expected at least one row below it")


def _refuse_duplicates(where, names):
    name, count = Counter(names).most_common(1)[0] if names else (None, 0)
    if count > 1:
        raise TableError(f"{where}: {count} columns are called {name!r}; expected unique names")


def _one_line(error):
    return " ".join(str(error).split())


# ----- plain columns ----------------------------------------------------------------


def _plain_table(table, text=(), numbers=(), where=lambda row: f"row {row + 1}"):
    columns = [
        _plain_column(name, column, name in text, name in numbers, where)
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.table(columns, names=table.column_names)


def _plain_column(name, column, as_text, as_number, where):
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.string() if as_text else pa.float64())
    if as_text and not pa.types.is_nested(kind):
        return _plain_text(column.cast(pa.string()))
    if pa.types.is_boolean(kind) or pa.types.is_signed_integer(kind):
        return column
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return _plain_floats(name, column.cast(pa.float64(), safe=False), where)
    if pa.types.is_temporal(kind):
        column = column.cast(pa.string())
    elif not _is_text(kind):
        raise TableError(
            f"column {name!r} is of type {kind}; expected numbers or text: leave it out "
            f"(--drop {name}) or split it"
        )
    column = _plain_text(column.cast(pa.string()))
    is_number = pc.match_substring_regex(column, _NUMBER)
    n_values = len(column) - column.null_count
    n_numbers = pc.sum(is_number).as_py() or 0
    if n_numbers == n_values:
        unsigned = pc.utf8_ltrim(column, characters="+")
        return _plain_floats(name, unsigned.cast(pa.float64()), where)
    if as_number or n_numbers > MIN_NUMBERS * n_values:
        row = pc.index(is_number, pa.scalar(False)).as_py()
        others = "" if as_number else f"; {n_numbers:,} of {n_values:,} values are numbers"
        remedy = "" if as_number else f", or treat it as categorical (--categorical {name})"
        raise TableError(
            f"{where(row)}: column {name!r} holds {_short(column[row].as_py())}, expected a "
            f"number{others}. Correct it or leave the field empty{remedy}"
        )
    return column


def _is_large(column):
    """Whether a column holds only integers, some of them not exact as floats."""
    if not pa.types.is_floating(column.type):
        return False
    values = column.drop_null().to_numpy()
    return bool(np.any(np.abs(values) > MAX_INTEGER) and np.all(values == np.floor(values)))


def _is_text(kind):
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _plain_text(column):
    column = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(column, value_set=pa.array(MISSING))
    return pc.if_else(missing, pa.scalar(None, pa.string()), column)


def _plain_floats(name, column, where):
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    row = pc.index(pc.greater(pc.abs(column), MAX_NUMBER), pa.scalar(True)).as_py()
    if row >= 0:
        raise TableError(
            f"{where(row)}: column {name!r} holds {column[row].as_py()}; expected finite numbers "
            f"up to {MAX_NUMBER:g}. Correct it or leave the field empty"
        )
    return column


def _short(text):
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _listed(names, limit=20):
    shown = ", ".join(str(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"


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
        raise TableError(
            f"{where}no column {name!r} ({what}).{hint} Columns: {_listed(list(names))}"
        )


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
    if _is_large(column):
        raise TableError(
            f"{source}: the target {name!r} holds whole numbers beyond 2**53, which are not exact "
            f"as floats; expected classes: treat it as text (--categorical {name})"
        )
    values = column.drop_null()
    if _is_text(values.type):
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


class TablePreprocessor(TransformerMixin, BaseEstimator):
    """Standardise numbers, one-hot encode categories, and fill missing values.

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
    left_out_ : dict
        Columns without information, and why.
    n_features_out_ : int

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
        table = _as_table(X, text=self.categorical or ())
        numeric, categorical = {}, {}
        self.left_out_ = {}
        for name in self._chosen(table.column_names):
            column = table.column(name)
            if column.null_count == len(column):
                self.left_out_[name] = "no values"
            elif _is_text(column.type):
                levels = self._levels(name, column)
                if len(levels) > 1:
                    categorical[name] = levels
                    if name not in (self.categorical or ()):
                        _warn_of_other_notation(name, levels)
                else:
                    self.left_out_[name] = "one value only"
            else:
                statistics = _statistics(column)
                if statistics[2] > 0:
                    numeric[name] = statistics
                else:
                    self.left_out_[name] = "one value only"
        if not numeric and not categorical:
            reasons = ", ".join(f"{name} ({why})" for name, why in self.left_out_.items())
            raise TableError(
                "no column is left to learn from; expected at least one feature besides the target"
                + (f". Left out: {reasons}" if reasons else "")
            )
        self.numeric_columns_ = list(numeric)
        statistics = np.array(list(numeric.values()), dtype=np.float64).reshape(-1, 3)
        self.median_, self.mean_, self.scale_ = np.ascontiguousarray(statistics.T)
        self.categorical_columns_ = list(categorical)
        self.categories_ = list(categorical.values())
        self.n_features_out_ = len(numeric) + sum(map(len, self.categories_))
        return self

    def _chosen(self, names):
        chosen = list(names) if self.features is None else list(self.features)
        _require_columns(names, chosen, "a feature")
        # A missing column is more likely a typing error than intended.
        _require_columns(names, self.drop or (), "to drop")
        _require_columns(names, self.categorical or (), "categorical")
        return [name for name in chosen if name != self.target and name not in (self.drop or ())]

    def _levels(self, name, column):
        unique = column.unique()
        if len(unique) > self.max_levels:
            raise TableError(
                f"column {name!r} has {len(unique):,} different texts, more than "
                f"{self.max_levels:,}, so it may be an identifier or a date: leave it out "
                f"(--drop {name}), use parts of it, or raise the limit (--max-levels)"
            )
        levels = sorted(unique.drop_null().to_pylist())
        return levels + [None] if column.null_count else levels

    def transform(self, X: Any) -> np.ndarray | sp.csr_array:
        """Features of the rows of a table.

        Parameters
        ----------
        X : pyarrow.Table or data frame
            Columns are matched by name, in any order; others are ignored.

        Returns
        -------
        ndarray of shape (n, n_features_out_), float32, C order, or CSR array
            CSR if less than a tenth of the entries are not zero.
        """
        check_is_fitted(self)
        table = _as_table(X, self.categorical_columns_, self.numeric_columns_)
        _require_columns(
            table.column_names,
            [*self.numeric_columns_, *self.categorical_columns_],
            "the model needs it",
        )
        n_numeric, n_categorical = len(self.numeric_columns_), len(self.categorical_columns_)
        numbers = np.empty((table.num_rows, n_numeric), dtype=np.float32)
        for j, name in enumerate(self.numeric_columns_):
            values = _floats(table.column(name))
            np.copyto(values, self.median_[j], where=np.isnan(values))
            numbers[:, j] = (values - self.mean_[j]) / self.scale_[j]
        # Column of each row's 1, or -1 for an unknown category.
        places = np.empty((table.num_rows, n_categorical), dtype=np.int32)
        offset = n_numeric
        for j, (name, levels) in enumerate(
            zip(self.categorical_columns_, self.categories_, strict=True)
        ):
            codes = _codes(name, table.column(name), pa.array(levels, pa.string()))
            places[:, j] = np.where(codes < 0, -1, codes + offset)
            offset += len(levels)
        if n_numeric + n_categorical < SPARSE_DENSITY * self.n_features_out_:
            return _sparse_rows(numbers, places, self.n_features_out_)
        out = np.zeros((table.num_rows, self.n_features_out_), dtype=np.float32)
        out[:, :n_numeric] = numbers
        for column in places.T:
            known = np.flatnonzero(column >= 0)
            out[known, column[known]] = 1
        return out

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the features, such as ``delay`` and ``carrier=UA``.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        ndarray of str objects
        """
        check_is_fitted(self)
        names = list(self.numeric_columns_)
        for column, levels in zip(self.categorical_columns_, self.categories_, strict=True):
            names += [f"{column}={MISSING_LEVEL if level is None else level}" for level in levels]
        return np.array(names, dtype=object)


def _warn_of_other_notation(name, levels):
    texts = pa.array(levels, pa.string()).drop_null()
    is_number = pc.match_substring_regex(texts, _OTHER_NOTATION)
    if len(texts) > SUSPICIOUS_LEVELS and pc.mean(is_number).as_py() > MIN_NUMBERS:
        example = texts.filter(is_number)[0].as_py()
        warnings.warn(
            f"column {name!r} has {len(texts):,} different texts, most of which look like numbers "
            f"in another notation, such as {_short(example)}: each is treated as a category. Write "
            f"them as 1234.5, or confirm that they are categories (--categorical {name})",
            UserWarning,
            stacklevel=3,
        )


def _codes(name, column, levels):
    """Index of each value among the levels, -1 for unknown values."""
    codes = pc.index_in(column, value_set=levels)
    unknown = pc.and_(codes.is_null(), column.is_valid())
    if pc.any(unknown).as_py():
        # Other tools write 1 as 1.0 if a column has missing values.
        whole = partial(pc.replace_substring_regex, pattern=_INTEGER_AS_FLOAT, replacement=r"\1")
        codes = pc.coalesce(codes, pc.index_in(whole(column), value_set=whole(levels)))
        others = column.filter(pc.and_(codes.is_null(), column.is_valid()))
        if len(others):
            warnings.warn(
                f"column {name!r}: {len(others):,} of {len(column):,} values are unknown to the "
                f"model, such as {_short(others[0].as_py())}; they are ignored",
                UserWarning,
                stacklevel=3,
            )
    return codes.fill_null(-1).to_numpy()


def _dense_columns(X):
    """A data frame without the sparse columns of pandas, which Arrow does not support."""
    if not nw.dependencies.is_pandas_dataframe(X):
        return X
    kinds = X.dtypes.items()
    return X.astype({name: kind.subtype for name, kind in kinds if "Sparse" in str(kind)})


def _as_table(X, text=(), numbers=()):
    if not isinstance(X, pa.Table):
        try:
            X = nw.from_native(_dense_columns(X), eager_only=True).to_arrow()
        except TypeError:
            raise TypeError(
                f"X is a {type(X).__name__}; expected a table with named columns: a pyarrow "
                "table, or a data frame of pandas, Polars or another library that narwhals supports"
            ) from None
    return _plain_table(X, text, numbers)


def _floats(column):
    """The numbers of a column as a new array, with NaN for missing values."""
    column = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    column = column.cast(pa.float64(), safe=False)
    return np.array(column.to_numpy(), dtype=np.float64)


def _statistics(column):
    values = _floats(column)
    median = np.nanmedian(values)
    np.copyto(values, median, where=np.isnan(values))
    scale = 0.0 if values.min() == values.max() else values.std()
    return median, values.mean(), scale


def _sparse_rows(numbers, places, n_features):
    n_rows, n_numeric = numbers.shape
    columns = np.concatenate(
        [np.broadcast_to(np.arange(n_numeric, dtype=np.int32), numbers.shape), places], axis=1
    )
    values = np.concatenate([numbers, np.ones(places.shape, dtype=np.float32)], axis=1)
    known = columns >= 0
    indptr = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
    if indptr[-1] <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    return sp.csr_array((values[known], columns[known], indptr), shape=(n_rows, n_features))
