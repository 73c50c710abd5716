"""Walks down a polynomial."""

import math

import numpy as np

from schuss.backends.numba_kernels.compiling import compiled, fused
from schuss.backends.numba_kernels.descend import take_step
from schuss.constants import Counter, Status, WalkScalar
from schuss.methods import Solver


@fused
def _horner(coef, x):
    result = coef[-1]
    for i in range(len(coef) - 2, -1, -1):
        result = result * x + coef[i]
    return result


@compiled
def walk(
    polynomial, derivative, coef, intercept, slots, counters, config, limits, last_x, last_gradient,
    scalars, rates, path, values,
):  # fmt: skip
    """A walk down a polynomial; `numpy_` says what is judged."""
    grad = np.empty((1, 1))
    counters[Counter.EPOCHS] = 0
    for k in range(len(path)):
        x = intercept[0]
        g, value = _horner(derivative, x), _horner(polynomial, x)
        path[k, 0], values[k] = x, value
        status = _judge(scalars, config, limits, x, value, g, last_x[0], last_gradient[0])
        if status != Status.NONFINITE.value:
            last_x[0], last_gradient[0] = x, g
        if status != Status.RAN.value:
            return k, status
        rate = rates[k if len(rates) > 1 else 0]
        if limits.automatic and scalars[WalkScalar.CURVATURE] > 0:
            rate = 1 / scalars[WalkScalar.CURVATURE]
        grad[0, 0] = g
        take_step(coef, intercept, slots, counters, config, rate, True, grad)
        counters[Counter.EPOCHS] = k + 1
    return len(path), Status.RAN.value


@fused
def _judge(scalars, config, limits, x, value, g, last_x, last_g):
    status = Status.RAN.value
    move = x - last_x
    if not math.isfinite(value + abs(g) + 0 * x):
        return Status.NONFINITE.value
    if abs(g) <= config.tol:
        status = Status.CONVERGED.value
    elif scalars[WalkScalar.POINTS] == 0:
        scalars[WalkScalar.FIRST_VALUE], scalars[WalkScalar.FIRST_NORM] = value, abs(g)
    else:
        back = g * last_g < 0 and g * g >= (1 - 1e-12) * (last_g * last_g)
        far = abs(move) > limits.rounding * abs(x)
        scalars[WalkScalar.REVERSALS] = scalars[WalkScalar.REVERSALS] + 1 if back and far else 0
        fixed = config.solver in (Solver.GD, Solver.MOMENTUM, Solver.NESTEROV)
        above = value > scalars[WalkScalar.FIRST_VALUE] and abs(g) > scalars[WalkScalar.FIRST_NORM]
        scalars[WalkScalar.ABOVE] = scalars[WalkScalar.ABOVE] + 1 if above and fixed else 0
        if far:
            scalars[WalkScalar.CURVATURE] = max(
                scalars[WalkScalar.CURVATURE], abs((g - last_g) / move)
            )
        if (
            scalars[WalkScalar.REVERSALS] >= limits.reversals
            or scalars[WalkScalar.ABOVE] >= limits.above
        ):
            status = Status.OVERSHOT.value
        elif limits.xtol > 0 and abs(move) <= limits.xtol:
            status = Status.SMALL_STEP.value
        elif limits.ftol > 0 and abs(value - scalars[WalkScalar.VALUE]) <= limits.ftol:
            status = Status.SMALL_FALL.value
    scalars[WalkScalar.POINTS] += 1
    scalars[WalkScalar.VALUE] = value
    return status
