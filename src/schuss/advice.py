"""What a user should know about the columns of a table before training on them."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schuss.columns import is_text, short

__all__ = ["column_notes"]

# Fewer rows tell little about a column.
MIN_ROWS = 50
MAX_CLASSES = 20
# A text column of which more values than this fraction occur once may be an identifier.
MANY_TEXTS = 0.9

_DATE = r"^(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2}))([T ]\d{1,2}:.*)?$"
_IDENTIFIER = re.compile(
    r"(^|[\W_])(id|uuid|guid|index|row|rowid|key|nr|no|number)$", re.IGNORECASE
)


def column_notes(table: pa.Table, names: list[str], y: np.ndarray) -> list[str]:
    """Notes on feature columns: identifiers, dates, and what gives the target away.

    Parameters
    ----------
    table : pyarrow.Table of shape (n, ...)
        Plain columns.
    names : list of str
        The feature columns.
    y : ndarray of shape (n,)
        Class labels or fractions (floating point).

    Returns
    -------
    list of str
        One sentence each, that names the column and the option to leave it out.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> from schuss.advice import column_notes
    >>> table = pa.table({"id": np.arange(100)})
    >>> column_notes(table, ["id"], np.arange(100) % 3)[0]
    "column 'id' numbers the rows, so it may be an identifier; leave it out (--drop id)"
    """
    if table.num_rows < MIN_ROWS:
        return []
    fractions = y.dtype.kind == "f"
    classes, codes = np.unique(y, return_inverse=True)
    notes = []
    for name in names:
        column = table.column(name)
        known = column.is_valid().to_numpy(zero_copy_only=False)
        if known.sum() < MIN_ROWS:
            continue
        text = is_text(column.type)
        values = column.drop_null()
        reason = _about_text(values) if text else _about_numbers(name, values)
        if not reason:
            if fractions:
                gives_away = not text and _is_line(_floats(values), y[known])
            elif len(classes) > MAX_CLASSES or len(classes) < 2:
                gives_away = False
            elif text:
                gives_away = _determines(values, codes[known], len(classes))
            else:
                gives_away = _separates(_floats(values), codes[known], len(classes))
            if gives_away:
                reason = "alone tells the target; if it is known only with the target,"
        if reason:
            notes.append(f"column {name!r} {reason} leave it out (--drop {name})")
    return notes


def _about_text(values):
    unique = values.unique()
    if pc.all(pc.match_substring_regex(unique, _DATE)).as_py():
        return (
            f"holds dates such as {short(unique[0].as_py())}, each of which is a category; make "
            "columns of their parts, such as month and weekday, or"
        )
    if len(unique) > MANY_TEXTS * len(values):
        return f"has {len(unique):,} different texts, so it may be an identifier;"
    return None


def _about_numbers(name, values):
    if not pa.types.is_integer(values.type):
        return None
    low, high = pc.min_max(values).as_py().values()
    if high - low + 1 < len(values):
        return None
    numbers_rows = high - low + 1 == len(values)
    if not (numbers_rows or _IDENTIFIER.search(name)):
        return None
    if pc.count_distinct(values).as_py() < len(values):
        return None
    how = "numbers the rows" if numbers_rows else "has another whole number in each row"
    return f"{how}, so it may be an identifier;"


def _floats(values):
    values = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
    return values.to_numpy().astype(np.float64)


def _is_line(x, y):
    """Whether y is a linear function of x, up to rounding."""
    with np.errstate(all="ignore"):
        x, y = x - x.mean(), y - y.mean()
        return abs(x @ y) > (1 - 1e-9) * np.sqrt((x @ x) * (y @ y)) > 0


def _separates(x, codes, n_classes):
    """Whether the ranges of the classes do not overlap."""
    parts = [part for k in range(n_classes) if len(part := x[codes == k])]
    ranges = sorted((part.min(), part.max()) for part in parts)
    return len(ranges) > 1 and all(
        high < low for (_, high), (low, _) in zip(ranges, ranges[1:], strict=False)
    )


def _determines(values, codes, n_classes):
    """Whether each text, of far fewer than rows, occurs with one class only."""
    texts = values.combine_chunks().dictionary_encode()
    n_texts = len(texts.dictionary)
    if not 1 < n_texts <= len(codes) / 10:
        return False
    places = texts.indices.to_numpy() * n_classes + codes
    seen = np.bincount(places, minlength=n_texts * n_classes).reshape(n_texts, n_classes) > 0
    return bool((seen.sum(axis=1) <= 1).all() and seen.any(axis=0).sum() > 1)
