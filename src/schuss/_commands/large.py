"""Training on a table that is too large for memory, a batch of rows at a time."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from schuss.files import can_be_reopened
from schuss.memory import FREE_SHARE, free_memory
from schuss.stream import Stream

# Bytes of a table in memory for each byte of a compressed file.
_EXPANSION = 4
_PACKED = (".parquet", ".pq", ".gz", ".bz2", ".xz", ".zst", ".zip")
# Rows of a batch, and of the sample that tells types, medians, scales and categories.
_ROWS = 50_000
_SAMPLE_ROWS = 200_000


def is_large(path: Path | None) -> bool:
    """Whether a table would take more than a share of the free memory."""
    if path is None or not can_be_reopened(path):
        return False
    expansion = _EXPANSION if path.name.lower().endswith(_PACKED) else 1
    return path.stat().st_size * expansion > FREE_SHARE * free_memory()


class LargeTable:
    """A table in a file, of which a sample is in memory.

    Attributes
    ----------
    sample : pyarrow.Table
        Every k-th row, as `schuss.tables.read_table` would read them.
    step : int
        That k.
    n_rows : int
    """

    def __init__(self, path: Path, categorical: list[str], target: str, reading: Any):
        import pyarrow as pa

        from schuss.columns import decimal_commas, is_text, plain_table
        from schuss.tables import read_batches

        self._path, self._reading, self._target = path, reading, target
        self.n_rows, self.step = 0, 1
        parts: list[pa.Table] = []
        for batch in read_batches(path, _ROWS, reading=reading):
            first = -self.n_rows % self.step
            parts.append(batch.take(np.arange(first, batch.num_rows, self.step)))
            self.n_rows += batch.num_rows
            if sum(part.num_rows for part in parts) > _SAMPLE_ROWS:
                # Half as many of all rows so far, and of those to come.
                whole = pa.concat_tables(parts)
                parts = [whole.take(np.arange(0, whole.num_rows, 2))]
                self.step *= 2
        options = {"text": categorical, "decimal": reading.decimal}
        self.sample = plain_table(pa.concat_tables(parts), **options)
        numbers = [field.name for field in self.sample.schema if not is_text(field.type)]
        self._options = {
            "text": [name for name in self.sample.column_names if name not in numbers],
            "numbers": numbers, "commas": decimal_commas(self.sample), "decimal": reading.decimal,
        }  # fmt: skip

    def stream(self, preprocessor: Any, held_out: np.ndarray, is_classes: bool) -> Stream:
        """All rows but some of the sample, as features and targets.

        Parameters
        ----------
        preprocessor : TablePreprocessor
        held_out : ndarray of whole numbers
            Rows of the sample.
        is_classes : bool
            Whether the target is one of classes.
        """
        from schuss.columns import TableError, plain_table
        from schuss.tables import read_batches, target_values

        held_out = np.sort(held_out) * self.step

        def batches():
            first = 0
            for batch in read_batches(self._path, _ROWS, reading=self._reading):
                keep = np.setdiff1d(np.arange(batch.num_rows), held_out - first)
                try:
                    table = plain_table(
                        batch.take(keep), where=partial(_where, keep, first), **self._options
                    )
                except TableError as error:
                    raise TableError(f"{self._path}: {error}") from None
                first += batch.num_rows
                if table.column(self._target).null_count < table.num_rows:
                    y, rows = target_values(table, self._target, self._path)
                    with warnings.catch_warnings():
                        # Rare categories may occur in rows only that the sample lacks.
                        warnings.simplefilter("ignore", UserWarning)
                        X = preprocessor.transform(table.take(rows))
                    yield X, y if is_classes else y.astype(np.float64)

        return Stream(batches)


def _where(keep, first, row):
    return f"row {first + int(keep[row]) + 1:,}"
