"""`Stream`: rows that are read from where they lie in each pass, a block at a time."""

import copy
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from schuss import data, stream_cache
from schuss.blocks import Source
from schuss.constants import REAL_TYPE
from schuss.data import Rows
from schuss.libsvm import LibSVM
from schuss.memory import FREE_SHARE, free_memory
from schuss.sparse import as_csr
from schuss.stream_paths import LIBSVM, paths_of

# Bytes of a block as the kernels' reals: what is larger would be read from the boundaries of
# registers on, and its sums depend on where it lies.
BLOCK_BYTES = 1 << 24
# Rows of a block are a multiple of these, as far as they are not fewer: the kernels' groups.
_ROWS = 256
# Blocks that are ready while one is in use.
_AHEAD = 2
# Bytes from one touch of mapped memory to the next.
_PAGE = 4096


class Stream(Source):
    """Rows larger than memory, in the place of X.

    It goes to `schuss.train` and to ``fit`` of `SigmoidClassifier`, `SigmoidRegressor`,
    `LogisticRegression`, `SGDClassifier` and `SGDRegressor`, without y: ``model.fit(stream)``; and
    to `fit_many` with groups.
    Each pass reads the blocks anew, while a thread decodes those to come; a first pass finds
    the classes, and what a table needs besides. Iterating over a stream gives ``(X, y,
    sample_weight)`` of each block.

    Parameters
    ----------
    source : array, CSR matrix, path, list of paths, Arrow data, or iterable of batches
        - An array in memory or memory-mapped (``np.load(path, mmap_mode="r")``), of any type
          and order that ``fit`` takes, or CSR; with `y`. It is read where it lies.
        - CSV, Parquet or Arrow IPC: a file, a folder, a pattern such as ``"data/*.parquet"``,
          or a list of files, of the same columns; with `target`. Also a pyarrow Table, Dataset
          or a function that returns a RecordBatchReader.
        - A folder that `cached` wrote.
        - LIBSVM: a file that ends in ``.svm``, ``.libsvm`` or ``.svmlight``.
        - Anything else that can be iterated again and again, or a function that returns an
          iterator: of ``(X, y)`` or ``(X, y, sample_weight)``.
    y : array-like of shape (n,) or (n, K), optional
    sample_weight : array-like of shape (n,), optional
    target, weight : str, optional
        Columns of a table: what is learnt (rows without it are left out), and the weights.
    features, drop : list of str, optional
        Columns of a table that are features, by default all others; and those that are not.
    categories : {"dictionary", "hash"}, default="dictionary"
        How text becomes features: a column of 0 and 1 for each value, which the first pass
        finds; or, for any number of values, hashed as `sklearn.feature_extraction.FeatureHasher`
        does it for dicts by row.
    n_hashed : int, default=2**20
        Features of hashed tables.
    max_levels : int, default=100_000
        Values of a text column that a dictionary may have.
    scale : bool, default=False
        Whether numbers of a table are standardised: less their mean, by their deviation.
    dtype : {"float32", "float64"}, default="float32"
        Of the numbers in tables and LIBSVM files.
    n_features : int, optional
        Of LIBSVM files, by default the largest index.
    block_rows : int, optional
        Rows of a block, by default as many as take 16 MiB; iterables have their own. The result
        depends on it in the last digits, as on the order of any sum; the same blocks give the same
        bits, wherever they come from.

    Raises
    ------
    ValueError, TypeError, OSError
        For bad input; the message names the file or the block. Files are compared in each pass
        with those of the first.

    Notes
    -----
    Missing numbers of tables become the median of their column, which the first pass finds.
    Mini-batches ("sgd", "adam") and the rows of `SGDClassifier` are shuffled within each block:
    keep files in a random order for them. ``early_stopping`` needs `eval_set`.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss import LogisticRegression, Stream
    >>> X = np.random.default_rng(0).normal(size=(1000, 3))
    >>> y = X[:, 0] > 0.2
    >>> batches = [(X[i : i + 100], y[i : i + 100]) for i in range(0, 1000, 100)]
    >>> model = LogisticRegression().fit(Stream(batches))
    >>> model.score(X, y) > 0.95
    True
    """

    def __init__(
        self, source: Any, y: Any = None, sample_weight: Any = None, *, target: str | None = None,
        weight: str | None = None, features: list[str] | None = None,
        drop: list[str] | None = None, categories: str = "dictionary", n_hashed: int = 1 << 20,
        max_levels: int = 100_000, scale: bool = False, dtype: Any = "float32",
        n_features: int | None = None, block_rows: int | None = None,
    ):  # fmt: skip
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype={str(dtype)!r}: expected 'float32' or 'float64'.")
        if block_rows is not None and block_rows < 1:
            raise ValueError(f"block_rows={block_rows}: expected a number of 1 or more.")
        is_array = isinstance(source, np.ndarray) or sp.issparse(source)
        if not is_array and (y is not None or sample_weight is not None):
            raise ValueError(
                "y and sample_weight go with an array. Name the columns of a table by target and "
                "weight, or let batches be (X, y, sample_weight)."
            )
        is_cache = isinstance(source, str | os.PathLike) and stream_cache.is_cache(Path(source))
        paths = None if is_array or is_cache else paths_of(source)
        if is_array:
            self._reader: Any = _Arrays(source, y, sample_weight, block_rows)
        elif is_cache:
            self._reader = stream_cache.Cache(Path(source))
        elif paths and all(path.name.endswith(LIBSVM) for path in paths):
            self._reader = LibSVM(paths, dtype, n_features, block_rows)
        elif paths or _is_arrow(source) or (callable(source) and target is not None):
            from schuss import stream_files

            self._reader = stream_files.table(
                source, paths, target=target, weight=weight, features=features, drop=drop,
                categories=categories, n_hashed=n_hashed, max_levels=max_levels, scale=scale,
                dtype=dtype, block_rows=block_rows,
            )  # fmt: skip
        elif target is not None:
            raise ValueError(
                f"target={target!r} goes with a table, but the stream is of "
                f"{type(source).__name__}. Give files, or Arrow data."
            )
        else:
            self._reader = _Batches(source)
        self._functions: tuple[Callable[[Rows], Rows], ...] = ()
        # Rows of each block in the first whole pass, and names, for all that `map` made of it.
        self._first: dict[str, Any] = {}

    def map(self, function: Callable[[Rows], Rows]) -> Self:
        other = copy.copy(self)
        other._functions = (*self._functions, function)
        return other

    def collect(self, function: Callable[..., Any], *places: Iterable) -> Iterator:
        for rows, *place in zip(self._blocks(), *places, strict=True):
            yield function(rows, *place)

    def describe(self, block: int) -> str:
        names = self._first.get("names", [])
        return names[block] if block < len(names) else f"block {block}"

    @property
    def feature_names(self) -> list[str] | None:
        """Names of the features of a table of numbers, else None."""
        return getattr(self._reader, "feature_names", None)

    @property
    def columns(self) -> list[str] | None:
        """Columns of a table that the features are made of, else None."""
        return getattr(self._reader, "columns", None)

    def column(self, name: str) -> np.ndarray:
        """A column of a table, of the rows that the blocks hold.

        Parameters
        ----------
        name : str
            Of any column, a feature or not.

        Returns
        -------
        ndarray of shape (n,)
        """
        if self.columns is None:
            raise ValueError(f"column({name!r}): this stream is of no table, and has no names.")
        return self._reader.column(name)

    def cached(self, folder: str | os.PathLike[str]) -> "Stream":
        """Write the blocks to a folder, decoded, so that passes need not decode them again.

        Parameters
        ----------
        folder : str or path
            A new or an empty one. It takes as much as the blocks do in memory.

        Returns
        -------
        Stream
            Of the folder, whose files are mapped; later ``Stream(folder)`` is the same.
        """
        stream_cache.write(Path(folder), self)
        return Stream(folder)

    @property
    def n_rows(self) -> int | None:
        """Number of rows, once they have been read."""
        return sum(self._first["lengths"]) if "lengths" in self._first else None

    def __iter__(self) -> Iterator[tuple]:
        return self.collect(tuple)

    def _blocks(self):
        """Blocks of one pass, decoded ahead by a thread."""
        ready: queue.Queue = queue.Queue(_AHEAD)
        stopped = threading.Event()

        def put(item):
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.1)
                except queue.Full:
                    continue
                return

        def work():
            try:
                with np.errstate(all="ignore"):
                    for block in self._decode():
                        if stopped.is_set():
                            return
                        put(block)
                put(None)
            except BaseException as error:
                put(error)

        thread = threading.Thread(target=work, name="schuss-stream", daemon=True)
        try:
            # Ctrl-C may come while it waits for the thread to begin.
            thread.start()
            while (block := ready.get()) is not None:
                if isinstance(block, BaseException):
                    raise block
                yield block
                del block
        finally:
            stopped.set()
            if thread.is_alive():
                thread.join()

    def _decode(self):
        """Blocks of one pass, checked against those of the first."""
        first = self._first
        names: list[str] = []
        lengths: list[int] = []
        for name, rows in self._reader.blocks():
            try:
                X = data.check_features(rows.X, finite=True)
                self._compare(name, X, len(lengths))
                rows = Rows(X, rows.y, rows.sample_weight)
                for function in self._functions:
                    rows = function(rows)
            except (ValueError, TypeError) as error:
                kind = ValueError if isinstance(error, ValueError) else TypeError
                text = str(error)
                raise kind(text if text.startswith(name) else f"{name}: {text}") from error
            names.append(name)
            lengths.append(X.shape[0])
            yield rows
        if first.setdefault("lengths", lengths) != lengths:
            raise ValueError(
                f"X: this pass gave {sum(lengths):,} rows in {len(lengths)} blocks, the first one "
                f"{sum(first['lengths']):,} in {len(first['lengths'])}. Give a stream whose rows "
                "are the same each time."
            )
        first["names"] = names

    def _compare(self, name, X, place):
        came = X.shape[1], X.dtype, sp.issparse(X)
        expected = self._first.setdefault("columns", came)
        if came != expected:
            sparse = {True: "sparse ", False: ""}
            raise ValueError(
                f"{name}: has {came[0]} columns of {sparse[came[2]]}{came[1]}, expected "
                f"{expected[0]} of {sparse[expected[2]]}{expected[1]} as in the first block. Give "
                "all blocks the same columns and types."
            )
        lengths = self._first.get("lengths")
        if lengths is not None and (place >= len(lengths) or lengths[place] != X.shape[0]):
            before = f"{lengths[place]:,}" if place < len(lengths) else "no"
            raise ValueError(
                f"{name}: has {X.shape[0]:,} rows, where there were {before} in the first pass. "
                "Give a stream whose rows are the same each time."
            )


def streamed(X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """A fit's arguments; of a memory map larger than half of the free memory a stream."""
    if not isinstance(X, np.memmap) or y is None or X.nbytes <= FREE_SHARE * free_memory():
        return X, y, sample_weight
    return Stream(X, y, sample_weight), None, None


def rows_of_block(n_features: int, dtype: Any) -> int:
    """Rows of a dense block of `BLOCK_BYTES`.

    Examples
    --------
    >>> rows_of_block(100, "float32")
    37376
    """
    # Kernels pad rows to registers.
    bytes_ = -(-max(n_features, 1) * np.dtype(dtype).itemsize // 64) * 64
    return max(1, BLOCK_BYTES // bytes_ // _ROWS * _ROWS or BLOCK_BYTES // bytes_)


def _is_arrow(source):
    return type(source).__module__.partition(".")[0] == "pyarrow"


class _Arrays:
    """Blocks of arrays, as they lie."""

    def __init__(self, X, y, sample_weight, block_rows):
        if y is None:
            raise ValueError("Stream(X) of an array needs y: Stream(X, y).")
        # Not as an instance of a subclass: a slice of a memory map costs ten times as much.
        self._mapped = isinstance(X, np.memmap)
        self._X = as_csr(X) if sp.issparse(X) else X.view(np.ndarray)
        if self._X.ndim != 2:
            raise ValueError(f"X has shape {X.shape}, expected (n, d).")
        self._y = np.asarray(y)
        self._weights = None if sample_weight is None else np.asarray(sample_weight)
        for name, values in (("y", self._y), ("sample_weight", self._weights)):
            if values is not None and len(np.atleast_1d(values)) != X.shape[0]:
                raise ValueError(
                    f"{name} has {len(np.atleast_1d(values))} rows, but X has {X.shape[0]}. Pass "
                    f"one entry of {name} for each row of X."
                )
        n, d = X.shape
        width = d if not sp.issparse(X) else -(-2 * self._X.nnz // max(n, 1))
        self._step = block_rows or rows_of_block(width, REAL_TYPE.get(X.dtype, np.float64))

    def blocks(self):
        n, step = self._X.shape[0], self._step
        for start in range(0, n, step):
            stop = min(start + step, n)
            rows = slice(start, stop)
            X = self._X[rows]
            if self._mapped:
                _touch(X)
            weights = None if self._weights is None else self._weights[rows]
            yield f"rows {start:,} to {stop:,}", Rows(X, self._y[rows], weights)


def _touch(X):
    """Have the pages of mapped rows read, in their order: faults of two threads that compute are a
    quarter as fast on a cold file."""
    along = X if X.flags.c_contiguous else X.T
    if X.flags.c_contiguous:
        along = X.reshape(1, -1)
    step = max(1, _PAGE // X.itemsize)
    for part in along:
        part[::step].max(initial=0)


class _Batches:
    """Blocks of an iterable, as they come."""

    def __init__(self, source):
        if not callable(source) and not hasattr(source, "__iter__"):
            raise TypeError(
                f"Stream: got {type(source).__name__}, expected an array, a path, Arrow data, or "
                "an iterable of (X, y) or (X, y, sample_weight)."
            )
        if not callable(source) and iter(source) is source:
            raise TypeError(
                f"Stream: a {type(source).__name__} can be read only once, but each epoch reads "
                "all rows. Give a list, or a function that returns a new iterator."
            )
        self._source = source

    def blocks(self):
        batches = self._source() if callable(self._source) else self._source
        for i, batch in enumerate(batches):
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise TypeError(
                    f"batch {i}: got {type(batch).__name__}, expected a tuple (X, y) or "
                    "(X, y, sample_weight)."
                )
            X, y, weights = (*batch, None)[:3]
            if not (np.shape(X)[0] if not sp.issparse(X) else X.shape[0]):
                continue
            yield f"batch {i}", Rows(X, y, weights)
