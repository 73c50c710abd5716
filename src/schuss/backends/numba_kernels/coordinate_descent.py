"""Coordinate descent on a quadratic model with an L1 penalty."""

import math

import numpy as np

from schuss.backends.numba_kernels.compiling import compiled, reordered


@reordered
def _dot(x, rows, vector):
    total = x.dtype.type(0)
    if len(rows):
        for i in range(len(x)):
            total += x[i] * vector[rows[i]]
    else:
        for i in range(len(x)):
            total += x[i] * vector[i]
    return np.float64(total)


@reordered
def _weighted_squares(x, rows, weight):
    total = x.dtype.type(0)
    if len(rows):
        for i in range(len(x)):
            total += x[i] * x[i] * weight[rows[i]]
    else:
        for i in range(len(x)):
            total += x[i] * x[i] * weight[i]
    return np.float64(total)


@reordered
def _add(x, rows, factor, weight, out):
    if len(rows):
        for i in range(len(x)):
            out[rows[i]] += factor * weight[rows[i]] * x[i]
    else:
        for i in range(len(x)):
            out[i] += factor * weight[i] * x[i]


@compiled
def coordinate_descent(
    values, rows, starts, places, residual, curvature, l2, l1, theta, change, tol, rate, sweeps
):
    """Dense columns have no `rows`."""
    real = values.dtype.type
    w, start = len(places), theta.copy()
    curvatures = np.empty(w)
    first = last = math.inf
    done, everywhere = 0, True
    while done < sweeps:
        last = 0.0
        for j in range(w):
            if not (everywhere or theta[j] != 0):
                continue
            begin, end = starts[places[j]], starts[places[j] + 1]
            x, where = values[begin:end], rows[begin:end]
            if done == 0:
                curvatures[j] = _weighted_squares(x, where, curvature) + l2[j]
            h, old = curvatures[j], theta[j]
            if not h > 0:
                continue
            derivative = _dot(x, where, residual) + l2[j] * old
            if old != 0:
                excess = abs(derivative + math.copysign(l1[j], old))
            else:
                excess = max(abs(derivative) - l1[j], 0.0)
            if not excess <= last:
                last = excess
            wanted = h * old - derivative
            new = np.float64(real(math.copysign(max(abs(wanted) - l1[j], 0.0), wanted) / h))
            if new != old:
                theta[j] = new
                _add(x, where, real(new - old), curvature, residual)
        done += 1
        if done == 1:
            first = last
            tol = max(tol, rate * last)
        if (everywhere and last <= tol) or not math.isfinite(last):
            break
        everywhere = last <= tol
    change[:] = 0
    ones = np.ones_like(curvature)
    for j in range(w):
        if theta[j] != start[j]:
            begin, end = starts[places[j]], starts[places[j] + 1]
            _add(values[begin:end], rows[begin:end], real(theta[j] - start[j]), ones, change)
    return done, first, last
