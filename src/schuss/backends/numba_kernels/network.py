"""Networks: passes through the layers, and runs."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from schuss.backends.contract import NetworkConfig
from schuss.backends.numba_kernels.codes import (
    ADAM,
    EPOCHS,
    EXPONENTIAL,
    HIDDEN_LOGISTIC,
    NESTEROV,
    NONFINITE,
    RAN,
    RELU,
    SIGMOID,
    SIGMOID_SQUARED,
    SOFTMAX,
    STEPS,
    TANH,
)
from schuss.backends.numba_kernels.compiling import array, compiled_for, exact, given, tuple_type
from schuss.backends.numba_kernels.descent import larger
from schuss.backends.numba_kernels.formulas import log_losses, logistic_pair, squared_errors
from schuss.backends.numba_kernels.lines import fetch, source
from schuss.backends.numba_kernels.matrix import rows_types
from schuss.backends.numba_kernels.neuron import learnt_types

# What `network` is to do, and the rows that go through the layers together.
COST, GRADIENT, EPOCHS_JOB, ANSWERS = range(4)
_NETWORK_ROWS = 256


def _gather_rows(tile, lines, m, target):
    for r in range(m):
        for j in range(target.shape[1]):
            target[r, j] = tile[lines[r], j]


def _gather_columns(tile, lines, m, target):
    _, d = target.shape
    for r in range(m):
        panel, place = divmod(lines[r], tile[0].shape[1])
        for j in range(d):
            target[r, j] = tile[0][panel * d + j, place]


def _gather_sparse(tile, lines, m, target):
    values, indices, indptr = tile
    for r in range(m):
        for j in range(target.shape[1]):
            target[r, j] = 0
        for p in range(indptr[lines[r]], indptr[lines[r] + 1]):
            target[r, indices[p]] += values[p]


def _gather(tile, lines, m, target):
    """Rows of a tile of `source`, as an array."""


@overload(_gather)
def _choose_gather(tile, lines, m, target):
    if isinstance(tile, types.Array):
        return _gather_rows
    return _gather_columns if len(tile) == 1 else _gather_sparse


@exact
def _layer(theta, units, i):
    """Views of the weights and of the intercepts of layer i."""
    start = 0
    for k in range(i):
        start += units[k] * units[k + 1]
    stop = start + units[i] * units[i + 1]
    bias = 0
    for k in range(len(units) - 1):
        bias += units[k] * units[k + 1]
        if k < i:
            bias += units[k + 1]
    return (
        theta[start:stop].reshape(units[i], units[i + 1]),
        theta[bias : bias + units[i + 1]],
    )


@exact
def _activate_hidden(hidden, a):
    for r in range(a.shape[0]):
        for j in range(a.shape[1]):
            if hidden == HIDDEN_LOGISTIC:
                a[r, j] = logistic_pair(float(a[r, j]))[0]
            elif hidden == TANH:
                a[r, j] = math.tanh(a[r, j])
            elif hidden == RELU and a[r, j] < 0:
                a[r, j] = 0


@exact
def _slope_hidden(hidden, a, e):
    """e times the derivative of the activation, from the activation itself."""
    for r in range(a.shape[0]):
        for j in range(a.shape[1]):
            if hidden == HIDDEN_LOGISTIC:
                e[r, j] *= a[r, j] * (1 - a[r, j])
            elif hidden == TANH:
                e[r, j] *= 1 - a[r, j] * a[r, j]
            elif hidden == RELU and a[r, j] == 0:
                e[r, j] = 0


@exact
def _bounded(cost, eps):
    """A cross-entropy of a probability held within [eps, 1 - eps]; NaN stays NaN."""
    low, high = -math.log1p(-eps), -math.log(eps)
    return low if cost < low else high if cost > high else cost


@exact
def _output_row(output, z, y, eps, e, cost, slope):
    """Cost of a row; the derivative by its scores goes into e. z and y are float64."""
    n_outputs = len(z)
    total = 0.0
    if output == SOFTMAX:
        top, pull = z[0], 0.0
        for k in range(1, n_outputs):
            top = larger(top, z[k])
        for k in range(n_outputs):
            if y[k] != 0:
                pull += y[k] * (z[k] - top)
            e[k] = math.exp(z[k] - top)
            slope[k] = e[k]
            total += slope[k]
        for k in range(n_outputs):
            e[k] = slope[k] / total - y[k]
        return _bounded(math.log(total) - pull, eps)
    if output == SIGMOID or output == SIGMOID_SQUARED:
        if output == SIGMOID:
            log_losses(n_outputs, z, y, cost, slope)
        else:
            squared_errors(n_outputs, z, y, cost, slope)
        for k in range(n_outputs):
            e[k] = slope[k]
            total += _bounded(cost[k], eps) if output == SIGMOID else cost[k]
        return total
    if output == EXPONENTIAL:
        for k in range(n_outputs):
            mean = math.exp(z[k])
            e[k] = mean - y[k]
            total += mean - y[k] - y[k] * z[k] + (y[k] * math.log(y[k]) if y[k] > 0 else 0.0)
        return total
    for k in range(n_outputs):
        e[k] = z[k] - y[k]
        total += (z[k] - y[k]) ** 2
    return total / (2 * n_outputs)


@exact
def _answer_row(output, z):
    if output == SOFTMAX:
        top, total = z[0], 0.0
        for k in range(1, len(z)):
            top = larger(top, z[k])
        for k in range(len(z)):
            z[k] = math.exp(z[k] - top)
            total += z[k]
        for k in range(len(z)):
            z[k] = z[k] / total
    elif output == SIGMOID or output == SIGMOID_SQUARED:
        for k in range(len(z)):
            z[k] = logistic_pair(float(z[k]))[0]
    elif output == EXPONENTIAL:
        for k in range(len(z)):
            z[k] = math.exp(z[k])


@exact
def _network_pass(
    values, indices, indptr, scratch, columns, soft, small, wide, weight, units, hidden, output,
    theta, order, epoch, start, stop, layers, errors, places, grad, product, out, job, block,
):  # fmt: skip
    """Sum of the costs of rows start to stop; their gradients are added to `grad`.

    Of the rows in row `epoch` of `order`, where it is not empty.
    """
    depth, d, n_outputs = len(units) - 1, units[0], units[-1]
    rows, part, own = np.empty(_NETWORK_ROWS, np.int64), np.empty(block, np.int64), np.arange(block)
    tile, lines, fetched, _ = source(values, indices, indptr, scratch, columns, part, own, False)
    z, y, cost, slope = np.empty((4, n_outputs))
    # -log1p(-eps) of the float types themselves.
    eps = 2.0**-23 if theta.itemsize == 4 else 2.0**-52
    value = 0.0
    for first in range(start, stop, _NETWORK_ROWS):
        m = min(_NETWORK_ROWS, stop - first)
        for r in range(m):
            rows[r] = order[epoch, first + r] if order.size > 0 else first + r
        a = layers[: m * d].reshape(m, d)
        for begin in range(0, m, block):
            some = min(block, m - begin)
            for r in range(some):
                part[r] = rows[begin + r]
            if fetched:
                fetch(values, columns, part, some, scratch)
            _gather(tile, lines, some, a[begin : begin + some])
        for i in range(depth):
            coef, intercept = _layer(theta, units, i)
            above = layers[places[i + 1] : places[i + 1] + m * units[i + 1]]
            above = above.reshape(m, units[i + 1])
            np.dot(a, coef, above)
            for r in range(m):
                for j in range(units[i + 1]):
                    above[r, j] += intercept[j]
            if i + 1 < depth:
                _activate_hidden(hidden, above)
            a = above
        if job == ANSWERS:
            for r in range(m):
                _answer_row(output, a[r])
                for k in range(n_outputs):
                    out[first + r, k] = a[r, k]
            continue
        e = errors[places[depth] : places[depth] + m * n_outputs].reshape(m, n_outputs)
        for r in range(m):
            for k in range(n_outputs):
                z[k] = a[r, k]
                if len(soft):
                    y[k] = soft[k, rows[r]]
                else:
                    code = small[rows[r]] if len(small) else wide[rows[r]]
                    y[k] = code == (1 if n_outputs == 1 else k)
            row_cost = _output_row(output, z, y, eps, e[r], cost, slope)
            if len(weight):
                row_cost *= weight[rows[r]]
                for k in range(n_outputs):
                    e[r, k] *= weight[rows[r]]
            value += row_cost
        if job == COST:
            continue
        for i in range(depth - 1, -1, -1):
            a = layers[places[i] : places[i] + m * units[i]].reshape(m, units[i])
            coef_grad, intercept_grad = _layer(grad, units, i)
            sums = product[: units[i] * units[i + 1]].reshape(units[i], units[i + 1])
            np.dot(a.T, e, sums)
            coef_grad += sums
            for r in range(m):
                for j in range(units[i + 1]):
                    intercept_grad[j] += e[r, j]
            if i:
                coef, _ = _layer(theta, units, i)
                below = errors[places[i] : places[i] + m * units[i]].reshape(m, units[i])
                np.dot(e, coef.T, below)
                _slope_hidden(hidden, a, below)
                e = below
    return value


def _network_types(real, *kind):
    return (
        types.int64, *rows_types(real, *kind), *learnt_types(real), given(np.int64, 1),
        types.int64, types.int64, array(real, 1), array(real, 2), array(np.float64, 1),
        tuple_type(NetworkConfig), given(np.float64, 1), given(np.int32, 2), array(np.float64, 2),
        array(np.float64, 1), array(real, 2), types.int64,
    )  # fmt: skip


@compiled_for(_network_types)
def network(
    job, n, values, indices, indptr, scratch, columns, soft, small, wide, weight, scale, units,
    hidden, output, theta, slots, counters, config, rates, order, history, grad, out, block,
):  # fmt: skip
    """Epochs, or one pass for the cost, the gradient or the answers."""
    depth = len(units) - 1
    ordered = order.size > 0
    n = order.shape[1] if ordered else n
    most = min(_NETWORK_ROWS, n)
    places = np.zeros(depth + 2, np.int64)
    # Not literals, whose types are their values: what they are given to is compiled again.
    n_weights = widest = zero = np.int64(0)
    for i in range(depth + 1):
        places[i + 1] = places[i] + most * units[i]
        if i < depth:
            n_weights += units[i] * units[i + 1]
            widest = max(widest, units[i] * units[i + 1])
    layers = np.empty(places[depth + 1], theta.dtype)
    errors, product = np.empty_like(layers), np.empty(widest, theta.dtype)
    if job != EPOCHS_JOB:
        grad[:] = 0
        value = _network_pass(
            values, indices, indptr, scratch, columns, soft, small, wide, weight, units, hidden,
            output, theta, order, zero, zero, n, layers, errors, places, grad, product, out, job,
            block,
        )  # fmt: skip
        for p in range(len(grad)):
            grad[p] *= scale
        return 0, value
    counters[EPOCHS] = 0
    steps = counters[STEPS]
    for epoch in range(len(rates)):
        total = norm = 0.0
        for start in range(0, n, config.batch_size):
            stop = min(start + config.batch_size, n)
            mass = float(stop - start)
            if len(weight):
                mass = 0.0
                for r in range(start, stop):
                    mass += weight[order[epoch, r] if ordered else r]
            # A batch that weighs nothing teaches nothing.
            share = 1 / mass if mass > 0 else 0.0
            squares = 0.0
            for p in range(n_weights):
                squares += float(theta[p]) ** 2
            grad[:] = 0
            value = _network_pass(
                values, indices, indptr, scratch, columns, soft, small, wide, weight, units,
                hidden, output, theta, order, epoch, start, stop, layers, errors, places, grad,
                product, out, job, block,
            )  # fmt: skip
            total += (value + config.l2 / 2 * squares) * share * (stop - start) / n
            if not math.isfinite(total):
                return epoch, float(NONFINITE)
            steps += 1
            norm = _network_step(theta, slots, config, rates[epoch], share, grad, n_weights, steps)
        for p in range(len(theta)):
            if not math.isfinite(theta[p]):
                return epoch, float(NONFINITE)
        history[epoch, 0] = total
        history[epoch, 1] = norm
        history[epoch, 2] = rates[epoch]
        counters[EPOCHS] = epoch + 1
        counters[STEPS] = steps
    return len(rates), float(RAN)


@exact
def _network_step(theta, slots, config, rate, share, grad, n_weights, steps):
    """Move the parameters as the config says; the largest entry of the gradient."""
    if config.solver == ADAM:
        rate *= math.sqrt(1 - config.beta_2**steps) / (1 - config.beta_1**steps)
    norm = 0.0
    for p in range(len(theta)):
        g = float(grad[p])
        if p < n_weights:
            g += config.l2 * theta[p]
        g *= share
        norm = larger(norm, abs(g))
        if config.solver == ADAM:
            slots[0, p] = config.beta_1 * slots[0, p] + (1 - config.beta_1) * g
            slots[1, p] = config.beta_2 * slots[1, p] + (1 - config.beta_2) * g * g
            theta[p] -= rate * slots[0, p] / (math.sqrt(slots[1, p]) + config.epsilon)
        else:
            slots[0, p] = config.momentum * slots[0, p] - rate * g
            if config.solver == NESTEROV:
                theta[p] += config.momentum * slots[0, p] - rate * g
            else:
                theta[p] += slots[0, p]
    return norm
