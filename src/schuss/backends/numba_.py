"""The kernel contract in Numba: short loops, compiled when they are first called.

`contract` says what each function takes and returns, `numpy_` what it computes. The kernels are in
`numba_kernels`, each in a file of its function's name. They run on one thread, so ``n_threads``
cannot change a result. Compiled code is kept on disk and loaded again by later processes.
"""

import functools

import numpy as np

from schuss.backends import numpy_
from schuss.backends.codes import Codes
from schuss.backends.numba_kernels import rows
from schuss.backends.numba_kernels.compiling import as_annotated, read_only
from schuss.backends.numba_kernels.coordinate_descent import (
    coordinate_descent as run_coordinate_descent,
)
from schuss.backends.numba_kernels.descend import descend as run_descend
from schuss.backends.numba_kernels.gradient import gradient as run_gradient
from schuss.backends.numba_kernels.gradient_many import gradient_many as run_gradient_many
from schuss.backends.numba_kernels.network import network_epochs as run_network_epochs
from schuss.backends.numba_kernels.newton_many import newton_many as run_newton_many
from schuss.backends.numba_kernels.pointwise import pointwise as run_pointwise
from schuss.backends.numba_kernels.predict import predict as run_predict
from schuss.backends.numba_kernels.sweep import sweep as run_sweep
from schuss.backends.numba_kernels.targets import targets_of
from schuss.backends.numba_kernels.walk import walk as run_walk
from schuss.constants import ModelPart

NAME = "numba"

_CODES = Codes()

# In place of orders of the rows: their own.
_OWN_ORDERS = read_only(np.empty((0, 0), np.int32))
_OWN_ORDER = _OWN_ORDERS.reshape(-1)
# Of dense columns, which have all of them.
_NO_ROWS = np.empty(0, np.int32)


def prepare(X):
    return rows.prepare(X)


def pointwise(z, y, loss, value, derivative):
    _CODES.check_pointwise(loss)
    run_pointwise(read_only(z), read_only(y), int(loss), value, derivative)


def gradient(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    _CODES.check_loss(loss)
    return run_gradient(
        *_arguments(data), int(loss), read_only(coef), read_only(intercept), _OWN_ORDER,
        coef_grad, intercept_grad,
    )  # fmt: skip


def evaluator(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    _CODES.check_loss(loss)
    return functools.partial(gradient, data, loss, coef, intercept, coef_grad, intercept_grad, 1)


def newton(data, config, theta, gradient, model, helper):
    _CODES.check_newton(config)
    return numpy_.newton(_plain(data), config, theta, gradient, model, helper)


def newton_many(data, order, extra, models, config, theta, variance, report, n_threads):
    _CODES.check_newton(config)
    real = data.X.real
    if extra is not None:
        # A copy of those that these models have.
        columns, models = np.unique(models[:, ModelPart.COLUMN]), models.copy()
        models[:, ModelPart.COLUMN] = np.searchsorted(columns, models[:, ModelPart.COLUMN])
        extra = extra[:, columns].T.astype(real, order="C")
    weight = np.empty((0, 0), real) if data.sample_weight is None else data.sample_weight
    run_newton_many(
        data.X.rows, read_only(data.y), read_only(weight),
        _OWN_ORDER if order is None else read_only(order),
        np.empty((0, 0), real) if extra is None else extra, read_only(models),
        as_annotated(config._replace(l2=0)), read_only(config.l2), theta,
        np.empty((*theta.shape[:2], 0)) if variance is None else variance, report,
    )  # fmt: skip


def gradient_many(data, models, loss, theta, values, gradients, n_threads):
    _CODES.check_curved(loss)
    weight = np.empty((0, 0), data.X.real) if data.sample_weight is None else data.sample_weight
    run_gradient_many(
        data.X.shape, data.X.rows, read_only(data.y), read_only(weight), read_only(models),
        int(loss), theta, values, gradients,
    )  # fmt: skip


def information(data, offset, fit_intercept, bias_reduced, singular, n_threads):
    return numpy_.information(
        _plain(data), offset, fit_intercept, bias_reduced, singular, n_threads
    )  # fmt: skip


def weighted_gram(X, factors, fit_intercept, out, n_threads):
    numpy_.weighted_gram(X.X, factors, fit_intercept, out, n_threads)


def add_product(left, right, factor, out, upper):
    numpy_.add_product(left, right, factor, out, upper)


def descend(data, state, config, order, history, n_threads):
    _CODES.check_config(config)
    if order is None or config.batch_size >= data.X.shape[0]:
        order = _OWN_ORDERS
    return run_descend(*_arguments(data), *state, as_annotated(config), read_only(order), history)


def sweep(data, state, config, class_weight, held_out, seeds, history, n_threads):
    _CODES.check_sgd_config(config)
    held_out = np.empty(0, np.uint8) if held_out is None else held_out
    seeds = np.empty(0, np.uint32) if seeds is None else seeds
    return run_sweep(
        *_arguments(data), *state, as_annotated(config), read_only(class_weight),
        read_only(held_out), read_only(seeds), history,
    )  # fmt: skip


def predict(X, coef, intercept, activation, out, n_threads):
    _CODES.check_activation(activation)
    parameters = read_only(coef), read_only(intercept)
    return run_predict(X.rows, *parameters, int(activation), _OWN_ORDER, out) == 0


def walk(function, state, config, limits, previous, rates, path, values):
    _CODES.check_walk(config)
    if callable(function) or function.value:
        # Calls through an address need a compilation for each; Python makes them as well.
        return numpy_.walk(function, state, config, limits, previous, rates, path, values)
    return run_walk(
        read_only(function.coef), read_only(function.derivative), *state, as_annotated(config),
        as_annotated(limits), *previous, read_only(rates), path, values,
    )  # fmt: skip


def take_columns(X, features):
    return numpy_.take_columns(X.X, features)


def coordinate_descent(
    columns, places, residual, curvature, l2, l1, theta, change, tol, rate, sweeps
):  # fmt: skip
    values, rows, starts = columns
    if rows is None:
        m, n = values.shape
        rows, starts = _NO_ROWS, np.arange(0, m * n + 1, n)
    return run_coordinate_descent(
        *map(read_only, (values.reshape(-1), rows, starts, places)), residual,
        *map(read_only, (curvature, l2, l1)), theta, change, float(tol), float(rate), int(sweeps),
    )  # fmt: skip


def network_gradient(data, network, theta, grad, n_threads):
    _CODES.check_network(network)
    return numpy_.network_gradient(_plain(data), network, theta, grad, n_threads)


def network_epochs(data, network, state, config, rates, order, history, n_threads):
    _CODES.check_network(network)
    _CODES.check_network_config(config)
    return run_network_epochs(
        *_arguments(data), np.array(network.units), (int(network.hidden), int(network.output)),
        *state, as_annotated(config), read_only(rates),
        _OWN_ORDERS if order is None else read_only(order), history,
    )  # fmt: skip


def network_predict(X, network, theta, out, n_threads):
    _CODES.check_network(network)
    numpy_.network_predict(X.X, network, theta, out, n_threads)


def shuffle(random_state, order, out):
    numpy_.shuffle(random_state, order, out)


def _arguments(data):
    """The data as compiled code takes them."""
    return data.X.shape[0], data.X.rows, targets_of(data), float(data.scale)


def _plain(data):
    """The data as NumPy takes them: most of a few functions are products, left to BLAS."""
    return data._replace(X=data.X.X)
