"""The libraries: one adapter each, all of them asked for the same epochs.

An adapter's ``prepare(task, n_threads)`` does what a user does once (conversion, moving
data, tracing) and returns ``run(epochs)``, which starts from zero weights every time and
returns an `Outcome`. What a library compiles at its first run is left to that first run:
the runner times it apart.
"""

import importlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from schuss.backends.contract import Data, State, UpdateConfig
from schuss.bench import baseline
from schuss.bench.problems import Task
from schuss.constants import ADAM_BETA_1, ADAM_BETA_2, ADAM_EPSILON, MOMENTUM, N_COUNTERS
from schuss.losses import LOSSES
from schuss.methods import N_SLOTS, Solver
from schuss.threads import VARIABLE

BACKENDS = ("cython", "numba", "numpy")


class Outcome(NamedTuple):
    """What a run has to show for itself; it is compared with the reference."""

    coef: np.ndarray  # (d,), or whatever weights there are, flat
    intercept: float | np.ndarray
    losses: Any  # (epochs,), before each step


Run = Callable[[int], Outcome]


class Refused(Exception):
    """A library did not do the work that was asked for, so it is not timed."""


class Unsupported(Exception):
    """A library cannot do this task at all; the message says which part of it."""


@dataclass(frozen=True)
class Library:
    """An adapter."""

    name: str
    prepare: Callable[..., Run]
    missing: Callable[[], str | None] = lambda: None  # a word on why it cannot be used
    # For those that stop by themselves, a third argument of `prepare`, loosest first: the first
    # with which the goal is reached is timed.
    tolerances: tuple[float, ...] = ()
    longer: int = 1  # times the epochs in one run, where these are short beside the set-up
    verified: bool = True  # False for a bound, as the matrix products alone


def kernel_run(backend, task: Task, real, n_threads: int) -> Run:
    """The kernel contract's `descend`, one call a run."""
    n, d = task.X.shape
    data = Data(backend.prepare(task.X), task.codes, None, 1.0 / n)
    config = UpdateConfig(
        LOSSES[task.loss].code, Solver.GD, task.learning_rate, MOMENTUM, ADAM_BETA_1, ADAM_BETA_2,
        ADAM_EPSILON, l2=0.0, l1=0.0, fit_intercept=True, batch_size=n,
        tol=-1.0,  # a gradient of exactly 0 is no reason to do fewer epochs
    )  # fmt: skip

    def run(epochs):
        slots = np.zeros((N_SLOTS[Solver.GD], 1, d + 1), real)
        state = State(np.zeros((1, d), real), np.zeros(1, real), slots, np.zeros(N_COUNTERS))
        history = np.empty((epochs, 3))
        finished, _ = backend.descend(data, state, config, None, history, n_threads)
        return Outcome(state.coef[0], float(state.intercept[0]), history[:finished, 0])

    return run


def _prepare_baseline(task, n_threads):
    X = task.real_features()
    y = task.codes.astype(task.real)

    def run(epochs):
        return Outcome(*baseline.gradient_descent(X, y, task.loss, task.learning_rate, epochs))

    return run


def _backend_missing(name):
    try:
        importlib.import_module(f"schuss.backends.{name}_")
    except ImportError as error:
        return f"backend {name}: {error}"
    return None


def _kernel_library(name):
    def prepare(task, n_threads):
        backend = importlib.import_module(f"schuss.backends.{name}_")
        return kernel_run(backend, task, task.real, n_threads)

    return Library(f"schuss-{name}", prepare, lambda: _backend_missing(name))


def _train_library(name):
    """`schuss.train`, with all that it checks and does around the kernels."""

    def prepare(task, n_threads):
        import schuss

        def run(epochs):
            with schuss.use_backend(name):
                result = schuss.train(
                    task.X, task.codes, loss=task.loss, learning_rate=task.learning_rate,
                    epochs=epochs, tol=0.0, n_jobs=n_threads,
                )  # fmt: skip
            return Outcome(result.coef, float(result.intercept), result.history["loss"])

        return run

    return Library(f"train-{name}", prepare, lambda: _backend_missing(name))


def installed(module: str) -> Callable[[], str | None]:
    """What tells why a library that needs the module is missing."""
    return lambda: None if find_spec(module) else f"{module} is not installed"


def with_threads(library: Library, n_threads: int) -> Library:
    """The library told to use so many threads, whatever the measurement's."""

    def prepare(task, _, *tol):
        run = library.prepare(task, n_threads, *tol)

        def told(epochs):
            os.environ[VARIABLE] = str(n_threads)
            return run(epochs)

        return told

    count = "1 thread" if n_threads == 1 else f"{n_threads} threads"
    return replace(library, name=f"{library.name}, {count}", prepare=prepare)


def _dense_real(task, library):
    if sp.issparse(task.X):
        raise Unsupported(f"{library}: this adapter has no loop for sparse features")
    return task.real_features(), task.codes.astype(task.real)


def _prepare_torch(task, n_threads, compiled=False):
    import torch

    torch.set_num_threads(n_threads)
    X, y = (torch.from_numpy(array) for array in _dense_real(task, "torch"))
    n, d = X.shape
    rate, squared, transposed = task.learning_rate / n, task.loss == "squared_error", X.T

    def epoch(coef, intercept):
        z = torch.mv(X, coef) + intercept
        p = torch.sigmoid(z)
        delta = p - y
        if squared:
            loss = delta.dot(delta) / 2
            delta = delta * p * (1 - p)
        else:
            loss = (torch.nn.functional.softplus(z) - y * z).sum()
        return coef - rate * torch.mv(transposed, delta), intercept - rate * delta.sum(), loss / n

    step = torch.compile(epoch) if compiled else epoch

    @torch.inference_mode()
    def run(epochs):
        coef, intercept, losses = X.new_zeros(d), X.new_zeros(()), X.new_empty(epochs)
        for i in range(epochs):
            coef, intercept, losses[i] = step(coef, intercept)
        return Outcome(coef.numpy(), float(intercept), losses.numpy())

    return run


def _prepare_jax(task, n_threads):
    """The same loop, jitted as a whole."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    if task.real == np.float64:
        jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    X, y = (jnp.asarray(array) for array in _dense_real(task, "jax"))
    n, d = X.shape
    rate = task.learning_rate / n
    squared = task.loss == "squared_error"

    def descend(X, y, epochs):
        def epoch(i, state):
            coef, intercept, losses = state
            z = X @ coef + intercept
            p = jax.nn.sigmoid(z)
            delta = p - y
            if squared:
                loss = delta @ delta / 2
                delta = delta * p * (1 - p)
            else:
                loss = (jax.nn.softplus(z) - y * z).sum()
            losses = losses.at[i].set(loss / n)
            return coef - rate * (delta @ X), intercept - rate * delta.sum(), losses

        start = jnp.zeros(d, X.dtype), jnp.zeros((), X.dtype), jnp.zeros(epochs, X.dtype)
        return jax.lax.fori_loop(0, epochs, epoch, start)

    compiled = jax.jit(descend, static_argnums=2)

    def run(epochs):
        coef, intercept, losses = compiled(X, y, epochs)
        return Outcome(np.asarray(coef), float(intercept), np.asarray(losses))

    return run


BASELINE = Library("numpy", _prepare_baseline)
LIBRARIES = {
    library.name: library
    for library in (
        BASELINE,
        *(_kernel_library(name) for name in BACKENDS),
        *(_train_library(name) for name in BACKENDS),
        Library("torch", _prepare_torch, installed("torch")),
        Library("torch, compiled", partial(_prepare_torch, compiled=True), installed("torch")),
        Library("jax", _prepare_jax, installed("jax")),
    )
}


# ----- fits to the optimum ------------------------------------------------------------

# The loosest first; each library means something else by its tolerance.
_TOLERANCES = tuple(10.0 ** (-power / 2) for power in range(2, 21))
_MAX_ITER = 20_000
# liblinear and Snap ML penalise the intercept: this far out it hardly counts.
_SCALING = 1000.0
# Where Vowpal Wabbit keeps its intercept, of 2^18 weights.
_VW_CONSTANT = 116060
_VW_MOST = 2_500_000


def _solver(name, prepare, package):
    return Library(name, prepare, installed(package), _TOLERANCES)


def _estimator(name, make, package, by_columns=False):
    """A library with scikit-learn's interface; `make` gets the task, threads and tolerance.

    One that reads X `by_columns` gets it so, rather than copy it in each fit.
    """

    def prepare(task, n_threads, tol):
        X, y = task.real_features(), task.codes.astype(np.int32)
        if by_columns:
            X = sp.csc_matrix(X) if sp.issparse(X) else np.asfortranarray(X)
        model = make(task, n_threads, tol)

        def run(epochs):
            model.fit(X, y)
            return Outcome(np.ravel(model.coef_), np.ravel(model.intercept_), np.empty(0))

        return run

    return _solver(name, prepare, package)


def _logistic(package, solver="lbfgs", **options):
    """`LogisticRegression` of scikit-learn and of what takes its place."""

    def make(task, n_threads, tol):
        if solver == "newton-cholesky" and sp.issparse(task.X):
            raise Unsupported(f"newton-cholesky: a Hessian of {task.shape[1]:,} columns, squared")
        penalty = {"l1_ratio": 1.0, "fit_intercept": False} if task.l1 else {}
        return importlib.import_module(package).LogisticRegression(
            C=1 / (task.penalty * task.shape[0]), solver=solver, tol=tol, max_iter=_MAX_ITER,
            **penalty, **options,
        )  # fmt: skip

    return make


def _nesterov(task, n_threads, tol):
    import schuss

    return schuss.SigmoidClassifier(
        "log_loss", "nesterov", alpha=task.alpha, tol=tol, max_iter=_MAX_ITER, n_jobs=n_threads
    )  # fmt: skip


def _glum(task, n_threads, tol):
    from glum import GeneralizedLinearRegressor

    return GeneralizedLinearRegressor(
        family="binomial", alpha=task.penalty, l1_ratio=float(task.l1 > 0),
        fit_intercept=not task.l1, gradient_tol=tol, max_iter=_MAX_ITER,
    )  # fmt: skip


def _snapml(task, n_threads, tol):
    from snapml import LogisticRegression

    return LogisticRegression(
        regularizer=task.penalty * task.shape[0], penalty="l1" if task.l1 else "l2",
        dual=not task.l1, tol=tol, fit_intercept=not task.l1, intercept_scaling=_SCALING,
        max_iter=_MAX_ITER, n_jobs=n_threads,
    )  # fmt: skip


def _skglm(task, n_threads, tol):
    from skglm import GeneralizedLinearEstimator, SparseLogisticRegression
    from skglm.datafits import Logistic
    from skglm.penalties import L1_plus_L2
    from skglm.solvers import AndersonCD

    if task.l1:
        return SparseLogisticRegression(task.l1, tol=tol, max_iter=_MAX_ITER, fit_intercept=False)
    return GeneralizedLinearEstimator(
        Logistic(), L1_plus_L2(task.alpha, 0.0), AndersonCD(tol=tol, ws_strategy="fixpoint")
    )


def _celer(task, n_threads, tol):
    from celer import LogisticRegression

    return LogisticRegression(C=1 / (task.l1 * task.shape[0]), tol=tol)


def _prepare_adelie(task, n_threads, tol):
    import adelie

    X = task.X.astype(np.float64)
    if sp.issparse(X):
        X = adelie.matrix.sparse(sp.csc_matrix(X), n_threads=n_threads)
    else:
        X = np.asfortranarray(X)
    glm = adelie.glm.binomial(task.codes.astype(np.float64), dtype=np.float64)

    def run(epochs):
        # adelie would give up where a fit explains more deviance than it takes for possible.
        found = adelie.grpnet(
            X, glm, alpha=float(task.l1 > 0), lmda_path=[task.penalty], tol=tol,
            intercept=not task.l1, n_threads=n_threads, early_exit=False, progress_bar=False,
            irls_tol=tol, max_iters=100 * _MAX_ITER,
        )  # fmt: skip
        coef = np.ravel(found.betas[-1].toarray())
        return Outcome(coef, float(found.intercepts[-1]), np.empty(0))

    return run


def _prepare_liblinear(task, n_threads, tol):
    from liblinear.liblinearutil import parameter, problem, train

    n, d = task.shape
    X = task.X.astype(np.float64)
    if not task.l1:
        bias = np.full((n, 1), _SCALING)
        X = sp.hstack([X, bias], "csr") if sp.issparse(X) else np.hstack([X, bias])
    # It knows SciPy's matrices, not its arrays.
    X = sp.csr_matrix(X) if sp.issparse(X) else X
    data = problem(np.where(task.codes, 1.0, -1.0), X)
    kind, strength = (6, task.l1) if task.l1 else (0, task.alpha)
    threads = f" -m {n_threads}" * (n_threads > 1)

    def run(epochs):
        told = f"-s {kind} -c {1 / (strength * n)!r} -e {tol!r} -q{threads}"
        model = train(data, parameter(told))
        # The weights point towards the label that it lists first.
        w = model.get_labels()[0] * np.append(model.w[: X.shape[1]], 0.0)
        return Outcome(w[:d], float(w[d] * _SCALING), np.empty(0))

    return run


def _prepare_vowpal_wabbit(task, n_threads, tol):
    """By L-BFGS over a file in its own format, read anew in every run."""
    from vowpalwabbit import Workspace

    n, d = task.shape
    X, folder = sp.csr_array(task.X), tempfile.TemporaryDirectory()
    if X.nnz > _VW_MOST:
        raise Unsupported(f"vowpal-wabbit: {X.nnz:,} numbers as text, to be parsed in every run")
    data = Path(folder.name, "data")
    with data.open("w") as file:
        for y, i, j in zip(task.codes, X.indptr, X.indptr[1:], strict=False):
            row = zip(X.indices[i:j].tolist(), X.data[i:j].tolist(), strict=True)
            file.write(f"{2 * int(y) - 1} | {' '.join(f'{k}:{x!r}' for k, x in row)}\n")
    told = (
        f"--bfgs --loss_function logistic --l2 {task.alpha * n!r} --no_bias_regularization "
        f"--passes {_MAX_ITER} --termination {tol!r} --holdout_off --quiet "
        f"-d {data} -c -k --cache_file {folder.name}/cache"
    )

    def run(epochs, kept=folder):
        workspace = Workspace(told)
        coef = np.array([workspace.get_weight(k) for k in range(d)])
        intercept = workspace.get_weight(_VW_CONSTANT)
        workspace.finish()
        return Outcome(coef, intercept, np.empty(0))

    return run


_BOTH = (
    _estimator(
        "sklearn-liblinear",
        _logistic("sklearn.linear_model", "liblinear", intercept_scaling=_SCALING, random_state=0),
        "sklearn",
    ),
    _estimator("glum", _glum, "glum"),
    _estimator("skglm", _skglm, "skglm", by_columns=True),
    _estimator("snapml", _snapml, "snapml"),
    _solver("adelie", _prepare_adelie, "adelie"),
    # With one thread it does what the package liblinear-official does.
    _solver("liblinear-multicore", _prepare_liblinear, "liblinear"),
)


def _by_name(*libraries):
    return {library.name: library for library in (*libraries, *_BOTH)}


SOLVERS = _by_name(
    _estimator("schuss", _logistic("schuss"), "schuss"),
    _estimator("schuss-nesterov", _nesterov, "schuss"),
    *(
        _estimator(f"sklearn-{solver}", _logistic("sklearn.linear_model", solver), "sklearn")
        for solver in ("lbfgs", "newton-cholesky", "newton-cg")
    ),
    _estimator("sklearnex-lbfgs", _logistic("sklearnex.linear_model"), "sklearnex"),
    _solver("vowpal-wabbit", _prepare_vowpal_wabbit, "vowpalwabbit"),
)
L1_SOLVERS = _by_name(
    _estimator("schuss", _logistic("schuss", "saga"), "schuss"),
    _estimator("sklearn-saga", _logistic("sklearn.linear_model", "saga"), "sklearn"),
    _estimator("celer", _celer, "celer", by_columns=True),
)
