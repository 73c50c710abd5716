"""X as the kernels read it: as it lies wherever they can, never copied without need."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn import get_config
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils._array_api import _is_numpy_namespace, get_namespace
from sklearn.utils.validation import validate_data

from schuss.constants import REAL_TYPE
from schuss.sparse import as_csr, without_duplicates

# Orders of the rows hold numbers of this type.
ORDER_TYPE = np.int32

# Bytes of X, as float64, that are looked at in one go outside the kernels.
_BLOCK_BYTES = 1 << 22

# Rows, and elements at the most, that tell the centres of columns; how many standard deviations
# from 0 is far.
_CENTRE_ROWS = 200
_CENTRE_ELEMENTS = 1 << 20
_FAR = 10.0


class Rows(NamedTuple):
    """What a fit learns from, checked."""

    X: Any  # as the kernels read it, or `Blocked`
    y: np.ndarray  # codes of classes, or real targets
    sample_weight: np.ndarray | None  # (n,) float64, those of the classes included


class Blocked:
    """Rows that are not all in memory, in the place of X; see `blocks.RowBlocks`.

    The `Rows` of it hold, in place of all targets and weights, a few of the same meaning: of
    classes their codes and the sums of their weights; of reals the smallest and the largest.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    size: int
    is_sparse: bool
    counts: np.ndarray  # (n_blocks, n_classes) rows

    def objective(self, loss: Any, **options: Any) -> Any:
        """`objective.Objective` of the rows, with its options."""
        raise NotImplementedError

    def largest(self) -> float:
        """Largest absolute value."""
        raise NotImplementedError

    def check_finite(self) -> None:
        """Raise the error of NaN or infinity, with where it is."""
        raise NotImplementedError


def check_features(X, *, estimator=None, reset=True, finite=False):
    """Return X as an array or CSR matrix that a backend can prepare.

    Dense arrays of the types in `constants.REAL_TYPE` pass unchanged, in any order;
    everything else numeric becomes float64. Other sparse formats become CSR, and sparse
    matrices other than float32 and float64 become float64; the caller's is not changed.

    Parameters
    ----------
    X : array-like, sparse matrix or data frame of shape (n, d)
    estimator : estimator or None
        Whose number and names of features are set (`reset`) or compared.
    finite : bool
        Whether to take it for granted that X is finite, which saves a pass over it.
    """
    if isinstance(X, np.ndarray) and X.dtype.kind in "SUT":
        # As scikit-learn: text that looks like numbers is not taken for them.
        raise ValueError(
            f"X holds text ({X.dtype}), expected numbers: dtype='numeric' is not compatible with "
            "arrays of bytes/strings. Convert it, for example by X.astype(float)."
        )
    if type(X) is np.ndarray and X.dtype.newbyteorder("=") in REAL_TYPE:
        if not X.dtype.isnative:
            X = X.astype(X.dtype.newbyteorder("="))
        if not X.flags.aligned:
            X = np.require(X, requirements="A")
        finite = finite or _is_finite(X)
        if finite and _is_plain(X, estimator, reset):
            if estimator is not None and reset:
                estimator.n_features_in_ = X.shape[1]
            return X
    refuse_other_libraries(X)
    sparse = sp.issparse(X)
    X = as_csr(X)
    options = {
        "accept_sparse": "csr",
        "dtype": list(REAL_TYPE),
        "ensure_all_finite": not finite,
    }
    # What overflows is infinite, and refused as that; no warning of a cast or a sum tells more.
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            if estimator is None:
                X = check_array(X, input_name="X", **options)
            else:
                X = validate_data(estimator, X, reset=reset, **options)
    except OverflowError as error:
        raise ValueError(f"Input X contains a value too large for float64: {error}.") from None
    # A frame of sparse columns is sparse only now.
    return X if sparse else as_csr(X)


def check_orders(n_rows):
    """Refuse more rows than an order can number, before there is one."""
    most = np.iinfo(ORDER_TYPE).max
    if n_rows > most:
        raise ValueError(
            f"X has {n_rows:,} rows, but a solver that takes them one by one or in shuffled "
            f"batches expects {most:,} at most. Train on parts of X by partial_fit, or choose a "
            "solver that takes all rows at once, such as 'lbfgs'."
        )


def refuse_other_libraries(X):
    """Raise where scikit-learn is told to compute by the library of X, and that is not NumPy."""
    if not get_config()["array_api_dispatch"]:
        return
    namespace, is_array = get_namespace(X)
    if is_array and not _is_numpy_namespace(namespace):
        raise TypeError(
            f"X is a {type(X).__module__}.{type(X).__name__}, and array_api_dispatch asks that its "
            "library computes. schuss computes NumPy arrays: pass numpy.asarray(X), or leave "
            "array_api_dispatch off, where scikit-learn's own estimators do the same."
        )


def real_type(X):
    """Type of the weights that X trains."""
    return REAL_TYPE[X.dtype]


def as_type(X, dtype):
    """X in the type of the weights, which must hold it."""
    if real_type(X) == dtype:
        return X
    with np.errstate(over="ignore", invalid="ignore"):
        X = X.astype(dtype)
        assert_all_finite(X, input_name=f"X as {np.dtype(dtype)}")
    return X


def is_sparse(X):
    """Whether the rows are CSR."""
    return X.is_sparse if isinstance(X, Blocked) else sp.issparse(X)


def size(X):
    """Elements that one pass reads."""
    if isinstance(X, Blocked):
        return X.size
    return X.nnz if sp.issparse(X) else X.size


def largest(X):
    """Largest absolute value."""
    if isinstance(X, Blocked):
        return X.largest()
    values = X.data if sp.issparse(X) else X
    return max(-float(values.min(initial=0)), float(values.max(initial=0)))


def centres(X):
    """Where columns lie that are far from 0 for their spread, 0 for others; None without any.

    As a sample of the rows has it: what is exact does not depend on it.
    """
    n, d = X.shape
    rows = np.unique(np.linspace(0, n - 1, max(16, min(n, _CENTRE_ROWS, _CENTRE_ELEMENTS // d))))
    part = X[rows.astype(np.intp)]
    columns = np.arange(d)
    if sp.issparse(part):
        columns = np.flatnonzero(np.bincount(part.indices, minlength=d) >= len(rows))
        part = part[:, columns].toarray()
    with np.errstate(over="ignore", invalid="ignore"):
        part = part.astype(np.float64, copy=False)
        mean, spread = part.mean(axis=0), part.std(axis=0)
        far = np.abs(mean) > _FAR * spread
    if not far.any():
        return None
    found = np.zeros(d)
    found[columns[far]] = mean[far]
    return found


def largest_row(X, sample_weight, add):
    """Largest ``s_i * (||x_i||^2 + add)`` over the rows, a block of rows at a time."""
    n, d = X.shape
    if sp.issparse(X):
        X = without_duplicates(X)
        rows = np.repeat(np.arange(n), np.diff(X.indptr))
        norms = np.bincount(rows, weights=X.data.astype(np.float64) ** 2, minlength=n) + add
        return float((norms if sample_weight is None else norms * sample_weight).max())
    step = max(1, _BLOCK_BYTES // (8 * max(d, 1)))
    top = 0.0
    for start in range(0, n, step):
        block = X[start : start + step].astype(np.float64)
        norms = np.einsum("ij,ij->i", block, block)
        norms += add
        if sample_weight is not None:
            norms *= sample_weight[start : start + step]
        top = max(top, float(norms.max()))
    return top


def _is_plain(X, estimator, reset):
    """Whether nothing is left for scikit-learn to check, which saves its fixed cost."""
    if X.ndim != 2 or 0 in X.shape:
        return False
    if estimator is None:
        return True
    if hasattr(estimator, "feature_names_in_"):
        return False
    # A model whose weights were set by hand need not have the number.
    return reset or X.shape[1] == getattr(estimator, "n_features_in_", X.shape[1])


def _is_finite(X):
    """True where X surely is finite; an overflowing sum of finite entries says False."""
    if X.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum(dtype=REAL_TYPE[X.dtype])))
