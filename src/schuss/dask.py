"""The estimators on Dask's collections: the solvers stay here, the rows on the workers.

Each partition becomes a block that its worker keeps. In each round the client sends the weights,
each worker returns the sums of its block (value, gradient, and Hessian where the solver wants
it), which are added in a fixed tree: the same partitions give the same bits on any number of
workers. A block that is lost with its worker is computed again. Without a client, partitions are
computed here, one after the other in each pass.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Self

import numpy as np
import scipy.sparse as sp

from schuss import LogisticRegression as _LogisticRegression
from schuss import SigmoidClassifier as _SigmoidClassifier
from schuss import SigmoidRegressor as _SigmoidRegressor
from schuss import Stream, __version__, data
from schuss import train as _train
from schuss.blocks import Source, tree_sum
from schuss.data import Rows
from schuss.stream import BLOCK_BYTES

try:
    import dask
except ImportError as error:
    raise ImportError(f'schuss.dask needs dask: pip install "schuss[dask]" ({error})') from error

__all__ = ["LogisticRegression", "SigmoidClassifier", "SigmoidRegressor", "blocks", "train"]

# Sums of so many partitions are added by the client; of more, so many at a time by workers.
_ADDED_AT_ONCE = 8
_ADDED_HERE = 32
# Where a register's boundaries lie, in bytes.
_LINE = 64


def blocks(X: Any, y: Any = None, sample_weight: Any = None) -> Source:
    """Rows on the workers of a cluster, in the place of X.

    Parameters
    ----------
    X : dask Array or DataFrame of shape (n, d), or list of Delayed
        Chunks may be of unknown sizes, empty, or sparse (SciPy's). Each Delayed is ``(X, y)`` or
        ``(X, y, sample_weight)``.
    y : dask Array, Series or DataFrame, of the same partitions
    sample_weight : dask Array or Series, of the same partitions, optional

    Returns
    -------
    Source
        For ``fit`` of this module's estimators, or those of `schuss`. The workers keep the blocks
        as long as it is referred to.

    Raises
    ------
    ValueError
        Where partitions do not fit together; the message names the partition.
    RuntimeError
        Where a worker has no schuss, or another version; the message names the worker.
    """
    parts = _partitions(X, y, sample_weight)
    names = getattr(X, "columns", None)
    source = _Partitions(parts)
    client = _client()
    if client is None:
        return Stream(source)
    _check_workers(client)
    return _Cluster.of(client, source.delayed(), None if names is None else list(names))


def _passing(X, y=None, sample_weight=None):
    source = blocks(X, y, sample_weight)
    if isinstance(source, _Cluster):
        source.passing = True
    return source


def _client():
    try:
        from distributed import default_client
    except ImportError:
        return None
    try:
        return default_client()
    except ValueError:
        return None


def _check_workers(client):
    """Refuse workers whose schuss is not this one."""
    # Of builtins alone, which a worker without schuss has, too.
    versions = client.run(eval, "__import__('schuss').__version__", on_error="return")
    for worker, version in versions.items():
        if isinstance(version, BaseException):
            raise RuntimeError(
                f"worker {worker} cannot import schuss ({type(version).__name__}: {version}). "
                f"Install schuss {__version__} there."
            )
        if version != __version__:
            raise RuntimeError(
                f"worker {worker} has schuss {version}, but this process has {__version__}. "
                "Install the same version everywhere."
            )


def _partitions(X, y, sample_weight):
    """Delayed tuples, one for each partition."""
    if isinstance(X, list | tuple) and X and all(hasattr(part, "dask") for part in X):
        if y is not None or sample_weight is not None:
            raise ValueError("y and sample_weight: delayed batches are (X, y, sample_weight).")
        return list(X)
    if not hasattr(X, "to_delayed"):
        raise TypeError(
            f"X: got {type(X).__name__}, expected a dask Array or DataFrame, or a list of Delayed "
            "(X, y). For arrays in memory use the estimators of schuss."
        )
    if y is None:
        raise ValueError("y is None, expected a dask Array or Series of labels or targets.")
    if getattr(X, "ndim", 2) != 2:
        raise ValueError(f"X has {X.ndim} dimensions, expected rows and columns: (n, d).")
    columns = [("X", X), ("y", y), ("sample_weight", sample_weight)]
    delayed = [(name, _delayed(name, values, X)) for name, values in columns if values is not None]
    n = len(delayed[0][1])
    for name, parts in delayed:
        if len(parts) != n:
            raise ValueError(
                f"{name} has {len(parts)} partitions, but X has {n}: expected the same rows in "
                "each. Rechunk one as the other."
            )
    return [
        dask.delayed(tuple)(list(parts)) for parts in zip(*(p for _, p in delayed), strict=True)
    ]


def _delayed(name, values, X):
    if not hasattr(values, "to_delayed"):
        raise TypeError(
            f"{name}: got {type(values).__name__}, expected a dask collection of the same "
            "partitions as X."
        )
    if hasattr(values, "rechunk"):
        if values.ndim > 1 and values.numblocks[1] > 1:
            values = values.rechunk({1: -1})
        chunks = getattr(X, "chunks", None)
        if (
            chunks
            and values.chunks[0] != chunks[0]
            and not np.isnan([*values.chunks[0], *chunks[0]]).any()
        ):
            values = values.rechunk({0: chunks[0]})
    return list(np.ravel(values.to_delayed()))


class _Partitions:
    """Partitions, each computed when its turn comes; as `Stream` reads them."""

    def __init__(self, parts):
        self._parts = parts

    def delayed(self):
        return [dask.delayed(_block)(i, part) for i, part in enumerate(self._parts)]

    def __iter__(self):
        for part in self._parts:
            yield part.compute()


def _block(number, part):
    """Rows of a partition, checked, where the kernels like them to lie."""
    if not isinstance(part, tuple | list) or len(part) not in (2, 3):
        raise TypeError(
            f"partition {number}: got {type(part).__name__}, expected a tuple (X, y) or (X, y, "
            "sample_weight)."
        )
    X, y, weights = (*part, None)[:3]
    try:
        n = X.shape[0]
        for name, values in (("y", y), ("sample_weight", weights)):
            if values is not None and len(values) != n:
                raise ValueError(f"{name} has {len(values)} rows, but X has {n}.")
        if n:
            X = data.check_features(X, finite=True)
        weights = None if weights is None else np.asarray(weights, np.float64)
        return _Kept(_aligned(X), np.asarray(y), weights)
    except (ValueError, TypeError) as error:
        raise type(error)(f"partition {number}: {error}") from error


class _Kept(Rows):
    """Rows that lie at the boundary of a register again after a journey."""

    def __reduce__(self):
        return _arrived, tuple(self)


def _arrived(X, y, weights):
    return _Kept(_aligned(X), y, weights)


def _aligned(X):
    """X, copied where its sums would depend on where it lies and it lies elsewhere."""
    if sp.issparse(X) or X.nbytes <= BLOCK_BYTES or X.ctypes.data % _LINE == 0:
        return X
    room = np.empty(X.nbytes + _LINE, np.uint8)
    begin = -room.ctypes.data % _LINE
    copy = np.ndarray(X.shape, X.dtype, room, begin, order="F" if X.flags.f_contiguous else "C")
    copy[...] = X
    return copy


def _call(number, function, rows, *place):
    """A function of a block, on its worker; errors name the partition and the worker."""
    try:
        return function(rows, *place)
    except (ValueError, TypeError) as error:
        from distributed import get_worker

        where = f"partition {number} on worker {get_worker().address}"
        raise type(error)(f"{where}: {error}") from error


def _kept(number, function, rows):
    return _Kept(*_call(number, function, rows))


class _Cluster(Source):
    """Blocks that the workers keep.

    Parameters
    ----------
    client : distributed.Client
    futures : list of Future
        Of `data.Rows`.
    numbers : list of int
        Of the partitions that have rows.
    names : list of str or None
    """

    local = False
    # Whether the blocks are for one fit, which makes others of them.
    passing = False

    def __init__(self, client, futures, numbers, names):
        self._client, self._futures, self._numbers = client, futures, numbers
        self.feature_names = names

    @classmethod
    def of(cls, client, parts, names):
        futures = client.compute(parts)
        lengths = client.gather(client.map(_length, futures, pure=False))
        full = [i for i, n in enumerate(lengths) if n]
        return cls(client, [futures[i] for i in full], full, names)

    def map(self, function: Callable[[Rows], Rows]) -> "_Cluster":
        futures = self._submit(_kept, function)
        return type(self)(self._client, futures, self._numbers, self.feature_names)

    def collect(self, function: Callable[..., Any], *places: Iterable) -> Iterator:
        yield from self._client.gather(self._submit(_call, function, *places))

    def total(self, function: Callable[[Rows], tuple]) -> tuple:
        parts = self._submit(_call, function)
        while len(parts) > _ADDED_HERE:
            parts = [
                self._client.submit(tree_sum, parts[i : i + _ADDED_AT_ONCE], pure=False)
                for i in range(0, len(parts), _ADDED_AT_ONCE)
            ]
        return tree_sum(self._client.gather(parts))

    def describe(self, block: int) -> str:
        return f"partition {self._numbers[block]}"

    def let_go(self) -> None:
        if self.passing:
            for future in self._futures:
                future.release()

    def _submit(self, call, function, *places):
        # In one message: the client sends a second one only after some milliseconds.
        functions = [function] * len(self._futures)
        return self._client.map(
            call, self._numbers, functions, self._futures, *map(list, places), pure=False
        )


def _length(rows):
    return rows.X.shape[0]


def _is_collection(X):
    return hasattr(X, "to_delayed") or (
        isinstance(X, list | tuple) and bool(X) and all(hasattr(part, "dask") for part in X)
    )


class _OnDask:
    """An estimator whose rows may be on a cluster."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> Self:
        """Train on partitions of rows.

        Parameters
        ----------
        X, y, sample_weight
            As of `blocks`, which may also come as X.
        **options
            As of the estimator of `schuss`; `eval_set` may be a pair of Dask collections.

        Returns
        -------
        self : object
            The estimator itself.
        """
        source = X if isinstance(X, Source) else _passing(X, y, sample_weight)
        eval_set = options.get("eval_set")
        if isinstance(eval_set, tuple | list) and _is_collection(eval_set[0]):
            options["eval_set"] = _passing(*eval_set)
        return super().fit(source, **options)  # type: ignore[misc]

    def _lazily(self, method: str, X: Any, n_columns: int | None, dtype: Any) -> Any:
        """A method of the estimator, of each partition of X once it is computed."""
        apply = partial(_apply, self, method)
        if hasattr(X, "map_blocks"):
            if X.numblocks[1] > 1:
                X = X.rechunk({1: -1})
            if n_columns is None:
                return X.map_blocks(apply, dtype=dtype, drop_axis=1, meta=np.empty(0, dtype))
            chunks = (X.chunks[0], (n_columns,))
            return X.map_blocks(apply, dtype=dtype, chunks=chunks, meta=np.empty((0, 0), dtype))
        whole = X.map_partitions(apply, meta=np.empty((0,) * (1 + (n_columns is not None)), dtype))
        return whole

    def predict(self, X: Any) -> Any:
        """Predictions of each row: lazy ones of a Dask collection.

        Parameters
        ----------
        X : dask Array or DataFrame, or what the estimator of `schuss` takes
        """
        if not _is_collection(X):
            return super().predict(X)  # type: ignore[misc]
        classes = getattr(self, "classes_", np.empty(0))
        return self._lazily("predict", X, None, classes.dtype)


class _ClassifierOnDask(_OnDask):
    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes: lazy ones of a Dask collection.

        Parameters
        ----------
        X : dask Array or DataFrame, or what the estimator of `schuss` takes
        """
        if not _is_collection(X):
            return super().predict_proba(X)  # type: ignore[misc]
        return self._lazily("predict_proba", X, len(self.classes_), np.float64)  # type: ignore

    def decision_function(self, X: Any) -> Any:
        """Scores of the rows: lazy ones of a Dask collection.

        Parameters
        ----------
        X : dask Array or DataFrame, or what the estimator of `schuss` takes
        """
        if not _is_collection(X):
            return super().decision_function(X)  # type: ignore[misc]
        k = len(self.classes_)  # type: ignore
        return self._lazily("decision_function", X, None if k == 2 else k, np.float64)


def _apply(model, method, X):
    if not X.shape[0]:
        shape = getattr(model, method)(np.zeros((1, model.n_features_in_))).shape[1:]
        return np.empty((0, *shape))
    return getattr(model, method)(X)


class LogisticRegression(_ClassifierOnDask, _LogisticRegression):
    """`schuss.LogisticRegression` on Dask's collections.

    Parameters
    ----------
    penalty, C, l1_ratio, dual, tol, fit_intercept, intercept_scaling, class_weight,\
    random_state, solver, max_iter, verbose, warm_start, n_jobs
        Those of `schuss.LogisticRegression`; "liblinear" needs all rows in memory.

    Examples
    --------
    >>> import dask.array as da
    >>> from schuss.dask import LogisticRegression
    >>> X = da.random.default_rng(0).normal(size=(1000, 3), chunks=(250, 3))
    >>> model = LogisticRegression().fit(X, X[:, 0] > 0)
    >>> float(model.predict(X).compute().mean().round(1))
    0.5
    """


class SigmoidClassifier(_ClassifierOnDask, _SigmoidClassifier):
    """`schuss.SigmoidClassifier` on Dask's collections, with the solvers of full batches."""


class SigmoidRegressor(_OnDask, _SigmoidRegressor):
    """`schuss.SigmoidRegressor` on Dask's collections, with the solvers of full batches."""


def train(X: Any, y: Any = None, *, sample_weight: Any = None, **options: Any) -> Any:
    """`schuss.train` on Dask's collections.

    Parameters
    ----------
    X, y, sample_weight
        As of `blocks`, which may also come as X.
    **options
        As of `schuss.train`.

    Returns
    -------
    schuss.TrainResult
    """
    source = X if isinstance(X, Source) else _passing(X, y, sample_weight)
    return _train(source, **options)
