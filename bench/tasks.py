"""Tasks other than epochs of one neuron and fits to the optimum: what they are held to."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import scipy.optimize
from numpy.polynomial import Polynomial
from sklearn import linear_model, neural_network
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

import schuss
from bench import accuracy
from schuss.bench.libraries import Library
from schuss.bench.problems import _gaussian
from schuss.bench.runner import Refused


@dataclass(frozen=True)
class Task:
    """Work whose outcome is an array, held to what `expected` returns for so many epochs."""

    name: str
    data: Any = None
    expected: Callable[["Task", int], Any] = lambda task, epochs: np.empty(0)
    tolerance: float = 0.0
    epochs: int = 1
    shape: tuple[int, ...] = ()
    dtype: str = "float64"
    loss: str = ""
    nbytes: int = 0
    check: Callable[[Any], dict | None] | None = None  # in place of `expected`

    def limit(self, n_threads):
        return None

    def reference(self):
        return _Agreement(self)


class _Agreement:
    def __init__(self, task):
        self.task, self.lengths = task, (task.epochs,)
        self.expected = {}

    def check(self, outcome, epochs):
        if self.task.check is not None:
            return self.task.check(outcome)
        if epochs not in self.expected:
            self.expected[epochs] = np.asarray(self.task.expected(self.task, epochs), np.float64)
        right, found = self.expected[epochs], np.asarray(outcome, np.float64)
        if found.shape != right.shape:
            raise Refused(f"a result of shape {found.shape}, expected {right.shape}")
        off = float(np.abs(found - right).max(initial=0) / (np.abs(right).max(initial=0) or 1))
        if not off <= self.task.tolerance:
            raise Refused(f"the result differs by {off:.1e}, more than {self.task.tolerance:.0e}")
        return {"deviation": off}


def _library(name, call, **options):
    """A library whose run is ``call(task, epochs)``."""
    return Library(name, lambda task, n_threads: partial(call, task), **options)


# ----- SGD: an epoch, the coefficients equal to scikit-learn's ----------------------------

# Epochs of about this many elements are timed together.
_ELEMENTS = 20_000_000
# With the default, first steps of length 10 make the log-loss chaotic: a rounding error in X
# changes scikit-learn's own coefficients.
_ALPHA = 0.01


def sgd(n, d, dtype, loss="log_loss"):
    X, y = _gaussian(n, d, seed=0)
    close, epochs = {"float64": 1e-9, "float32": 1e-3}[dtype], max(3, _ELEMENTS // (n * d))
    return Task(
        f"{n}x{d} {dtype}", (X.astype(dtype), y), partial(_sgd, linear_model), close, epochs,
        (n, d), dtype, loss,
    )  # fmt: skip


def _sgd(module, task, epochs):
    model = module.SGDClassifier(
        loss=task.loss, alpha=_ALPHA, random_state=0, tol=None, max_iter=epochs
    )
    return model.fit(*task.data).coef_


SGD = (
    _library("scikit-learn", partial(_sgd, linear_model)),
    _library("schuss", partial(_sgd, schuss)),
)


# ----- coefficients at a tolerance of 1e-10 beside scikit-learn's -------------------------


def coefficients(problem, dtype, solver):
    fit = problem.load_fit(dtype)
    data = fit.X.astype(np.float64), fit.codes
    expected = partial(_coefficients, linear_model, solver)
    return Task(problem.name, data, expected, 1e-6, shape=fit.shape, loss=fit.loss)


def _coefficients(module, solver, task, epochs):
    model = module.LogisticRegression(solver=solver, tol=1e-10, max_iter=10_000).fit(*task.data)
    return np.append(model.coef_, model.intercept_)


COEFFICIENTS = (
    _library("scikit-learn", partial(_coefficients, linear_model, "newton-cholesky")),
    _library("schuss", partial(_coefficients, schuss, "lbfgs")),
)


# ----- prediction: the same fitted attributes in both libraries ---------------------------

_MODELS = {
    "LogisticRegression": (linear_model, {}),
    "SGDClassifier": (linear_model, {"loss": "log_loss", "random_state": 0, "max_iter": 5}),
    "SGDRegressor": (linear_model, {"random_state": 0, "max_iter": 5}),
    "MLPClassifier": (neural_network, {"random_state": 0, "max_iter": 2}),
    "MLPRegressor": (neural_network, {"random_state": 0, "max_iter": 2}),
}


def prediction(estimator, method, n, d, dtype="float64"):
    module, options = _MODELS[estimator]
    X, y = _gaussian(max(n, 1000), d, seed=0)
    X = X.astype(dtype)
    ours, theirs = (getattr(m, estimator)(**options) for m in (schuss, module))
    for model in (ours, theirs):
        model.fit(X[:1000], y[:1000])
    for name in ("coef_", "intercept_", "coefs_", "intercepts_"):
        if hasattr(ours, name):
            setattr(theirs, name, getattr(ours, name))
    calls = {"schuss": getattr(ours, method), "scikit-learn": getattr(theirs, method)}
    if method == "predict_proba" and hasattr(ours, "coef_"):
        calls["numpy"] = partial(_probabilities, ours.coef_[0].copy(), ours.intercept_[0])
    return Task(
        f"{estimator}.{method} {n}x{d} {dtype}", (calls, X[:n]),
        partial(_predicted, "scikit-learn"), 1e-5 if dtype == "float32" else 1e-10,
        shape=(n, d), dtype=dtype,
    )  # fmt: skip


def _probabilities(coef, intercept, X):
    p = 1 / (1 + np.exp(-(X @ coef + intercept)))
    return np.c_[1 - p, p]


def _predicted(name, task, epochs):
    calls, X = task.data
    return calls[name](X)


PREDICTION = tuple(_library(name, partial(_predicted, name)) for name in ("scikit-learn", "schuss"))
PROBABILITIES = (_library("numpy", partial(_predicted, "numpy")), *PREDICTION)


# ----- gradient descent on x**2 - 4 x + 6, beside a Python loop ----------------------------

_STEP, _START = 1e-3, 8.0


def parabola(iterations):
    return Task("x² − 4x + 6", None, lambda task, n: _loop(task, n), 1e-12, iterations)


def _loop(task, n):
    """The loop that people write: both functions, nothing kept."""
    x = _START
    for _ in range(n):
        y, g = x**2 - 4 * x + 6, 2 * x - 4  # noqa: F841 - the value is part of the work
        x -= _STEP * g
    return x


def _keeping_loop(task, n):
    """The same, keeping the path and the values as `schuss.minimize` does."""
    x, path, values = _START, [], []
    for _ in range(n):
        path.append(x)
        values.append(x**2 - 4 * x + 6)
        x -= _STEP * (2 * x - 4)
    return x


def _minimize(task, n):
    result = schuss.minimize(Polynomial([6, -4, 1]), _START, learning_rate=_STEP, max_iter=n, tol=0)
    if result.nit != n or len(result.path) != n + 1:
        raise Refused(f"{result.nit} iterations instead of {n}")
    return result.x[0]


PARABOLA = (
    _library("Python", _loop),
    _library("Python, path kept", _keeping_loop),
    _library("schuss.minimize", _minimize, longer=10),
)


# ----- where each method of schuss.minimize ends, beside SciPy's BFGS ----------------------

METHODS = ("gd", "momentum", "nesterov", "adam", "adaptive", "newton")
MAX_ITER = 50_000


def beale(x):
    return sum((c - x[0] + x[0] * x[1] ** k) ** 2 for k, c in enumerate((1.5, 2.25, 2.625), 1))


def beale_gradient(x):
    terms = [(c - x[0] + x[0] * x[1] ** k, k) for k, c in enumerate((1.5, 2.25, 2.625), 1)]
    return np.array(
        [
            sum(2 * t * (x[1] ** k - 1) for t, k in terms),
            sum(2 * t * x[0] * k * x[1] ** (k - 1) for t, k in terms),
        ]
    )


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def himmelblau_gradient(x):
    a, b = x[0] ** 2 + x[1] - 11, x[0] + x[1] ** 2 - 7
    return np.array([4 * x[0] * a + 2 * b, 2 * a + 4 * x[1] * b])


_MINIMA = np.array([[3, 2], [-2.805118, 3.131313], [-3.779310, -3.283186], [3.584428, -1.848127]])
_SCALE = np.logspace(0, 4, 100)
# Value, gradient, Hessian or None, start, and a distance of x to the minimum.
FUNCTIONS = {
    "Rosenbrock": (
        scipy.optimize.rosen, scipy.optimize.rosen_der, scipy.optimize.rosen_hess,
        np.array([-1.2, 1.0]), lambda x: np.abs(x - 1).max(),
    ),
    "Beale": (beale, beale_gradient, None, np.ones(2), lambda x: np.abs(x - [3, 0.5]).max()),
    "Himmelblau": (
        himmelblau, himmelblau_gradient, None, np.zeros(2),
        lambda x: np.abs(_MINIMA - x).max(axis=1).min(),
    ),
    "quadratic, 100 dimensions, condition 1e4": (
        lambda x: 0.5 * x @ (_SCALE * x), lambda x: _SCALE * x, np.diag(_SCALE), np.ones(100),
        lambda x: np.abs(x).max(),
    ),
}  # fmt: skip


def function(name):
    distance = FUNCTIONS[name][-1]

    def told(result):
        return {
            "f": float(result.fun), "distance of x": float(distance(result.x)),
            "iterations": int(result.nit), "evaluations": int(result.nfev),
            "ended": getattr(result, "stop_reason", "converged" if result.success else "not"),
        }  # fmt: skip

    return Task(name, shape=FUNCTIONS[name][3].shape, check=told)


def _method(method, task, epochs):
    fun, jac, hess, x0, _ = FUNCTIONS[task.name]
    if method == "BFGS":
        return scipy.optimize.minimize(fun, x0, jac=jac)
    if method == "grid":
        return schuss.minimize(fun, method="grid", bounds=[(-5, 5)] * len(x0), n_points=101)
    return schuss.minimize(fun, x0, jac=jac, hess=hess, method=method, max_iter=MAX_ITER)


def methods(name):
    """The libraries of a function: a grid only where it is not too large."""
    grid = ("grid",) if len(FUNCTIONS[name][3]) == 2 else ()
    return (
        _library("SciPy, BFGS", partial(_method, "BFGS")),
        *(_library(method, partial(_method, method)) for method in (*METHODS, *grid)),
    )


# ----- first call: a new process, with its imports and one fit ----------------------------

_FIRST = """
import numpy as np
X = np.random.default_rng(0).standard_normal((1000, 20))
y = X[:, 0] > 0
"""


_NETWORK = "MLPClassifier((8,), max_iter=1)"


def first_call():
    return Task("import and fit 1000x20", check=lambda outcome: None)


def _fresh_process(code, task, epochs):
    # The objects are destroyed in the end, too: that belongs to a call.
    result = subprocess.run([sys.executable, "-c", _FIRST + code], capture_output=True, text=True)
    if result.returncode:
        raise Refused(result.stderr.strip().splitlines()[-1])


def _importing(module, estimator="LogisticRegression()"):
    return f"from {module} import {estimator.partition('(')[0]}\n{estimator}.fit(X, y)\n"


FIRST_CALL = tuple(
    _library(name, partial(_fresh_process, code))
    for name, code in {
        "numpy alone": "",
        "scikit-learn": _importing("sklearn.linear_model"),
        "schuss": _importing("schuss"),
        "scikit-learn, network": _importing("sklearn.neural_network", _NETWORK),
        "schuss, network": _importing("schuss", _NETWORK),
    }.items()
)  # fmt: skip


# ----- accuracy of the scalar formulas ----------------------------------------------------


def formulas(dtype, stride=accuracy.STRIDE):
    def told(worst):
        off = {name: row for name, row in worst.items() if not row.ulp <= accuracy.LIMIT}
        for name, row in off.items():
            raise Refused(
                f"{name} errs by {row.ulp:.3f} ULP at z = {row.z!r}, more than {accuracy.LIMIT}"
            )
        return {name: round(row.ulp, 3) for name, row in worst.items()} | {
            "inputs": max(row.inputs for row in worst.values())
        }

    return Task(f"formulas {dtype}", stride, check=told, dtype=dtype)


def _errors(task, epochs):
    backend = import_module("schuss.backends.cython_")
    z = accuracy.doubles() if task.dtype == "float64" else accuracy.patterns(0, 1 << 32, 65_537)
    if wrong := accuracy.flaws(backend, z):
        raise Refused("; ".join(wrong))
    if task.dtype == "float64":
        return accuracy.errors(backend, z)
    return accuracy.total(accuracy.every_float(backend, task.data, 2))


FORMULAS = (_library("schuss-cython", _errors),)


# ----- XOR, and files of one's own --------------------------------------------------------


def xor(loss, seeds=20):
    X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([0, 1, 1, 0])

    def told(learnt):
        if learnt < seeds:
            raise Refused(f"XOR is learnt from {learnt} of {seeds} seeds")
        return {"learnt": f"{learnt} of {seeds} seeds"}

    return Task(f"XOR by 2-4-1, {loss}", (X, y, seeds), loss=loss, check=told)


def _learnt(task, epochs):
    X, y, seeds = task.data
    return sum(
        schuss.MLPClassifier(
            (4,), "logistic", solver="sgd", learning_rate_init=1.0, batch_size=4, alpha=0,
            max_iter=5000, tol=0, n_iter_no_change=5000, random_state=seed,
        ).fit(X, y, loss=task.loss).score(X, y) == 1
        for seed in range(seeds)
    )  # fmt: skip


XOR = (_library("schuss", _learnt),)


def table(source):
    """A table of one's own, "FILE:TARGET", with the features that `schuss train` makes."""
    from schuss.tables import TablePreprocessor, read_table, target_values

    path, _, target = source.rpartition(":")
    content = read_table(path)
    labels, rows = target_values(content, target, path)
    content = content.take(rows).drop_columns([target])
    places = np.arange(len(labels))
    train, test = train_test_split(places, test_size=0.2, random_state=0, stratify=labels)
    preprocessor = TablePreprocessor().fit(content.take(train))
    X, X_test = (preprocessor.transform(content.take(part)) for part in (train, test))

    def told(model):
        p = model.predict_proba(X_test)
        return {
            "accuracy": round(accuracy_score(labels[test], model.predict(X_test)), 5),
            "log-loss": round(log_loss(labels[test], p), 5),
            "ROC AUC": round(roc_auc_score(labels[test] == model.classes_[1], p[:, 1]), 5),
            "iterations": int(np.max(model.n_iter_)),
        }

    data = X, labels[train]
    return Task(f"{target}: {X.shape[0]}x{X.shape[1]}", data, shape=X.shape, check=told)


TABLE = (
    _library(
        "scikit-learn",
        lambda task, n: linear_model.LogisticRegression(max_iter=1000).fit(*task.data),
    ),
    _library("schuss", lambda task, n: schuss.LogisticRegression().fit(*task.data)),
    _library(
        "schuss train",
        lambda task, n: schuss.SigmoidClassifier(
            "log_loss", "nesterov", alpha=1 / task.shape[0]
        ).fit(*task.data),
    ),
)


def pictures(path, unit=True, epochs=30):
    """Pictures of one's own, an .npz of `images` and `labels`: 784-100-10 by Adam."""
    with np.load(path) as file:
        X, y = file["images"], file["labels"]
    if unit:
        X = X.astype(np.float32) / np.float32(255)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, random_state=0, stratify=y)

    def told(model):
        return {"test accuracy": round(model.score(X_test, y_test), 4), "bytes of X": X.nbytes}

    name = f"pictures, {'float32 in [0, 1]' if unit else X.dtype.name}"
    return Task(name, (X, y, epochs), shape=X.shape, dtype=X.dtype.name, check=told)


def _recognise(module, task, epochs):
    X, y, epochs = task.data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return module.MLPClassifier(
            (100,), "logistic", batch_size=128, max_iter=epochs, tol=0.0, alpha=1e-3,
            n_iter_no_change=epochs, random_state=0,
        ).fit(X, y)  # fmt: skip


PICTURES = (
    _library("scikit-learn", partial(_recognise, neural_network)),
    _library("schuss", partial(_recognise, schuss)),
)


def spin():
    """Keep a processor busy, for measurements beside other programs."""
    while True:
        pass
