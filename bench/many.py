"""Many models: groups, scans, folds and penalties, targets, replicates; together and one by one."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn import linear_model

import schuss
from bench.tasks import Task
from schuss.bench.libraries import Library

# Models whose weights are compared, and that of scikit-learn's which they are held to.
_COMPARED = 20
_EXACT = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 200}
_TOL = 1e-4


@dataclass(frozen=True)
class Problem(Task):
    """`data` is ``X, y, options`` of `fit_many`."""

    compared: tuple[int, ...] = field(default=())

    def models(self):
        """Rows, targets, weights and penalty of each model, in the order of `fit_many`."""
        X, y, options = self.data
        groups, weights = options.get("groups"), options.get("sample_weight")
        columns, Cs = options.get("scan"), options.get("Cs", [1.0])
        if groups is not None:
            bounds = np.flatnonzero(np.diff(groups, prepend=-1, append=groups[-1] + 1))
            for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
                yield X[start:stop], y[start:stop], None, 1.0
        elif columns is not None:
            for column in columns.T:
                yield np.column_stack([X, column]), y, None, np.inf
        elif y.ndim == 2:
            for target in y.T:
                yield X, target, None, 1.0
        else:
            for weight in weights:
                for C in Cs:
                    yield X, y, weight, C


def _fit(module, model, **options):
    X, y, weight, C = model
    fitted = module.LogisticRegression(C=C, **options).fit(X, y, weight)
    return np.append(fitted.coef_, fitted.intercept_)


def _expected(task, epochs):
    models = [model for i, model in enumerate(task.models()) if i in task.compared]
    return np.array([_fit(linear_model, model, **_EXACT) for model in models])


def _together(task, n_threads):
    X, y, options = task.data

    def run(epochs):
        result = schuss.fit_many(X, y, tol=_TOL, n_jobs=n_threads, **options)
        return np.column_stack([result.coef[:, 0], result.intercept])[list(task.compared)]

    return run


def _one_by_one(module, task, n_threads):
    options = {"tol": _TOL, "max_iter": 1000}

    def run(epochs):
        weights = [_fit(module, model, **options) for model in task.models()]
        return np.array(weights)[list(task.compared)]

    return run


TOGETHER = Library("schuss.fit_many", _together)
LOOP = Library("schuss, one by one", partial(_one_by_one, schuss))
SKLEARN = Library("scikit-learn, one by one", partial(_one_by_one, linear_model))


def _problem(name, X, y, n_models, **options: Any):
    places = tuple(np.linspace(0, n_models - 1, min(n_models, _COMPARED)).astype(int).tolist())
    return Problem(
        name, (X, y, options), _expected, 2e-2, shape=X.shape, dtype=X.dtype.name, compared=places
    )


def _rows(n, d, rng, dtype=np.float64, size=1.0):
    X = rng.standard_normal((n, d), dtype=dtype)
    z = X @ (size * rng.standard_normal(d, dtype=dtype) / np.sqrt(d))
    return X, (rng.random(n) < expit(z)).astype(np.uint8)


def groups(n_groups, n, d):
    X, y = _rows(n_groups * n, d, np.random.default_rng(0))
    keys = np.repeat(np.arange(n_groups), n)
    return _problem(f"{n_groups} groups of {n}x{d}", X, y, n_groups, groups=keys)


def scan(n, d, n_columns):
    """d features, of which one is another in each model."""
    rng = np.random.default_rng(1)
    X, y = _rows(n, d - 1, rng)
    Z = rng.binomial(2, rng.uniform(0.05, 0.5, n_columns), (n, n_columns)).astype(np.float64)
    return _problem(f"scan of {n_columns} columns, {n}x{d}", X, y, n_columns, scan=Z)


def folds(n, d, n_folds, n_penalties, dtype="float32"):
    X, y = _rows(n, d, np.random.default_rng(2), np.dtype(dtype).type, 3.0)
    weights = (np.arange(n) % n_folds != np.arange(n_folds)[:, None]).astype(float)
    return _problem(
        f"{n_penalties} penalties in {n_folds} folds of {n}x{d}", X, y, n_folds * n_penalties,
        sample_weight=weights, Cs=np.logspace(-4, 4, n_penalties),
    )  # fmt: skip


def targets(n_targets, n, d):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((n, d))
    scores = X @ (rng.standard_normal((d, n_targets)) / np.sqrt(d)) + rng.standard_normal(n_targets)
    Y = (rng.random(scores.shape) < expit(scores)).astype(np.uint8)
    return _problem(f"{n_targets} targets of {n}x{d}", X, Y, n_targets)


def replicates(n_replicates, n, d):
    rng = np.random.default_rng(4)
    X, y = _rows(n, d, rng, size=2.0)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_replicates).astype(float)
    return _problem(f"{n_replicates} replicates of {n}x{d}", X, y, n_replicates,
                    sample_weight=counts)  # fmt: skip
