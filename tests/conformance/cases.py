"""The table of the conformance suite: data, the reference's answer, and how far from it.

Each answer is compared with that of the NumPy backend in float64 on the same numbers,
within a bound on the rounding errors of the type under test.
"""

import itertools
import tempfile
from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp

from schuss.backends.contract import Data, State, UpdateConfig
from schuss.constants import HISTORY_COLUMNS, N_COUNTERS, REAL_TYPE, Activation
from schuss.losses import BY_CODE, Loss
from schuss.methods import N_SLOTS, Solver

ROWS = (1, 2, 5, 63, 64, 65, 200, 1000)
FEATURES = (1, 2, 3, 7, 8, 17, 31, 33, 64, 65, 100, 257)
DENSE_TYPES = ("float64", "float32", "float16", "uint8", "int8")
SPARSE_TYPES = ("float64", "float32")
INDEX_TYPES = ("int32", "int64")
TARGETS = ("real", "uint8", "int32")

# (neurons, weighted, form of the targets, cost)
SETTINGS = tuple(
    itertools.product((1, 3), (False, True), TARGETS, (Loss.SQUARED_ERROR, Loss.LOG_LOSS))
)


# ---------------------------------------------------------------------------
# Memory orders: the same values, laid out in other ways.


def _strided(X, rows, columns):
    """X as every `rows`-th row and `columns`-th column of something larger."""
    n, d = X.shape
    large = np.zeros((n * abs(rows), d * abs(columns)), X.dtype)
    view = large[::rows, ::columns]
    view[...] = X
    return view


def _misaligned(X):
    # One byte off: wrong for every type that has an alignment.
    buffer = np.zeros(X.nbytes + 1, np.uint8)
    view = buffer[1:].view(X.dtype).reshape(X.shape)
    view[...] = X
    return view


def _read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


def _memory_mapped(X):
    # joblib's maps start wherever its header ended.
    mapped = np.memmap(tempfile.TemporaryFile(), X.dtype, "w+", offset=3, shape=X.shape)
    mapped[...] = X
    mapped.setflags(write=False)
    return mapped


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "rows strided": lambda X: _strided(X, 3, 1),
    "columns strided": lambda X: _strided(X, 1, 2),
    "rows backwards": lambda X: _strided(X, -1, 1),
    "all backwards": lambda X: _strided(X, -2, -1),
    "part of F": lambda X: _strided(X.T, 1, 2).T,
    "one row repeated": lambda X: np.broadcast_to(X[:1], X.shape),
    "one column repeated": lambda X: np.broadcast_to(X[:, :1], X.shape),
    "misaligned": _misaligned,
    "misaligned F": lambda X: _misaligned(X.T).T,
    "read-only": _read_only,
    "memory-mapped": _memory_mapped,
}


def dense(dtype, n, d, rng):
    """Values of every sign and, for integers, of the whole range."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.standard_normal((n, d)).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, (n, d), dtype=dtype, endpoint=True)


def sparse(dtype, index, n, d, rng):
    """About a third of the entries, with empty rows among them."""
    X = dense(dtype, n, d, rng) * (rng.random((n, d)) < 0.35)
    X[rng.random(n) < 0.1] = 0
    X = sp.csr_array(X)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return X


# ---------------------------------------------------------------------------
# Problems.


def problem(X, setting, rng):
    """Targets, weights and parameters that leave scores of a few units."""
    n_outputs, weighted, form, loss = setting
    n, d = X.shape
    real = REAL_TYPE[X.dtype]
    if form == "real":
        y = rng.random((n_outputs, n)).astype(real)
        y[rng.random((n_outputs, n)) < 0.3] = 1
    else:
        y = rng.integers(0, 2 if n_outputs == 1 else n_outputs, n).astype(form)
    weight = (3 * rng.random(n) * (rng.random(n) < 0.8)).astype(real) if weighted else None
    size = 1.0 if X.dtype.kind == "f" else 128.0
    coef = (rng.standard_normal((n_outputs, d)) * 2 / size / np.sqrt(d)).astype(real)
    intercept = rng.standard_normal(n_outputs).astype(real)
    total = max(n if weight is None else float(weight.sum(dtype=np.float64)), 1.0)
    return SimpleNamespace(
        X=X, y=y, weight=weight, scale=1 / total, coef=coef, intercept=intercept, loss=loss
    )


def widened(p):
    """The same problem, dense and in float64."""
    X = p.X.toarray() if sp.issparse(p.X) else np.asarray(p.X)
    wide = {"X": X, "coef": p.coef, "intercept": p.intercept, "weight": p.weight}
    wide = {k: None if v is None else v.astype(np.float64) for k, v in wide.items()}
    y = p.y.astype(np.float64) if p.y.ndim == 2 else p.y
    return SimpleNamespace(**{**vars(p), **wide, "y": y})


def data(backend, p):
    return Data(backend.prepare(p.X), p.y, p.weight, p.scale)


def gradient(backend, p, n_threads=1):
    """Value and gradient by a backend, in arrays that hold NaN before."""
    out = np.full_like(p.coef, np.nan), np.full_like(p.intercept, np.nan)
    value = backend.gradient(data(backend, p), p.loss, p.coef, p.intercept, *out, n_threads)
    return value, *out


def predict(backend, p, activation, n_threads=1):
    out = np.full((p.X.shape[0], len(p.coef)), np.nan, p.coef.dtype)
    backend.predict(backend.prepare(p.X), p.coef, p.intercept, activation, out, n_threads)
    return out


# ---------------------------------------------------------------------------
# Bounds.


def growth(terms, real):
    """Relative error of a sum of products, in any order.

    The worst case is terms * u; rounding errors that are not all of one sign stay below
    a small multiple of sqrt(terms) * u (Higham & Mary, SIAM J. Sci. Comput. 41, 2019).
    """
    unit = np.finfo(real).eps / 2
    return unit * (min(terms, 8 * np.sqrt(terms)) + 4)


# Roundings in a cost, its derivative or an activation, whose own accuracy test_pointwise
# measures.
_SCALAR = 8


def _slack(p):
    """Scores and costs of the float64 problem, and the errors that the type may add."""
    real = p.coef.dtype
    wide = widened(p)
    size = np.abs(wide.X) @ np.abs(wide.coef).T + np.abs(wide.intercept)
    return wide, growth(p.X.shape[1] + 1, real) * size, _SCALAR * np.finfo(real).eps / 2


def gradient_bound(p, reference):
    """Bounds on the errors of value, coefficients' and intercepts' gradient."""
    wide, z_error, unit = _slack(p)
    n, n_outputs = p.X.shape[0], len(p.coef)
    z = wide.X @ wide.coef.T + wide.intercept
    if wide.y.ndim == 2:
        y = wide.y.T
    else:
        y = wide.y[:, None] == (np.arange(n_outputs) if n_outputs > 1 else [1])
    cost, slope = np.empty(z.size), np.empty(z.size)
    reference.pointwise(z.ravel(), y.astype(np.float64).ravel(), p.loss, cost, slope)
    cost, slope = cost.reshape(z.shape), np.abs(slope.reshape(z.shape))

    curvature = BY_CODE[p.loss].curvature_bound
    cost_error = slope * z_error + curvature * z_error**2 + unit * (cost + 1)
    cost_error += growth(n, np.float64) * cost  # sums of costs are float64 for both types
    slope_error = curvature * z_error + unit + growth(n, p.coef.dtype) * slope
    weight = p.scale * (np.ones(n) if p.weight is None else wide.weight)
    pull = (weight[:, None] * slope_error).T
    value = float((weight @ cost_error).sum())
    return value, pull @ np.abs(wide.X), pull.sum(axis=1)


def predict_bound(p, activation):
    wide, z_error, unit = _slack(p)
    if activation == Activation.IDENTITY:
        return z_error
    z = wide.X @ wide.coef.T + wide.intercept
    return z_error + unit * (1 if activation == Activation.LOGISTIC else 1 + np.abs(z))


def assert_within(actual, expected, bound, what):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected)
    error = np.abs(actual - expected)
    # Written so that NaN fails.
    if not np.all(error <= bound):
        bound = np.broadcast_to(bound, error.shape)
        worst = np.unravel_index(np.argmax(np.where(error <= bound, 0, 1)), error.shape)
        raise AssertionError(
            f"{what}: error {error[worst]:.3g} at {worst}, bound {bound[worst]:.3g}; "
            f"got {actual[worst]!r}, expected {expected[worst]!r}"
        )


# ---------------------------------------------------------------------------
# Runs.


def update_config(**changes):
    """A config with usual numbers; full batches of the log-loss unless told otherwise."""
    usual = {
        "loss": Loss.LOG_LOSS, "solver": Solver.GD, "learning_rate": 0.1, "momentum": 0.9,
        "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "l2": 0.0, "l1": 0.0, "tol": 0.0,
        "fit_intercept": True, "batch_size": 1 << 30,
    }  # fmt: skip
    return UpdateConfig(**{**usual, **changes})


def state(p, solver):
    n_outputs, d = p.coef.shape
    slots = np.zeros((N_SLOTS[solver], n_outputs, d + 1), p.coef.dtype)
    return State(p.coef.copy(), p.intercept.copy(), slots, np.zeros(N_COUNTERS))


def descend(backend, p, config, epochs, order=None, chunk=None, n_threads=1):
    """A run of some epochs, in chunks; returns state, history, and each call's answer."""
    s, rows = state(p, config.solver), data(backend, p)
    history = np.full((epochs, len(HISTORY_COLUMNS)), np.nan)
    answers = []
    for start in range(0, epochs, chunk or epochs):
        part = slice(start, start + (chunk or epochs))
        ordered = None if order is None else order[part]
        answers.append(backend.descend(rows, s, config, ordered, history[part], n_threads))
    return s, history, answers
