"""Plain columns: numbers, Booleans or text, of what files and data frames hold.

Text becomes numbers where all of a column reads so, also in the notations of people and
spreadsheets (``1,163.74``, ``28,7``, ``$5.20``, ``12 %``, ``(33.52)``), which a warning says. A
column of numbers with a few other values is an error, not hundreds of categories.
"""

import warnings
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from schuss import threads

try:
    import narwhals as nw
    import pyarrow as pa
    import pyarrow.compute as pc
except ImportError as error:
    raise ImportError(
        f'schuss.columns needs pyarrow and narwhals: pip install "schuss[files]" ({error})'
    ) from error

__all__ = [
    "TableError",
    "as_table",
    "decimal_commas",
    "is_large",
    "is_text",
    "listed",
    "plain_table",
    "short",
]

# Missing values in a file.
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null")

# Squares of larger numbers, as in standard deviations, may overflow.
MAX_NUMBER = 1e150

# Larger integers are not all exact as floats.
MAX_INTEGER = 2**53

# If more than this fraction of a column are numbers, its text is an error, not a category.
MIN_NUMBERS = 0.5

_FIRST_ROWS = 100

_BOOLEANS = ("true", "True", "TRUE", "false", "False", "FALSE")

_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|Inf|infinity|Infinity)$"
_LEADING_ZERO = r"^[+-]?0[0-9]"

# A currency sign, groups of three digits, a decimal comma, a per cent sign, parentheses for minus.
OTHER_NOTATION = (
    r"^\(?[+\-\x{2212}]?\s?(\p{Sc}|[A-Z]{3}\s)?\s?[+\-\x{2212}]?"
    r"(\d{1,3}([., '\x{a0}\x{2009}\x{202f}]\d{3})+|\d+)([.,]\d+)?"
    r"\s?(%|\p{Sc}|\s[A-Z]{3})?\)?$"
)
_MINUS = r"^\(.*\)$|[\-\x{2212}]"
_NOT_A_UNIT = r"[\d.,'\s\x{a0}\x{2009}\x{202f}()+\-\x{2212}]"
# What is left of a number without its sign, unit and blanks, by decimal mark.
_BY_MARK = {
    ".": r"^(\d+|\d{1,3}(,\d{3})+)(\.\d+)?$",
    ",": r"^(\d+|\d{1,3}(\.\d{3})+)(,\d+)?$",
}
_IN_WORDS = {".": "a decimal point", ",": "a decimal comma"}

# Of a field of a table's schema: "," where the file's numbers had decimal commas.
_DECIMAL = b"decimal"


class TableError(ValueError):
    """A table that cannot be used; the message says where and why."""


def _by_row(row: int) -> str:
    return f"row {row + 1}"


def as_table(X: Any, **options: Any) -> pa.Table:
    """Plain columns of a data frame.

    Parameters
    ----------
    X : pyarrow.Table or data frame
        Of any library that narwhals supports, eager. Sparse columns of pandas, too.
    **options
        Those of `plain_table`.

    Returns
    -------
    pyarrow.Table
    """
    if not isinstance(X, pa.Table):
        if nw.dependencies.is_pandas_dataframe(X):
            # Arrow has no sparse columns.
            kinds = X.dtypes.items()
            X = X.astype({name: kind.subtype for name, kind in kinds if "Sparse" in str(kind)})
        try:
            X = nw.from_native(X, eager_only=True).to_arrow()
        except TypeError:
            raise TypeError(
                f"X is a {type(X).__name__}; expected a table with named columns: a pyarrow "
                "table, or a data frame of pandas, Polars or another library that narwhals supports"
            ) from None
    return plain_table(X, **options)


def plain_table(
    table: pa.Table, *, text: Collection[str] = (), numbers: Collection[str] = (),
    decimal: str | None = None, commas: Collection[str] = (),
    where: Callable[[int], str] = _by_row,
) -> pa.Table:  # fmt: skip
    """Make the columns of a table numbers, Booleans or text.

    Parameters
    ----------
    table : pyarrow.Table
    text : collection of str
        Columns that stay text.
    numbers : collection of str
        Columns in which anything but a number is an error. Other columns are numbers if all
        their values are.
    decimal : {".", ","}, optional
        Decimal mark of all numbers; by default each column's own, where it can be told.
    commas : collection of str
        Columns among `numbers` that have decimal commas.
    where : callable
        Takes a row, and returns its place for a message.

    Returns
    -------
    pyarrow.Table
        `decimal_commas` names the columns whose numbers had decimal commas.

    Warns
    -----
    UserWarning
        For each column of numbers in another notation than 1234.5.
    """
    names = table.column_names
    # Arrow computes without the GIL.
    with ThreadPoolExecutor(threads.available()) as pool:
        found = pool.map(
            lambda name, column: _plain_column(
                name, column, name in text, name in numbers, decimal, where
            ),
            names, table.columns,
        )  # fmt: skip
        columns = dict(zip(names, found, strict=True))
    notations = {name: item for name, item in columns.items() if isinstance(item, _Notation)}
    european = any(item.marks == "," for item in notations.values())
    fields, plain = [], []
    for name, column in columns.items():
        mark = "."
        if isinstance(column, _Notation):
            mark = decimal or ("," if name in commas else "")
            if mark not in column.marks or not mark:
                mark = "," if european and "," in column.marks else column.marks[0]
            column = _in_notation(name, column, mark, name not in numbers, where)
        fields.append(pa.field(name, column.type, metadata={_DECIMAL: mark} if mark == "," else {}))
        plain.append(column)
    return pa.table(plain, schema=pa.schema(fields))


def decimal_commas(table: pa.Table) -> list[str]:
    """Names of the columns whose numbers had decimal commas in the file.

    Parameters
    ----------
    table : pyarrow.Table
        Of `plain_table`.
    """
    return [field.name for field in table.schema if (field.metadata or {}).get(_DECIMAL) == b","]


class _Notation(NamedTuple):
    """Numbers in another notation."""

    texts: "_Texts"
    marks: str  # decimal marks that all values agree with, the more likely first


def _plain_column(name, column, as_text, as_number, decimal, where):
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
        return _plain_text(column.cast(pa.string()))
    if not is_text(kind):
        raise TableError(
            f"column {name!r} is of type {kind}; expected numbers or text: leave it out "
            f"(--drop {name}) or split it"
        )
    column = column.cast(pa.string())
    if decimal != "," and column.null_count < len(column):
        values = _numbers_as_written(column)
        if values is not None:
            is_whole = pa.types.is_integer(values.type)
            return values if is_whole else _plain_floats(name, values, where)
    return _of_texts(name, _Texts(column), as_number, decimal, where)


def _numbers_as_written(column):
    """The column as int64 or float64 where each value is written as Python writes it, or None."""
    for kind in (pa.int64(), pa.float64()):
        try:
            # A failure takes as long as thousands of values.
            column[:_FIRST_ROWS].cast(kind)
            values = column.cast(kind)
            break
        except pa.ArrowInvalid:
            continue
    else:
        return None
    if pa.types.is_floating(kind):
        return None if is_large(values) else values
    # Leading zeros belong to codes: then there are more characters than digits and signs.
    known = values.drop_null().to_numpy()
    n_characters = len(known) + np.count_nonzero(known < 0)
    power, low, top = 10, int(known.min()), int(known.max())
    while power <= max(-low, top):
        n_characters += np.count_nonzero(known >= power) if power <= top else 0
        n_characters += np.count_nonzero(known <= -power) if power <= -low else 0
        power *= 10
    return values if n_characters == pc.sum(pc.binary_length(column)).as_py() else None


def encoded_text(column: Any, null_encoding: str = "mask") -> Any:
    """A column of text as one dictionary of its distinct values, and indices into it."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding=null_encoding)
    # Several chunks where the texts are longer than Arrow's offsets.
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


class _Texts:
    """A column of text by its distinct values, of which there are mostly few."""

    def __init__(self, column):
        encoded = encoded_text(column, null_encoding="encode")
        self._column = column
        self.places = encoded.indices
        self.distinct = _plain_text(encoded.dictionary)
        self._is_plain = self.distinct.equals(encoded.dictionary)
        counts = np.bincount(self.places.to_numpy(), minlength=len(self.distinct))
        self._counts = np.where(self.distinct.is_valid().to_numpy(zero_copy_only=False), counts, 0)
        self.n_values = int(self._counts.sum())

    def count(self, which):
        """Number of values among some distinct ones, a mask."""
        return int(self._counts[which.fill_null(False).to_numpy(zero_copy_only=False)].sum())

    def row(self, which):
        """The first row that holds one of some distinct values."""
        mask = which.fill_null(False).to_numpy(zero_copy_only=False)
        return int(mask[self.places.to_numpy()].argmax())

    def column(self, values):
        """Whole column of what stands for the distinct values."""
        if values is self.distinct and self._is_plain:
            return self._column
        return pa.chunked_array([values.take(self.places)])


def _of_texts(name, texts, as_number, decimal, where):
    distinct = texts.distinct
    if not texts.n_values:
        return pa.chunked_array([pa.nulls(len(texts.places), pa.float64())])
    if pc.all(pc.is_in(distinct, value_set=pa.array([*_BOOLEANS, None]))).as_py():
        return texts.column(distinct.cast(pa.bool_()))
    if decimal == "," and (marks := _marks(distinct)):
        # In this notation 1.163 is a thousand.
        return _Notation(texts, marks)
    is_number = _matches(distinct, _NUMBER)
    n_numbers = texts.count(is_number)
    if n_numbers == texts.n_values:
        is_whole = pc.all(_matches(distinct, r"^[+-]?\d+$")).as_py()
        if is_whole and not as_number and pc.any(_matches(distinct, _LEADING_ZERO)).as_py():
            return texts.column(distinct)
        floats = pc.utf8_ltrim(distinct, characters="+").cast(pa.float64())
        return _plain_floats(name, texts.column(floats), where)
    if marks := _marks(distinct):
        return _Notation(texts, marks)
    if as_number or n_numbers > MIN_NUMBERS * texts.n_values:
        row = texts.row(pc.invert(is_number))
        found = short(distinct[texts.places[row].as_py()].as_py())
        others = "" if as_number else f"; {n_numbers:,} of {texts.n_values:,} values are numbers"
        remedy = "" if as_number else f", or treat it as categorical (--categorical {name})"
        raise TableError(
            f"{where(row)}: column {name!r} holds {found}, expected a number{others}. Correct it "
            f"or leave the field empty{remedy}"
        )
    return texts.column(distinct)


def _matches(column, pattern):
    return pc.match_substring_regex(column, pattern)


def _marks(distinct):
    """Decimal marks with which all texts are numbers of one unit; "" if there is none."""
    distinct = distinct.drop_null()
    # Most columns are told by one value.
    if not all(pc.all(_matches(some, OTHER_NOTATION)).as_py() for some in (distinct[:1], distinct)):
        return ""
    units = pc.replace_substring_regex(distinct, _NOT_A_UNIT, "").unique().to_pylist()
    # Dollars and euros, or per cent and plain numbers, are no column of numbers.
    if len(units) > 1 and ("" not in units or len(units) > 2 or "%" in units):
        return ""
    digits = _digits(distinct)
    return "".join(
        mark for mark, pattern in _BY_MARK.items() if pc.all(_matches(digits, pattern)).as_py()
    )


def _digits(texts):
    return pc.replace_substring_regex(texts, r"[^\d.,]", "")


def _in_notation(name, notation, mark, tell, where):
    """Numbers of a column in another notation, with a warning that says how they are read."""
    texts = notation.texts
    distinct = texts.distinct
    digits = pc.replace_substring(_digits(distinct), "." if mark == "," else ",", "")
    values = pc.replace_substring(digits, mark, ".").cast(pa.float64())
    values = pc.if_else(_matches(distinct, _MINUS), pc.negate(values), values)
    if pc.any(pc.match_substring(distinct, "%")).as_py():
        values = pc.divide(values, 100.0)
    if tell:
        row = texts.row(pc.invert(_matches(distinct, _NUMBER)))
        place = texts.places[row].as_py()
        doubt = ""
        if len(notation.marks) > 1 and pc.any(_matches(distinct, "[.,]")).as_py():
            other = "," if mark == "." else "."
            doubt = f", or has {_IN_WORDS[other]} (--decimal {other})"
        warnings.warn(
            f"column {name!r} is read as numbers with {_IN_WORDS[mark]}: "
            f"{short(distinct[place].as_py())} as {values[place].as_py():.15g}; if it is "
            f"categorical, say so (--categorical {name}){doubt}",
            UserWarning,
            stacklevel=4,
        )
    return _plain_floats(name, texts.column(values), where)


def is_large(column: pa.ChunkedArray) -> bool:
    """Whether a column holds only integers, some of them not exact as floats."""
    if not pa.types.is_floating(column.type):
        return False
    values = column.drop_null().to_numpy()
    return bool(np.any(np.abs(values) > MAX_INTEGER) and np.all(values == np.floor(values)))


def is_text(kind: pa.DataType) -> bool:
    """Whether a type of Arrow is text."""
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


def short(text: str) -> str:
    """A value in quotes, cut where it is long."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


def listed(names: Iterable[Any], limit: int = 20) -> str:
    """Names with commas, the first of them where there are many."""
    names = list(names)
    shown = ", ".join(map(str, names[:limit]))
    return shown if len(names) <= limit else f"{shown}, ... ({len(names)} in all)"
