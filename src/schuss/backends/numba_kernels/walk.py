"""Walks down a polynomial."""

import math

import numpy as np

from schuss.backends.contract import Limits, UpdateConfig
from schuss.backends.numba_kernels.codes import (
    ABOVE,
    CONVERGED,
    CURVATURE,
    EPOCHS,
    FIRST_NORM,
    FIRST_VALUE,
    GD,
    MOMENTUM,
    NESTEROV,
    NONFINITE,
    OVERSHOT,
    POINTS,
    RAN,
    REVERSALS,
    SMALL_FALL,
    SMALL_STEP,
    VALUE,
)
from schuss.backends.numba_kernels.compiling import array, compiled_for, exact, given, tuple_type
from schuss.backends.numba_kernels.descent import take_step


@exact
def _horner(coef, x):
    result = coef[-1]
    for i in range(len(coef) - 2, -1, -1):
        result = result * x + coef[i]
    return result


def _walk_types():
    read, vector, table = given(np.float64, 1), array(np.float64, 1), array(np.float64, 2)
    return (
        read, read, table, vector, array(np.float64, 3), vector, tuple_type(UpdateConfig),
        tuple_type(Limits), vector, vector, vector, read, table, vector,
    )  # fmt: skip


@compiled_for(_walk_types)
def walk(
    polynomial, slope, coef, intercept, slots, counters, config, limits, last_x, last_gradient,
    marks, rates, path, values,
):  # fmt: skip
    """A walk down a polynomial; `numpy_` says what is judged."""
    grad = np.empty((1, 1))
    counters[EPOCHS] = 0
    for k in range(len(path)):
        x = intercept[0]
        g, value = _horner(slope, x), _horner(polynomial, x)
        path[k, 0], values[k] = x, value
        status = _judge(marks, config, limits, x, value, g, last_x[0], last_gradient[0])
        if status != NONFINITE:
            last_x[0], last_gradient[0] = x, g
        if status != RAN:
            return k, status
        rate = rates[k if len(rates) > 1 else 0]
        if limits.automatic and marks[CURVATURE] > 0:
            rate = 1 / marks[CURVATURE]
        grad[0, 0] = g
        step = UpdateConfig(
            config.loss, config.solver, rate, config.momentum, config.beta_1, config.beta_2,
            config.epsilon, 0.0, 0.0, config.tol, True, 1,
        )  # fmt: skip
        take_step(coef, intercept, slots, counters, step, True, grad)
        counters[EPOCHS] = k + 1
    return len(path), RAN


@exact
def _judge(marks, config, limits, x, value, g, last_x, last_g):
    status = RAN
    move = x - last_x
    if not math.isfinite(value + abs(g) + 0 * x):
        return NONFINITE
    if abs(g) <= config.tol:
        status = CONVERGED
    elif marks[POINTS] == 0:
        marks[FIRST_VALUE], marks[FIRST_NORM] = value, abs(g)
    else:
        back = g * last_g < 0 and g * g >= (1 - 1e-12) * (last_g * last_g)
        far = abs(move) > limits.rounding * abs(x)
        marks[REVERSALS] = marks[REVERSALS] + 1 if back and far else 0
        fixed = config.solver == GD or config.solver == MOMENTUM or config.solver == NESTEROV
        above = value > marks[FIRST_VALUE] and abs(g) > marks[FIRST_NORM]
        marks[ABOVE] = marks[ABOVE] + 1 if above and fixed else 0
        if far:
            marks[CURVATURE] = max(marks[CURVATURE], abs((g - last_g) / move))
        if marks[REVERSALS] >= limits.reversals or marks[ABOVE] >= limits.above:
            status = OVERSHOT
        elif limits.xtol > 0 and abs(move) <= limits.xtol:
            status = SMALL_STEP
        elif limits.ftol > 0 and abs(value - marks[VALUE]) <= limits.ftol:
            status = SMALL_FALL
    marks[POINTS] += 1
    marks[VALUE] = value
    return status
