"""Whole runs: the five configs, penalties, batches, why a run ends, and chunks."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from schuss.constants import Counter, Status
from schuss.losses import Loss
from schuss.methods import Solver

from . import cases

SOLVERS = list(Solver)
PENALTIES = ({}, {"l2": 0.3}, {"l1": 0.02}, {"l2": 0.1, "l1": 0.01})
BATCHES = ("full", "in order", "shuffled")
EPOCHS = 12


def solver_id(solver):
    return solver.name.lower()


def small(real="float64", n=70, d=9, setting=(1, True, "real", Loss.LOG_LOSS), seed=5):
    rng = np.random.default_rng(seed)
    return cases.problem(rng.standard_normal((n, d)).astype(real), setting, rng)


def batches(kind, n, epochs, seed=0):
    """Batch size and order of the rows."""
    if kind == "full":
        return n, None
    if kind == "in order":
        return 16, None
    rng = np.random.default_rng(seed)
    return 16, np.array([rng.permutation(n) for _ in range(epochs)], np.int32)


def same_run(backend, reference, p, config, order, what, epochs=EPOCHS):
    """Compare a run with that of the reference in float64."""
    actual, history, answers = cases.descend(backend, p, config, epochs, order)
    expected, expected_history, expected_answers = cases.descend(
        reference, cases.widened(p), config, epochs, order
    )
    assert answers == expected_answers, what
    # A config moves by at most a few units and contracts: errors add up over the steps, each
    # of them a few times that of one gradient.
    steps = epochs * -(-p.X.shape[0] // min(config.batch_size, p.X.shape[0]))
    close = 16 * steps * np.finfo(p.coef.dtype).eps
    if config.solver == Solver.ADAPTIVE:
        # Its step is a quotient of differences, in which digits cancel near the optimum.
        close *= 64
    size = max(1.0, np.abs(expected.coef).max())
    for name in ("coef", "intercept", "slots"):
        a, e = getattr(actual, name), getattr(expected, name)
        np.testing.assert_allclose(a, e, rtol=close, atol=close * size, err_msg=f"{what} {name}")
    np.testing.assert_allclose(
        actual.counters, expected.counters, rtol=close * 16, err_msg=f"{what} counters"
    )
    np.testing.assert_allclose(
        history, expected_history, rtol=close * 16, atol=close, err_msg=f"{what} history"
    )
    return actual, expected


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("real", ("float64", "float32"))
@pytest.mark.parametrize("solver", SOLVERS, ids=solver_id)
def test_rule(backend, reference, solver, real, kind):
    if solver == Solver.ADAPTIVE and kind != "full" and real == "float32":
        pytest.skip("between batches the gradient jumps, and the step falls below the rounding")
    settings = itertools.cycle(cases.SETTINGS[::5])
    for penalty, fit_intercept in itertools.product(PENALTIES, (True, False)):
        setting = next(settings)
        p = small(real, setting=setting)
        batch_size, order = batches(kind, p.X.shape[0], EPOCHS)
        config = cases.update_config(
            loss=setting[-1], solver=solver, batch_size=batch_size, fit_intercept=fit_intercept,
            learning_rate=0.02 if solver == Solver.ADAM else 0.1, **penalty,
        )  # fmt: skip
        actual, _ = same_run(backend, reference, p, config, order, f"{penalty} {setting}")
        if not fit_intercept:
            np.testing.assert_array_equal(actual.intercept, p.intercept)


@pytest.mark.parametrize("dtype", (*cases.DENSE_TYPES, "CSR"))
@pytest.mark.parametrize("layout", ("C", "F", "columns strided"))
def test_batches_of_every_type(kernels, reference, dtype, layout):
    """Rows are gathered in the given order from every kind of X."""
    by_rows = kernels.NAME == "numba" and not kernels.rows.SMALL_BYTES
    if by_rows and layout != "C" and dtype not in ("float64", "uint8"):
        pytest.skip("Numba compiles five seconds for each; all types are tried in order C")
    rng = np.random.default_rng(8)
    for setting, (n, d) in itertools.product(cases.SETTINGS[::7], ((1, 1), (65, 3), (200, 33))):
        if dtype == "CSR":
            X = cases.sparse("float64", "int32", n, d, rng)
        else:
            X = cases.LAYOUTS[layout](cases.dense(dtype, n, d, rng))
        p = cases.problem(X, setting, rng)
        p.scale /= 1 if X.dtype.kind == "f" else 128**2  # keeps the steps short
        for kind in BATCHES:
            batch_size, order = batches(kind, n, 3)
            config = cases.update_config(loss=setting[-1], batch_size=batch_size)
            same_run(kernels, reference, p, config, order, f"{n} x {d} {kind} {setting}", 3)


@pytest.mark.parametrize("batch_size", (1, 7, 35, 69, 70, 71))
def test_batch_sizes(backend, reference, batch_size):
    config = cases.update_config(solver=Solver.MOMENTUM, batch_size=batch_size, learning_rate=0.01)
    _, order = batches("shuffled", 70, EPOCHS)
    same_run(backend, reference, small(), config, order, f"batches of {batch_size}")


@pytest.mark.parametrize("batch_size", (7, 40, 69))
def test_batches_of_some_of_the_rows(backend, reference, batch_size):
    p = small(setting=(1, True, "real", Loss.LOG_LOSS))
    rng = np.random.default_rng(2)
    some = rng.permutation(70)[:40]
    p.weight[np.setdiff1d(np.arange(70), some)] = 0
    p.scale = 1 / p.weight.sum()
    order = np.array([rng.permutation(some) for _ in range(EPOCHS)], np.int32)
    config = cases.update_config(solver=Solver.MOMENTUM, batch_size=batch_size, learning_rate=0.01)
    run, history, _ = cases.descend(backend, p, config, EPOCHS, order)
    # Those rows alone, in the same orders.
    alone = {"X": p.X[some], "y": p.y[:, some], "weight": p.weight[some]}
    alone = SimpleNamespace(**vars(p) | alone)
    places = np.argsort(some)[np.searchsorted(np.sort(some), order)].astype(np.int32)
    peer, expected, _ = cases.descend(reference, alone, config, EPOCHS, places)
    np.testing.assert_allclose(run.coef, peer.coef, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(history, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("n", "batch_size"), ((300, 7), (300, 150), (700, 270)))
@pytest.mark.parametrize("order", ("C", "F"))
def test_batches_begin_within_what_lies_together(backend, reference, order, n, batch_size):
    """Small X may be copied into blocks of its own; a batch begins anywhere in them."""
    p = small(n=n)
    p.X = np.asarray(p.X, order=order)
    config = cases.update_config(batch_size=batch_size, learning_rate=0.01)
    same_run(backend, reference, p, config, None, f"{n} rows by {batch_size}")


@pytest.mark.parametrize("shuffled", (False, True))
@pytest.mark.parametrize("d", (66, 68))
def test_batches_of_large_X(kernels, reference, d, shuffled):
    """Rows from memory may be read by turns; a batch begins anywhere in these."""
    p = small(n=(1 << 24) // (8 * d) + 70, d=d)
    config = cases.update_config(batch_size=p.X.shape[0] // 3 + 1, learning_rate=0.01)
    order = np.random.default_rng(1).permutation(p.X.shape[0]).astype(np.int32)[None]
    same_run(kernels, reference, p, config, order if shuffled else None, f"{d}", 1)


@pytest.mark.parametrize("shuffled", (False, True))
@pytest.mark.parametrize("d", (2, 7, 9))
def test_batches_of_rows_shorter_than_a_register(kernels, reference, d, shuffled):
    p = small(n=700, d=d)
    order = np.random.default_rng(1).permutation(700).astype(np.int32)[None]
    for batch_size in (1, 33, 400):
        config = cases.update_config(batch_size=batch_size, learning_rate=0.01)
        same_run(kernels, reference, p, config, order if shuffled else None, f"{d}", 1)


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("solver", SOLVERS, ids=solver_id)
def test_chunks_change_no_bit(backend, solver, kind):
    p = small("float32", setting=(3, True, "int32", Loss.SQUARED_ERROR))
    batch_size, order = batches(kind, p.X.shape[0], EPOCHS)
    config = cases.update_config(
        solver=solver, batch_size=batch_size, l1=0.001, loss=Loss.SQUARED_ERROR
    )
    whole, history, _ = cases.descend(backend, p, config, EPOCHS, order)
    for chunk in (1, 5):
        part, part_history, answers = cases.descend(backend, p, config, EPOCHS, order, chunk)
        for a, b in zip(part[:3], whole[:3], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(part_history, history)
        np.testing.assert_array_equal(
            part.counters[: Counter.EPOCHS], whole.counters[: Counter.EPOCHS]
        )
        assert all(status == Status.RAN for _, status in answers)
        assert sum(epochs for epochs, _ in answers) == EPOCHS


@pytest.mark.parametrize("d", (1, 2, 3, 4))
@pytest.mark.parametrize("n", (1, 3, 4, 5, 16, 17, 47, 70, 300))
def test_few_features(backend, reference, n, d):
    """Kernels may keep few parameters in registers from epoch to epoch."""
    cut = ("float64", "float32"), (False, True), (0.0, 0.3), (True, False)
    losses = Loss.SQUARED_ERROR, Loss.LOG_LOSS
    for real, weighted, l2, fit_intercept, loss in itertools.product(*cut, losses):
        p = small(real, n, d, setting=(1, weighted, "uint8", loss))
        config = cases.update_config(loss=loss, l2=l2, fit_intercept=fit_intercept)
        what = f"{real} {weighted} {config}"
        whole, _ = same_run(backend, reference, p, config, None, what)
        part, history, _ = cases.descend(backend, p, config, EPOCHS, chunk=5)
        for name in ("coef", "intercept"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name), what)
        between = config._replace(tol=float(history[5:7, 1].mean()))
        if history[6, 1] < between.tol < history[:6, 1].min():
            state, _, answers = cases.descend(backend, p, between, EPOCHS)
            before, *_ = cases.descend(backend, p, config, 6)
            assert answers == [(6, Status.CONVERGED)]
            np.testing.assert_array_equal(state.coef, before.coef)
            assert state.counters[Counter.STEPS] == 6
        p.X[n // 2, d - 1] = np.nan
        state, _, answers = cases.descend(backend, p, config, EPOCHS)
        assert answers == [(0, Status.NONFINITE)]
        np.testing.assert_array_equal(state.coef, p.coef)


@pytest.mark.parametrize("real", ("float64", "float32"))
def test_large_weights_of_few_rows(backend, reference, real):
    """Sums of four costs are finite, those of copies of them would not be."""
    p = small(real, 4, 1, setting=(1, True, "uint8", Loss.LOG_LOSS))
    p.weight[:] = np.finfo(real).max / 5
    p.scale = 1 / p.weight.sum(dtype="float64")
    same_run(backend, reference, p, cases.update_config(loss=Loss.LOG_LOSS), None, real)


@pytest.mark.parametrize("solver", SOLVERS, ids=solver_id)
def test_counters(backend, solver):
    p = small(n=70)
    for batch_size, steps in ((16, 5), (70, 1), (1000, 1)):
        config = cases.update_config(solver=solver, batch_size=batch_size)
        state, history, [(epochs, status)] = cases.descend(backend, p, config, 4)
        assert (epochs, status) == (4, Status.RAN)
        assert state.counters[Counter.EPOCHS] == 4
        assert state.counters[Counter.STEPS] == 4 * steps
        assert state.counters[Counter.STEP] == history[-1, 2] > 0


def test_first_step_is_the_textbook_one(backend):
    p = small()
    value, coef, intercept = cases.gradient(backend, p)
    state, history, _ = cases.descend(backend, p, cases.update_config(learning_rate=0.25), 1)
    np.testing.assert_allclose(state.coef, p.coef - 0.25 * coef, rtol=1e-14)
    np.testing.assert_allclose(state.intercept, p.intercept - 0.25 * intercept, rtol=1e-14)
    norm = max(np.abs(coef).max(), np.abs(intercept).max())
    np.testing.assert_allclose(history[0], [value, norm, 0.25], rtol=1e-14)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
@pytest.mark.parametrize("solver", SOLVERS, ids=solver_id)
def test_converged(backend, reference, solver, penalty):
    """A run ends before the first step whose gradient is within the tolerance."""
    p = small()
    config = cases.update_config(solver=solver, learning_rate=0.05, **penalty)
    _, history, _ = cases.descend(reference, p, config, 40)
    norms = history[:, 1]
    # The first epoch that undercuts every earlier one by a clear margin.
    stop = next(i for i in range(5, 40) if norms[i] < 0.999 * norms[:i].min())
    tol = float(np.sqrt(norms[stop] * norms[:stop].min()))
    state, history, [(epochs, status)] = cases.descend(backend, p, config._replace(tol=tol), 40)
    assert (epochs, status) == (stop, Status.CONVERGED)
    assert state.counters[Counter.EPOCHS] == state.counters[Counter.STEPS] == stop
    assert np.isfinite(history[: stop + 1]).all()
    assert np.isnan(history[stop + 1 :]).all(), "a row after the last is filled"
    before, *_ = cases.descend(backend, p, config, stop)
    np.testing.assert_array_equal(state.coef, before.coef)


def test_batches_do_not_stop_at_the_tolerance(backend):
    p = small()
    config = cases.update_config(batch_size=16, tol=1e9)
    assert cases.descend(backend, p, config, 3)[2] == [(3, Status.RAN)]


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("solver", (Solver.GD, Solver.MOMENTUM, Solver.NESTEROV), ids=solver_id)
def test_too_large_a_step_is_seen(backend, solver, kind):
    p = small()
    batch_size, order = batches(kind, p.X.shape[0], 50)
    config = cases.update_config(solver=solver, batch_size=batch_size, l2=1.0, learning_rate=1e30)
    state, history, [(epochs, status)] = cases.descend(backend, p, config, 50, order)
    assert status == Status.NONFINITE
    assert state.counters[Counter.EPOCHS] == epochs < 50
    assert np.isfinite(history[:epochs]).all()
    assert not np.isfinite(history[epochs, :2]).all()
    assert np.isnan(history[epochs + 1 :]).all()


@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("where", ("dense", "F", "CSR"))
def test_bad_features_are_seen(kernels, where, bad):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 17))
    X[150, 3] = bad
    if where == "CSR":
        X = cases.sp.csr_array(X)
    elif where == "F":
        X = np.asfortranarray(X)
    p = cases.problem(X, (1, False, "real", Loss.SQUARED_ERROR), rng)
    before = p.coef.copy()
    with np.errstate(invalid="ignore"):
        state, _, answers = cases.descend(kernels, p, cases.update_config(), 5)
    assert answers == [(0, Status.NONFINITE)]
    np.testing.assert_array_equal(state.coef, before)


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
@pytest.mark.parametrize("layout", ("C", "F"))
def test_norm_of_what_is_not_finite(kernels, layout, penalty, kind):
    """No number stands for a gradient that has none, wherever it has none."""
    cut = (1, 3), ((4, 2), (70, 9), (300, 33)), (0.0, 1.0), (np.nan, np.inf)
    for n_outputs, (n, d), size, bad in itertools.product(*cut):
        p = small(n=n, d=d, setting=(n_outputs, False, "uint8", Loss.LOG_LOSS))
        p.coef *= size
        p.X[n // 3, d // 2] = bad
        p.X = cases.LAYOUTS[layout](p.X)
        batch_size, order = batches(kind, n, EPOCHS)
        config = cases.update_config(batch_size=batch_size, learning_rate=0.01, **penalty)
        with np.errstate(invalid="ignore"):
            _, history, answers = cases.descend(kernels, p, config, EPOCHS, order)
        what = f"{n_outputs} {n} x {d} {size} {bad} {history[0]}"
        assert answers == [(0, Status.NONFINITE)], what
        assert not np.isfinite(history[0, 1]), what


def test_l1_gives_exact_zeros(backend):
    """Features that say nothing end at 0, and the subgradient there vanishes."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((400, 10))
    p = cases.problem(X, (1, False, "real", Loss.LOG_LOSS), rng)
    p.y = (X[:, :1].T + rng.standard_normal((1, 400)) > 0).astype(float)
    config = cases.update_config(solver=Solver.NESTEROV, learning_rate=1.0, l1=0.1, tol=1e-9)
    state, history, [(epochs, status)] = cases.descend(backend, p, config, 3000)
    assert status == Status.CONVERGED
    assert (state.coef[0, 1:] == 0).sum() >= 7
    assert state.coef[0, 0] > 0.3
    assert history[epochs, 1] <= 1e-9


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("dtype", (*cases.DENSE_TYPES, "F", "CSR"))
def test_threads_change_no_bit(kernels, dtype, kind):
    """1, 2, 3 and 8 threads, for work that is large enough to be shared out."""
    rng = np.random.default_rng(6)
    n, d = 30_011, 23
    if dtype == "CSR":
        X = cases.sparse("float64", "int32", n, d, rng)
    elif dtype == "F":
        X = np.asfortranarray(cases.dense("float32", n, d, rng))
    else:
        X = cases.dense(dtype, n, d, rng)
    p = cases.problem(X, (3, True, "uint8", Loss.SQUARED_ERROR), rng)
    batch_size = n if kind == "full" else 8192
    order = np.array([rng.permutation(n)] * 3, np.int32) if kind == "shuffled" else None
    config = cases.update_config(solver=Solver.MOMENTUM, batch_size=batch_size, learning_rate=1e-4)

    def everything(n_threads):
        run = cases.descend(kernels, p, config, 3, order, n_threads=n_threads)
        pieces = [*run[0], run[1]]
        if kind == "full":
            pieces += cases.gradient(kernels, p, n_threads)
            pieces.append(cases.predict(kernels, p, cases.Activation.LOGISTIC, n_threads))
        return [np.asarray(a).tobytes() for a in pieces]

    alone = everything(1)
    for n_threads in (2, 3, 8):
        assert everything(n_threads) == alone, f"{n_threads} threads"


@pytest.mark.parametrize("dtype", cases.SPARSE_TYPES)
def test_threads_share_a_long_sum(kernels, reference, dtype):
    """Features so many that the threads also share the sum of the chunks' gradients."""
    rng = np.random.default_rng(7)
    n, d, entries = 6000, 9000, 120
    indices = rng.integers(0, d, n * entries, dtype=np.int32)
    values = rng.standard_normal(n * entries).astype(dtype)
    indptr = np.arange(0, n * entries + 1, entries, dtype=np.int32)
    X = cases.sp.csr_array((values, indices, indptr), shape=(n, d))
    p = cases.problem(X, (3, False, "uint8", Loss.SQUARED_ERROR), rng)
    alone = cases.gradient(kernels, p)
    expected = cases.gradient(reference, p)
    for name, a, e in zip(("value", "coef", "intercept"), alone, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-3, atol=1e-5, err_msg=name)
    for n_threads in (2, 3, 8):
        several = cases.gradient(kernels, p, n_threads)
        for a, s in zip(alone, several, strict=True):
            np.testing.assert_array_equal(a, s, err_msg=f"{n_threads} threads")
