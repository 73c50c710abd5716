"""The problems: seeded data and the objective that is minimised on them.

A `Problem` is a name and a recipe, a `Task` is the problem made concrete: the arrays of
one feature type and memory order, one cost, one step size.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import expit, logsumexp
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.preprocessing import StandardScaler

from schuss.constants import REAL_TYPE
from schuss.losses import LOSSES

DTYPES = tuple(dtype.name for dtype in REAL_TYPE)
ORDERS = ("C", "F")

# How much above the optimum a fit may end, relative to it.
GAP = 1e-6

# Rows from which the step size is estimated: the synthetic rows are all alike, and the
# real data sets are smaller than this.
_STEP_ROWS = 10_000
_LINE_BYTES = 64
_LARGE_BYTES = 1 << 25


@dataclass(frozen=True)
class Task:
    """Full-batch gradient descent, from zero weights, with a fixed learning rate."""

    name: str
    X: Any  # ndarray or csr_array of shape (n, d)
    codes: np.ndarray  # (n,), uint8
    loss: str
    learning_rate: float
    epochs: int  # in one run

    real = property(lambda self: REAL_TYPE[self.X.dtype], doc="Type of the weights.")
    dtype = property(lambda self: self.X.dtype)
    shape = property(lambda self: self.X.shape)
    nbytes = property(lambda self: sum(buffer.nbytes for buffer in self.buffers))

    @property
    def buffers(self) -> list[np.ndarray]:
        """The memory that one pass has to read, as flat arrays."""
        if sp.issparse(self.X):
            return [self.X.data, self.X.indices]
        return [self.X.ravel(order="K")]

    def real_features(self):
        """X in the type of the weights, for libraries that do not read others."""
        X = self.X.astype(self.real, copy=False)
        return X if X is self.X or sp.issparse(X) else _placed(X)


@dataclass(frozen=True)
class Fit(Task):
    """Penalised logistic regression, of two classes or more, to a relative gap of `GAP`.

    The objective is mean log-loss + alpha/2 * ||w||^2 with an intercept, which is not penalised,
    or mean log-loss + l1 * ||w||_1 without one. Every library has its own tolerance, so that
    the objective reached is what is held equal.
    """

    alpha: float = 0.0
    l1: float = 0.0

    penalty = property(lambda self: self.alpha or self.l1, doc="Strength of the one there is.")

    @property
    def n_outputs(self) -> int:
        """Rows of weights: one for two classes, else one for each."""
        classes = int(self.codes.max()) + 1
        return classes if classes > 2 else 1

    def objective(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient in float64, for the weights and then the intercept.

        Where there are twice as many weights, these are their positive and negative parts.
        """
        if self.n_outputs > 1:
            return self._softmax_objective(parameters)
        d = self.shape[1]
        parts, intercept = parameters[:-1], parameters[-1]
        coef = parts[:d] - parts[d:] if len(parts) > d else parts
        z = self.X @ coef + intercept
        value = np.logaddexp(0, z).mean() - z @ self.codes / len(z)
        residual = (expit(z) - self.codes) / len(z)
        gradient = self.X.T @ residual + self.alpha * coef
        if len(parts) > d:
            gradient = np.append(gradient, -gradient) + self.l1
        value += self.alpha / 2 * (coef @ coef) + self.l1 * np.abs(parts).sum()
        ends = 0.0 if self.l1 else residual.sum()
        return float(value), np.append(gradient, ends).astype(np.float64)

    def _softmax_objective(self, parameters):
        k, rows = self.n_outputs, np.arange(len(self.codes))
        coef = parameters[:-k].reshape(k, -1)
        z = self.X @ coef.T + parameters[-k:]
        z -= logsumexp(z, axis=1, keepdims=True)
        value = -z[rows, self.codes].mean() + self.alpha / 2 * (coef**2).sum()
        residual = np.exp(z)
        residual[rows, self.codes] -= 1
        residual /= len(rows)
        gradient = residual.T @ self.X + self.alpha * coef
        return float(value), np.append(gradient, residual.sum(axis=0)).astype(np.float64)


@dataclass(frozen=True)
class Problem:
    """A recipe for data."""

    name: str
    n: int
    d: int
    epochs: int  # so that one run of the NumPy loop lasts tens of milliseconds at least
    make: Callable[[int, int, int], tuple[Any, np.ndarray]]  # (n, d, seed): float32 X, codes
    sparse: bool = False

    def load(self, dtype="float32", order="C", loss="squared_error", seed=0) -> Task:
        """Make the arrays; the same values whatever the type, but for rounding."""
        X, codes = self.make(self.n, self.d, seed)
        X = _cast(X, np.dtype(dtype))
        if not self.sparse:
            X = _placed(np.asarray(X, order=order))
        return Task(self.name, X, codes, loss, _safe_step(X, loss), self.epochs)

    def load_fit(self, dtype="float64", seed=0, l1=0.0) -> Fit:
        """The same data, to be fitted to the optimum: scikit-learn's C = 1.

        With `l1`, a share of the least penalty that leaves no weight, in place of the other one.
        """
        task = self.load(dtype, loss="log_loss", seed=seed)
        parts = (getattr(task, entry.name) for entry in fields(Task))
        fit = replace(Fit(*parts), epochs=1, alpha=0.0 if l1 else 1 / self.n)
        residual = (0.5 - fit.codes) / self.n
        return replace(fit, l1=l1 * float(np.abs(fit.X.T @ residual).max()))


def gaussian(n, d, seed):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d), dtype=np.float32)
    return X, _noisy_codes(X, rng)


def random_sparse(n, d, seed, row_length=60):
    rng = np.random.default_rng(seed)
    indices = np.sort(rng.integers(0, d, (n, row_length), dtype=np.int32), axis=1)
    values = rng.standard_normal(n * row_length, dtype=np.float32)
    starts = np.arange(0, n * row_length + 1, row_length, dtype=np.int32)
    X = sp.csr_array((values, indices.ravel(), starts), shape=(n, d))
    X.sum_duplicates()
    return X, _noisy_codes(X, rng)


def _noisy_codes(X, rng):
    """Labels from a plane, a few of them on the wrong side."""
    n, d = X.shape
    score = X @ rng.standard_normal(d, dtype=np.float32)
    noise = rng.standard_normal(n, dtype=np.float32)
    return (score + np.float32(0.5) * score.std() * noise > 0).astype(np.uint8)


def _breast_cancer(n, d, seed):
    X, target = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32), target.astype(np.uint8)


def _digits_parity(n, d, seed):
    X, target = load_digits(return_X_y=True)
    return StandardScaler().fit_transform(X).astype(np.float32), (target % 2).astype(np.uint8)


def _cast(X, dtype):
    if X.dtype == dtype:
        return X
    if dtype.kind == "f":
        return X.astype(dtype, copy=False)
    if sp.issparse(X):
        raise ValueError(f"dtype={dtype.name!r}: sparse problems are float32 or float64")
    # Standardised features fill most of the 256 steps: three deviations on either side.
    limits = np.iinfo(dtype)
    middle = (limits.min + limits.max + 1) // 2
    levels = np.multiply(X, 42)
    np.rint(levels, out=levels)
    levels += middle
    return np.clip(levels, limits.min, limits.max, out=levels).astype(dtype)


def _placed(X):
    """The same array from the beginning of a cache line on.

    Where the allocator puts a small one is chance, and decides a tenth of the time of what reads
    it in wide registers, NumPy's products among them. Large ones get pages of their own.
    """
    if X.nbytes > _LARGE_BYTES:
        return X
    memory = np.empty(X.nbytes + _LINE_BYTES, np.uint8)
    order = "C" if X.flags.c_contiguous else "F"
    start = -memory.ctypes.data % _LINE_BYTES
    placed = np.ndarray(X.shape, X.dtype, memory, start, order=order)
    placed[...] = X
    return placed


def _safe_step(X, loss):
    """1 / L with the trace as a bound of the largest eigenvalue."""
    rows = X[:_STEP_ROWS].astype(np.float64)
    mean_square = float((rows * rows).sum()) / rows.shape[0]
    return 1.0 / (LOSSES[loss].curvature_bound * (mean_square + 1))


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("4x2", 4, 2, 5000, gaussian),
        Problem("100x2", 100, 2, 5000, gaussian),
        Problem("breast-cancer", 569, 30, 2000, _breast_cancer),
        Problem("digits", 1797, 64, 1000, _digits_parity),
        Problem("20000x100", 20_000, 100, 100, gaussian),
        Problem("100000x100", 100_000, 100, 20, gaussian),
        Problem("1000000x28", 1_000_000, 28, 10, gaussian),
        Problem("1000000x100", 1_000_000, 100, 10, gaussian),
        Problem("small-sparse", 4_000, 2_000, 200, random_sparse, sparse=True),
        Problem("sparse", 100_000, 50_000, 10, random_sparse, sparse=True),
    )
}
# Fitted to the optimum, in the type that each is usually asked for.
FITS = {
    "breast-cancer": "float64",
    "digits": "float64",
    "100000x100": "float32",
    "1000000x28": "float32",
    "sparse": "float64",
}
