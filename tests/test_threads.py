"""The number of threads: from where, how many, and that the result does not depend on it."""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import scipy.sparse as sp
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone, is_classifier
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from threadpoolctl import threadpool_limits

from schuss import backends, threads, train
from schuss.backends.contract import Data, State, UpdateConfig
from schuss.constants import HISTORY_COLUMNS, N_COUNTERS, Counter
from schuss.linear import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    SGDClassifier,
    SGDRegressor,
)
from schuss.losses import Loss
from schuss.methods import Solver
from schuss.network import MLPClassifier, MLPRegressor
from schuss.neuron import SigmoidClassifier, SigmoidRegressor


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(threads.VARIABLE, raising=False)


def test_sources_in_their_order(monkeypatch):
    assert threads.available() == _openmp_effective_n_threads()
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert threads.available() == 3
    assert threads.available(5) == 5
    assert threads.available(np.int64(2)) == 2
    monkeypatch.setenv(threads.VARIABLE, " ")
    assert threads.available() == _openmp_effective_n_threads()


def test_negative_numbers_count_from_all():
    everything = threads.available(-1)
    assert everything >= 1
    assert threads.available(-everything) == 1
    assert threads.available(-everything - 5) == 1


def test_no_more_threads_than_processors_are_worth_waking(monkeypatch):
    monkeypatch.setattr(threads, "processors", lambda: 3)
    assert threads.useful(8, elements=10**9) == 3
    assert threads.useful(8, elements=2 * threads.MIN_ELEMENTS_PER_THREAD) == 2
    assert threads.useful(2, elements=10**9) == 2
    assert threads.useful(8, elements=10) == 1


def test_limits_of_threadpoolctl_are_respected():
    with threadpool_limits(1):
        assert threads.available() == 1


@pytest.fixture
def rows(monkeypatch):
    """Large enough for two threads to be worth their while, and quick to send elsewhere."""
    monkeypatch.setattr(threads, "processors", lambda: 8)
    X = np.random.default_rng(0).integers(0, 256, (25_000, 100), np.uint8)
    assert threads.useful(8, X.size) == 2
    return X, (X[:, 0] > 99).astype(float)


def test_a_fit_uses_the_threads_that_are_available(monkeypatch, rows):
    backend, used = backends.current(), []
    descend = backend.descend

    def spy(*args):
        used.append(args[-1])
        return descend(*args)

    monkeypatch.setattr(backend, "descend", spy)
    train(*rows, epochs=2, n_jobs=2)
    assert set(used) == {2}
    used.clear()
    with threadpool_limits(1):
        train(*rows, epochs=2)
    assert set(used) == {1}


@pytest.mark.parametrize("wrong", [0, 1.5, "2", True])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="n_jobs=.*expected a positive number of threads"):
        threads.available(wrong)


@pytest.mark.parametrize("wrong", ["0", "many", "1.5"])
def test_nonsense_in_the_environment_is_refused(monkeypatch, wrong):
    monkeypatch.setenv(threads.VARIABLE, wrong)
    with pytest.raises(ValueError, match=threads.VARIABLE):
        threads.available()


@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_the_result_does_not_depend_on_threads(monkeypatch, solver):
    monkeypatch.setattr(threads, "MIN_ELEMENTS_PER_THREAD", 10)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3001, 9)).astype(np.float32)
    y = (X[:, 0] > 0.3).astype(float)
    options = {"solver": solver, "epochs": 5, "random_state": 0, "batch_size": 700}
    one, *others = (train(X, y, n_jobs=n, **options) for n in (1, 2, 3, 8))
    for other in others:
        np.testing.assert_array_equal(one.coef, other.coef)
        np.testing.assert_array_equal(one.history["loss"], other.history["loss"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_of_fork_can_fit(rows):
    before = train(*rows, epochs=5, n_jobs=2)
    child = os.fork()
    if child == 0:
        status = 2
        try:
            # A child that hangs is ended by the system, with a status that is not 0.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(300)
            again = train(*rows, epochs=5, n_jobs=2)
            status = int(not np.array_equal(again.coef, before.coef))
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(train(*rows, epochs=5, n_jobs=2).coef, before.coef)


@pytest.mark.parametrize("where", ["loky", "threading"])
def test_fits_side_by_side(rows, where):
    jobs = [delayed(train)(*rows, epochs=5, n_jobs=2, alpha=alpha) for alpha in (0, 0.1, 10)]
    alone = [function(*args, **options) for function, args, options in jobs]
    try:
        together = Parallel(n_jobs=2, backend=where)(jobs)
    finally:
        if where == "loky":
            get_reusable_executor().shutdown(wait=True)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.coef, other.coef)
        np.testing.assert_array_equal(one.history["loss"], other.history["loss"])


@contextmanager
def ctrl_c(seconds):
    """What the key does, some time after the block was entered."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(seconds, _thread.interrupt_main)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, before)


LAYOUTS = {
    "C": lambda X: X,
    "F": np.asfortranarray,
    "uint8": lambda X: (40 * X + 128).clip(0, 255).astype(np.uint8),
    "CSR": lambda X: sp.csr_array(X * (X > 0)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_interrupt_changes_no_bit(layout):
    """What was reached is what so many epochs reach, and the next runs are as they were."""
    kernels = pytest.importorskip("schuss.backends.cython_", exc_type=ImportError)
    rng = np.random.default_rng(1)
    n, d, n_outputs = 20_011, 23, 3
    X = LAYOUTS[layout](rng.standard_normal((n, d)).astype(np.float32))
    codes = rng.integers(0, n_outputs, n).astype(np.uint8)
    data = Data(kernels.prepare(X), codes, None, 1 / n)
    rule = UpdateConfig(
        Loss.LOG_LOSS, Solver.MOMENTUM, learning_rate=1e-5, momentum=0.9, beta_1=0.9, beta_2=0.999,
        epsilon=1e-8, l2=1e-3, l1=0.0, tol=0.0, fit_intercept=True, batch_size=n,
    )  # fmt: skip

    def start():
        real = np.float32
        coef, slots = np.zeros((n_outputs, d), real), np.zeros((1, n_outputs, d + 1), real)
        return State(coef, np.zeros(n_outputs, real), slots, np.zeros(N_COUNTERS))

    def run(state, epochs, n_threads):
        history = np.zeros((epochs, len(HISTORY_COLUMNS)))
        kernels.descend(data, state, rule, None, history, n_threads)

    reached, alive = start(), _thread._count()
    with pytest.raises(KeyboardInterrupt), ctrl_c(0.2):
        run(reached, 1_000_000, 3)
    for _ in range(100):
        if _thread._count() <= alive:
            break
        time.sleep(0.01)
    else:
        pytest.fail("threads were left behind")
    epochs = int(reached.counters[Counter.EPOCHS])
    assert epochs > 0
    for n_threads in (1, 2, 3, 8):
        again = start()
        run(again, epochs, n_threads)
        for one, other in zip(reached, again, strict=True):
            np.testing.assert_array_equal(one, other, f"{n_threads} threads")


def test_networks_that_diverge_do_not_hang():
    """One thread left an epoch that the others ended, and was waited for for ever."""
    script = os.path.join(os.path.dirname(__file__), "network_stress.py")
    command = [sys.executable, script, "--inside", "--fits=300"]
    done = subprocess.run(
        command, cwd=os.path.dirname(os.path.dirname(__file__)), timeout=300, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert int(done.stdout) > 100


ESTIMATORS = {
    **{
        f"neuron by {solver}": SigmoidClassifier(solver=solver, max_iter=4, random_state=0)
        for solver in ("gd", "nesterov", "adam", "sgd", "lbfgs", "newton")
    },
    "regressor": SigmoidRegressor(max_iter=4),
    "logistic": LogisticRegression(max_iter=4),
    "logistic, L1": LogisticRegression(l1_ratio=1.0, solver="saga", C=0.1, max_iter=4),
    "cross-validation": LogisticRegressionCV(Cs=2, cv=2, max_iter=4, scoring="accuracy",
                                             use_legacy_attributes=True, l1_ratios=(0,)),
    "SGD": SGDClassifier(max_iter=4, tol=None, random_state=0),
    "SGD of a regressor": SGDRegressor(max_iter=4, tol=None, random_state=0),
    "perceptron": Perceptron(max_iter=4, tol=None, random_state=0),
    "network": MLPClassifier((5,), max_iter=3, random_state=0),
    "network, full batch": MLPClassifier((5,), max_iter=3, batch_size=6000, random_state=0),
    "network of a regressor": MLPRegressor(hidden_layer_sizes=5, max_iter=3, random_state=0),
}  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_each_estimator_has_the_same_bits_on_any_number_of_threads(monkeypatch, name):
    X = np.random.default_rng(0).standard_normal((6000, 40), np.float32)
    y = X[:, :3].argmax(axis=1) if is_classifier(ESTIMATORS[name]) else (X[:, 0] > 0) * 1.0
    found = []
    for n_threads in (1, 2, 3, 8):
        monkeypatch.setattr(threads, "useful", lambda *_, n=n_threads, **__: n)
        model = clone(ESTIMATORS[name]).fit(X, y)
        found.append(model.coefs_ if hasattr(model, "coefs_") else [model.coef_])
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


FITTED = {
    "descend": lambda X, y: SigmoidClassifier(max_iter=5).fit(X, y).coef_,
    "newton": lambda X, y: SigmoidClassifier(solver="newton").fit(X, y > 0).coef_,
    "sweep": lambda X, y: SGDClassifier(max_iter=5, tol=None, random_state=0).fit(X, y).coef_,
    "network": lambda X, y: MLPClassifier(5, max_iter=3, random_state=0).fit(X, y).predict_proba(X),
}


@pytest.mark.parametrize("error", [RuntimeError, MemoryError])
@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("name", FITTED)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_threads_that_cannot_be_started(monkeypatch, name, granted, error):
    """The work is done by those that there are, and none of them is left behind."""
    kernels = pytest.importorskip("schuss.backends.cython_", exc_type=ImportError)
    monkeypatch.setattr(threads, "useful", lambda *_, **__: 4)
    X = np.random.default_rng(0).standard_normal((3000, 30))
    y = X[:, :5].argmax(axis=1)
    right, alive = FITTED[name](X, y), _thread._count()
    start, calls = _thread.start_new_thread, []

    def refuse(*args):
        calls.append(args)
        if len(calls) > granted:
            raise error("can't start new thread")
        return start(*args)

    for module in (kernels._single, kernels._double):
        monkeypatch.setattr(module, "start_new_thread", refuse)
    with backends.use_backend("cython"):
        for _ in range(50):
            np.testing.assert_array_equal(FITTED[name](X, y), right)
            if len(calls) > granted:
                break
            # Where threads came late, none is started for a while.
            time.sleep(0.1)
    assert len(calls) > granted
    for _ in range(200):
        if _thread._count() <= alive:
            break
        time.sleep(0.01)
    else:
        pytest.fail("threads were left behind")
