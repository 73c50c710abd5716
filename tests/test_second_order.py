"""Newton's method, L-BFGS and proximal Newton: the optimum, whatever the data do."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.linalg import block_diag
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax
from sklearn.exceptions import ConvergenceWarning

import schuss
from schuss import driver
from schuss.losses import LOSSES, MULTINOMIAL
from schuss.objective import Objective
from schuss.solvers import curvature, proximal, row_space, second_order
from schuss.solvers.problem import Problem
from schuss.solvers.second_order import SecondOrder


def rows(n, d, rng, n_classes=2):
    X = rng.standard_normal((n, d))
    z = X @ rng.standard_normal((d, n_classes)) / np.sqrt(d)
    return X, (2 * z + rng.gumbel(size=z.shape)).argmax(axis=1).astype(np.uint8)


def objective(backend, X, y, loss, weight=None, n_outputs=1, **options):
    loss = LOSSES.get(loss, loss)
    return Objective(backend, X, y, weight, loss, n_outputs=n_outputs, **{"alpha": 1e-3, **options})


def run(objective, max_iter=200, **options):
    coef = np.zeros((objective.n_outputs, objective.n_features), objective.dtype)
    intercept = np.zeros(objective.n_outputs, objective.dtype)
    solver = SecondOrder(objective, coef, intercept, **options)
    return solver, driver.run(solver, max_iter=max_iter)


CASES = [("log_loss", 1), ("squared_error", 1), ("log_loss", 3), (MULTINOMIAL, 3)]


@pytest.mark.parametrize("weighted", (False, True))
@pytest.mark.parametrize("loss, n_outputs", CASES)
def test_hessian_is_the_derivative_of_the_gradient(loss, n_outputs, weighted):
    rng = np.random.default_rng(0)
    X, y = rows(60, 4, rng, max(2, n_outputs))
    if loss == "squared_error":
        # Gauss-Newton is exact where the residuals are 0.
        theta = rng.standard_normal((n_outputs, 5))
        y = expit(X @ theta[:, :-1].T + theta[:, -1])
    else:
        theta = rng.standard_normal((n_outputs, 5))
    weight = rng.random(60) if weighted else None
    problem = Problem(
        objective(schuss.backends.current(), X, y, loss, weight, n_outputs, alpha=0.1)
    )
    problem._pin = lambda *args: None
    theta = theta.ravel()
    blocks = problem.hessian(theta)
    full = np.zeros((problem.size, problem.size))
    r = blocks.shape[1]
    for i, block in enumerate(blocks):
        full[i * r : (i + 1) * r, i * r : (i + 1) * r] = block
    h = 1e-5
    for j in range(problem.size):
        step = np.zeros(problem.size)
        step[j] = h
        slope = (problem.evaluate(theta + step)[1] - problem.evaluate(theta - step)[1]) / (2 * h)
        np.testing.assert_allclose(full[j], slope, atol=1e-8)
    np.testing.assert_allclose(problem.diagonal(theta), full.diagonal(), atol=1e-12)


@pytest.mark.parametrize("weighted", (False, True))
def test_kronecker_product_is_the_hessian_of_classes_alike(weighted):
    rng = np.random.default_rng(0)
    X, y = rows(60, 4, rng, 3)
    weight = rng.random(60) if weighted else None
    o = objective(schuss.backends.current(), X, y, MULTINOMIAL, weight, 3)
    product = np.kron(*o.kronecker(np.zeros((3, 5))))
    np.testing.assert_allclose(product, o.hessian(np.zeros((3, 5)))[0], atol=1e-15)


def test_blocks_of_classes_are_those_of_the_hessian():
    rng = np.random.default_rng(0)
    X, y = rows(60, 4, rng, 3)
    problem = Problem(objective(schuss.backends.current(), X, y, MULTINOMIAL, None, 3))
    problem._pin = lambda *args: None
    theta = rng.standard_normal(15)
    whole, parts = problem.hessian(theta)[0], problem.hessian(theta, coupled=False)
    assert parts.shape == (3, 5, 5)
    for k, part in enumerate(parts):
        place = slice(5 * k, 5 * k + 5)
        np.testing.assert_allclose(part, whole[place, place], atol=1e-15)


@pytest.mark.parametrize("penalised", (4, 5))
def test_blocks_of_classes_leave_what_all_have_alike(penalised):
    rng = np.random.default_rng(0)
    parts = rng.standard_normal((3, 20, 5))
    blocks = parts.transpose(0, 2, 1) @ parts
    l2 = np.zeros(5)
    l2[:penalised] = 0.1
    mean = np.kron(np.full((3, 3), 1 / 3), np.eye(5))
    rest = np.eye(15) - mean
    penalty = np.kron(np.eye(3), np.diag(np.divide(1, l2, out=np.zeros(5), where=l2 > 0)))
    expected = rest @ block_diag(*map(np.linalg.inv, blocks)) @ rest + mean @ penalty
    model = curvature.ClassBlocks(blocks, l2)
    found = np.column_stack([model.solve(column) for column in np.eye(15)])
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("C", (1.0, 100.0))
def test_columns_that_are_nearly_always_0_cost_few_passes(C):
    rng = np.random.default_rng(0)
    n, d = 12_000, 120
    X = rng.standard_normal((n, d))
    X[:, ::4] = 5 * (rng.random((n, 30)) < 5e-4)
    X[:, 1] = 0.0
    z = X @ rng.standard_normal((d, 4)) / 5
    y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    best = schuss.LogisticRegression(C=C, tol=1e-7, max_iter=1000).fit(X, y)
    model = schuss.LogisticRegression(C=C, tol=2e-6).fit(X, y)
    # Where the model takes what a sample lacks for flat it takes 551 at C = 100.
    assert best.converged_ and model.fit_info_["passes"] <= 60
    assert model.loss_ <= best.loss_ * (1 + 1e-6)


@pytest.mark.parametrize("r", (1, 5, 48, 49, 130))
def test_inverse_of_a_factor(r):
    part = np.random.default_rng(r).standard_normal((2 * r, r))
    matrix = part.T @ part
    inverse = curvature.inverse(curvature.factorise(matrix))
    np.testing.assert_allclose(inverse @ matrix, np.eye(r), atol=1e-10)


@pytest.mark.parametrize("n, d, most", ((10_000, 20, 6), (3000, 150, 20)))
@pytest.mark.parametrize("dtype", (np.float64, np.float32))
def test_classes_take_few_passes(dtype, n, d, most):
    rng = np.random.default_rng(1)
    X, y = rows(n, d, rng, 5)
    best = schuss.LogisticRegression(tol=1e-9, max_iter=1000).fit(X, y)
    assert best.converged_
    model = schuss.LogisticRegression(tol=1e-12, max_iter=most - most // 10 - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X.astype(dtype), y)
    assert model.fit_info_["passes"] <= most
    assert model.loss_ <= best.loss_ * (1 + 1e-6)
    assert bool(model.fit_info_["sample_size"]) == (n > 100 * d)


@pytest.mark.parametrize("loss", ("squared_error", "log_loss"))
@pytest.mark.parametrize("solver", ("newton", "lbfgs"))
def test_many_rows_take_few_passes(solver, loss):
    rng = np.random.default_rng(1)
    X, y = rows(20_000, 20, rng)
    model = schuss.SigmoidClassifier(loss, solver, tol=1e-6).fit(X.astype(np.float32), y)
    # Two more where there might be no minimum, without a penalty.
    assert model.converged_ and model.fit_info_["passes"] <= 8 + 2 * (loss == "log_loss")
    assert model.fit_info_["algorithm"] == solver and model.fit_info_["sample_size"] == 1680
    # The same from weights where no sample is of use.
    again = schuss.SigmoidClassifier(loss, solver, tol=1e-6, max_iter=1000, warm_start=True)
    again.coef_, again.intercept_ = model.coef_ + 0.5, model.intercept_ - 0.5
    again.classes_, again.n_features_in_ = model.classes_, 20
    again.fit(X, y)
    assert again.loss_ == pytest.approx(model.loss_, rel=1e-6)


@pytest.mark.parametrize("layout", ("dense", "csr"))
@pytest.mark.parametrize("loss, n_outputs", CASES)
def test_optimum_is_that_of_scipy(kernels, loss, n_outputs, layout):
    rng = np.random.default_rng(1)
    X, y = rows(300, 6, rng, max(2, n_outputs))
    X = sp.csr_array(X) if layout == "csr" else X
    o = objective(kernels, X, y, loss, None, n_outputs, alpha=0.01)
    solver, outcome = run(o, tol=1e-9)
    assert outcome.stop_reason == "converged" and solver.norm <= 1e-9
    problem = Problem(o)
    best = minimize(problem.evaluate, np.zeros(problem.size), jac=True, method="BFGS",
                    options={"gtol": 1e-9})  # fmt: skip
    assert outcome.loss <= best.fun * (1 + 1e-12)
    np.testing.assert_allclose(solver.theta, best.x, atol=1e-5)


@pytest.mark.parametrize("l1_ratio", (0.3, 1.0))
@pytest.mark.parametrize("loss, n_outputs", CASES)
def test_l1_meets_its_optimality_conditions(loss, n_outputs, l1_ratio):
    rng = np.random.default_rng(2)
    X, y = rows(400, 12, rng, max(2, n_outputs))
    o = objective(
        schuss.backends.current(), X, y, loss, None, n_outputs, alpha=0.06, l1_ratio=l1_ratio
    )
    solver, outcome = run(o, tol=1e-10)
    assert outcome.stop_reason == "converged"
    _, gradient = solver.problem.evaluate(solver.theta)
    zero = solver.theta == 0
    assert zero.any() and not zero.all()
    l1 = solver.problem.l1
    assert (np.abs(gradient[zero]) <= l1[zero] + 1e-10).all()
    np.testing.assert_allclose(
        gradient[~zero], -(l1 * np.sign(solver.theta))[~zero], rtol=0, atol=1e-10
    )


def test_l1_of_many_features_by_lbfgs(monkeypatch):
    rng = np.random.default_rng(3)
    X, y = rows(300, 40, rng)
    o = objective(schuss.backends.current(), X, y, "log_loss", alpha=0.02, l1_ratio=1.0)
    newton, _ = run(o, tol=1e-9)
    monkeypatch.setattr(second_order, "_NEWTON_PRODUCTS", 0)
    lbfgs, outcome = run(o, tol=1e-7, max_iter=2000)
    assert lbfgs.method == "lbfgs" and outcome.stop_reason == "converged"
    np.testing.assert_allclose(lbfgs.theta, newton.theta, atol=1e-5)


def test_quadratic_with_l1_of_bad_condition():
    rng = np.random.default_rng(4)
    q, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    hessian = q @ np.diag(np.logspace(-6, 2, 30)) @ q.T
    gradient, theta, l1 = rng.standard_normal((3, 30))
    l1 = np.abs(l1) * 0.5
    t = proximal.minimise(hessian, gradient, theta, l1, 1e-10)
    slope = gradient + hessian @ (t - theta)
    assert np.abs(proximal.smallest_subgradient(slope, t, l1)).max() <= 1e-7


# ---------------------------------------------------------------------------
# Samples that mislead.

N, D = 20_000, 12


def _sorted_by_class(X, y, rng):
    order = np.argsort(y, kind="stable")
    return X[order], y[order]


def _rare_class(X, y, rng):
    return X, (rng.random(N) < expit(X[:, 0] - 8)).astype(np.uint8)


def _heavy_tails(X, y, rng):
    X = rng.standard_t(1.2, (N, D))
    return X, (rng.random(N) < expit(np.clip(X[:, 0] / 3, -30, 30))).astype(np.uint8)


def _rare_features(X, y, rng):
    X = X.copy()
    X[:, :5] = 0
    for j in range(5):
        X[rng.choice(N, 15), j] = 10.0 ** (j - 1)
    return X, y


def _scales(X, y, rng):
    return X * np.logspace(-5, 5, D), y


def _copies(X, y, rng):
    return np.column_stack([X, X[:, 0], np.ones(N)]), y


TRAPS = (_sorted_by_class, _rare_class, _heavy_tails, _rare_features, _scales, _copies)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__.strip("_"))
def test_bad_samples_cost_passes_never_the_answer(trap):
    rng = np.random.default_rng(5)
    X, y = trap(*rows(N, D, rng), rng)
    o = objective(schuss.backends.current(), X, y, "log_loss", alpha=1 / N)
    sampled, outcome = run(o, tol=1e-8)
    assert sampled.method == "lbfgs" and sampled._sample
    newton, _ = run(o, tol=1e-9, exact=True)
    assert outcome.stop_reason == "converged"
    assert outcome.loss == pytest.approx(newton.loss, rel=1e-9)
    assert sampled.problem.passes <= 60


def test_weights_that_leave_few_rows():
    rng = np.random.default_rng(6)
    X, y = rows(N, D, rng)
    weight = np.zeros(N)
    weight[:100] = 1.0
    few = objective(schuss.backends.current(), X[:100], y[:100], "log_loss", alpha=0.01)
    all_ = objective(schuss.backends.current(), X, y, "log_loss", weight, alpha=0.01)
    a, b = run(few, tol=1e-9)[0], run(all_, tol=1e-9)[0]
    np.testing.assert_allclose(b.theta, a.theta, atol=1e-6)


def test_few_passes_where_rows_are_many():
    rng = np.random.default_rng(7)
    X, y = rows(100_000, 20, rng)
    X = X.astype(np.float32)
    o = objective(schuss.backends.current(), X, y, "log_loss", alpha=1e-5)
    solver, outcome = run(o, tol=1e-5)
    wide = objective(schuss.backends.current(), X.astype(np.float64), y, "log_loss", alpha=1e-5)
    best = run(wide, tol=1e-10)[1].loss
    reached = outcome.history["loss"] <= best * (1 + 1e-6)
    # The first pass is where the run begins.
    assert 1 + np.argmax(reached) + 1 <= 6 and reached.any()
    assert len(outcome.history["loss"]) == outcome.n_iter


def test_same_bits_at_each_call_and_for_all_threads():
    rng = np.random.default_rng(8)
    X, y = rows(200_000, 15, rng)
    fits = []
    for threads in (1, 2, 1):
        o = objective(schuss.backends.current(), X, y, "log_loss", n_threads=threads)
        fits.append(run(o, tol=1e-8)[0].theta)
    assert (fits[0] == fits[1]).all() and (fits[0] == fits[2]).all()


@pytest.mark.parametrize("loss", ("log_loss", "squared_error"))
@pytest.mark.parametrize("solver", ("lbfgs", "newton"))
@pytest.mark.parametrize("n_classes", (2, 3))
def test_sigmoid_neurons(loss, solver, n_classes):
    rng = np.random.default_rng(9)
    X, y = rows(500, 5, rng, n_classes)
    options = {"loss": loss, "alpha": 0.01, "tol": 1e-7}
    model = schuss.SigmoidClassifier(solver=solver, **options).fit(X, y)
    slow = schuss.SigmoidClassifier(solver="nesterov", max_iter=20_000, **options).fit(X, y)
    assert model.stop_reason_ == "converged" and model.n_iter_ < 60
    assert (np.diff(model.history_["loss"]) <= 1e-12).all()
    assert model.loss_ == pytest.approx(slow.loss_, rel=1e-8)
    np.testing.assert_allclose(model.coef_, slow.coef_, atol=1e-4)


def test_tolerance_of_zero_ends_at_rounding():
    rng = np.random.default_rng(10)
    X, y = rows(300, 5, rng)
    for dtype in (np.float64, np.float32):
        model = schuss.SigmoidClassifier(
            loss="log_loss", solver="newton", alpha=0.01, tol=0.0, max_iter=100
        ).fit(X.astype(dtype), y)
        assert model.stop_reason_ == "precision" and model.n_iter_ < 30
        assert not model.converged_


def test_what_these_solvers_do_not_take(tmp_path):
    X, y = [[0.0], [1.0], [2.0]], [0, 1, 1]
    for options, name in (({"batch_size": 2}, "batch_size=2"), ({"learning_rate": 0.5}, "0.5")):
        with pytest.raises(ValueError, match=f"{name}.*lbfgs"):
            schuss.SigmoidClassifier(solver="lbfgs", **options).fit(X, y)
    with pytest.raises(ValueError, match="partial_fit"):
        schuss.SigmoidClassifier(solver="newton").partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="checkpoint"):
        schuss.train(X, y, solver="newton", checkpoint=tmp_path / "c")
    with pytest.warns(ConvergenceWarning, match="Not converged after"):
        schuss.SigmoidClassifier(solver="newton", max_iter=1, tol=1e-12).fit(X, [0, 1, 0])


def test_interrupt_keeps_the_last_step(monkeypatch):
    rng = np.random.default_rng(11)
    X, y = rows(300, 5, rng)
    X = sp.csr_matrix(X)  # whose steps are taken one by one
    calls = []
    evaluate = Problem.evaluate

    def interrupted(self, theta):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return evaluate(self, theta)

    monkeypatch.setattr(Problem, "evaluate", interrupted)
    with pytest.warns(UserWarning, match="interrupted after 2 of 100"):
        model = schuss.LogisticRegression(tol=1e-10).fit(X, y)
    assert model.stop_reason_ == "interrupted" and model.n_iter_ == 2
    monkeypatch.undo()
    with pytest.warns(ConvergenceWarning):
        two = schuss.LogisticRegression(tol=1e-10, max_iter=2).fit(X, y)
    assert (model.coef_ == two.coef_).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_features_that_are_not_finite(bad, dtype):
    """They are found by the first gradient, wherever the run begins."""
    rng = np.random.default_rng(12)
    for n, d, options in (
        (200, 4, {}), (200, 4, {"l1_ratio": 1, "solver": "saga"}), (200, 4, {"max_iter": 0}),
        (20_000, 40, {}), (3000, 900, {"fit_intercept": False}),
    ):  # fmt: skip
        X, y = rows(n, d, rng)
        X = X.astype(dtype)
        X[n // 2 + 1, d - 1] = bad
        weight = (np.arange(n) != n // 2 + 1).astype(float)
        for y_, weight_ in ((y, None), (y, weight), (np.zeros(n, int), None)):
            with pytest.raises(ValueError, match="Input X contains"):
                schuss.LogisticRegression(**options).fit(X, y_, weight_)


@pytest.mark.parametrize("wrong", (np.nan, np.inf))
def test_prediction_refuses_what_is_not_finite(wrong):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    model = schuss.LogisticRegression().fit(X, X[:, 0] > 0)
    X[41, 2] = wrong
    message = "Input X contains NaN" if np.isnan(wrong) else "Input X contains infinity"
    for answer in (model.predict, model.predict_proba, model.decision_function):
        with pytest.raises(ValueError, match=message):
            answer(X)


def test_scores_of_finite_rows_may_overflow():
    X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    model = schuss.LogisticRegression(C=1e3).fit(X, [0, 0, 1, 1])
    largest = np.finfo(np.float64).max
    assert model.predict_proba([[largest], [-largest]]).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(("dtype", "scale"), [(np.float64, 1e300), (np.float32, 1e30)])
@pytest.mark.parametrize("penalty", [{}, {"l1_ratio": 1.0, "solver": "saga"}, {"C": np.inf}])
def test_features_near_overflow_have_units_of_their_own(dtype, scale, penalty):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    y = rng.random(300) < expit(X @ [1.0, -2.0, 0.0])
    X[:, 0] *= scale
    # Of that size no weight is penalised that has any effect.
    with warnings.catch_warnings():
        # A last digit of those weights moves the gradient by far more than tol.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = schuss.LogisticRegression(**penalty).fit(X.astype(dtype), y)
    assert model.stop_reason_ in ("converged", "precision") and model.coef_.all()
    plain = schuss.LogisticRegression(C=np.inf).fit(X / [scale, 1, 1], y)
    np.testing.assert_allclose(model.coef_[0, 0] * scale, plain.coef_[0, 0], rtol=0.05)


def test_where_the_first_gradient_overflows_the_error_says_what_to_do():
    X = np.random.default_rng(0).uniform(-1, 1, (300, 3)) * 1e308
    model = schuss.LogisticRegression()
    with pytest.raises(schuss.DivergenceError, match="scale the feat"):
        model.fit(X, X[:, 0] > 0)
    assert not hasattr(model, "coef_")


def gradient(model, X, y, alpha=0.0):
    """Of the mean objective of two classes, as the user would compute it."""
    X = X.astype(np.float64)
    residual = expit(X @ model.coef_[0] + model.intercept_[0]) - y
    return np.append(X.T @ residual / len(y) + alpha * model.coef_[0], residual.mean())


def three_features(n=300, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    return X, (rng.random(n) < expit(X @ [1.0, -2.0, 0.5])).astype(np.uint8), rng


@pytest.mark.parametrize("size", [1.4e18, 1e16, 1e20, 1e40, 1e69])
def test_a_gradient_above_tol_is_not_converged(size):
    """A column of times in nanoseconds, and others of which no float64 meets the tolerance."""
    X, y, rng = three_features()
    X[:, 2] = size * (1 + 0.02 * rng.random(300))
    with pytest.warns(ConvergenceWarning, match=r"largest entry of the gradient is .* tol=0.0001"):
        model = schuss.LogisticRegression().fit(X, y)
    assert np.abs(gradient(model, X, y, 1 / 300)).max() > model.tol
    assert model.stop_reason_ == "precision" and not model.converged_
    assert model.history_["gradient_norm"][-1] > model.tol


@pytest.mark.parametrize("estimator", ("train", "SigmoidClassifier"))
@pytest.mark.parametrize("solver", ("newton", "lbfgs"))
def test_neurons_say_that_rounding_ended_them(estimator, solver):
    X, y, rng = three_features()
    X[:, 2] = 1e40 * (1 + 0.02 * rng.random(300))
    options = {"loss": "log_loss", "solver": solver, "tol": 1e-4}
    with pytest.warns(ConvergenceWarning, match=r"rounding .* gradient is .* tol=0.0001"):
        if estimator == "train":
            result = schuss.train(X, y, **options)
            ended = result.stop_reason, result.converged
        else:
            model = schuss.SigmoidClassifier(**options).fit(X, y)
            ended = model.stop_reason_, model.converged_
    assert ended == ("precision", False)


def test_small_features_have_the_optimum_of_large_ones():
    X, y, _ = three_features()
    plain = schuss.LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="tol=0"):
        small = schuss.LogisticRegression(C=np.inf, tol=0).fit(X * 1e-15, y)
    assert small.stop_reason_ == "precision"
    assert small.loss_ == pytest.approx(plain.loss_, rel=1e-12)
    np.testing.assert_allclose(small.coef_ * 1e-15, plain.coef_, rtol=1e-6)


@pytest.mark.parametrize("dtype", (np.float64, np.float32))
@pytest.mark.parametrize("options", ({}, {"l1_ratio": 1.0, "solver": "saga"}))
@pytest.mark.parametrize("n_classes", (2, 3))
def test_the_intercept_is_fitted_however_strong_the_penalty(dtype, options, n_classes):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((300, 3)).astype(dtype)
    y = rng.choice(n_classes, 300, p=[0.8, 0.2] if n_classes == 2 else [0.7, 0.2, 0.1])
    shares = np.log(np.bincount(y) / 300)
    expected = shares[1:] - shares[0] if n_classes == 2 else shares - shares.mean()
    for C in (1e-10, 1e-30, 1e-38):
        model = schuss.LogisticRegression(C=C, tol=1e-6, **options).fit(X, y)
        np.testing.assert_allclose(model.intercept_, expected, atol=1e-4)
        assert np.abs(model.coef_).max() < 1e-8


@pytest.mark.parametrize("layout", (np.asarray, sp.csr_array))
def test_dependent_features_in_float32_have_small_weights(layout):
    rng = np.random.default_rng(4)
    X = rng.standard_normal((2000, 4)).astype(np.float32)
    y = (rng.random(2000) < expit(X @ [1.0, -1.0, 2.0, 0.0])).astype(np.uint8)
    X = np.concatenate([X, X[:, :2] + X[:, 2:], X[:, 3:]], axis=1)
    for tol in (1e-4, 1e-6):
        model = schuss.LogisticRegression(C=np.inf, tol=tol).fit(layout(X), y)
        assert np.abs(model.coef_).max() < 10
        assert np.abs(gradient(model, X, y)).max() < 2 * tol


def test_float32_is_held_to_the_tolerance():
    rng = np.random.default_rng(5)
    X, y = rows(3000, 50, rng, 10)
    with pytest.warns(ConvergenceWarning, match="float64"):
        model = schuss.LogisticRegression(tol=1e-10).fit(X.astype(np.float32), y)
    assert model.stop_reason_ == "precision"
    assert model.history_["gradient_norm"][-1] > 1e-10
    model.fit(X, y)
    assert model.converged_ and model.history_["gradient_norm"][-1] <= 1e-10


@pytest.mark.parametrize("loss", ("log_loss", "squared_error"))
@pytest.mark.parametrize("dtype", (np.float64, np.float32))
@pytest.mark.parametrize("solver", ("newton", "lbfgs"))
def test_any_penalty_ends_with_small_weights(solver, dtype, loss):
    X, y, _ = three_features()
    model = schuss.SigmoidClassifier(loss=loss, solver=solver, alpha=1e308)
    with warnings.catch_warnings():
        # No float32 is as small as the weights are then.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X.astype(dtype), y)
    assert float(np.abs(model.coef_).max()) < 1e-300
    assert expit(model.intercept_) == pytest.approx(y.mean(), abs=1e-4)
    assert model.converged_ == (dtype is np.float64)


@pytest.mark.parametrize("scale", (1e-42, 1e-30, 1e30))
def test_float32_at_the_ends_of_its_range(scale):
    X, y, _ = three_features()
    X = (X * scale).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = schuss.LogisticRegression().fit(X, y)
    largest = np.abs(gradient(model, X, y, 1 / 300)).max()
    assert model.converged_ == (largest <= 1e-4)
    assert np.isfinite(model.coef_).all() and model.score(X, y) > 0.5


def test_row_space_of_a_gram_matrix():
    rng = np.random.default_rng(4)
    X, y = rows(12, 40, rng)
    problem = Problem(objective(schuss.backends.current(), X, y, "log_loss"))
    space = row_space.RowSpace(problem)
    u, b = rng.standard_normal((1, 12)), rng.standard_normal(1)
    coef, intercept = np.empty((1, 40)), np.empty(1)
    problem.split(space.join(u, b), coef, intercept)
    lower = space.objective.scores(np.column_stack([u, b]))
    np.testing.assert_allclose(X @ coef[0] + intercept, lower[:, 0], atol=1e-12)
    assert np.sum(coef**2) == pytest.approx(np.sum(u**2))


@pytest.mark.parametrize("kind", ("float64", "float32", "uint8", "F", "far", "repeated"))
@pytest.mark.parametrize("C", (1e-5, 1.0, 1e4))
@pytest.mark.parametrize(
    "n_classes, options",
    [(2, {}), (2, {"fit_intercept": False}), (3, {}), (2, {"solver": "liblinear"})],
)
def test_fewer_rows_than_features(kind, C, n_classes, options):
    rng = np.random.default_rng(5)
    X, y = rows(40, 1000, rng, n_classes)
    X[:, :5] *= 30
    if kind == "far":
        X += rng.standard_normal(1000) * 1e3
    elif kind == "repeated":
        X[20:], y[20:30] = X[:20], y[:10]
    elif kind == "F":
        X = np.asfortranarray(X)
    elif kind == "uint8":
        X = (X * 20 + 128).clip(0, 255).astype(np.uint8)
    else:
        X = X.astype(kind)
    weight = rng.random(40) + 0.1
    model = schuss.LogisticRegression(C=C, max_iter=1000, **options).fit(X, y, weight)
    assert model.converged_ and model.fit_info_["algorithm"] == "lbfgs"
    K = len(model.coef_)
    sides = np.eye(n_classes)[y]
    pull = np.full(1001, 1 / C)
    pull[-1] = 1 / C if options.get("solver") == "liblinear" else 0
    columns = np.column_stack([X.astype(float), np.full(40, 1.0)])
    if "fit_intercept" in options:
        columns[:, -1] = 0

    def value(theta):
        theta = theta.reshape(K, 1001)
        z = columns @ theta.T
        z = np.column_stack([0 * z[:, 0], z]) if K == 1 else z
        p = softmax(z, axis=1)
        loss = weight @ (logsumexp(z, axis=1) - (z * sides).sum(axis=1))
        gradient = ((p - sides)[:, -K:] * weight[:, None]).T @ columns + pull * theta
        return loss + 0.5 * (pull * theta**2).sum(), gradient.ravel()

    found = np.column_stack([model.coef_, model.intercept_]).astype(float).ravel()
    best = minimize(
        value, found, jac=True, method="L-BFGS-B",
        options={"maxcor": 60, "ftol": 0, "gtol": 1e-12, "maxiter": 500},
    )  # fmt: skip
    assert value(found)[0] <= best.fun * (1 + 1e-6)
    passes = model.fit_info_["passes"]
    again = schuss.LogisticRegression(C=C, max_iter=1000, **options).fit(X, y, weight)
    assert (again.coef_ == model.coef_).all() and passes <= 20
