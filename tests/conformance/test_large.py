"""More than 2**31 entries, and sums over many rows."""

import os
import threading

import numpy as np
import pytest
import scipy.sparse as sp

from schuss.backends.contract import Network, NewtonConfig
from schuss.constants import HISTORY_COLUMNS, Activation, Hidden
from schuss.losses import Loss, Output
from schuss.methods import Solver
from tests.conftest import LONG

from . import cases


def _skip_what_takes_long(backend):
    if backend.NAME == "numpy":
        pytest.skip("NumPy indexes with 64 bits, and is slow at this")
    if backend.NAME == "numba" and not LONG:
        pytest.skip("indexes with 64 bits, too, and takes a minute: part of make test-long")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ("float32", "uint8"))
def test_more_entries_than_32_bits_count(backend, reference, dtype):
    _skip_what_takes_long(backend)
    rng = np.random.default_rng(0)
    n, d = (1 << 22) + 3, 515
    assert n * d > 1 << 31
    X = np.broadcast_to(cases.dense(dtype, 1, d, rng), (n, d))
    p = cases.problem(X, (1, False, "uint8", Loss.LOG_LOSS), rng)
    p.y[:] = 1
    one = cases.SimpleNamespace(**{**vars(p), "X": X[:1].copy(), "y": p.y[:1], "scale": 1.0})
    bounds = cases.gradient_bound(one, reference)
    for actual, expected, bound in zip(
        cases.gradient(backend, p, 2), cases.gradient(backend, one), bounds, strict=True
    ):
        # All terms are equal, so that the errors of the sum have one sign: more is allowed.
        cases.assert_within(actual, expected, 100 * bound, dtype)
    actual, expected = (cases.predict(backend, q, Activation.IDENTITY, 2) for q in (p, one))
    # Both may err, each by the bound.
    bound = 2 * cases.predict_bound(one, Activation.IDENTITY)
    cases.assert_within(actual, np.broadcast_to(expected, actual.shape), bound, dtype)


# Sums of equals, whose rounding errors have one sign: at weights of 0 the log-loss is log(2) and
# its derivative -1/2, so that every sum is known.
_LAYOUTS = {
    "one row repeated": lambda row, n: np.broadcast_to(row, (n, len(row))),
    "C": lambda row, n: np.tile(row, (n, 1)),
    "F": lambda row, n: np.asfortranarray(np.broadcast_to(row, (n, len(row)))),
    "columns strided": lambda row, n: np.repeat(np.tile(row, (n, 1)), 2, axis=1)[:, ::2],
    "CSR": lambda row, n: sp.csr_array(np.tile(row, (n, 1))),
}


def _equals(layout, n, d, dtype="float32", n_outputs=1):
    rng = np.random.default_rng(d)
    row = rng.uniform(0.5, 1, d).astype(dtype) if dtype[0] == "f" else np.full(d, 77, dtype)
    return row.astype(np.float64), cases.SimpleNamespace(
        X=_LAYOUTS[layout](row, n), y=np.ones(n, np.uint8), weight=None, scale=1 / n,
        coef=np.zeros((n_outputs, d), np.float32), intercept=np.zeros(n_outputs, np.float32),
        loss=Loss.LOG_LOSS,
    )  # fmt: skip


def _assert_relative(actual, expected, most):
    assert np.abs(np.asarray(actual, np.float64) / expected - 1).max() <= most


def _assert_gradient(backend, p, row):
    value, coef, intercept = cases.gradient(backend, p, 2)
    signs = np.full((len(p.coef), 1), -0.5)
    signs[[k for k in range(len(p.coef)) if len(p.coef) > 1 and k != 1]] = 0.5
    _assert_relative(value, np.log(2) * len(p.coef), 2e-6)
    _assert_relative(coef, signs * row, 2e-6)
    _assert_relative(intercept, signs[:, 0], 2e-6)


@pytest.mark.parametrize("layout", _LAYOUTS)
@pytest.mark.parametrize("d", (1, 3, 6, 20, 50, 200))
def test_sums_over_many_rows(backend, layout, d):
    row, p = _equals(layout, max(4_000_000 // d, 100_000) // (4 if layout == "CSR" else 1), d)
    _assert_gradient(backend, p, row)


@pytest.mark.parametrize("d", (2, 5, 30))
def test_sums_over_rows_that_are_packed(backend, d):
    row, p = _equals("C", 131_072 // d - 64, d)
    _assert_gradient(backend, p, row)
    q = cases.update_config(solver=Solver.GD, learning_rate=1.0)
    state, history, _ = cases.descend(backend, p, q, 1)
    _assert_relative(history[0, 0], np.log(2), 2e-6)
    _assert_relative(state.coef, 0.5 * row, 2e-6)
    _assert_relative(state.intercept, 0.5, 2e-6)


@pytest.mark.parametrize("n_outputs", (1, 3))
@pytest.mark.parametrize("layout", ("C", "F"))
@pytest.mark.parametrize("dtype", ("float16", "uint8", "int8"))
def test_sums_over_many_rows_of_other_types(backend, dtype, layout, n_outputs):
    row, p = _equals(layout, 500_000, 5, dtype, n_outputs)
    _assert_gradient(backend, p, row)


def test_hessian_of_many_rows(backend):
    row, p = _equals("one row repeated", 1_000_000, 5)
    wide = np.append(row, 1)
    config = NewtonConfig(p.loss, np.zeros(6), tol=0.0, rate=0.0, enough=0.0, noise=1e-6)
    theta, gradient, hessian = np.zeros(6), np.empty(6), np.empty((6, 6))
    advance = backend.newton(cases.data(backend, p), config, theta, gradient, None, None)
    advance(np.empty((0, len(HISTORY_COLUMNS))), hessian)
    _assert_relative(gradient, -0.5 * wide, 2e-6)
    # Within a block each row's product is added to those before.
    _assert_relative(hessian, 0.25 * np.outer(wide, wide), 8e-6)


def test_gradient_of_a_network_over_many_rows(backend):
    row, p = _equals("one row repeated", 500_000, 5)
    network = Network((5, 1), Hidden.RELU, Output.LOGISTIC)
    grad = np.empty(network.n_parameters, np.float32)
    value = backend.network_gradient(cases.data(backend, p), network, np.zeros_like(grad), grad, 2)
    _assert_relative(value, np.log(2), 2e-6)
    # As in the Hessian.
    _assert_relative(grad, -0.5 * np.append(row, 1), 8e-6)


@pytest.mark.slow
def test_more_rows_than_32_bits_count(backend):
    _skip_what_takes_long(backend)
    row, p = _equals("one row repeated", (1 << 31) + 3, 1)
    _assert_gradient(backend, p, row)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="there is no /proc here")
def test_partial_gradients_of_many_neurons_take_bounded_memory(backend):
    if backend.NAME != "cython":
        pytest.skip("only the Cython backend has sums of chunks")
    resource = pytest.importorskip("resource")
    rng = np.random.default_rng(0)
    p = cases.problem(cases.dense("uint8", 2048, 2000, rng), (1000, False, "uint8", 0), rng)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    # A gradient in float64 has 16 MB; one for each of the 62 chunks would be 1 GB.
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 400_000_000, before[1]))
    try:
        cases.gradient(backend, p, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _call_at_once(job, n_threads):
    answers = [None] * n_threads
    start = threading.Barrier(n_threads)

    def call(i):
        start.wait()
        answers[i] = job()

    members = [threading.Thread(target=call, args=(i,)) for i in range(n_threads)]
    for member in members:
        member.start()
    for member in members:
        member.join()
    return answers


def test_threads_that_share_rows_at_once(backend):
    rng = np.random.default_rng(0)
    p = cases.problem(
        cases.dense("float32", 500, 250, rng), (1, False, "uint8", Loss.LOG_LOSS), rng
    )
    expected = cases.gradient(backend, p)
    for _ in range(20):
        rows = cases.data(backend, p)  # which the Cython backend packs in the first call

        def gradient(rows=rows):
            out = np.full_like(p.coef, np.nan), np.full_like(p.intercept, np.nan)
            return backend.gradient(rows, p.loss, p.coef, p.intercept, *out, 1), *out

        for answer in _call_at_once(gradient, 4):
            for actual, wanted in zip(answer, expected, strict=True):
                np.testing.assert_array_equal(actual, wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_child_of_fork_has_threads_of_its_own(backend):
    if backend.NAME != "cython":
        pytest.skip("only the Cython backend has threads")
    rng = np.random.default_rng(0)
    p = cases.problem(cases.dense("float32", 20_000, 50, rng), (1, False, "uint8", 0), rng)
    out = np.empty_like(p.coef), np.empty_like(p.intercept)
    evaluate = backend.evaluator(cases.data(backend, p), p.loss, p.coef, p.intercept, *out, 2)
    value, gradient = evaluate(), out[0].copy()
    pid = os.fork()
    if pid == 0:
        same = evaluate() == value and (out[0] == gradient).all()
        # The second one leaves some milliseconds after the call, as a busy machine may find late.
        tasks = "/proc/self/task"
        two = not os.path.isdir(tasks) or any(
            evaluate() == value and len(os.listdir(tasks)) == 2 for _ in range(200)
        )
        os._exit(0 if same and two else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
