"""The kernel contract in plain NumPy: the reference for the other backends.

Written for readability, not for speed; `contract` describes the arguments and return values.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from schuss.backends.calls import c_function
from schuss.backends.codes import Codes, unknown_code
from schuss.backends.contract import Columns
from schuss.constants import (
    REAL_TYPE,
    Activation,
    Counter,
    Hidden,
    ModelReport,
    ModelStatus,
    Schedule,
    SGDScalar,
    Status,
    WalkScalar,
)
from schuss.losses import BY_CODE, Loss, Output, RowLoss
from schuss.methods import Solver
from schuss.sparse import without_duplicates

NAME = "numpy"

_CODES = Codes()

# Rows of a block; bounds the copy of rows that are not of the weights' type.
_BLOCK_ROWS = 4096
# Rows whose products are summed in float32, before the sums are added in float64, for a vector and
# for a matrix. More rows would lose digits.
_SUM_ROWS, _MATRIX_SUM_ROWS = 64, 256


def prepare(X):
    return X


def pointwise(z, y, loss, value, derivative):
    _CODES.check_pointwise(loss)
    value[...], derivative[...] = _loss(z, y, loss)


def gradient(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    _CODES.check_loss(loss)
    n = data.X.shape[0]
    return _rows_gradient(data, loss, coef, intercept, None, 0, n, 1.0, coef_grad, intercept_grad)


def evaluator(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    _CODES.check_loss(loss)
    arrays = coef, intercept, coef_grad, intercept_grad
    return functools.partial(gradient, data, loss, *arrays, n_threads)


def newton(data, config, theta, gradient, model, helper):
    _CODES.check_newton(config)
    return _Newton(data, config, theta, gradient, model)


class _Newton:
    """The callable that `newton` returns."""

    def __init__(self, data, config, theta, gradient, model):
        self._data, self._config = data, config
        self._theta, self._gradient = theta, gradient
        # `theta` at the end of the last call; the factorised Hessian, whether it serves for
        # the next step, whether it is that of `theta`, and the curvature pairs that update it.
        self._last = None
        self._factor = None if model is None else _factor(model, config.singular)
        self._serves = self._factor is not None
        self._current, self._pairs = False, []

    def __call__(self, history, hessian=None):
        steps, expected, gradients, hessians = self._advance(history)
        self._last = self._theta.copy()
        if hessian is not None:
            hessian[...] = _hessian(self._data, self._config, self._theta)
            hessians += 1
        return steps, expected, gradients, hessians

    def _advance(self, history):
        data, config, theta, gradient = self._data, self._config, self._theta, self._gradient
        real = REAL_TYPE[data.X.dtype]
        steps, expected, gradients, hessians = 0, math.inf, 0, 0
        if self._last is None or (theta != self._last).any():
            if self._last is not None:
                self._serves, self._factor = False, None
            self._current = False
            self._value = _objective(data, config, theta, gradient)
            self._norm = np.abs(gradient).max()
            gradients += 1
        while steps < len(history) and math.isfinite(self._value + self._norm):
            within = self._norm <= config.tol
            if within and (config.gap == math.inf or self._value < config.floor):
                break
            if not self._serves and not (within and self._factor is not None):
                hessians += 1
                self._factor = _factor(_hessian(data, config, theta), config.singular)
                self._serves, self._current, self._pairs = True, True, []
                if self._factor is None:
                    break
            direction = _two_loop_recursion(self._factor, self._pairs, -gradient)
            derivative = float(gradient @ direction)
            if within and -derivative / 2 <= config.gap * abs(self._value):
                expected = -derivative / 2
                break
            if not self._serves:
                self._factor = None
                continue
            trial = (theta + direction).astype(real).astype(np.float64)
            refused = not (derivative < 0 and math.isfinite(derivative)) or (trial == theta).all()
            if not refused:
                expected = -derivative / 2
                trial_gradient = np.empty_like(gradient)
                trial_value = _objective(data, config, trial, trial_gradient)
                gradients += 1
                trial_norm = np.abs(trial_gradient).max()
                noise = config.noise * abs(self._value)
                below_noise = expected <= noise
                bound = self._value + noise + (0 if below_noise else config.armijo * derivative)
                refused = (
                    not (math.isfinite(trial_value + trial_norm) and trial_value <= bound)
                    or below_noise
                    and not trial_norm < self._norm
                )
            if refused and self._current:
                break
            if refused:
                self._serves, self._factor = False, None
                continue
            step, change = trial - theta, trial_gradient - gradient
            product = float(step @ change)
            if product > np.finfo(float).eps * float(change @ change):
                self._pairs.append((step, change, product))
            self._serves = trial_norm <= config.rate * self._norm
            self._serves = self._serves and len(self._pairs) < config.steps
            self._value, self._norm, self._current = trial_value, trial_norm, False
            theta[...], gradient[...] = trial, trial_gradient
            history[steps] = trial_value, trial_norm, 1.0
            steps += 1
            if expected < config.enough:
                break
        return steps, expected, gradients, hessians


def _factor(hessian, singular):
    """Cholesky factor, or None if the matrix is singular to working accuracy."""
    try:
        factor = np.linalg.cholesky(hessian)
    except np.linalg.LinAlgError:
        return None
    pivots = factor.diagonal() ** 2
    return factor if (pivots > singular * hessian.diagonal()).all() else None


def _two_loop_recursion(factor, pairs, v):
    """H^-1 v of L-BFGS, from a factor and curvature pairs (Nocedal & Wright, algorithm 7.4)."""
    alphas = []
    for step, change, product in reversed(pairs):
        alphas.append(float(step @ v) / product)
        v = v - alphas[-1] * change
    v = np.linalg.solve(factor.T, np.linalg.solve(factor, v))
    for (step, change, product), alpha in zip(pairs, reversed(alphas), strict=True):
        v = v + (alpha - float(change @ v) / product) * step
    return v


def newton_many(data, order, extra, models, config, theta, variance, report, n_threads):
    _CODES.check_newton(config)
    for m, model in enumerate(models):
        rows = _model_rows(data, order, extra, model, config)
        begin = theta[m, 0].copy()
        for p, l2 in enumerate(config.l2):
            result = _newton_model(rows, config, float(l2), begin)
            status, report[m, p, 1:], theta[m, p], inverse = result
            report[m, p, ModelReport.STATUS] = status
            if variance is not None:
                variance[m, p] = inverse
            if status == ModelStatus.CONVERGED:
                begin = theta[m, p]


class _ModelRows(NamedTuple):
    X: np.ndarray  # [X, additional feature, 1]
    y: np.ndarray
    weight: np.ndarray
    real: np.dtype


def _model_rows(data, order, extra, model, config):
    """What a model learns from, in float64."""
    first, stop, target, weight, column = (int(part) for part in model)
    rows = slice(first, stop) if order is None else order[first:stop]
    X = data.X[rows]
    parts = [X.toarray() if sp.issparse(X) else X]
    n = len(parts[0])
    if column >= 0:
        parts.append(extra[rows, column : column + 1])
    if config.fit_intercept:
        parts.append(np.ones((n, 1)))
    return _ModelRows(
        np.concatenate([part.astype(np.float64) for part in parts], axis=1),
        data.y[target, rows].astype(np.float64),
        np.ones(n) if weight < 0 else data.sample_weight[weight, rows].astype(np.float64),
        REAL_TYPE[data.X.dtype],
    )


def _newton_model(rows, config, l2, begin):
    """Status, (steps, loss, norm), theta, and the diagonal of the inverse Hessian."""
    counts = rows.weight > 0
    y, total = rows.y[counts], rows.weight.sum()
    nothing = np.full(len(begin), np.nan)
    if not total > 0:
        return ModelStatus.NO_WEIGHT, (0, math.nan, math.nan), nothing, nothing
    if config.fit_intercept and ((y == 0).all() or (y == 1).all()):
        return ModelStatus.ONE_CLASS, (0, math.nan, math.nan), nothing, nothing
    penalty = np.full(len(begin), l2 / total)
    penalty[len(begin) - config.fit_intercept :] = 0
    free = l2 == 0 and config.loss == Loss.LOG_LOSS
    # Separable where all are on their sides, which soft targets have not.
    side = np.where(y == 1, 1, -1) if free and np.isin(y, (0, 1)).all() else None

    def evaluate(theta):
        z = rows.X @ theta
        value, derivative = _loss(z, rows.y, config.loss)
        value = rows.weight @ value / total + penalty @ theta**2 / 2
        gradient = (rows.weight * derivative) @ rows.X / total + penalty * theta
        return z, value, gradient

    def hessian(z):
        curvature = BY_CODE[config.loss].second_derivative(z) * rows.weight / total
        return (rows.X * curvature[:, None]).T @ rows.X + np.diag(penalty)

    with np.errstate(all="ignore"):
        theta, steps, moved = begin.astype(rows.real).astype(np.float64), 0, math.inf
        z, value, gradient = evaluate(theta)
        while True:
            norm = np.abs(gradient).max(initial=0)
            report = steps, value, norm
            if not math.isfinite(value + norm):
                return ModelStatus.NONFINITE, report, theta, nothing
            if side is not None and (side * z[counts] > 0).all():
                return ModelStatus.SEPARABLE, report, theta, nothing
            small, drifts = norm <= config.tol, free and moved > config.settled
            if small and not drifts:
                status = ModelStatus.CONVERGED
                break
            if steps == config.max_iter:
                status = ModelStatus.SEPARABLE if small and steps else ModelStatus.MAX_ITER
                break
            factor = _factor(hessian(z), config.singular)
            if factor is None:
                status = ModelStatus.SEPARABLE if free and steps else ModelStatus.COLLINEAR
                return status, report, theta, nothing
            step = np.linalg.solve(factor.T, np.linalg.solve(factor, -gradient))
            accepted = _halved(evaluate, config, rows.real, theta, value, gradient, step)
            if accepted is None:
                status = ModelStatus.CONVERGED if small else ModelStatus.PRECISION
                if small and drifts and steps:
                    status = ModelStatus.SEPARABLE
                break
            before = z
            theta, (z, value, gradient), t = accepted
            # By the whole step.
            moved = np.abs(z - before)[counts].max(initial=0) / t
            steps += 1
        factor = _factor(hessian(z) * total, config.singular)
        variance = nothing
        if factor is not None:
            variance = (np.linalg.inv(factor) ** 2).sum(axis=0)
        return status, report, theta, variance


def _halved(evaluate, config, real, theta, value, gradient, step):
    """Where the first step that serves leads, what is there, its share; None where none does."""
    derivative, norm = float(gradient @ step), np.abs(gradient).max()
    noise, t = config.noise * abs(value), 1.0
    for _ in range(config.halvings + 1):
        trial = (theta + t * step).astype(real).astype(np.float64)
        if not derivative < 0 or (trial == theta).all():
            return None
        found = evaluate(trial)
        below_noise = -t * derivative / 2 <= noise
        bound = value + noise + (0 if below_noise else config.armijo * t * derivative)
        smaller = np.abs(found[2]).max() < norm
        if math.isfinite(found[1]) and found[1] <= bound and (smaller or not below_noise):
            return trial, found, t
        t /= 2
    return None


def gradient_many(data, models, loss, theta, values, gradients, n_threads):
    _CODES.check_curved(loss)
    n, d = data.X.shape
    values[:], gradients[:] = 0, 0
    theta = theta.astype(REAL_TYPE[data.X.dtype])
    for rows in _blocks(0, n):
        X = _read(data.X, rows)
        for m, (_, _, target, weight, _) in enumerate(models.tolist()):
            z = X @ theta[m, :d] + theta[m, d:].sum()
            value, derivative = _loss(z, data.y[target, rows], loss)
            if weight >= 0:
                value, derivative = (
                    part * data.sample_weight[weight, rows] for part in (value, derivative)
                )
            values[m] += value.sum(dtype=np.float64)
            gradients[m, :d] += derivative @ X
            gradients[m, d:] += derivative.sum(dtype=np.float64)


def information(data, offset, fit_intercept, bias_reduced, singular, n_threads):
    n, d = data.X.shape
    r, real = d + fit_intercept, REAL_TYPE[data.X.dtype]

    def blocks(theta):
        """Rows of [X 1], their scores, targets and weights."""
        for rows in _blocks(0, n):
            X = np.ones((rows.stop - rows.start, r), real)
            X[:, :d] = data.X[rows]
            z = X @ theta.astype(real)
            z = z if offset is None else z + offset[rows]
            weight = 1.0 if data.sample_weight is None else data.sample_weight[rows]
            yield X, z, _targets(data.y, 1, rows)[:, 0].astype(real), weight

    def evaluate(theta, gradient, information):
        value = 0.0
        gradient[...] = information[...] = 0.0
        for X, z, y, weight in blocks(theta):
            losses, derivative = _loss(z, y, Loss.LOG_LOSS)
            value += (weight * losses).sum(dtype=np.float64)
            gradient += _sums(X, (weight * derivative)[:, None])[:, 0]
            X = X * np.sqrt(weight * _curvature(z, Loss.LOG_LOSS))[:, None]
            information += _sums(X, X, _MATRIX_SUM_ROWS)
        if not bias_reduced:
            return value
        factor = _factor(information, singular)
        if factor is None:
            return math.inf
        value -= np.log(factor.diagonal()).sum()
        for X, z, _, weight in blocks(theta):
            squares = np.square(np.linalg.solve(factor, X.T)).sum(axis=0)
            leverage = weight * _curvature(z, Loss.LOG_LOSS) * squares
            p, q = _logistic_pair(z)
            gradient += X.T @ (leverage * (p - q) / 2)
        return value

    def quiet(*arguments):
        with np.errstate(over="ignore", invalid="ignore"):
            return float(evaluate(*arguments))

    return quiet


def weighted_gram(X, factors, fit_intercept, out, n_threads):
    n, d = X.shape
    out[...] = 0.0
    for rows in _blocks(0, n):
        part = np.ones((rows.stop - rows.start, d + fit_intercept), factors.dtype)
        part[:, :d] = X[rows]
        part *= np.sqrt(factors[rows])[:, None]
        out += _sums(part, part, _MATRIX_SUM_ROWS)


def add_product(left, right, factor, out, upper):
    out += factor * (left.T @ right)


def descend(data, state, config, order, history, n_threads):
    _CODES.check_config(config)

    def evaluate(rows, start, stop, factor, coef_grad, intercept_grad):
        return _rows_gradient(
            data, config.loss, state.coef, state.intercept, rows, start, stop, factor,
            coef_grad, intercept_grad,
        )  # fmt: skip

    return descend_by(evaluate, data.X.shape[0], state, config, order, history)


def descend_by(evaluate, n, state, config, order, history):
    """`descend` over n rows, by a function of the mean loss of some of them.

    ``evaluate(rows, start, stop, factor, coef_grad, intercept_grad)`` returns ``factor`` times
    the share of the rows ``start`` to ``stop`` of the order `rows` in the mean loss, and writes
    that of its gradient.
    """
    state.counters[Counter.EPOCHS] = 0
    grad = np.empty_like(state.coef), np.empty_like(state.intercept)
    full = config.batch_size >= n
    if full or order is None:
        order = [None] * len(history)
    else:
        n = order.shape[1]
    for epoch, rows in enumerate(order):
        total = 0.0
        for start in range(0, n, config.batch_size):
            stop = min(start + config.batch_size, n)
            with np.errstate(over="ignore", invalid="ignore"):
                value = evaluate(rows, start, stop, n / (stop - start), *grad)
                norm, penalty = _add_penalty(state, config, *grad)
            total += value * (stop - start) / n
            if stop == n:
                total += penalty
                history[epoch] = total, norm, state.counters[Counter.STEP]
            if not (math.isfinite(total) and (stop < n or math.isfinite(norm))):
                history[epoch] = total, norm, state.counters[Counter.STEP]
                return epoch, Status.NONFINITE
            if full and norm <= config.tol:
                return epoch, Status.CONVERGED
            with np.errstate(over="ignore", invalid="ignore"):
                _step(state, config, full, *grad)
            history[epoch, 2] = state.counters[Counter.STEP]
        state.counters[Counter.EPOCHS] = epoch + 1
    return len(history), Status.RAN


def sweep(data, state, config, class_weight, held_out, seeds, history, n_threads):
    _CODES.check_sgd_config(config)
    n = data.X.shape[0]
    state.scalars[:, SGDScalar.EPOCHS] = 0
    with np.errstate(all="ignore"):
        for k in range(len(state.coef)):
            if state.scalars[k, SGDScalar.STATUS] != Status.RAN:
                continue
            for epoch in range(len(history)):
                if seeds is not None:
                    shuffle_rows(state.order[k], n, int(seeds[k]))
                value = _sweep_epoch(data, state, config, class_weight[k], held_out, k)
                history[epoch, k] = value, state.scalars[k, SGDScalar.STEP]
                state.scalars[k, SGDScalar.EPOCHS] = epoch + 1
                if has_ended(state.coef[k], state.scalars[k], config, value):
                    break
    return int(state.scalars[:, SGDScalar.EPOCHS].max())


def predict(X, coef, intercept, activation, out, n_threads):
    _CODES.check_activation(activation)
    finite = True
    for rows in _blocks(0, X.shape[0]):
        z = _read(X, rows) @ coef.T + intercept
        finite = finite and bool(np.isfinite(z).all())
        if activation == Activation.LOGISTIC:
            z = _logistic_pair(z)[0]
        elif activation == Activation.LOG_LOGISTIC:
            z = -_log1pexp(-z)
        elif activation != Activation.IDENTITY:
            raise unknown_code("activation", activation, Activation)
        out[rows] = z
    return finite


def walk(function, state, config, limits, previous, rates, path, values):
    _CODES.check_walk(config)
    evaluate = function if callable(function) else _evaluation(function, limits.difference)
    state.counters[Counter.EPOCHS] = 0
    for k in range(len(path)):
        x = np.concatenate([state.coef[0], state.intercept])
        with np.errstate(over="ignore", invalid="ignore"):
            value, gradient = evaluate(x)
            path[k], values[k] = x, value
            status = _judge(previous, config, limits, x, value, gradient)
        if status != Status.RAN:
            return k, status
        rate = rates[k if len(rates) > 1 else 0]
        if limits.automatic and previous.scalars[WalkScalar.CURVATURE] > 0:
            rate = 1 / previous.scalars[WalkScalar.CURVATURE]
        with np.errstate(over="ignore", invalid="ignore"):
            _step(
                state, config._replace(learning_rate=float(rate)), True,
                gradient[None, :-1], gradient[-1:],
            )  # fmt: skip
        state.counters[Counter.EPOCHS] = k + 1
    return len(path), Status.RAN


def _judge(previous, config, limits, x, value, gradient):
    """Status at an iterate, which is then stored in `previous`."""
    scalars = previous.scalars
    norm = np.abs(gradient).max()
    step, change = x - previous.x, gradient - previous.gradient
    first = scalars[WalkScalar.POINTS] == 0
    if not math.isfinite(value + norm + np.sum(0 * x)):
        return Status.NONFINITE
    status = Status.RAN
    if norm <= config.tol:
        status = Status.CONVERGED
    elif first:
        scalars[WalkScalar.FIRST_VALUE], scalars[WalkScalar.FIRST_NORM] = value, norm
    else:
        step_squared = step @ step
        squared_norm = gradient @ gradient
        last_squared_norm = previous.gradient @ previous.gradient
        reversed_ = gradient @ previous.gradient < 0
        reversed_ = reversed_ and squared_norm >= (1 - 1e-12) * last_squared_norm
        moved = step_squared > limits.rounding**2 * (x @ x)
        scalars[WalkScalar.REVERSALS] = (
            scalars[WalkScalar.REVERSALS] + 1 if reversed_ and moved else 0
        )
        above = value > scalars[WalkScalar.FIRST_VALUE] and norm > scalars[WalkScalar.FIRST_NORM]
        fixed = config.solver in (Solver.GD, Solver.MOMENTUM, Solver.NESTEROV)
        scalars[WalkScalar.ABOVE] = scalars[WalkScalar.ABOVE] + 1 if above and fixed else 0
        if moved:
            curvature = math.sqrt(change @ change) / math.sqrt(step_squared)
            scalars[WalkScalar.CURVATURE] = max(scalars[WalkScalar.CURVATURE], curvature)
        if (
            scalars[WalkScalar.REVERSALS] >= limits.reversals
            or scalars[WalkScalar.ABOVE] >= limits.above
        ):
            status = Status.OVERSHOT
        elif limits.xtol > 0 and np.abs(step).max() <= limits.xtol:
            status = Status.SMALL_STEP
        elif limits.ftol > 0 and abs(value - scalars[WalkScalar.VALUE]) <= limits.ftol:
            status = Status.SMALL_FALL
    scalars[WalkScalar.POINTS] += 1
    scalars[WalkScalar.VALUE] = value
    previous.x[...], previous.gradient[...] = x, gradient
    return status


def _evaluation(function, difference):
    """A Python callable that returns value and gradient of a compiled function."""
    if not function.value:
        return lambda x: (
            float(np.polynomial.polynomial.polyval(x[0], function.coef)),
            np.polynomial.polynomial.polyval(x, function.derivative),
        )
    value = c_function(function, "value")
    if function.gradient:
        gradient = c_function(function, "gradient")
        return lambda x: (value(x), gradient(x))

    def differences(x):
        gradient = np.empty_like(x)
        for j in range(len(x)):
            h = difference * max(1.0, abs(x[j]))
            here = x[j]
            x[j] = here + h
            upper, right = value(x), x[j]
            x[j] = here - h
            gradient[j] = (upper - value(x)) / (right - x[j])
            x[j] = here
        return value(x), gradient

    return differences


def take_columns(X, features):
    real = REAL_TYPE[X.dtype]
    if not sp.issparse(X):
        return Columns(np.ascontiguousarray(X[:, features].T, real), None, None)
    part = without_duplicates(X)[:, features].tocsc()
    return Columns(part.data, part.indices.astype(np.int32), part.indptr.astype(np.int64))


def coordinate_descent(
    columns, places, residual, curvature, l2, l1, theta, change, tol, rate, sweeps
):  # fmt: skip
    start, curvatures = theta.copy(), np.zeros(len(theta))
    first, last, done, everywhere = math.inf, math.inf, 0, True
    with np.errstate(over="ignore", invalid="ignore"):
        for j, place in enumerate(places):
            x, rows = _column(columns, place)
            curvatures[j] = (curvature[rows] * x) @ x + l2[j]
        while done < sweeps:
            last = 0.0
            for j in np.flatnonzero((theta != 0) | everywhere):
                if not curvatures[j] > 0:
                    continue
                x, rows = _column(columns, places[j])
                derivative = float(x @ residual[rows]) + l2[j] * theta[j]
                old, wanted = theta[j], curvatures[j] * theta[j] - derivative
                if old:
                    excess = abs(derivative + math.copysign(l1[j], old))
                else:
                    excess = max(abs(derivative) - l1[j], 0.0)
                last = excess if not excess <= last else last
                shrunk = math.copysign(max(abs(wanted) - l1[j], 0.0), wanted)
                theta[j] = residual.dtype.type(shrunk / curvatures[j])
                residual[rows] += residual.dtype.type(theta[j] - old) * curvature[rows] * x
            done += 1
            if done == 1:
                first, tol = last, max(tol, rate * last)
            if everywhere and last <= tol or not math.isfinite(last):
                break
            everywhere = last <= tol
        change[:] = 0
        for j in np.flatnonzero(theta != start):
            x, rows = _column(columns, places[j])
            change[rows] += change.dtype.type(theta[j] - start[j]) * x
    return done, first, last


def _column(columns, place):
    """Values of a column, and the rows that they are of."""
    if columns.rows is None:
        return columns.values[place], slice(None)
    part = slice(columns.starts[place], columns.starts[place + 1])
    return columns.values[part], columns.rows[part]


def network_gradient(data, network, theta, grad, n_threads):
    _CODES.check_network(network)
    total = None if grad is None else np.zeros(grad.shape)
    value = 0.0
    for rows in _blocks(0, data.X.shape[0]):
        value += _network_pass(data, network, theta, rows, total)
    if grad is not None:
        grad[...] = total * data.scale
    return value * data.scale


def network_epochs(data, network, state, config, rates, order, history, n_threads):
    _CODES.check_network(network)
    _CODES.check_network_config(config)
    n = data.X.shape[0] if order is None or not order.size else order.shape[1]
    state.counters[Counter.EPOCHS] = 0
    grad = np.empty_like(state.theta)
    n_weights = sum(math.prod(shape) for shape in network.shapes)
    weights = state.theta[:n_weights]
    steps = state.counters[Counter.STEPS]
    for epoch, rate in enumerate(rates):
        total = 0.0
        for start in range(0, n, config.batch_size):
            batch = slice(start, min(start + config.batch_size, n))
            rows = batch if order is None or not order.size else order[epoch, batch]
            m = batch.stop - batch.start
            weight = m if data.sample_weight is None else float(data.sample_weight[rows].sum())
            # A batch that weighs nothing teaches nothing.
            share = 1 / weight if weight > 0 else 0.0
            grad[...] = 0
            with np.errstate(over="ignore", invalid="ignore"):
                value = _network_pass(data, network, state.theta, rows, grad)
                value += config.l2 / 2 * np.sum(np.square(weights, dtype=np.float64))
                total += value * share * m / n
                if not math.isfinite(total):
                    return epoch, Status.NONFINITE
                grad[:n_weights] += config.l2 * weights
                grad *= share
                steps += 1
                _network_step(state, config, rate, grad, steps)
        if not np.isfinite(state.theta).all():
            return epoch, Status.NONFINITE
        history[epoch] = total, np.abs(grad).max(), rate
        state.counters[Counter.EPOCHS] = epoch + 1
        state.counters[Counter.STEPS] = steps
    return len(rates), Status.RAN


def network_predict(X, network, theta, out, n_threads):
    _CODES.check_network(network)
    for rows in _blocks(0, X.shape[0]):
        with np.errstate(over="ignore", invalid="ignore"):
            out[rows] = _output(network.output, _forward(network, theta, _dense(X, rows))[-1])


def shuffle(random_state, order, out):
    for row in out:
        places = np.arange(len(order))
        random_state.shuffle(places)
        row[...] = order = order[places]


def _logistic_pair(z):
    """sigma(z) and sigma(-z), neither by subtraction from 1."""
    e = np.exp(-np.abs(z))
    large = 1 / (1 + e)
    small = e / (1 + e)
    return np.where(z < 0, small, large), np.where(z < 0, large, small)


def _log1pexp(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _loss(z, y, loss):
    """Loss and derivative, accurate also where sigma(z) rounds to 0 or 1."""
    if loss == Loss.QUADRATIC:
        return z * z / 2, z
    if loss == Loss.MULTINOMIAL:
        return _softmax_loss(z, y)
    p, q = _logistic_pair(z)
    residual = p * (1 - y) - q * y
    if loss == Loss.SQUARED_ERROR:
        return residual * residual / 2, residual * p * q
    if loss != Loss.LOG_LOSS:
        raise unknown_code("loss", loss, Loss)
    factor = np.where(z < 0, y, 1 - y)
    # 0 for the right label, also if the score is infinite.
    linear = np.multiply(factor, np.abs(z), where=factor != 0, out=factor)
    return np.log1p(np.exp(-np.abs(z))) + linear, residual


def _softmax_loss(z, y):
    """Loss of a row in its first column, and derivatives, without differences near 1.

    With e_k = e^(z_k - max) and `rest` the sum of all but the one that is 1,
    1 - p_k = (rest + (1 - e_k)) / (1 + rest).
    """
    with np.errstate(over="ignore"):
        below = z.max(axis=1, keepdims=True) - z
    e = np.exp(-below)
    others = e.copy()
    others[np.arange(len(e)), e.argmax(axis=1)] = 0
    rest = others.sum(axis=1, keepdims=True)
    loss = np.zeros_like(z)
    below[y == 0] = 0  # infinite or not
    loss[:, 0] = (y * below).sum(axis=1) + np.log1p(rest[:, 0])
    p, q = e / (1 + rest), (rest + (1 - e)) / (1 + rest)
    return loss, p * (1 - y) - y * q


def _blocks(start, stop):
    for first in range(start, stop, _BLOCK_ROWS):
        yield slice(first, min(first + _BLOCK_ROWS, stop))


def _read(X, rows):
    if sp.issparse(X):
        return X[rows]
    return X[rows].astype(REAL_TYPE[X.dtype.newbyteorder("=")], copy=False)


def _sums(X, factors, n_rows=_SUM_ROWS):
    """X.T @ factors, in float64 beyond so many rows."""
    if sp.issparse(X) or X.dtype == np.float64:
        return X.T @ factors.astype(np.float64)
    total = np.zeros((X.shape[1], factors.shape[1]))
    for first in range(0, len(X), n_rows):
        total += X[first : first + n_rows].T @ factors[first : first + n_rows]
    return total


def _targets(y, n_outputs, rows):
    if y.ndim == 2:
        return y[:, rows].T
    codes = y[rows]
    if n_outputs == 1:
        return (codes == 1)[:, None]
    return codes[:, None] == np.arange(n_outputs)


def _rows_gradient(
    data, loss, coef, intercept, order, start, stop, factor, coef_grad, intercept_grad
):
    """Mean loss over rows start to stop of an order, and its gradient."""
    coef_sum, intercept_sum = np.zeros(coef.shape), np.zeros(len(coef))
    value = 0.0
    for block in _blocks(start, stop):
        rows = block if order is None else order[block]
        X = _read(data.X, rows)
        y = _targets(data.y, len(coef), rows).astype(coef.dtype, copy=False)
        losses, derivative = _loss(X @ coef.T + intercept, y, loss)
        if data.sample_weight is not None:
            weight = data.sample_weight[rows, None]
            losses, derivative = weight * losses, weight * derivative
        value += losses.sum(dtype=np.float64)
        coef_sum += _sums(X, derivative).T
        intercept_sum += derivative.sum(axis=0, dtype=np.float64)
    factor *= data.scale
    coef_grad[...] = coef_sum * factor
    intercept_grad[...] = intercept_sum * factor
    return float(value * factor)


def _objective(data, config, theta, gradient):
    """Mean loss plus penalty of one neuron, and its gradient."""
    n, d = data.X.shape
    real = REAL_TYPE[data.X.dtype]
    coef, intercept = theta[None, :d].astype(real), np.zeros(1, real)
    intercept[: len(theta) - d] = theta[d:]
    grad = np.empty((1, d)), np.empty(1)
    with np.errstate(over="ignore", invalid="ignore"):
        value = _rows_gradient(data, config.loss, coef, intercept, None, 0, n, 1.0, *grad)
    gradient[...] = np.append(*grad)[: len(theta)] + config.l2 * theta
    return value + 0.5 * float(config.l2 @ (theta * theta))


def _hessian(data, config, theta):
    """The Hessian of `_objective`, for squared error its Gauss-Newton part."""
    n, d = data.X.shape
    real = REAL_TYPE[data.X.dtype]
    hessian = np.diag(config.l2)
    for rows in _blocks(0, n):
        X = np.ones((rows.stop - rows.start, len(theta)), real)
        X[:, :d] = data.X[rows]
        scale = np.full(len(X), data.scale, real)
        if data.sample_weight is not None:
            scale *= data.sample_weight[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            X *= np.sqrt(scale * _curvature(X @ theta.astype(real), config.loss))[:, None]
            hessian += _sums(X, X, _MATRIX_SUM_ROWS)
    return hessian


def _curvature(z, loss):
    """Second derivative of the loss, or its Gauss-Newton part."""
    p, q = _logistic_pair(z)
    if loss == Loss.LOG_LOSS:
        return p * q
    if loss == Loss.SQUARED_ERROR:
        return (p * q) ** 2
    raise unknown_code("loss", loss, Loss)


def _add_penalty(state, config, coef_grad, intercept_grad):
    """Add the l2 term; return the largest entry of the smallest subgradient, and the penalty."""
    coef = state.coef
    coef_grad += config.l2 * coef
    if not config.fit_intercept:
        intercept_grad[...] = 0
    smallest = np.where(
        coef != 0,
        coef_grad + config.l1 * np.sign(coef),
        np.maximum(np.abs(coef_grad) - config.l1, 0),
    )
    norm = max(np.abs(smallest).max(initial=0), np.abs(intercept_grad).max(initial=0))
    wide = coef.astype(np.float64)
    # Squares of large weights overflow: only where they count. 0 * w is NaN where w is not
    # finite, so weights that overflowed are noticed.
    penalty = np.sum(0 * wide) + np.sum(0 * state.intercept.astype(np.float64))
    if config.l2:
        penalty += config.l2 / 2 * np.sum(wide * wide)
    if config.l1:
        penalty += config.l1 * np.sum(np.abs(wide))
    return float(norm), float(penalty)


def _soft_threshold(coef, threshold):
    """Proximal operator of threshold * |w|."""
    return np.sign(coef) * np.maximum(np.abs(coef) - threshold, 0)


def _step(state, config, full, coef_grad, intercept_grad):
    """Move the parameters against the gradient as the config says."""
    real = state.coef.dtype
    theta = np.concatenate([state.coef, state.intercept[:, None]], axis=1)
    grad = np.concatenate([coef_grad, intercept_grad[:, None]], axis=1)
    counters = state.counters
    steps = counters[Counter.STEPS]
    step = config.learning_rate
    threshold = config.l1 * step

    if config.solver == Solver.GD:
        new = theta - real.type(step) * grad
    elif config.solver == Solver.MOMENTUM:
        velocity = state.slots[0]
        velocity[...] = real.type(config.momentum) * velocity - real.type(step) * grad
        new = theta + velocity
    elif config.solver == Solver.NESTEROV:
        # The parameters are the extrapolated point y_k, the slot is x_k.
        if steps == 0:
            state.slots[0] = theta
            counters[Counter.RATIO] = 1.0
        new = theta - real.type(step) * grad
    elif config.solver == Solver.ADAM:
        mean, square = state.slots
        mean[...] = real.type(config.beta_1) * mean + real.type(1 - config.beta_1) * grad
        square[...] = real.type(config.beta_2) * square + real.type(1 - config.beta_2) * grad * grad
        correction_1 = 1 - config.beta_1 ** (steps + 1)
        correction_2 = 1 - config.beta_2 ** (steps + 1)
        rate = real.type(step / correction_1) / (
            np.sqrt(square / real.type(correction_2)) + real.type(config.epsilon)
        )
        new = theta - rate * mean
        threshold = config.l1 * correction_1 * rate[:, :-1]
    elif config.solver == Solver.ADAPTIVE:
        step = _adaptive_step(state, config, theta, grad)
        threshold = config.l1 * step
        new = theta - real.type(step) * grad
    else:
        raise unknown_code("config.solver", config.solver, Solver)

    if config.l1:
        new[:, :-1] = _soft_threshold(new[:, :-1], np.asarray(threshold, dtype=real))
    if config.solver == Solver.NESTEROV:
        new = _extrapolate(state, config, full, new, grad)
    state.coef[...] = new[:, :-1]
    if config.fit_intercept:
        state.intercept[...] = new[:, -1]
    counters[Counter.STEPS] = steps + 1
    counters[Counter.STEP] = step


def _adaptive_step(state, config, theta, grad):
    """Malitsky & Mishchenko, arXiv 1910.09529, algorithm 1: no line search."""
    previous_theta, previous_grad = state.slots
    counters = state.counters
    if counters[Counter.STEPS] == 0:
        step = config.learning_rate
        counters[Counter.RATIO] = np.inf
    else:
        moved = np.linalg.norm((theta - previous_theta).astype(np.float64))
        changed = np.linalg.norm((grad - previous_grad).astype(np.float64))
        last = counters[Counter.STEP]
        step = math.sqrt(1 + counters[Counter.RATIO]) * last
        if changed > 0 and moved > 0:
            step = min(step, moved / (2 * changed))
        if not math.isfinite(step):
            step = last
        counters[Counter.RATIO] = step / last
    previous_theta[...] = theta
    previous_grad[...] = grad
    return step


def _extrapolate(state, config, full, new, grad):
    """Nesterov's next point; the momentum is dropped where it points uphill.

    The sequence t_k is that of Beck & Teboulle (FISTA, 2009), the restart the gradient
    scheme of O'Donoghue & Candes, arXiv 1204.3982. With batches the gradient is noisy,
    so the factor is held at ``config.momentum`` at the most.
    """
    previous = state.slots[0]
    moved = new - previous
    t = state.counters[Counter.RATIO]
    if full and np.sum(grad.astype(np.float64) * moved) > 0:
        t = 1.0
    t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
    factor = (t - 1) / t_next
    if not full:
        factor = min(factor, config.momentum)
    previous[...] = new
    state.counters[Counter.RATIO] = t_next
    return new + new.dtype.type(factor) * moved


# ------------------------------------------------------------------- networks


def _dense(X, rows):
    block = _read(X, rows)
    return block.toarray() if sp.issparse(block) else block


def _hidden(kind, z):
    if kind == Hidden.LOGISTIC:
        return _logistic_pair(z)[0]
    if kind == Hidden.TANH:
        return np.tanh(z)
    if kind == Hidden.RELU:
        return np.maximum(z, 0)
    if kind == Hidden.IDENTITY:
        return z
    raise unknown_code("network.hidden", kind, Hidden)


def _hidden_derivative(kind, a):
    """The derivative of the activation, from the activation itself."""
    if kind == Hidden.LOGISTIC:
        return a * (1 - a)
    if kind == Hidden.TANH:
        return 1 - a * a
    if kind == Hidden.RELU:
        return a != 0
    if kind == Hidden.IDENTITY:
        return 1
    raise unknown_code("network.hidden", kind, Hidden)


def _forward(network, theta, a):
    """Activations of all layers, and in the last place the scores of the last one."""
    coefs, intercepts = network.split(theta)
    layers = [a]
    for coef, intercept in zip(coefs[:-1], intercepts[:-1], strict=True):
        layers.append(_hidden(network.hidden, layers[-1] @ coef + intercept))
    layers.append(layers[-1] @ coefs[-1] + intercepts[-1])
    return layers


def _output(output, z):
    if output == Output.SOFTMAX:
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
    if output in (Output.LOGISTIC, Output.LOGISTIC_SQUARED):
        return _logistic_pair(z)[0]
    if output == Output.EXPONENTIAL:
        return np.exp(z)
    if output == Output.IDENTITY:
        return z
    raise unknown_code("network.output", output, Output)


def _network_loss(output, z, y):
    """Loss of each row, and its derivative with respect to the scores."""
    eps = np.finfo(z.dtype).eps
    bounds = -np.log1p(-eps), -np.log(eps)
    if output == Output.SOFTMAX:
        losses, derivative = _softmax_loss(z, y)
        return np.clip(losses[:, 0], *bounds), derivative
    if output == Output.LOGISTIC:
        losses, derivative = _loss(z, y, Loss.LOG_LOSS)
        return np.clip(losses, *bounds).sum(axis=1), derivative
    if output == Output.LOGISTIC_SQUARED:
        losses, derivative = _loss(z, y, Loss.SQUARED_ERROR)
        return losses.sum(axis=1), derivative
    if output == Output.IDENTITY:
        return ((z - y) ** 2).mean(axis=1) / 2, z - y
    if output != Output.EXPONENTIAL:
        raise unknown_code("network.output", output, Output)
    mean = np.exp(z)
    logs = np.log(np.where(y > 0, y, 1))
    return (mean - y + y * (logs - z)).sum(axis=1), mean - y


def _network_pass(data, network, theta, rows, grad):
    """Sum of the losses of some rows; their gradients are added to `grad`."""
    layers = _forward(network, theta, _dense(data.X, rows))
    z = layers.pop()
    y = _targets(data.y, network.units[-1], rows).astype(theta.dtype, copy=False)
    losses, delta = _network_loss(network.output, z, y)
    if data.sample_weight is not None:
        losses = losses * data.sample_weight[rows]
        delta = delta * data.sample_weight[rows, None]
    if grad is not None:
        coefs, _ = network.split(theta)
        coef_grads, intercept_grads = network.split(grad)
        for i in range(len(layers) - 1, -1, -1):
            coef_grads[i] += _sums(layers[i], delta, _MATRIX_SUM_ROWS)
            intercept_grads[i] += delta.sum(axis=0, dtype=np.float64)
            if i:
                delta = delta @ coefs[i].T * _hidden_derivative(network.hidden, layers[i])
    return float(losses.sum(dtype=np.float64))


def _network_step(state, config, rate, grad, steps):
    real = grad.dtype.type
    if config.solver == Solver.ADAM:
        mean, square = state.slots
        mean[...] = real(config.beta_1) * mean + real(1 - config.beta_1) * grad
        square[...] = real(config.beta_2) * square + real(1 - config.beta_2) * grad * grad
        rate *= math.sqrt(1 - config.beta_2**steps) / (1 - config.beta_1**steps)
        state.theta[...] -= real(rate) * mean / (np.sqrt(square) + real(config.epsilon))
        return
    velocity = state.slots[0]
    velocity[...] = real(config.momentum) * velocity - real(rate) * grad
    if config.solver == Solver.NESTEROV:
        velocity = real(config.momentum) * velocity - real(rate) * grad
    elif config.solver != Solver.MOMENTUM:
        raise unknown_code("config.solver", config.solver, Solver)
    state.theta[...] += velocity


# These four functions are compiled by the Numba backend, too.


def shuffle_rows(order, n, state):
    """The same swaps for the same state; a state of 0 would stay there."""
    state = state or 1
    for i in range(n - 1):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        j = i + (state & 0x7FFFFFFF) % (n - i)
        order[i], order[j] = order[j], order[i]


def row_loss(loss, parameter, p, y):
    """Loss of a row but log-loss, and its derivative with respect to the score."""
    z = p * y
    if loss == RowLoss.HINGE:
        return (parameter - z, -y) if z <= parameter else (0.0, 0.0)
    if loss == RowLoss.SQUARED_HINGE:
        z = max(parameter - z, 0.0)
        return z * z, -2 * y * z
    if loss == RowLoss.MODIFIED_HUBER:
        if z >= 1:
            return 0.0, 0.0
        return ((1 - z) ** 2, -2 * (1 - z) * y) if z >= -1 else (-4 * z, -4 * y)
    # Numba compiles this, which makes no texts of enums.
    if loss > RowLoss.SQUARED_EPSILON_INSENSITIVE:
        raise ValueError("The loss is unknown.")
    z = p - y
    if loss == RowLoss.SQUARED_ERROR or (loss == RowLoss.HUBER and abs(z) <= parameter):
        return z * z / 2, z
    sign = math.copysign(1.0, z)
    beyond = abs(z) - parameter
    if loss == RowLoss.HUBER:
        return parameter * (abs(z) - parameter / 2), sign * parameter
    if not beyond > 0:
        return 0.0, 0.0
    if loss == RowLoss.EPSILON_INSENSITIVE:
        return beyond, sign
    return beyond * beyond, sign * 2 * beyond


def learning_rate(config, scalars):
    """Of the row that comes next."""
    if config.schedule == Schedule.OPTIMAL:
        return 1.0 / (config.alpha * (config.shift + scalars[SGDScalar.T] - 1.0))
    if config.schedule == Schedule.INVSCALING:
        return config.eta0 / scalars[SGDScalar.T] ** config.power_t
    return scalars[SGDScalar.STEP]


def has_ended(w, scalars, config, value):
    """Whether a neuron stops after an epoch; its status says why."""
    if not (np.isfinite(w).all() and math.isfinite(scalars[SGDScalar.INTERCEPT])):
        scalars[SGDScalar.STATUS] = Status.NONFINITE.value
        return True
    better = config.tol == -math.inf or not value > scalars[SGDScalar.BEST] - config.tol
    scalars[SGDScalar.WAITED] = 0.0 if better else scalars[SGDScalar.WAITED] + 1.0
    if value < scalars[SGDScalar.BEST]:
        scalars[SGDScalar.BEST] = value
    if scalars[SGDScalar.WAITED] < config.patience:
        return False
    if config.schedule == Schedule.ADAPTIVE and scalars[SGDScalar.STEP] > config.least_step:
        scalars[SGDScalar.STEP] /= config.divisor
        scalars[SGDScalar.WAITED] = 0
        return False
    scalars[SGDScalar.STATUS] = Status.CONVERGED.value
    return True


def _sweep_row(X, row, real):
    """Columns and values of a row's entries."""
    if sp.issparse(X):
        entries = slice(X.indptr[row], X.indptr[row + 1])
        return X.indices[entries], X.data[entries]
    return slice(None), X[row].astype(real)


def _sweep_epoch(data, state, config, class_weight, held_out, k):
    """All rows once; returns the objective."""
    w, average, applied = state.coef[k], state.average[k], state.l1_applied[k]
    real = w.dtype.type
    low = 0.0 if config.loss == RowLoss.LOG_LOSS else -1.0
    targets = _targets(data.y, len(state.coef), slice(None))[:, k]
    passive = config.schedule >= Schedule.PA1
    total, learnt = 0.0, 0
    # Arrays' entries, not Python's numbers: those would raise where these are infinite.
    m = state.scalars[k]
    for row in state.order[k]:
        if held_out is not None and held_out[row]:
            continue
        at, x = _sweep_row(data.X, row, real)
        p = float(real(np.dot(w[at], x) * m[SGDScalar.SCALE])) + m[SGDScalar.INTERCEPT]
        if not math.isfinite(p):
            m[SGDScalar.NONFINITE_SCORE] = 1
        y = float(targets[row]) if data.y.ndim == 2 else (1.0 if targets[row] else low)
        eta = m[SGDScalar.STEP] = learning_rate(config, m)
        if config.loss == RowLoss.LOG_LOSS:
            value, derivative = _loss(np.float64(p), y, Loss.LOG_LOSS)
        else:
            value, derivative = row_loss(config.loss, config.parameter, p, y)
        total += value
        learnt += 1
        if passive:
            size = float(np.sum(x.astype(np.float64) ** 2))
            if config.schedule == Schedule.PA1:
                if size == 0:
                    continue
                update = min(config.eta0, value / size)
            else:
                update = value / (size + 0.5 / config.eta0)
            update *= y if config.loss == RowLoss.HINGE else math.copysign(1.0, y - p)
        else:
            total += config.l2 / 2 * m[SGDScalar.SQUARES] + config.l1 * m[SGDScalar.ABSOLUTES]
            update = -eta * min(
                max(derivative, -config.largest_derivative), config.largest_derivative
            )
        update *= class_weight[0] if y > 0 else class_weight[1]
        if data.sample_weight is not None:
            update *= data.sample_weight[row]
        if config.l2 > 0:
            factor = float(real(max(0.0, 1 - (1 - config.l1_ratio) * eta * config.alpha)))
            m[SGDScalar.SCALE] *= factor
            m[SGDScalar.SQUARES] *= factor * factor
            m[SGDScalar.ABSOLUTES] *= factor
            if m[SGDScalar.SCALE] < config.least_scale:
                average[:] = (average + m[SGDScalar.SHARE] * w[: len(average)]) / m[SGDScalar.WHOLE]
                w *= real(m[SGDScalar.SCALE])
                m[SGDScalar.SCALE], m[SGDScalar.SHARE], m[SGDScalar.WHOLE] = 1, 0, 1
        scale = m[SGDScalar.SCALE]
        if update != 0:
            factor = real(real(update) / scale)
            np.add.at(w, at, factor * x)
            wide = w[at].astype(np.float64) * scale
            m[SGDScalar.SQUARES], m[SGDScalar.ABSOLUTES] = np.sum(wide * wide), np.sum(np.abs(wide))
            if config.fit_intercept:
                m[SGDScalar.INTERCEPT] += update * config.decay
        if 0 < config.average_from <= m[SGDScalar.T]:
            seen = m[SGDScalar.T] - config.average_from + 1
            if update != 0:
                np.add.at(average, at, real(-m[SGDScalar.SHARE] * (real(update) / scale)) * x)
            if seen > 1:
                m[SGDScalar.WHOLE] /= 1 - 1 / seen
            m[SGDScalar.SHARE] += m[SGDScalar.WHOLE] * scale / seen
            m[SGDScalar.AVERAGE_INTERCEPT] += (
                m[SGDScalar.INTERCEPT] - m[SGDScalar.AVERAGE_INTERCEPT]
            ) / seen
        if config.l1 > 0:
            m[SGDScalar.L1_TOTAL] += config.l1_ratio * eta * config.alpha
            z, q, total_l1 = w[at].copy(), applied[at].copy(), m[SGDScalar.L1_TOTAL]
            positive = np.maximum(0, z - (total_l1 + q) / scale)
            negative = np.minimum(0, z + (total_l1 - q) / scale)
            moved = np.where(z > 0, positive, np.where(z < 0, negative, z)).astype(real)
            w[at] = moved
            applied[at] = q + scale * (moved - z)
        m[SGDScalar.T] += 1
    return total / max(learnt, 1)
