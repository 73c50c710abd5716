"""Newton's method for many small models, one after the other."""

import math

import numpy as np

from schuss.backends.numba_kernels import rows
from schuss.backends.numba_kernels.compiling import compiled, fused, reordered
from schuss.backends.numba_kernels.formulas import log_loss, sigmoid_pair, squared_error
from schuss.constants import ModelPart, ModelReport, ModelStatus
from schuss.losses import Loss


@fused
def _take_model(X, order, extra, model, fit_intercept, d, lines):
    """Rows of a model, its additional feature and the constant 1."""
    first, n, column = model[ModelPart.FIRST], len(lines), model[ModelPart.COLUMN]
    if len(order):
        rows.take_dense(X, order, first, lines[:, :d])
    else:
        for i in range(n):
            one = np.full(1, first + i, np.int32)
            rows.take_dense(X, one, 0, lines[i : i + 1, :d])
    if column >= 0:
        for i in range(n):
            lines[i, d] = extra[column, rows.row_at(order, first + i)]
    if fit_intercept:
        lines[:, -1] = 1.0


@reordered
def _evaluate(lines, y, weight, total, loss, l2, penalised, theta, z, curvature, gradient):
    """Objective; scores, curvatures and the gradient are stored. Largest change of a score."""
    n, r = lines.shape
    value = moved = 0.0
    gradient[:] = 0.0
    for i in range(n):
        score = 0.0
        for j in range(r):
            score += lines[i, j] * theta[j]
        if loss == Loss.LOG_LOSS:
            c, derivative = log_loss(score, y[i])
        else:
            c, derivative = squared_error(score, y[i])
        p, q, _ = sigmoid_pair(score)
        second = p * q
        if loss == Loss.SQUARED_ERROR:
            second *= second
        value += weight[i] * c
        curvature[i] = weight[i] * second
        derivative *= weight[i]
        for j in range(r):
            gradient[j] += derivative * lines[i, j]
        if weight[i] > 0:
            moved = max(moved, abs(score - z[i]))
        z[i] = score
    value /= total
    for j in range(r):
        gradient[j] /= total
        if j < penalised:
            value += 0.5 * l2 / total * theta[j] * theta[j]
            gradient[j] += l2 / total * theta[j]
    return value, moved


@reordered
def _factorise(lines, curvature, total, l2, penalised, singular, factor):
    """Cholesky factor of the Hessian, lower; whether there is one."""
    n, r = lines.shape
    factor[:] = 0.0
    for i in range(n):
        for j in range(r):
            share = curvature[i] * lines[i, j]
            for k in range(j + 1):
                factor[j, k] += share * lines[i, k]
    for j in range(r):
        for k in range(j + 1):
            factor[j, k] /= total
        if j < penalised:
            factor[j, j] += l2 / total
        diagonal = factor[j, j]
        for k in range(j + 1):
            value = factor[j, k]
            for i in range(k):
                value -= factor[j, i] * factor[k, i]
            if k < j:
                factor[j, k] = value / factor[k, k]
            else:
                if not (value > 0.0 and value > singular * diagonal):
                    return False
                factor[j, j] = math.sqrt(value)
    return True


@fused
def _solve(factor, x):
    """x becomes the solution of L L^T solution = x."""
    r = len(x)
    for i in range(r):
        for k in range(i):
            x[i] -= factor[i, k] * x[k]
        x[i] /= factor[i, i]
    for i in range(r - 1, -1, -1):
        for k in range(i + 1, r):
            x[i] -= factor[k, i] * x[k]
        x[i] /= factor[i, i]


@fused
def _largest(x):
    """NaN is the largest."""
    largest = 0.0
    for value in x:
        if not abs(value) <= largest:
            largest = abs(value)
            if largest != largest:
                break
    return largest


@fused
def _separates(z, y, weight):
    """Whether each row is on the side of its label."""
    for i in range(len(z)):
        if weight[i] > 0 and not ((y[i] == 1 and z[i] > 0) or (y[i] == 0 and z[i] < 0)):
            return False
    return True


@fused
def _minimise(lines, y, weight, total, config, l2, begin, theta, factor, report):
    """Status of one objective of a model."""
    r = lines.shape[1]
    penalised = r - config.fit_intercept
    free = l2 == 0 and config.loss == Loss.LOG_LOSS
    z, curvature = np.zeros(len(y)), np.empty(len(y))
    gradient, trial_gradient, trial = np.empty(r), np.empty(r), np.empty(r)
    rounded = begin.astype(lines.dtype)
    theta[:] = rounded
    value, _ = _evaluate(
        lines, y, weight, total, config.loss, l2, penalised, theta, z, curvature, gradient
    )
    moved, steps = math.inf, 0
    while True:
        norm = _largest(gradient)
        report[ModelReport.STEPS] = steps
        report[ModelReport.LOSS], report[ModelReport.NORM] = value, norm
        if not math.isfinite(value + norm):
            return ModelStatus.NONFINITE.value
        if free and _separates(z, y, weight):
            return ModelStatus.SEPARABLE.value
        small, drifts = norm <= config.tol, free and moved > config.settled
        if small and not drifts:
            return ModelStatus.CONVERGED.value
        if steps == config.max_iter:
            separable = small and steps > 0
            return ModelStatus.SEPARABLE.value if separable else ModelStatus.MAX_ITER.value
        if not _factorise(lines, curvature, total, l2, penalised, config.singular, factor):
            return (
                ModelStatus.SEPARABLE.value if free and steps > 0 else ModelStatus.COLLINEAR.value
            )
        step = -gradient
        _solve(factor, step)
        derivative = 0.0
        for j in range(r):
            derivative += gradient[j] * step[j]
        noise, t, accepted = config.noise * abs(value), 1.0, False
        for _ in range(config.halvings + 1):
            same = True
            for j in range(r):
                rounded[j] = theta[j] + t * step[j]
                trial[j] = rounded[j]
                same = same and trial[j] == theta[j]
            if same or not derivative < 0:
                break
            new, change = _evaluate(
                lines, y, weight, total, config.loss, l2, penalised, trial, z, curvature,
                trial_gradient,
            )  # fmt: skip
            hidden = -t * derivative / 2 <= noise
            bound = value + noise + (0.0 if hidden else config.armijo * t * derivative)
            smaller = _largest(trial_gradient) < norm
            if math.isfinite(new) and new <= bound and (smaller or not hidden):
                accepted, value, moved = True, new, change / t
                theta[:], gradient[:] = trial, trial_gradient
                break
            t /= 2
        if not accepted:
            if small and drifts and steps > 0:
                return ModelStatus.SEPARABLE.value
            return ModelStatus.CONVERGED.value if small else ModelStatus.PRECISION.value
        steps += 1


@fused
def _invert(lines, weight, total, config, l2, theta, factor, variance):
    """Diagonal of the inverse of the Hessian of the sums; NaN where that is singular."""
    n, r = lines.shape
    curvature = np.empty(n)
    for i in range(n):
        score = 0.0
        for j in range(r):
            score += lines[i, j] * theta[j]
        p, q, _ = sigmoid_pair(score)
        curvature[i] = weight[i] * (p * q if config.loss == Loss.LOG_LOSS else (p * q) ** 2)
    penalised = r - config.fit_intercept
    if _factorise(lines, curvature, total, l2, penalised, config.singular, factor):
        for j in range(r):
            unit = np.zeros(r)
            unit[j] = 1.0
            _solve(factor, unit)
            variance[j] = unit[j] / total


@compiled
def newton_many(X, y, sample_weight, order, extra, models, config, l2, theta, variance, report):
    n_models, n_penalties, r = theta.shape
    d = r - config.fit_intercept - (len(extra) > 0)
    factor = np.empty((r, r))
    for m in range(n_models):
        model = models[m]
        first, n = model[ModelPart.FIRST], model[ModelPart.STOP] - model[ModelPart.FIRST]
        lines = np.empty((n, r), y.dtype)
        _take_model(X, order, extra, model, config.fit_intercept, d, lines)
        targets, weight = np.empty(n), np.ones(n)
        total = ones = soft = 0.0
        for i in range(n):
            row = rows.row_at(order, first + i)
            targets[i] = y[model[ModelPart.TARGET], row]
            if model[ModelPart.WEIGHT] >= 0:
                weight[i] = sample_weight[model[ModelPart.WEIGHT], row]
            total += weight[i]
            ones += weight[i] * targets[i]
            soft += weight[i] * abs(targets[i] * (1 - targets[i]))
        variance[m] = np.nan
        begin, code = theta[m, 0].copy(), ModelStatus.UNFINISHED.value
        if not total > 0:
            code = ModelStatus.NO_WEIGHT.value if total == 0 else ModelStatus.NONFINITE.value
        elif config.fit_intercept and soft == 0 and (ones == 0 or ones == total):
            code = ModelStatus.ONE_CLASS.value
        for p in range(n_penalties):
            if code != ModelStatus.UNFINISHED.value:
                report[m, p] = np.nan
                report[m, p, ModelReport.STEPS] = 0
                report[m, p, ModelReport.STATUS] = code
                continue
            status = _minimise(
                lines, targets, weight, total, config, l2[p], begin, theta[m, p], factor,
                report[m, p],
            )  # fmt: skip
            if status == ModelStatus.CONVERGED.value:
                begin = theta[m, p].copy()
            fitted = status == ModelStatus.CONVERGED.value or status == ModelStatus.MAX_ITER.value
            if variance.shape[2] and (fitted or status == ModelStatus.PRECISION.value):
                _invert(lines, weight, total, config, l2[p], theta[m, p], factor, variance[m, p])
            report[m, p, ModelReport.STATUS] = status
