"""Logistic regression on badly conditioned data: ``python -m tests.conditioning``.

The optimum of each set comes from Newton's method (iteratively reweighted least squares) in numbers
of `DIGITS` digits, and so does the objective of what a library returns: how far it lies above the
optimum, as a share of it. The program prints a table of libraries, as docs/drop_in.md has it.
"""

import sys
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
from sklearn.linear_model import LogisticRegression

import schuss

DIGITS = 40
# Share of the objective by which a result may be above the optimum without a warning.
LIMIT = 1e-6
_MOST_STEPS = 200
_STEP = mpmath.mpf(10) ** -18


@dataclass(frozen=True)
class Problem:
    """A set of rows, and the penalty ``||w||^2 / 2C``.

    Attributes
    ----------
    name : str
    X : ndarray of shape (n, d)
    y : ndarray of shape (n,), whole numbers
    C : float
    separable : bool
        Whether the objective has no minimum: weights grow for ever.
    """

    name: str
    X: np.ndarray
    y: np.ndarray
    C: float = 1.0
    separable: bool = False


def problems():
    """All sets, by name."""
    sets: dict[str, Problem] = {}
    rng = np.random.default_rng(18)

    def labels(z, classes=2):
        """Labels of standardised scores, of both classes (all) on each side."""
        if classes == 2:
            return (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(int)
        scores = np.outer(z, np.linspace(-1.5, 1.5, classes)) + rng.gumbel(size=(len(z), classes))
        return scores.argmax(axis=1)

    def add(name, X, y, *, Cs=(1.0, np.inf), types=("float64",), separable=False):
        for real in types:
            for C in Cs:
                own = f"{name}, C={C:g}" + (", float32" if real == "float32" else "")
                sets[own] = Problem(
                    own, np.asarray(X, real), y, C, separable and not np.isfinite(C)
                )

    def scores(U):
        return U @ np.linspace(2, -1, U.shape[1])

    both = "float64", "float32"
    u = rng.uniform(-1.7, 1.7, 120)
    y = labels(2 * u)
    add("Unix seconds over three days", 1.7e9 + 7.5e4 * u[:, None], y, types=both)
    add("Unix milliseconds over a second", 1.7e12 + 300 * u[:, None], y)
    add("Unix microseconds over an hour", 1.7e15 + 1e9 * u[:, None], y)
    add("years", np.round(1995 + 10 * u)[:, None], y, types=both)
    U = rng.standard_normal((120, 4))
    y = labels(scores(U))
    add("scales 1e-6 to 1e6", U * np.logspace(-6, 6, 4), y, types=both)
    add("scales 1e-3 to 1e9, off centre", (U + 3) * np.logspace(-3, 9, 4), y)
    add("all columns of 1e-8", U * 1e-8, y, types=both)
    add("all columns of 1e8", U * 1e8, y, types=both)
    add("columns far from 0", U + [1e2, -1e4, 1e6, 0], y)
    times = np.column_stack([1.7e9 + 8e4 * U[:, 0], U[:, 1] * 1e-3, U[:, 2], 37 + 0.01 * U[:, 3]])
    add("time, and others", times, y, types=both)
    add("strong penalty, time", times, y, Cs=(1e-6,))
    nearly = np.column_stack([U[:, :2], np.full(120, 5.0)])
    nearly[7, 2] = 5.001
    nearly[60, 2] = 4.999
    add("nearly constant column", nearly, y, Cs=(1.0,), types=both)
    nearly = np.column_stack([U[:, :2], np.where(rng.random(120) < 0.1, 1e3 + 1e-4, 1e3)])
    add("column of 1000 and 1000.0001", nearly, y)
    add("constant column", np.column_stack([U[:, :2], np.full(120, 7e6)]), y)
    close = np.column_stack([U[:, :2], U[:, 0] + 1e-5 * U[:, 2]])
    add("nearly equal columns", close, y)
    add("polynomial of degree 6", np.vander(np.linspace(1, 3, 120), 7)[:, :6], labels(4 * u - 1))
    add("counts of 1e9", np.column_stack([1e9 + rng.poisson(3.0, 120), U[:, 0]]), y)
    three = labels(scores(U), 3)
    add("three classes, time", times, three, types=both)
    add("three classes, scales 1e-6 to 1e6", U * np.logspace(-6, 6, 4), three)
    add("three classes, nearly equal columns", close, three)
    apart = (u > 0.2).astype(int)
    add("separable", np.column_stack([u, U[:, 0]]), apart, types=both, separable=True)
    add("separable times", 1.7e9 + 7.5e4 * u[:, None], apart, separable=True)
    add("separable, three classes", u[:, None], np.digitize(u, [-0.5, 0.6]), separable=True)
    # All rows of one value of a column are of one class.
    flag = rng.random(120) < 0.1
    add("quasi-separable", np.column_stack([U[:, 0], flag]), np.where(flag, 1, y), separable=True)
    return sets


# --------------------------------------------------------------------- the truth


def _numbers(values):
    return np.vectorize(mpmath.mpf, otypes=[object])(np.asarray(values, np.float64))


def objective(problem, coef, intercept):
    """``sum of log-losses + ||w||^2 / 2C`` at float weights, in `DIGITS` digits."""
    with mpmath.workdps(DIGITS):
        W, b = _numbers(np.atleast_2d(coef)), _numbers(np.atleast_1d(intercept))
        Z = _numbers(problem.X) @ W.T + b
        value = sum(_losses(Z, problem.y)[0])
        if np.isfinite(problem.C):
            value += (W * W).sum() / (2 * mpmath.mpf(problem.C))
        return value


def _losses(Z, y):
    """Losses of the rows, and probabilities of the classes (of two: of the second)."""
    exp = np.frompyfunc(mpmath.exp, 1, 1)
    log = np.frompyfunc(mpmath.log, 1, 1)
    if Z.shape[1] == 1:
        Z = np.concatenate([0 * Z, Z], axis=1)
    top = Z.max(axis=1)[:, None]
    E = exp(Z - top)
    total = E.sum(axis=1)
    return log(total) - (Z - top)[np.arange(len(y)), y], E / total[:, None]


@lru_cache
def optimum(problem_name):
    """Least objective of a set, by Newton's method in `DIGITS` digits; None if there is none."""
    problem = problems()[problem_name]
    if problem.separable:
        return None
    with mpmath.workdps(DIGITS):
        return _newton(problem)


def _newton(problem):
    X, y, n = problem.X.astype(np.float64), problem.y, len(problem.y)
    k = len(np.unique(y))
    k = 1 if k == 2 else k
    centre, scale = X.mean(axis=0), np.maximum(X.std(axis=0), 1e-300)
    varies = np.ptp(X, axis=0) > 0
    Z = (_numbers(X) - _numbers(centre))[:, varies] / _numbers(scale[varies])
    A = np.concatenate([Z, _numbers(np.ones((n, 1)))], axis=1)
    p = A.shape[1]
    # Of w / scale, so of the user's weights.
    l2 = np.zeros((k, p), object)
    if np.isfinite(problem.C):
        l2[:, :-1] = 1 / (mpmath.mpf(problem.C) * _numbers(scale[varies]) ** 2)
    free = k * p - (p if k > 1 else 0)  # the last class stays at 0 where nothing is penalised
    pinned = k > 1 and not np.isfinite(problem.C)
    T = _numbers(np.zeros((k, p)))
    codes = np.arange(k)[None, :] == y[:, None] if k > 1 else (y == 1)[:, None]

    def value(T):
        losses, P = _losses(A @ T.T, y)
        return losses.sum() + (l2 * T * T).sum() / 2, P

    last, P = value(T)
    for _ in range(_MOST_STEPS):
        P = P if k > 1 else P[:, 1:]
        gradient = ((P - codes).T @ A + l2 * T).ravel()
        H = np.zeros((k * p, k * p), object)
        for i in range(k):
            for j in range(i, k):
                weight = P[:, i] * ((1 if i == j else 0) - P[:, j])
                block = (A * weight[:, None]).T @ A
                H[i * p : i * p + p, j * p : j * p + p] = block
                H[j * p : j * p + p, i * p : i * p + p] = block.T
        H[np.diag_indices(k * p)] += l2.ravel()
        size = free if pinned else k * p
        if k > 1 and not pinned:
            # Intercepts alone are free of a penalty: their sum is held.
            for i in range(k):
                for j in range(k):
                    H[i * p + p - 1, j * p + p - 1] += 1
        step = -_solve(H[:size, :size], gradient[:size])
        step = np.concatenate([step, _numbers(np.zeros(k * p - size))])
        slope, t = (gradient * step).sum(), mpmath.mpf(1)
        while True:
            trial = T + t * step.reshape(k, p)
            new, P = value(trial)
            if new <= last + t * slope / 10000 or abs(slope) < _STEP * abs(last):
                break
            t /= 2
        T, last = trial, new
        if -slope < _STEP * abs(last):
            return last
    raise ArithmeticError(f"{problem.name}: no optimum after {_MOST_STEPS} steps")


def _solve(H, g):
    """By Cholesky's factor."""
    n = len(g)
    L = H.copy()
    for j in range(n):
        L[j, j] = mpmath.sqrt(L[j, j] - (L[j, :j] ** 2).sum())
        for i in range(j + 1, n):
            L[i, j] = (L[i, j] - (L[i, :j] * L[j, :j]).sum()) / L[j, j]
    x = g.copy()
    for i in range(n):
        x[i] = (x[i] - (L[i, :i] * x[:i]).sum()) / L[i, i]
    for i in reversed(range(n)):
        x[i] = (x[i] - (L[i + 1 :, i] * x[i + 1 :]).sum()) / L[i, i]
    return x


# --------------------------------------------------------------------- results of libraries


@dataclass
class Result:
    """What a library made of a problem.

    Attributes
    ----------
    gap : float
        Of the objective and the optimum, as a share of it; infinite without an optimum.
    warned : list of str
        Warnings and errors.
    model : estimator
    """

    gap: float
    warned: list[str]
    model: Any

    @property
    def is_right(self):
        """Whether it is at the optimum or says that it may not be."""
        return self.gap <= LIMIT or bool(self.warned)


def result(problem, model):
    """Fit a model that has ``coef_`` and ``intercept_``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with np.errstate(all="ignore"):
                model.fit(problem.X, problem.y)
        except Exception as error:
            return Result(np.inf, [f"{type(error).__name__}: {error}"], model)
    warned = [f"{w.category.__name__}: {w.message}" for w in caught]
    best = optimum(problem.name)
    if best is None or not np.isfinite(np.append(model.coef_, model.intercept_)).all():
        return Result(np.inf, warned, model)
    with mpmath.workdps(DIGITS):
        gap = float((objective(problem, model.coef_, model.intercept_) - best) / best)
    return Result(gap, warned, model)


def glum(problem):
    """An estimator of glum for a problem of two classes; None for others, and without glum."""
    try:
        from glum import GeneralizedLinearRegressor
    except ImportError:
        return None
    if len(np.unique(problem.y)) > 2:
        return None
    alpha = 1 / (problem.C * len(problem.y)) if np.isfinite(problem.C) else 0.0
    return GeneralizedLinearRegressor(
        family="binomial", alpha=alpha, l1_ratio=0, fit_intercept=True, max_iter=100
    )


LIBRARIES = {
    "schuss": lambda problem: schuss.LogisticRegression(C=problem.C),
    "scikit-learn": lambda problem: LogisticRegression(C=problem.C),
    "newton-cholesky": lambda problem: LogisticRegression(C=problem.C, solver="newton-cholesky"),
    "glum": glum,
}


def main(out=sys.stdout, names=None):
    """Print a table of the sets, and for each library how many came out right."""
    chosen = problems()
    chosen = {name: chosen[name] for name in names or chosen}
    print(f"| set | {' | '.join(LIBRARIES)} |\n| --- |{' ---: |' * len(LIBRARIES)}", file=out)
    right, tried = dict.fromkeys(LIBRARIES, 0), dict.fromkeys(LIBRARIES, 0)
    for name, problem in chosen.items():
        cells = []
        for library, make in LIBRARIES.items():
            model = make(problem)
            if model is None:
                cells.append("")
                continue
            found = result(problem, model)
            tried[library] += 1
            right[library] += found.is_right
            gap = "no optimum" if problem.separable else f"{found.gap:.0e}"
            cells.append(f"{gap}{', warns' if found.warned else ''}")
        print(f"| {name} | {' | '.join(cells)} |", file=out, flush=True)
    counts = (f"{right[library]} of {tried[library]}" for library in LIBRARIES)
    print(f"| at most {LIMIT:.0e}, or a warning | {' | '.join(counts)} |", file=out)


if __name__ == "__main__":
    main()
