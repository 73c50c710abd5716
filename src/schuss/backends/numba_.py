"""The kernel contract in Numba: short loops, compiled when they are first called.

`contract` says what each function takes and returns, `numpy_` what it computes. Rows are
taken in tiles small enough to stay in the cache between the dot products and the
gradient, so X comes from memory once a pass. Real numbers in C or Fortran order are read
where they lie; other types and strides are converted one tile at a time, and an X that
fits in the cache once, by `prepare`.

Everything runs on one thread, so ``n_threads`` cannot change a result. Compiled code, which is
in `numba_kernels`, is kept on disk and loaded again by later processes.
"""

import functools
import math

import numpy as np

from schuss.backends import numpy_
from schuss.backends.codes import Codes
from schuss.backends.contract import Data, NetworkConfig, State, UpdateConfig
from schuss.backends.numba_kernels import descent, formulas, matrix, neuron, sgd
from schuss.backends.numba_kernels import network as networks
from schuss.backends.numba_kernels.compiling import of_its_types
from schuss.backends.numba_kernels.matrix import arguments, kind
from schuss.backends.numba_kernels.neuron import learnt, scratch
from schuss.backends.numba_kernels.walk import walk as walk_polynomial
from schuss.constants import HISTORY_COLUMNS, N_COUNTERS, Status
from schuss.methods import Solver

NAME = "numba"

_CODES = Codes()

_ANY_GRADIENT = UpdateConfig(
    loss=0, solver=int(Solver.GD), learning_rate=0.0, momentum=0.0, beta_1=0.0, beta_2=0.0,
    epsilon=0.0, l2=0.0, l1=0.0, tol=math.inf, fit_intercept=True, batch_size=1,
)  # fmt: skip


def prepare(X):
    return matrix.rows_of(X)


def pointwise(z, y, loss, value, derivative):
    _CODES.check_pointwise(loss)
    formulas.pointwise(z.dtype)(z, y, int(loss), value, derivative)


def gradient(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    _CODES.check_loss(loss)
    if data.X.shape[0] == 0:
        coef_grad[...] = intercept_grad[...] = 0
        return 0.0
    # The first epoch of a run that is content with any gradient ends before its step. One
    # function less to compile saves the user seconds.
    real = data.X.real
    n_outputs, d = coef.shape
    no_slots = np.empty((0, n_outputs, d + 1), real)
    state = State(np.array(coef), np.array(intercept), no_slots, np.zeros(N_COUNTERS))
    config = _ANY_GRADIENT._replace(loss=loss, batch_size=data.X.shape[0])
    history = np.empty((1, len(HISTORY_COLUMNS)))
    grad, _, _ = _run(data, state, config, None, history)
    coef_grad[...] = grad[:, :-1]
    intercept_grad[...] = grad[:, -1]
    return float(history[0, 0])


def evaluator(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    _CODES.check_loss(loss)
    arrays = coef, intercept, coef_grad, intercept_grad
    return functools.partial(gradient, data, loss, *arrays, n_threads)


def newton(data, config, theta, gradient, model, helper):
    _CODES.check_newton(config)
    # Nearly all of it is products of matrices, which NumPy leaves to BLAS.
    return numpy_.newton(
        data._replace(X=matrix.dense(data.X)), config, theta, gradient, model, helper
    )


def add_product(left, right, factor, out, upper):
    numpy_.add_product(left, right, factor, out, upper)


def descend(data, state, config, order, history, n_threads):
    _CODES.check_config(config)
    _, epochs, status = _run(data, state, config, order, history)
    return epochs, Status(status)


def sweep(data, state, config, class_weight, held_out, seeds, history, n_threads):
    _CODES.check_sgd_config(config)
    config = of_its_types(config)
    compiled = sgd.sweep(*kind(data.X))
    held_out = np.empty(0, np.uint8) if held_out is None else held_out
    seeds = np.empty(0, np.uint32) if seeds is None else seeds
    return compiled(
        *arguments(data.X), *learnt(data), *state, config, class_weight, held_out, seeds, history
    )


def predict(X, coef, intercept, activation, out, n_threads):
    _CODES.check_activation(activation)
    compiled = neuron.predict(*kind(X))
    room = scratch(X, len(coef))
    return compiled(*arguments(X), coef, intercept, int(activation), room, out) == 0


def walk(function, state, config, limits, previous, rates, path, values):
    _CODES.check_walk(config)
    if callable(function) or function.value:
        # Calls through an address need a compilation for each; Python makes them as well.
        return numpy_.walk(function, state, config, limits, previous, rates, path, values)
    config = of_its_types(config)
    limits = of_its_types(limits)
    done, status = walk_polynomial()(
        function.coef, function.slope, *state, config, limits, *previous, rates, path, values
    )
    return done, Status(status)


def network_gradient(data, network, theta, grad, n_threads):
    _CODES.check_network(network)
    job = networks.COST if grad is None else networks.GRADIENT
    total = np.empty(len(theta))
    value = _run_network(job, data, network, theta, grad=total)[1]
    if grad is not None:
        grad[...] = total
    return value * data.scale


def network_epochs(data, network, state, config, rates, order, history, n_threads):
    _CODES.check_network(network)
    _CODES.check_network_config(config)
    config = of_its_types(config)
    epochs, status = _run_network(
        networks.EPOCHS_JOB, data, network, state.theta, slots=state.slots, counters=state.counters,
        config=config, rates=rates, order=order, history=history,
    )  # fmt: skip
    return epochs, Status(int(status))


def network_predict(X, network, theta, out, n_threads):
    _CODES.check_network(network)
    nothing = Data(X, np.empty(0, np.uint8), None, 1.0)
    _run_network(networks.ANSWERS, nothing, network, theta, out=out)


def shuffle(random_state, order, out):
    for row in out:
        places = np.arange(len(order))
        random_state.shuffle(places)
        row[...] = order = order[places]


def _run(data, state, config, order, history):
    config = of_its_types(config)
    if order is None or config.batch_size >= data.X.shape[0]:
        order = np.empty((0, 0), dtype=np.int32)
    grad = np.empty((state.coef.shape[0], state.coef.shape[1] + 1), state.coef.dtype)
    compiled = descent.descend(*kind(data.X))
    room = scratch(data.X, len(state.coef), config.loss)
    run = compiled(*arguments(data.X), *learnt(data), *state, config, order, history, room, grad)
    return grad, *run


def _run_network(
    job, data, network, theta, *, slots=None, counters=None, config=None, rates=None, order=None,
    history=None, grad=None, out=None,
):  # fmt: skip
    """One compiled function does all: each more to compile costs the user seconds."""
    real = theta.dtype
    units = np.array(network.units, np.int64)
    if config is None:
        config = NetworkConfig(0, 0.0, 0.0, 0.0, 0.0, 0.0, max(data.X.shape[0], 1))
    return networks.network(*kind(data.X))(
        job, *arguments(data.X), *learnt(data), units, int(network.hidden), int(network.output),
        theta if job == networks.EPOCHS_JOB else theta.copy(),
        np.empty((0, 0), real) if slots is None else slots,
        np.zeros(N_COUNTERS) if counters is None else counters,
        config,
        np.empty(0) if rates is None else rates,
        np.empty((0, 0), np.int32) if order is None else order,
        np.empty((0, len(HISTORY_COLUMNS))) if history is None else history,
        np.empty(len(theta)) if grad is None else grad,
        np.empty((0, 0), real) if out is None else out,
        data.X.tile_rows,
    )  # fmt: skip
