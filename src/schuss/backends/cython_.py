"""The kernel contract in compiled code: choice of instruction set and type, and threads.

``schuss._ext`` holds the same two modules (one for each type of weights) once for each
instruction set. `ISA` is the one in use, `BUILD` says how they were compiled; `contract`
says what each function takes and returns.
"""

import threading
from functools import partial
from importlib import import_module

import numpy as np
import scipy.sparse as sp

from schuss.backends.codes import Codes
from schuss.backends.contract import Columns
from schuss.errors import BackendUnavailableError
from schuss.validation import environment_choice

NAME = "cython"

_CODES = Codes()

# Folder of `schuss._ext` and the x86-64 level it needs, best first.
_FOLDERS = {
    "x86-64-v4": ("x86_64_v4", 4),
    "x86-64-v3": ("x86_64_v3", 3),
    "baseline": ("baseline", 0),
}


def _processor_level():
    """The x86-64 level here, from the module that needs the least; a build may have one alone."""
    for folder, _ in reversed(_FOLDERS.values()):
        try:
            return import_module(f"schuss._ext.{folder}.single").processor_level()
        except ImportError as error:
            last = error
    raise last


def _load():
    """Import the modules for the best or the forced instruction set."""
    forced = environment_choice("SCHUSS_ISA", ("auto", *_FOLDERS))
    level = _processor_level()
    for isa, (folder, needed) in _FOLDERS.items():
        if forced not in ("auto", isa):
            continue
        if level < needed:
            if forced == isa:
                raise BackendUnavailableError(
                    f"SCHUSS_ISA={forced} was asked for, but this processor does not have that "
                    "instruction set. Unset SCHUSS_ISA to use the best that it has, or set it to "
                    f"one of {', '.join(k for k, v in _FOLDERS.items() if v[1] <= level)}."
                )
            continue
        try:
            modules = [import_module(f"schuss._ext.{folder}.{m}") for m in ("single", "double")]
        except ImportError as error:
            if forced == isa:
                raise BackendUnavailableError(
                    f"SCHUSS_ISA={forced} was asked for, but this build of schuss has no such "
                    f"extension ({error}). Unset SCHUSS_ISA to use the best that there is, or "
                    "reinstall schuss with a C compiler that knows that instruction set."
                ) from error
            continue
        return isa, *modules
    raise ImportError("schuss has no usable compiled extension")


ISA, _single, _double = _load()
try:
    from schuss._ext.build_info import BUILD
except ImportError:
    BUILD = {}


def _module(dtype):
    return _double if dtype == np.float64 else _single


def prepare(X):
    if sp.issparse(X):
        return _module(X.dtype).matrix(None, X.dtype.char, X.shape, X.data, X.indices, X.indptr)
    return _module(X.dtype).matrix(X, X.dtype.char, X.shape)


def pointwise(z, y, loss, value, derivative):
    _CODES.check_pointwise(loss)
    _module(z.dtype).pointwise(z, y, loss, value, derivative)


def gradient(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    _CODES.check_loss(loss)
    job = _module(coef.dtype).Gradient(
        data, loss, coef, intercept, coef_grad, intercept_grad, n_threads
    )
    return job.run()


def evaluator(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    _CODES.check_loss(loss)
    arrays = coef, intercept, coef_grad, intercept_grad
    if n_threads == 1:
        # There are no others to keep.
        return partial(gradient, data, loss, *arrays, 1)
    return _module(coef.dtype).Evaluator(data, loss, *arrays, n_threads)


def newton(data, config, theta, gradient, model, helper):
    _CODES.check_newton(config)
    module = _double if isinstance(data.X, _double.Matrix) else _single
    helper = helper if isinstance(helper, module.Evaluator) else None
    return module.Newton(data, config, theta, gradient, model, helper)


def newton_many(data, order, extra, models, config, theta, variance, report, n_threads):
    _CODES.check_newton(config)
    if len(models):
        module = _double if isinstance(data.X, _double.Matrix) else _single
        arguments = data, order, extra, models, config, theta, variance, report
        module.NewtonMany(*arguments, n_threads).run()


def gradient_many(data, models, loss, theta, values, gradients, n_threads):
    _CODES.check_curved(loss)
    if len(models):
        module = _double if isinstance(data.X, _double.Matrix) else _single
        module.GradientMany(data, models, loss, theta, values, gradients, n_threads).run()


def information(data, offset, fit_intercept, bias_reduced, singular, n_threads):
    module = _double if isinstance(data.X, _double.Matrix) else _single
    return module.Information(data, offset, fit_intercept, bias_reduced, singular, n_threads)


def weighted_gram(X, factors, fit_intercept, out, n_threads):
    module = _double if isinstance(X, _double.Matrix) else _single
    module.WeightedGram(X, factors, fit_intercept, out, n_threads).run()


def add_product(left, right, factor, out, upper):
    _module(left.dtype).add_product(left, right, factor, out, upper)


def descend(data, state, config, order, history, n_threads):
    _CODES.check_config(config)
    job = _module(state.coef.dtype).Descent(data, state, config, order, history, n_threads)
    return job.run()


def sweep(data, state, config, class_weight, held_out, seeds, history, n_threads):
    _CODES.check_sgd_config(config)
    job = _module(state.coef.dtype).Sweep(
        data, state, config, class_weight, held_out, seeds, history, n_threads
    )
    return job.run()


def predict(X, coef, intercept, activation, out, n_threads):
    _CODES.check_activation(activation)
    job = _module(coef.dtype).Prediction(X, coef, intercept, activation, out, n_threads)
    return job.run()


def walk(function, state, config, limits, previous, rates, path, values):
    _CODES.check_walk(config)
    return _double.walk(function, state, config, limits, previous, rates, path, values)


def take_columns(X, features):
    module = _double if isinstance(X, _double.Matrix) else _single
    real, (n, d), m = (
        np.dtype(np.float64 if module is _double else np.float32),
        X.shape,
        len(features),
    )
    if not X.is_sparse:
        values = np.empty((m, n), real)
        module.copy_columns(X, features, values)
        return Columns(values, None, None)
    places, starts = np.full(d, -1, np.int32), np.zeros(m + 1, np.int64)
    places[features] = np.arange(m)
    module.count_entries(X, places, starts[1:])
    starts.cumsum(out=starts)
    values, rows = np.empty(starts[-1], real), np.empty(starts[-1], np.int32)
    module.copy_entries(X, places, starts, values, rows)
    return Columns(values, rows, starts)


def coordinate_descent(
    columns, places, residual, curvature, l2, l1, theta, change, tol, rate, sweeps
):  # fmt: skip
    module = _module(residual.dtype)
    return module.coordinate_descent(
        *columns, places, residual, curvature, l2, l1, theta, change, tol, rate, sweeps
    )


def network_gradient(data, network, theta, grad, n_threads):
    _CODES.check_network(network)
    return _module(theta.dtype).NetworkGradient(data, network, theta, grad, n_threads).run()


def network_epochs(data, network, state, config, rates, order, history, n_threads):
    _CODES.check_network(network)
    _CODES.check_network_config(config)
    job = _module(state.theta.dtype).NetworkEpochs(
        data, network, state, config, rates, order, history, n_threads
    )
    return job.run()


def network_predict(X, network, theta, out, n_threads):
    _CODES.check_network(network)
    _module(theta.dtype).NetworkPrediction(X, network, theta, out, n_threads).run()


def shuffle(random_state, order, out):
    bits = random_state._bit_generator
    with bits.lock:
        _single.shuffle(bits.capsule, order, out)


def read_once(buffer, n_threads):
    """Read a contiguous array from end to end, once: the yardstick for a pass over X."""
    parts = np.array_split(buffer.reshape(-1).view(np.uint8), n_threads)
    members = [threading.Thread(target=_single.read_once, args=(p,)) for p in parts[1:]]
    for member in members:
        member.start()
    _single.read_once(parts[0])
    for member in members:
        member.join()


def multiply_add(repeats, n_threads):
    """Float32 operations done, as fast as they can be: the yardstick for matrix products."""
    done = [0] * n_threads

    def work(member):
        done[member] = _single.multiply_add(repeats)

    members = [threading.Thread(target=work, args=(i,)) for i in range(1, n_threads)]
    for member in members:
        member.start()
    work(0)
    for member in members:
        member.join()
    return sum(done)
