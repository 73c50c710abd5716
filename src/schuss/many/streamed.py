"""Rows of a stream, of which `fit_many` gathers those of some groups at a time."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from schuss import data, validation
from schuss.blocks import Source, refuse_unlike
from schuss.memory import FREE_SHARE, free_memory


class StreamedRows:
    """Rows of a source, in the place of X.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    y, sample_weight : ndarray of shape (n,), or None for no weights
        Of all rows; they stay in memory.
    """

    def __init__(self, source: Source):
        found = list(source.collect(_look))
        refuse_unlike(source, found, lambda block: {
            "features": block.shape[1], "type": block.dtype,
            "sample_weight": block.weights is not None,
            "text targets": block.y.dtype.kind in "OUST", "targets of shape": block.y.shape[1:],
        })  # fmt: skip
        self._source: Any = source
        self._starts = np.cumsum([0, *(block.shape[0] for block in found)])
        self._row_bytes = sum(block.n_bytes for block in found) / self._starts[-1]
        self.shape = int(self._starts[-1]), found[0].shape[1]
        self.dtype = found[0].dtype
        self.y = np.concatenate([block.y for block in found])
        self.sample_weight = (
            None if found[0].weights is None else np.concatenate([block.weights for block in found])
        )

    def column(self, name: str) -> np.ndarray:
        """A column of the table that the source reads, for all rows."""
        columns = getattr(self._source, "columns", None)
        if columns is None:
            raise ValueError(
                f"groups={name!r}: a name stands for a column of a table that is streamed, but "
                "X is a stream of rows without names. Pass the key of each row."
            )
        if name in columns:
            raise ValueError(
                f"groups={name!r}: this column is among the features, where it is the same for all "
                f"rows of a model. Leave it out: Stream(..., drop=[{name!r}])."
            )
        return self._source.column(name)

    def room(self) -> int:
        """Rows that may be gathered at a time."""
        return int(FREE_SHARE * free_memory() / max(self._row_bytes, 1.0))

    def gather(self, wanted: np.ndarray) -> Any:
        """Rows of some ascending numbers, in one pass, checked."""
        bounds = np.searchsorted(wanted, self._starts)
        places = [
            wanted[bounds[i] : bounds[i + 1]] - start for i, start in enumerate(self._starts[:-1])
        ]
        # A dense array at once, so that the rows are never there twice.
        dense, parts, done = None, [], 0
        for part in self._source.collect(_pick, places):
            if sp.issparse(part):
                parts.append(part)
                continue
            if dense is None:
                dense = np.empty((len(wanted), self.shape[1]), self.dtype)
            dense[done : done + len(part)] = part
            done += len(part)
        return data.check_features(sp.vstack(parts, format="csr") if parts else dense)


class _Found(NamedTuple):
    shape: tuple[int, int]
    dtype: np.dtype
    n_bytes: int
    y: np.ndarray
    weights: np.ndarray | None


def _look(rows):
    X, n = rows.X, rows.X.shape[0]
    n_bytes = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes if sp.issparse(X) else X.nbytes
    validation.check_not_scalar(rows.y, f"({n},)")
    validation.check_rows(len(rows.y), n, "y")
    weights = validation.check_weights(rows.sample_weight, X, all_zero=True)
    return _Found(X.shape, X.dtype, n_bytes, np.asarray(rows.y), weights)


def _pick(rows, places):
    return rows.X[places]
