"""The libraries: one adapter each, all of them asked for the same epochs.

An adapter's ``prepare(task, n_threads)`` does what a user does once (conversion, moving
data, tracing) and returns ``run(epochs)``, which starts from zero weights every time and
returns an `Outcome`. What a library compiles at its first run is left to that first run:
the runner times it apart.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from schuss.backends.contract import Data, State, UpdateConfig
from schuss.bench import baseline
from schuss.bench.problems import Task
from schuss.constants import ADAM_BETA_1, ADAM_BETA_2, ADAM_EPSILON, MOMENTUM, N_COUNTERS
from schuss.losses import LOSSES
from schuss.methods import N_SLOTS, Solver

BACKENDS = ("cython", "numba", "numpy")


class Outcome(NamedTuple):
    """What a run has to show for itself; it is compared with the reference."""

    coef: np.ndarray  # (d,)
    intercept: float
    losses: np.ndarray  # (epochs,), cost before each step


Run = Callable[[int], Outcome]


class Unsupported(Exception):
    """A library cannot do this task at all; the message says which part of it."""


@dataclass(frozen=True)
class Library:
    """An adapter.

    Attributes
    ----------
    missing : callable
        Returns None where the library can be used, else a word on why not.
    tolerances : tuple of float
        For those that stop by themselves, a third argument of `prepare`, loosest first:
        the first with which the goal is reached is timed.
    longer : int
        Times the task's epochs in one run, where these are short beside the set-up.
    verified : bool
        False for a bound, such as the matrix products of an epoch alone.
    """

    name: str
    prepare: Callable[..., Run]
    missing: Callable[[], str | None] = lambda: None
    tolerances: tuple[float, ...] = ()
    longer: int = 1
    verified: bool = True


def kernel_run(backend, task: Task, real, n_threads: int) -> Run:
    """The kernel contract's `descend`, one call a run."""
    n, d = task.X.shape
    data = Data(backend.prepare(task.X), task.codes, None, 1.0 / n)
    config = UpdateConfig(
        loss=LOSSES[task.loss].code,
        solver=Solver.GD,
        learning_rate=task.learning_rate,
        momentum=MOMENTUM,
        beta_1=ADAM_BETA_1,
        beta_2=ADAM_BETA_2,
        epsilon=ADAM_EPSILON,
        l2=0.0,
        l1=0.0,
        tol=-1.0,  # a gradient of exactly 0 is no reason to do fewer epochs
        fit_intercept=True,
        batch_size=n,
    )

    def run(epochs):
        state = State(
            np.zeros((1, d), real),
            np.zeros(1, real),
            np.zeros((N_SLOTS[Solver.GD], 1, d + 1), real),
            np.zeros(N_COUNTERS),
        )
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
                    task.X,
                    task.codes,
                    loss=task.loss,
                    learning_rate=task.learning_rate,
                    epochs=epochs,
                    tol=0.0,
                    n_jobs=n_threads,
                )
            return Outcome(result.coef, float(result.intercept), result.history["loss"])

        return run

    return Library(f"train-{name}", prepare, lambda: _backend_missing(name))


def installed(module: str) -> str | None:
    """Why a library that needs the module is missing, or None."""
    return None if find_spec(module) else f"{module} is not installed"


def with_threads(library: Library, n_threads: int) -> Library:
    """The library told to use so many threads, whatever the measurement's."""
    count = "1 thread" if n_threads == 1 else f"{n_threads} threads"
    return replace(
        library,
        name=f"{library.name}, {count}",
        prepare=lambda task, _, *tol: library.prepare(task, n_threads, *tol),
    )


def _dense_real(task, library):
    if sp.issparse(task.X):
        raise Unsupported(f"{library}: this adapter has no loop for sparse features")
    return task.real_features(), task.codes.astype(task.real)


def _prepare_torch(task, n_threads):
    """The gradient written out, every product into memory that is there already."""
    import torch

    torch.set_num_threads(n_threads)
    X, y = (torch.from_numpy(array) for array in _dense_real(task, "torch"))
    n, d = X.shape
    rate = task.learning_rate / n
    squared = task.loss == "squared_error"
    one, one_minus_y = X.new_ones(()), 1 - y
    z, p, work, coef_grad = X.new_empty(n), X.new_empty(n), X.new_empty(n), X.new_empty(d)

    @torch.inference_mode()
    def run(epochs):
        coef, intercept = X.new_zeros(d), X.new_zeros(())
        losses = X.new_empty(epochs)
        for epoch in range(epochs):
            torch.mv(X, coef, out=z)
            z.add_(intercept)
            torch.sigmoid(z, out=p)
            if not squared:
                torch.log(p, out=work)
                losses[epoch] = (one_minus_y.dot(z) - work.sum()) / n
            delta = torch.sub(p, y, out=z)
            if squared:
                losses[epoch] = delta.dot(delta) / (2 * n)
                delta.mul_(p).mul_(torch.sub(one, p, out=work))
            torch.mv(X.t(), delta, out=coef_grad)
            coef.sub_(coef_grad, alpha=rate)
            intercept.sub_(delta.sum(), alpha=rate)
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
            return (
                coef - rate * (delta @ X),
                intercept - rate * delta.sum(),
                losses.at[i].set(loss / n),
            )

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
        Library("torch", _prepare_torch, lambda: installed("torch")),
        Library("jax", _prepare_jax, lambda: installed("jax")),
    )
}


# ----- fits to the optimum ------------------------------------------------------------

# The loosest first; each library means something else by its tolerance.
_TOLERANCES = tuple(10.0 ** (-power / 2) for power in range(2, 21))
_MAX_ITER = 20_000
# liblinear and Snap ML penalise the intercept: this far out it hardly counts.
_SCALING = 1000.0


def _estimator(name, make, package):
    """A library with scikit-learn's interface; `make` gets the task, threads and tolerance."""

    def prepare(task, n_threads, tol):
        X, y = task.real_features(), task.codes.astype(np.int32)
        model = make(task, n_threads, tol)

        def run(epochs):
            model.fit(X, y)
            return Outcome(np.ravel(model.coef_), float(np.ravel(model.intercept_)[0]), np.empty(0))

        return run

    return Library(name, prepare, lambda: installed(package), _TOLERANCES)


def _logistic(package, solver="lbfgs", **options):
    """`LogisticRegression` of scikit-learn and of what takes its place."""

    def make(task, n_threads, tol):
        if solver == "newton-cholesky" and sp.issparse(task.X):
            raise Unsupported(f"newton-cholesky: a Hessian of {task.shape[1]:,} columns, squared")
        module = importlib.import_module(package)
        return module.LogisticRegression(
            C=1 / (task.alpha * task.shape[0]),
            solver=solver,
            tol=tol,
            max_iter=_MAX_ITER,
            **options,
        )

    return make


def _nesterov(task, n_threads, tol):
    import schuss

    return schuss.SigmoidClassifier(
        "log_loss", "nesterov", alpha=task.alpha, tol=tol, max_iter=_MAX_ITER, n_jobs=n_threads
    )


def _glum(task, n_threads, tol):
    from glum import GeneralizedLinearRegressor

    return GeneralizedLinearRegressor(
        family="binomial", alpha=task.alpha, l1_ratio=0, gradient_tol=tol, max_iter=_MAX_ITER
    )


def _snapml(task, n_threads, tol):
    from snapml import LogisticRegression

    return LogisticRegression(
        regularizer=task.alpha * task.shape[0], fit_intercept=True, intercept_scaling=_SCALING,
        tol=tol, max_iter=_MAX_ITER, n_jobs=n_threads,
    )  # fmt: skip


def _skglm(task, n_threads, tol):
    from skglm import GeneralizedLinearEstimator
    from skglm.datafits import Logistic
    from skglm.penalties import L1_plus_L2
    from skglm.solvers import AndersonCD

    return GeneralizedLinearEstimator(
        Logistic(), L1_plus_L2(task.alpha, 0.0), AndersonCD(tol=tol, ws_strategy="fixpoint")
    )


def _prepare_liblinear(task, n_threads, tol):
    from liblinear.liblinearutil import parameter, problem, train

    n, d = task.shape
    X = task.X.astype(np.float64)
    bias = np.full((n, 1), _SCALING)
    wide = sp.hstack([X, bias], "csr") if sp.issparse(X) else np.hstack([X, bias])
    data = problem(np.where(task.codes, 1.0, -1.0), wide)

    def run(epochs):
        model = train(data, parameter(f"-s 0 -c {1 / (task.alpha * n)!r} -e {tol!r} -q"))
        # The weights point towards the label that it lists first.
        w = model.get_labels()[0] * np.array(model.w[: d + 1])
        return Outcome(w[:d], float(w[d] * _SCALING), np.empty(0))

    return run


SOLVERS = {
    library.name: library
    for library in (
        _estimator("schuss", _logistic("schuss"), "schuss"),
        _estimator("schuss-nesterov", _nesterov, "schuss"),
        *(
            _estimator(f"sklearn-{solver}", _logistic("sklearn.linear_model", solver), "sklearn")
            for solver in ("lbfgs", "newton-cholesky", "newton-cg")
        ),
        _estimator(
            "sklearn-liblinear",
            _logistic("sklearn.linear_model", "liblinear", intercept_scaling=_SCALING),
            "sklearn",
        ),
        _estimator("sklearnex-lbfgs", _logistic("sklearnex.linear_model"), "sklearnex"),
        _estimator("glum", _glum, "glum"),
        _estimator("skglm", _skglm, "skglm"),
        _estimator("snapml", _snapml, "snapml"),
        Library("liblinear", _prepare_liblinear, lambda: installed("liblinear"), _TOLERANCES),
    )
}
