"""Networks: passes through the layers, and epochs of mini-batches."""

import math

import numpy as np

from schuss.backends.numba_kernels.compiling import compiled, fused
from schuss.backends.numba_kernels.descend import larger
from schuss.backends.numba_kernels.formulas import log_loss, sigmoid_pair, squared_error
from schuss.backends.numba_kernels.rows import row_at, take_dense
from schuss.backends.numba_kernels.targets import read_targets, read_weights, weight_of
from schuss.constants import Counter, Hidden, Status
from schuss.losses import Output
from schuss.methods import Solver

# Rows that go through the layers together.
_BLOCK_ROWS = 256


@fused
def _split(theta, units):
    """Views of the weights and of the intercepts of each layer."""
    coefs, intercepts, start = [], [], 0
    for i in range(len(units) - 1):
        stop = start + units[i] * units[i + 1]
        coefs.append(theta[start:stop].reshape(units[i], units[i + 1]))
        start = stop
    for i in range(1, len(units)):
        intercepts.append(theta[start : start + units[i]])
        start += units[i]
    return coefs, intercepts


@fused
def _activate(hidden, a):
    for i in range(len(a)):
        if hidden == Hidden.LOGISTIC:
            a[i] = sigmoid_pair(np.float64(a[i]))[0]
        elif hidden == Hidden.TANH:
            a[i] = math.tanh(a[i])
        elif hidden == Hidden.RELU and a[i] < 0:
            a[i] = 0


@fused
def _multiply_by_derivative(hidden, a, delta):
    """delta times the derivative of the activation, from the activation itself."""
    for i in range(len(a)):
        if hidden == Hidden.LOGISTIC:
            delta[i] *= a[i] * (1 - a[i])
        elif hidden == Hidden.TANH:
            delta[i] *= 1 - a[i] * a[i]
        elif hidden == Hidden.RELU and a[i] == 0:
            delta[i] = 0


@fused
def _clamped(loss, eps):
    """A cross-entropy of a probability held within [eps, 1 - eps]; NaN stays NaN."""
    low, high = -math.log1p(-eps), -math.log(eps)
    return low if loss < low else high if loss > high else loss


@fused
def _loss_of_row(output, z, y, eps, delta):
    """Loss of a row; the derivatives with respect to its scores go into `delta`."""
    n_outputs, value = len(z), 0.0
    if output == Output.SOFTMAX:
        top, total = np.float64(z.max()), 0.0
        for k in range(n_outputs):
            if y[k] != 0:
                value -= y[k] * (z[k] - top)
            total += math.exp(z[k] - top)
        for k in range(n_outputs):
            delta[k] = math.exp(z[k] - top) / total - y[k]
        return _clamped(value + math.log(total), eps)
    for k in range(n_outputs):
        score, target = np.float64(z[k]), y[k]
        if output == Output.LOGISTIC:
            loss, derivative = log_loss(score, target)
            loss = _clamped(loss, eps)
        elif output == Output.LOGISTIC_SQUARED:
            loss, derivative = squared_error(score, target)
        elif output == Output.EXPONENTIAL:
            derivative = math.exp(score) - target
            loss = derivative - target * score
            loss += target * math.log(target) if target > 0 else 0.0
        else:
            derivative = score - target
            loss = derivative * derivative / (2 * n_outputs)
        value += loss
        delta[k] = derivative
    return value


@fused
def _pass(X, targets, network, parameters, gradients, order, start, stop, layers, deltas):
    """Sum of the losses of rows start to stop; their gradients are added up."""
    hidden, output = network
    coefs, intercepts = parameters
    coef_grads, intercept_grads = gradients
    depth = len(coefs)
    most, n_outputs = layers[depth].shape
    y, weight = np.empty((n_outputs, most)), np.ones(most)
    # -log1p(-eps) of the float types themselves.
    eps = 2.0**-23 if layers[0].itemsize == 4 else 2.0**-52
    value = 0.0
    for first in range(start, stop, most):
        m = min(most, stop - first)
        take_dense(X, order, first, layers[0][:m])
        for i in range(depth):
            a = layers[i + 1][:m]
            np.dot(layers[i][:m], coefs[i], a)
            a += intercepts[i]
            if i + 1 < depth:
                _activate(hidden, a.reshape(-1))
        read_weights(targets, order, first, weight[:m])
        for k in range(n_outputs):
            read_targets(targets, k, n_outputs, order, first, y[k, :m])
        z, delta = layers[depth], deltas[depth]
        for r in range(m):
            value += weight[r] * _loss_of_row(output, z[r], y[:, r], eps, delta[r])
            for k in range(n_outputs):
                delta[r, k] *= weight[r]
        for i in range(depth - 1, -1, -1):
            a, delta = layers[i][:m], deltas[i + 1][:m]
            coef_grads[i] += np.dot(a.T, delta)
            for r in range(m):
                intercept_grads[i] += delta[r]
            if i:
                below = deltas[i][:m]
                np.dot(delta, coefs[i].T, below)
                _multiply_by_derivative(hidden, a.reshape(-1), below.reshape(-1))
    return value


@compiled
def network_epochs(
    n, X, targets, scale, units, network, theta, slots, counters, config, rates, orders, history
):
    n = orders.shape[1] if len(orders) else n
    most = max(1, min(_BLOCK_ROWS, n, config.batch_size))
    grad = np.empty(len(theta))
    coefs, intercepts = _split(theta, units)
    coef_grads, intercept_grads = _split(grad, units)
    layers = [np.empty((most, u), theta.dtype) for u in units]
    deltas = [np.empty((most, u), theta.dtype) for u in units]
    n_weights = len(theta) - units[1:].sum()
    steps = counters[Counter.STEPS]
    counters[Counter.EPOCHS] = 0
    for epoch in range(len(rates)):
        order = orders[epoch] if len(orders) else orders.reshape(-1)
        total = norm = 0.0
        for start in range(0, n, config.batch_size):
            stop = min(start + config.batch_size, n)
            grad[:] = 0
            value = _pass(
                X, targets, network, (coefs, intercepts), (coef_grads, intercept_grads), order,
                start, stop, layers, deltas,
            )  # fmt: skip
            squares = (theta[:n_weights].astype(np.float64) ** 2).sum()
            batch_weight = 0.0
            for r in range(start, stop):
                batch_weight += weight_of(targets, row_at(order, r))
            # A batch that weighs nothing teaches nothing.
            share = 1 / batch_weight if batch_weight > 0 else 0.0
            total += (value + config.l2 / 2 * squares) * share * (stop - start) / n
            if not math.isfinite(total):
                return epoch, Status.NONFINITE.value
            steps += 1
            norm = _step(theta, slots, config, rates[epoch], share, grad, n_weights, steps)
        if not np.isfinite(theta).all():
            return epoch, Status.NONFINITE.value
        history[epoch, 0], history[epoch, 1], history[epoch, 2] = total, norm, rates[epoch]
        counters[Counter.EPOCHS] = epoch + 1
        counters[Counter.STEPS] = steps
    return len(rates), Status.RAN.value


@fused
def _step(theta, slots, config, rate, share, grad, n_weights, steps):
    """Move the parameters as the config says; the largest entry of the gradient."""
    if config.solver == Solver.ADAM:
        rate *= math.sqrt(1 - config.beta_2**steps) / (1 - config.beta_1**steps)
    norm = 0.0
    for p in range(len(theta)):
        g = np.float64(grad[p])
        if p < n_weights:
            g += config.l2 * theta[p]
        g *= share
        norm = larger(norm, abs(g))
        if config.solver == Solver.ADAM:
            slots[0, p] = config.beta_1 * slots[0, p] + (1 - config.beta_1) * g
            slots[1, p] = config.beta_2 * slots[1, p] + (1 - config.beta_2) * g * g
            theta[p] -= rate * slots[0, p] / (math.sqrt(slots[1, p]) + config.epsilon)
        else:
            slots[0, p] = config.momentum * slots[0, p] - rate * g
            if config.solver == Solver.NESTEROV:
                theta[p] += config.momentum * slots[0, p] - rate * g
            else:
                theta[p] += slots[0, p]
    return norm
