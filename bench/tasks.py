"""Tasks other than epochs of one neuron, fits and networks: what they are held to."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.polynomial import Polynomial
from scipy.special import entr, expit
from sklearn import linear_model, neural_network
from sklearn.datasets import load_breast_cancer

import schuss
from schuss.bench.libraries import Library, Refused, installed
from schuss.bench.problems import gaussian
from tests import accuracy


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
    told: Callable[[Any], dict | None] | None = None  # in place of `expected`

    def limit(self, n_threads):
        return None

    def reference(self):
        return _Agreement(self)


class _Agreement:
    def __init__(self, task):
        self.task, self.lengths = task, (task.epochs,)
        self.expected = {}

    def check(self, outcome, epochs):
        if self.task.told is not None:
            return self.task.told(outcome)
        if epochs not in self.expected:
            self.expected[epochs] = np.asarray(self.task.expected(self.task, epochs), np.float64)
        right, found = self.expected[epochs], np.asarray(outcome, np.float64)
        if found.shape != right.shape:
            raise Refused(f"a result of shape {found.shape}, expected {right.shape}")
        with np.errstate(invalid="ignore"):
            off = np.abs(np.where(found == right, 0, found - right)).max(initial=0)
        off = float(off / (np.abs(right[np.isfinite(right)]).max(initial=0) or 1))
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
    X, y = gaussian(n, d, seed=0)
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


# ----- prediction: the same fitted attributes in both libraries ---------------------------

MODELS = {
    "LogisticRegression": (linear_model, {}),
    "SGDClassifier": (linear_model, {"loss": "log_loss", "random_state": 0, "max_iter": 5}),
    "SGDRegressor": (linear_model, {"random_state": 0, "max_iter": 5}),
    "MLPClassifier": (neural_network, {"random_state": 0, "max_iter": 2}),
    "MLPRegressor": (neural_network, {"random_state": 0, "max_iter": 2}),
}


def prediction(estimator, method, n, d, kind="float64", classes=2):
    module, options = MODELS[estimator]
    X, y = gaussian(max(n, 1000), d, seed=0)
    if classes > 2:
        y = np.digitize(X[:, 0], np.linspace(-1, 1, classes - 1))
    X = sp.csr_array(np.where(X > 1.5, X, 0), dtype="float64") if kind == "CSR" else X.astype(kind)
    ours, theirs = (getattr(m, estimator)(**options) for m in (schuss, module))
    for model in (ours, theirs):
        model.fit(X[:1000], y[:1000])
    for name in ("coef_", "intercept_", "coefs_", "intercepts_"):
        if hasattr(ours, name):
            setattr(theirs, name, getattr(ours, name))
    calls = {"schuss": getattr(ours, method), "scikit-learn": getattr(theirs, method)}
    if hasattr(ours, "coef_"):
        calls["numpy"] = partial(_by_numpy, method, ours.coef_.T.copy(), ours.intercept_)
    dtype = "float64" if kind == "CSR" else kind
    return Task(
        f"{estimator}.{method} {n}x{d} {kind}{f', {classes} classes' * (classes > 2)}",
        (calls, X[:n]), partial(_predicted, "scikit-learn"),
        1e-5 if dtype == "float32" else 1e-10, shape=(n, d), dtype=dtype,
    )  # fmt: skip


def _by_numpy(method, coef, intercept, X):
    z = X @ coef + intercept
    if method == "predict" and z.shape[1] > 1:
        return z.argmax(axis=1)
    if method == "predict_proba" and z.shape[1] > 1:
        z = np.exp(z - z.max(axis=1, keepdims=True))
        return z / z.sum(axis=1, keepdims=True)
    p = 1 / (1 + np.exp(-z))
    return {
        "predict": lambda: (z[:, 0] > 0).astype(np.int64),
        "decision_function": lambda: z[:, 0] if z.shape[1] == 1 else z,
        "predict_proba": lambda: np.hstack([1 - p, p]),
        "predict_log_proba": lambda: np.log(np.hstack([1 - p, p])),
    }[method]()


def _predicted(name, task, epochs):
    calls, X = task.data
    return calls[name](X)


PREDICTION = tuple(_library(name, partial(_predicted, name)) for name in ("scikit-learn", "schuss"))
LINEAR_PREDICTION = (*PREDICTION, _library("numpy", partial(_predicted, "numpy")))


# ----- memory of a fit: what it adds to the data -------------------------------------------


def memory_of(estimator, dtype, n=1_000_000, d=100):
    X, y = gaussian(n, d, seed=0)
    X = (8 * X + 128).clip(0, 255).astype(dtype) if dtype == "uint8" else X.astype(dtype)
    return Task(
        f"{estimator} {n}x{d} {dtype}", (X, y, estimator), told=lambda model: None, shape=(n, d),
        dtype=dtype, nbytes=X.nbytes,
    )  # fmt: skip


def _fitted(ours, task, epochs):
    X, y, estimator = task.data
    module, options = MODELS[estimator]
    limit = {"max_iter": 3} | ({"batch_size": 256} if estimator.startswith("MLP") else {})
    model = getattr(schuss if ours else module, estimator)(**options | limit)
    return model.fit(X, y)


MEMORY = (
    _library("scikit-learn", partial(_fitted, False)),
    _library("schuss", partial(_fitted, True)),
)


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


# ----- first call: a new process, with its imports and one fit ----------------------------

_FIRST = """
import numpy as np
X = np.random.default_rng(0).standard_normal((1000, 20))
y = X[:, 0] > 0
"""


def first_call():
    return Task("import and fit 1000x20", told=lambda outcome: None)


def _fresh_process(code, task, epochs):
    # The objects are destroyed in the end, too: that belongs to a call.
    result = subprocess.run([sys.executable, "-c", _FIRST + code], capture_output=True, text=True)
    if result.returncode:
        raise Refused(result.stderr.strip().splitlines()[-1])


def _importing(module, call):
    name = call.partition("(")[0]
    method = "" if name == "train" else ".fit(X, y)"
    return f"from {module} import {name}\n{call}{method}\n"


_NETWORK, _SGD = "MLPClassifier((8,), max_iter=1)", "SGDClassifier()"
FIRST_CALL = tuple(
    _library(name, partial(_fresh_process, code))
    for name, code in {
        "numpy alone": "",
        "scikit-learn": _importing("sklearn.linear_model", "LogisticRegression()"),
        "schuss": _importing("schuss", "LogisticRegression()"),
        "schuss.train": _importing("schuss", "train(X, y, epochs=100)"),
        "schuss.train, numba": "from schuss import use_backend\nuse_backend('numba').__enter__()\n"
        + _importing("schuss", "train(X, y, epochs=100)"),
        "scikit-learn, SGD": _importing("sklearn.linear_model", _SGD),
        "schuss, SGD": _importing("schuss", _SGD),
        "scikit-learn, network": _importing("sklearn.neural_network", _NETWORK),
        "schuss, network": _importing("schuss", _NETWORK),
    }.items()
)  # fmt: skip


# ----- accuracy of the scalar formulas ----------------------------------------------------


def formulas(dtype, stride=accuracy.STRIDE):
    def told(worst):
        for name, row in worst.items():
            if not row.ulp <= accuracy.LIMIT:
                raise Refused(
                    f"{name} errs by {row.ulp:.3f} ULP at z = {row.z!r}, more than {accuracy.LIMIT}"
                )
        return {name: round(row.ulp, 3) for name, row in worst.items()} | {
            "inputs": max(row.inputs for row in worst.values())
        }

    return Task(f"formulas {dtype}", stride, told=told, dtype=dtype)


def _errors(task, epochs):
    backend = import_module("schuss.backends.cython_")
    z = accuracy.doubles() if task.dtype == "float64" else accuracy.patterns(0, 1 << 32, 65_537)
    if wrong := accuracy.flaws(backend, z):
        raise Refused("; ".join(wrong))
    if task.dtype == "float64":
        return accuracy.errors(backend, z)
    return accuracy.total(accuracy.every_float(backend, task.data, 2))


FORMULAS = (_library("schuss-cython", _errors),)


# ----- inference: estimates with standard errors, Firth's penalty, profile intervals ------

_QUANTILE = 3.841458820694124  # of chi-squared, 95 %


def inference(kind, n, d, correlated=False):
    """A fit without a penalty and its summary; or Firth's fit, or the intervals of its profile.

    The correlated rows are the first columns of scikit-learn's breast cancer data.
    """
    if correlated:
        X, y = load_breast_cancer(return_X_y=True)
        X = X[:, :d] / X[:, :d].std(axis=0)
        X -= X.mean(axis=0)
    else:
        X, _ = gaussian(n, d, seed=0)
        X = X.astype(np.float64)
        rng = np.random.default_rng(1)
        y = (rng.random(n) < 1 / (1 + np.exp(-2 * X @ rng.standard_normal(d) / np.sqrt(d)))) * 1
    expected = {"summary": _by_statsmodels, "share": partial(_estimated, None),
                "firth": _firth_by_numpy}  # fmt: skip
    model = schuss.LogisticRegression(C=np.inf, tol=1e-8)
    result = None
    if kind == "profile":
        result = model.fit(X, y, bias_reduction="firth").summary(X, y)
    return Task(
        f"{kind} {n}x{d}{', correlated' * correlated}", (X, y, result),
        expected.get(kind, Task.expected), 1e-6 if kind != "firth" else 1e-3, shape=(n, d),
        told=partial(_told_profile, X, y, result) if kind == "profile" else None,
    )  # fmt: skip


def _estimated(cov_type, task, epochs):
    X, y, _ = task.data
    model = schuss.LogisticRegression(C=np.inf).fit(X, y)
    if cov_type is not None:
        model.summary(X, y, cov_type=cov_type)
    return model.coef_[0]


def _by_schuss(task, epochs):
    X, y, _ = task.data
    model = schuss.LogisticRegression(C=np.inf, tol=1e-8).fit(X, y)
    result = model.summary(X, y)
    return np.concatenate([result.coef, result.std_err])


def _by_statsmodels(task, epochs):
    api = import_module("statsmodels.api")
    X, y, _ = task.data
    result = api.Logit(y, api.add_constant(X)).fit(disp=0)
    return np.concatenate([result.params, result.bse])


def _firth(task, epochs):
    X, y, _ = task.data
    model = schuss.LogisticRegression(C=np.inf, tol=1e-6).fit(X, y, bias_reduction="firth")
    return np.append(model.intercept_, model.coef_[0])


def _firth_by_numpy(task, epochs, held=None):
    """Fisher's scoring with halved steps, to gradients of 1e-8; `held` is (column, value)."""
    X, y, _ = task.data
    M = np.column_stack([np.ones(len(X)), X])
    free = np.arange(M.shape[1])
    theta = np.zeros(len(free))
    if held is not None:
        free, theta[held[0]] = np.delete(free, held[0]), held[1]
    value = _firth_value(M, y, theta)[0]
    for _ in range(1000):
        _, gradient, information = _firth_value(M, y, theta)
        if np.abs(gradient[free]).max() < 1e-8 * len(y):
            break
        step = np.zeros_like(theta)
        step[free] = np.linalg.solve(information[np.ix_(free, free)], gradient[free])
        while (moved := _firth_value(M, y, theta + step)[0]) < value - 1e-9:
            step /= 2
        theta, value = theta + step, moved
    return theta


def _firth_value(M, y, theta):
    z = M @ theta
    p = 1 / (1 + np.exp(-z))
    information = M.T @ (M * (p * (1 - p))[:, None])
    leverage = p * (1 - p) * np.einsum("ij,ij->i", M, np.linalg.solve(information, M.T).T)
    value = (y * z - np.logaddexp(0, z)).sum() + 0.5 * np.linalg.slogdet(information)[1]
    return value, M.T @ (y - p + leverage * (0.5 - p)), information


def _profile(task, epochs):
    return task.data[2].conf_int(method="profile")


def _told_profile(X, y, result, outcome):
    """How far the deviance at some ends is from the quantile."""
    task, M = Task("", (X, y, None)), np.column_stack([np.ones(len(X)), X])
    best = _firth_value(M, y, result.coef)[0]
    off = 0.0
    for j, side in ((1, 0), (X.shape[1], 1)):
        theta = _firth_by_numpy(task, 1, (j, outcome[j, side]))
        off = max(off, abs(2 * (best - _firth_value(M, y, theta)[0]) / _QUANTILE - 1))
    if not off <= 1e-4:
        raise Refused(f"the deviance at an end differs by {off:.1e}, more than 1e-04")
    return {"deviation": off}


INFERENCE = {
    "summary": (
        _library("schuss", _by_schuss),
        _library("statsmodels", _by_statsmodels, missing=installed("statsmodels")),
    ),
    "share": (
        _library("schuss", partial(_estimated, "nonrobust")),
        _library("schuss, HC1", partial(_estimated, "HC1")),
        _library("schuss, HC3", partial(_estimated, "HC3")),
        _library("schuss, fit alone", partial(_estimated, None)),
    ),
    "firth": (_library("schuss", _firth), _library("numpy", _firth_by_numpy)),
    "profile": (_library("schuss", _profile),),
}


# ----- a path of L1 penalties, all of which reach the same duality gap ---------------------

_PATH_GAP = 2e-3
_PATH_MAX_ITER = 10_000


def penalty_path(n, d, count=50, least=0.01):
    """Penalties from the least that leaves no weight down to a share of it; no intercept."""
    X, y = gaussian(n, d, seed=0)
    X = np.asfortranarray(X, np.float64)
    largest = np.abs(X.T @ (0.5 - y)).max() / n
    penalties = largest * np.logspace(0, np.log10(least), count)
    return Task(
        f"path {n}x{d}", (X, y, penalties), told=partial(_told_path, X, y, penalties), shape=(n, d)
    )


def _told_path(X, y, penalties, outcome):
    """The largest relative duality gap: an upper bound of the distance from the optimum."""
    worst = 0.0
    for penalty, coef in zip(penalties, np.asarray(outcome), strict=True):
        z = X @ coef
        residual = y - expit(z)
        share = min(1.0, penalty * len(y) / np.abs(X.T @ residual).max())
        value = (np.logaddexp(0, z) - y * z).mean() + penalty * np.abs(coef).sum()
        dual = entr(np.stack([y - share * residual, 1 - y + share * residual])).sum() / len(y)
        worst = max(worst, float(1 - dual / value))
    if not worst <= _PATH_GAP:
        raise Refused(f"a duality gap of {worst:.1e}, more than {_PATH_GAP:.0e}")
    return {"gap": worst}


def _path_by_schuss(task, n_threads, tol):
    """What `LogisticRegressionCV` does for the penalties of a fold."""
    X, y, penalties = task.data

    def run(epochs):
        model = schuss.LogisticRegression(
            l1_ratio=1.0, solver="saga", fit_intercept=False, tol=tol, max_iter=_PATH_MAX_ITER
        )
        return [model.coef_[0].copy() for _ in model._fit_path(X, y, None, 1 / penalties / len(y))]

    return run


def _path_by_celer(task, n_threads, tol):
    X, y, penalties = task.data
    path = import_module("celer").celer_path

    def run(epochs):
        # It minimises the sum of the losses.
        return path(X, 2.0 * y - 1, "logreg", alphas=penalties * len(y), tol=tol)[1].T

    return run


def _path_by_skglm(task, n_threads, tol):
    X, y, penalties = task.data
    solvers, parts = import_module("skglm.solvers"), import_module("skglm")
    datafits = import_module("skglm.datafits")

    def run(epochs):
        solver = solvers.AndersonCD(tol=tol, fit_intercept=False, warm_start=True)
        return solver.path(X, 2.0 * y - 1, datafits.Logistic(), parts.penalties.L1(1.0), penalties)[
            1
        ].T

    return run


def _path_by_adelie(task, n_threads, tol):
    X, y, penalties = task.data
    adelie = import_module("adelie")

    def run(epochs):
        found = adelie.grpnet(
            X, adelie.glm.binomial(y.astype(np.float64), dtype=np.float64), lmda_path=penalties,
            tol=tol, irls_tol=tol, intercept=False, n_threads=n_threads, early_exit=False,
            progress_bar=False, max_iters=_PATH_MAX_ITER, ddev_tol=0.0, adev_tol=1.0,
        )  # fmt: skip
        return found.betas.toarray()

    return run


PATH = tuple(
    Library(name, prepare, installed(package), tuple(10.0 ** (-power) for power in range(2, 13)))
    for name, prepare, package in (
        ("schuss", _path_by_schuss, "schuss"),
        ("celer", _path_by_celer, "celer"),
        ("skglm", _path_by_skglm, "skglm"),
        ("adelie", _path_by_adelie, "adelie"),
    )
)
