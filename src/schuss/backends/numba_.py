"""The kernel contract in Numba: short loops, compiled when they are first called.

`contract` says what each function takes and returns, `numpy_` what it computes. Rows are
taken in tiles small enough to stay in the cache between the dot products and the
gradient, so X comes from memory once a pass. Real numbers in C or Fortran order are read
where they lie; other types and strides are converted one tile at a time, and an X that
fits in the cache once, by `prepare`.

Everything runs on one thread, so ``n_threads`` cannot change a result. Compiled code is
kept on disk and loaded again by later processes.
"""

import functools
import math
from typing import NamedTuple

import numba
import numpy as np
import scipy.sparse as sp
from numba import types
from numba.extending import overload, register_jitable

from schuss.backends import numpy_
from schuss.backends.contract import Data, Limits, NetworkRule, Pace, Rule, State
from schuss.backends.registers import (
    AHEAD_BYTES,
    CACHE_LINE,
    LINES,
    REGISTER,
    accumulate,
    dots,
)
from schuss.constants import (
    HISTORY_COLUMNS,
    N_COUNTERS,
    REAL_TYPE,
    Activation,
    Counter,
    Hidden,
    Loss,
    Mark,
    Output,
    RowLoss,
    Schedule,
    Solver,
    Status,
    SweepMark,
)

NAME = "numba"

# Compiled code keeps the values that these had, and Numba's cache watches this file alone.
_SQUARED_ERROR, _LOG_LOSS = int(Loss.SQUARED_ERROR), int(Loss.LOG_LOSS)
_QUADRATIC, _MULTINOMIAL = int(Loss.QUADRATIC), int(Loss.MULTINOMIAL)
_GD, _MOMENTUM, _NESTEROV, _ADAM = (
    int(s) for s in (Solver.GD, Solver.MOMENTUM, Solver.NESTEROV, Solver.ADAM)
)
_LOGISTIC, _LOG_LOGISTIC = int(Activation.LOGISTIC), int(Activation.LOG_LOGISTIC)
_HIDDEN_LOGISTIC, _TANH, _RELU = int(Hidden.LOGISTIC), int(Hidden.TANH), int(Hidden.RELU)
_SOFTMAX, _SIGMOID, _SIGMOID_SQUARED, _EXPONENTIAL = (
    int(o) for o in (Output.SOFTMAX, Output.LOGISTIC, Output.LOGISTIC_SQUARED, Output.EXPONENTIAL)
)
_RAN, _CONVERGED, _NONFINITE = int(Status.RAN), int(Status.CONVERGED), int(Status.NONFINITE)
_SMALL_STEP, _SMALL_FALL, _OVERSHOT = (
    int(s) for s in (Status.SMALL_STEP, Status.SMALL_FALL, Status.OVERSHOT)
)
_POINTS, _VALUE, _FIRST_VALUE, _FIRST_NORM, _REVERSALS, _ABOVE, _CURVATURE = (
    int(m) for m in (
        Mark.POINTS, Mark.VALUE, Mark.FIRST_VALUE, Mark.FIRST_NORM, Mark.REVERSALS, Mark.ABOVE,
        Mark.CURVATURE,
    )
)  # fmt: skip
_STEPS, _STEP, _RATIO, _EPOCHS = (
    int(c) for c in (Counter.STEPS, Counter.STEP, Counter.RATIO, Counter.EPOCHS)
)

_HINGE, _SQUARED_HINGE, _MODIFIED_HUBER, _ROW_LOG_LOSS, _ROW_SQUARED, _HUBER, _EPSILON = (
    int(RowLoss(i)) for i in range(7)
)
_OPTIMAL, _INVSCALING, _ADAPTIVE_SCHEDULE, _PA1 = (int(Schedule(i)) for i in range(1, 5))
(
    _M_INTERCEPT, _M_AVERAGE, _M_SCALE, _M_SHARE, _M_WHOLE, _M_SQUARES, _M_ABSOLUTES, _M_OWED,
    _M_T, _M_STEP, _M_BEST, _M_WAITED, _M_EPOCHS, _M_STATUS,
) = (int(m) for m in sorted(SweepMark))  # fmt: skip

# Rows of a tile: as many as leave room in the first cache for those asked for ahead.
# Columns are read in pieces of a tile's length, which must not be short.
_TILE_ROWS = 256
_TILE_BYTES, _TILE_COLUMNS_BYTES = 16 * 1024, 32 * 1024
_TILE_LEAST_COLUMNS = 64
# X of at most so many bytes is kept in column order and in the weights' type: both loops of
# a pass then run along rows, whatever the number of features.
_SMALL_BYTES = 1024 * 1024
# Partial gradients in the weights' precision are added up in float64 after so many rows.
_FLUSH_ROWS = 1024


def _can_cache():
    try:
        numba.njit(cache=True)(lambda: None)
    except RuntimeError:  # no folder can be written: neither here nor in the user's home
        return False
    return True


_OPTIONS = {"nogil": True, "cache": _can_cache(), "error_model": "numpy"}
# Sums may be reordered; NaN and infinities must still be seen.
_SUMS = {"fastmath": {"reassoc", "contract", "nsz", "arcp"}, "error_model": "numpy"}
_INLINED = {**_SUMS, "forceinline": True}
_sums = numba.njit(**{**_OPTIONS, **_SUMS})
# Compensated steps may not be.
_exact = numba.njit(fastmath={"contract"}, **_OPTIONS)
_exact_inlined = numba.njit(fastmath={"contract"}, forceinline=True, **_OPTIONS)
# Nor products be fused with sums, where a path must be that of other code.
_strict = numba.njit(**_OPTIONS)


_RULE_TYPES = tuple(Rule.__annotations__.values())
_LIMITS_TYPES = tuple(Limits.__annotations__.values())
_NETWORK_RULE_TYPES = tuple(NetworkRule.__annotations__.values())
# What `_network` is to do, and the rows that go through the layers together.
_COST, _GRADIENT, _EPOCHS_JOB, _ANSWERS = range(4)
_NETWORK_ROWS = 256
_PACE_TYPES = tuple(Pace.__annotations__.values())
_ANY_GRADIENT = Rule(
    loss=0, solver=_GD, learning_rate=0.0, momentum=0.0, beta_1=0.0, beta_2=0.0, epsilon=0.0,
    l2=0.0, l1=0.0, tol=math.inf, fit_intercept=True, batch_size=1,
)  # fmt: skip


class Rows(NamedTuple):
    """X as the kernels take it."""

    shape: tuple
    real: np.dtype
    # (n, d), or if `columns` (panels * d, rows of a panel), one panel's columns after another's;
    # float16 as its bits in uint16; CSR: (nnz,)
    values: np.ndarray
    indices: np.ndarray | None = None
    indptr: np.ndarray | None = None
    in_place: bool = True  # read where it lies, else converted tile by tile
    columns: bool = False


def prepare(X):
    if sp.issparse(X):
        return Rows(X.shape, X.data.dtype, X.data, X.indices, X.indptr)
    X = np.asarray(X)
    real = REAL_TYPE[X.dtype]
    if X.size * real.itemsize <= _SMALL_BYTES:
        return Rows(X.shape, real, _panels(X, real), columns=True)
    if X.dtype == real and X.flags.aligned:
        if X.flags.f_contiguous:
            return Rows(X.shape, real, X.T, columns=True)
        if X.flags.c_contiguous:
            return Rows(X.shape, real, X)
    values = X.view(np.uint16) if X.dtype == np.float16 else X
    return Rows(X.shape, real, values, in_place=False)


def _panels(X, real):
    """A copy of X in panels of a tile's rows, from the beginning of a cache line on.

    So that a tile lies together: the second cache delivers it faster.
    """
    n, d = X.shape
    m = min(_tile_rows(d, real.itemsize, True), max(n + (-n) % REGISTER, REGISTER))
    whole, rest = divmod(n, m)
    size = (whole + (rest > 0)) * d * m
    memory = np.zeros(size + REGISTER, real)
    begin = -memory.ctypes.data % CACHE_LINE // real.itemsize
    panels = memory[begin : begin + size].reshape(-1, d, m)
    panels[:whole] = X[: whole * m].reshape(whole, m, d).transpose(0, 2, 1)
    panels[whole:, :, :rest] = X[whole * m :].T
    return panels.reshape(-1, m)


def pointwise(z, y, loss, value, derivative):
    _compiled(_pointwise, z.dtype)(z, y, int(loss), value, derivative)


def gradient(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    if data.X.shape[0] == 0:
        coef_grad[...] = intercept_grad[...] = 0
        return 0.0
    # The first epoch of a run that is content with any gradient ends before its step. One
    # function less to compile saves the user seconds.
    real = data.X.real
    n_outputs, d = coef.shape
    no_slots = np.empty((0, n_outputs, d + 1), real)
    state = State(np.array(coef), np.array(intercept), no_slots, np.zeros(N_COUNTERS))
    rule = _ANY_GRADIENT._replace(loss=loss, batch_size=data.X.shape[0])
    history = np.empty((1, len(HISTORY_COLUMNS)))
    grad, _, _ = _run(data, state, rule, None, history)
    coef_grad[...] = grad[:, :-1]
    intercept_grad[...] = grad[:, -1]
    return float(history[0, 0])


def evaluator(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    arrays = coef, intercept, coef_grad, intercept_grad
    return functools.partial(gradient, data, loss, *arrays, n_threads)


def newton(data, rule, theta, gradient, model, helper):
    # Nearly all of it is products of matrices, which NumPy leaves to BLAS.
    return numpy_.newton(data._replace(X=_dense(data.X)), rule, theta, gradient, model, helper)


def descend(data, state, rule, order, history, n_threads):
    _, epochs, status = _run(data, state, rule, order, history)
    return epochs, Status(status)


def sweep(data, trail, pace, class_weight, held_out, seeds, history, n_threads):
    pace = Pace(*(to(value) for to, value in zip(_PACE_TYPES, pace, strict=True)))
    compiled = _compiled(_sweep, *_kind(data.X))
    held_out = np.empty(0, np.uint8) if held_out is None else held_out
    seeds = np.empty(0, np.uint32) if seeds is None else seeds
    return compiled(
        *_arguments(data.X), *_learnt(data), *trail, pace, class_weight, held_out, seeds, history
    )


def predict(X, coef, intercept, activation, out, n_threads):
    compiled = _compiled(_predict, *_kind(X))
    return compiled(*_arguments(X), coef, intercept, int(activation), out) == 0


def walk(function, state, rule, limits, trail, rates, path, values):
    if callable(function) or function.value:
        # Calls through an address need a compilation for each; Python makes them as well.
        return numpy_.walk(function, state, rule, limits, trail, rates, path, values)
    rule = Rule(*(to(value) for to, value in zip(_RULE_TYPES, rule, strict=True)))
    limits = Limits(*(to(value) for to, value in zip(_LIMITS_TYPES, limits, strict=True)))
    done, status = _compiled(_walk, np.dtype(np.float64))(
        function.coef, function.slope, *state, rule, limits, *trail, rates, path, values
    )
    return done, Status(status)


def network_gradient(data, network, theta, grad, n_threads):
    job = _COST if grad is None else _GRADIENT
    return _run_network(job, data, network, theta, grad=grad)[1] * data.scale


def network_epochs(data, network, state, rule, rates, order, history, n_threads):
    rule = NetworkRule(*(to(value) for to, value in zip(_NETWORK_RULE_TYPES, rule, strict=True)))
    epochs, status = _run_network(
        _EPOCHS_JOB, data, network, state.theta, slots=state.slots, counters=state.counters,
        rule=rule, rates=rates, order=order, history=history,
    )  # fmt: skip
    return epochs, Status(int(status))


def network_predict(X, network, theta, out, n_threads):
    nothing = Data(X, np.empty(0, np.uint8), None, 1.0)
    _run_network(_ANSWERS, nothing, network, theta, out=out)


def shuffle(random_state, order, out):
    for row in out:
        places = np.arange(len(order))
        random_state.shuffle(places)
        row[...] = order = order[places]


def _dense(rows):
    """The array that `prepare` was given, or its copy."""
    values = rows.values
    if rows.columns:
        n, d = rows.shape
        panels = values.reshape(-1, d, values.shape[1])
        values = panels.transpose(0, 2, 1).reshape(-1, d)[:n]
    return values.view(np.float16) if values.dtype == np.uint16 else values


def _run_network(
    job, data, network, theta, *, slots=None, counters=None, rule=None, rates=None, order=None,
    history=None, grad=None, out=None,
):  # fmt: skip
    """One compiled function does all: each more to compile costs the user seconds."""
    real = theta.dtype
    units = np.array(network.units, np.int64)
    if rule is None:
        rule = NetworkRule(0, 0.0, 0.0, 0.0, 0.0, 0.0, max(data.X.shape[0], 1))
    return _compiled(_network, *_kind(data.X))(
        job, *_arguments(data.X), *_learnt(data), units, int(network.hidden), int(network.output),
        theta if job == _EPOCHS_JOB else theta.copy(),
        np.empty((0, 0), real) if slots is None else slots,
        np.zeros(N_COUNTERS) if counters is None else counters,
        rule,
        np.empty(0) if rates is None else rates,
        np.empty((0, 0), np.int32) if order is None else order,
        np.empty((0, len(HISTORY_COLUMNS))) if history is None else history,
        np.empty(len(theta), real) if grad is None else grad,
        np.empty((0, 0), real) if out is None else out,
    )  # fmt: skip


def _run(data, state, rule, order, history):
    rule = Rule(*(to(value) for to, value in zip(_RULE_TYPES, rule, strict=True)))
    if order is None:
        order = np.empty((0, 0), dtype=np.int32)
    grad = np.empty((state.coef.shape[0], state.coef.shape[1] + 1), state.coef.dtype)
    compiled = _compiled(_descend, *_kind(data.X))
    run = compiled(*_arguments(data.X), *_learnt(data), *state, rule, order, history, grad)
    return grad, *run


# ---------------------------------------------------------------------------
# Types of the compiled functions, written out so that their number is bounded: for each
# feature type one for rows in place and one for any strides, and CSR.


def _kind(X):
    index = None if X.indices is None else X.indices.dtype
    return X.real, X.values.dtype, index, X.in_place, X.columns


def _array(dtype, ndim, layout="C", **flags):
    return types.Array(numba.from_dtype(dtype), ndim, layout, **flags)


def _given(dtype, ndim, layout="C", **flags):
    return _array(dtype, ndim, layout, readonly=True, **flags)


def _rows_types(real, stored, index, in_place, columns):
    indices = indptr = scratch = types.none
    if index is not None:
        values, indices, indptr = _given(real, 1), _given(index, 1), _given(index, 1)
    elif in_place:
        values = _given(real, 2)
        scratch = _array(real, 2) if columns else types.none
    else:
        values, scratch = _given(stored, 2, "A", aligned=False), _array(real, 2)
    # Where it is None is decided when a function is compiled.
    return types.int64, values, indices, indptr, scratch, types.boolean if columns else types.none


def _arguments(X):
    n, d = X.shape
    scratch = None
    if X.columns or not X.in_place:
        m = _tile_rows(d, X.real.itemsize, X.columns or None)
        scratch = np.empty((d, m) if X.columns else (m, d), dtype=X.real)
    return n, X.values, X.indices, X.indptr, scratch, X.columns or None


def _learnt_types(real):
    return (
        _given(real, 2), _given(np.uint8, 1), _given(np.int32, 1), _given(real, 1), types.float64
    )  # fmt: skip


def _learnt(data):
    """Targets in the one of three arrays that fits, weights (empty for ones), scale."""
    real = data.X.real
    soft, small, wide = np.empty((0, 0), real), np.empty(0, np.uint8), np.empty(0, np.int32)
    if data.y.ndim == 2:
        soft = data.y
    elif data.y.dtype == np.uint8:
        small = data.y
    else:
        wide = data.y
    weight = np.empty(0, real) if data.sample_weight is None else data.sample_weight
    return soft, small, wide, weight, float(data.scale)


def _tuple_type(named_tuple, kinds):
    numbers = {int: types.int64, float: types.float64, bool: types.boolean}
    return types.NamedTuple([numbers[kind] for kind in kinds], named_tuple)


@functools.cache
def _compiled(function, real, *kind):
    """One compiled function; arrays of other layouts are not recompiled for but refused."""
    if function is _pointwise:
        given, out = _given(real, 1, "A", aligned=False), _array(real, 1, "A", aligned=False)
        signature = given, given, types.int64, out, out
    elif function is _walk:
        numbers_, vector, table = _given(real, 1), _array(real, 1), _array(real, 2)
        signature = (
            numbers_, numbers_, table, vector, _array(real, 3), vector,
            _tuple_type(Rule, _RULE_TYPES), _tuple_type(Limits, _LIMITS_TYPES),
            vector, vector, vector, numbers_, table, vector,
        )  # fmt: skip
    elif function is _network:
        signature = (
            types.int64, *_rows_types(real, *kind), *_learnt_types(real), _given(np.int64, 1),
            types.int64, types.int64, _array(real, 1), _array(real, 2), _array(np.float64, 1),
            _tuple_type(NetworkRule, _NETWORK_RULE_TYPES),
            _given(np.float64, 1), _given(np.int32, 2), _array(np.float64, 2), _array(real, 1),
            _array(real, 2),
        )  # fmt: skip
    elif function is _descend:
        signature = (
            *_rows_types(real, *kind), *_learnt_types(real),
            _array(real, 2), _array(real, 1), _array(real, 3), _array(np.float64, 1),
            _tuple_type(Rule, _RULE_TYPES),
            _given(np.int32, 2), _array(np.float64, 2), _array(real, 2),
        )  # fmt: skip
    elif function is _sweep:
        numbers = {int: types.int64, float: types.float64, bool: types.boolean}
        signature = (
            *_rows_types(real, *kind), *_learnt_types(real),
            _array(real, 2), _array(real, 2), _array(real, 2), _array(np.int32, 2),
            _array(np.float64, 2), types.NamedTuple([numbers[t] for t in _PACE_TYPES], Pace),
            _given(np.float64, 2), _given(np.uint8, 1), _given(np.uint32, 1),
            _array(np.float64, 3),
        )  # fmt: skip
    else:
        parameters = _given(real, 2), _given(real, 1)
        signature = *_rows_types(real, *kind), *parameters, types.int64, _array(real, 2)
    return numba.njit(signature, **_OPTIONS)(function)


# ---------------------------------------------------------------------------
# Scalar formulas, in float64 for both real types.

_LOG2_E = 1 / math.log(2)
# log(2) = high + low; the high part has 21 trailing zero bits: its product with k is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
# Adding 1.5 * 2**52 rounds to an integer and leaves it in the lowest bits.
_ROUNDER = 1.5 * 2.0**52
_BIAS = np.uint64(2 * 1023)
_ROUNDER_BITS = np.float64(_ROUNDER).view(np.uint64)
_ONE, _EXPONENT = np.uint64(1), np.uint64(52)


@_exact
def _exp(x):
    """e**x for x <= 0, exact zeros and subnormals, NaN for NaN; under 1 ULP."""
    if x < -760.0:
        x = -760.0
    rounded = x * _LOG2_E + _ROUNDER
    k = rounded - _ROUNDER
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    # Chebyshev fit of (e**r - 1 - r) / r**2 on |r| <= log(2)/2; its error is below 2e-19. Even
    # and odd powers apart, since each product waits for the one before.
    q = r * r
    even = 2.0915442297780115e-9
    even = even * q + 2.75572718102198e-7
    even = even * q + 2.4801587327007187e-5
    even = even * q + 1.3888888888883327e-3
    even = even * q + 4.166666666666667e-2
    even = even * q + 0.5
    odd = 2.510627457332947e-8
    odd = odd * q + 2.755725283351691e-6
    odd = odd * q + 1.9841269876864355e-4
    odd = odd * q + 8.333333333325545e-3
    odd = odd * q + 0.16666666666666671
    s = even + r * odd
    power = 1.0 + (r + q * s)
    # 2**k as a product of two normal numbers, so that subnormal results round once.
    exponent = np.float64(rounded).view(np.uint64) - _ROUNDER_BITS + _BIAS
    half = exponent >> _ONE
    rest = exponent - half
    first = np.uint64(half << _EXPONENT).view(np.float64)
    second = np.uint64(rest << _EXPONENT).view(np.float64)
    return power * first * second


@_exact
def _log1p(t):
    """log(1 + t) for 0 <= t <= 1; about 1 ULP."""
    s = t / (2.0 + t)
    u = s * s
    # Chebyshev fit of (atanh(s)/s - 1) / u on u <= 1/9; its error is below 2e-17.
    p = 0.08086486882582436
    p = p * u + 0.04398263513337029
    p = p * u + 0.06000948760351886
    p = p * u + 0.06657028740061432
    p = p * u + 0.07692787677757919
    p = p * u + 0.09090894623795768
    p = p * u + 0.11111111360589111
    p = p * u + 0.14285714283535834
    p = p * u + 0.20000000000007361
    p = p * u + 0.3333333333333333
    return t - s * (t - 2.0 * u * p)


@_exact
def _sigmoids(z):
    """sigma(z) and sigma(-z), each to its last digits, and e**-|z|."""
    t = _exp(-abs(z))
    large = 1.0 / (1.0 + t)
    small = t * large
    return (large, small, t) if z >= 0 else (small, large, t)


@_exact_inlined
def _costs(loss, m, z, y, value, derivative):
    """Cost and derivative of m scores, with no digit lost where sigma rounds to 0 or 1."""
    for i in range(m):
        p, q, t = _sigmoids(z[i])
        residual = p * (1.0 - y[i]) - q * y[i]
        if loss == _LOG_LOSS:
            value[i] = _log1p(t) + (1.0 - y[i]) * max(z[i], 0.0) + y[i] * max(-z[i], 0.0)
            derivative[i] = residual
        elif loss == _SQUARED_ERROR:
            value[i] = residual * residual / 2.0
            derivative[i] = residual * p * q
        else:
            value[i] = z[i] * z[i] / 2.0
            derivative[i] = z[i]


@_exact
def _softmax_costs(m, z, y, value):
    """Cost of m rows; their scores become derivatives. `numpy_._softmax_cost` explains."""
    n_outputs = len(z)
    for i in range(m):
        top = 0
        for k in range(1, n_outputs):
            if z[k, i] > z[top, i]:
                top = k
        largest, rest, own = z[top, i], 0.0, 0.0
        for k in range(n_outputs):
            below = largest - z[k, i]
            if y[k, i] != 0:
                own += y[k, i] * below
            z[k, i] = _exp(-below)
            if k != top:
                rest += z[k, i]
        value[i] = own + math.log1p(rest)
        for k in range(n_outputs):
            p, q = z[k, i] / (1.0 + rest), (rest + (1.0 - z[k, i])) / (1.0 + rest)
            z[k, i] = p * (1.0 - y[k, i]) - y[k, i] * q


def _pointwise(z, y, loss, value, derivative):
    wide = np.empty((4, _TILE_ROWS))
    for first in range(0, len(z), _TILE_ROWS):
        m = min(_TILE_ROWS, len(z) - first)
        for i in range(m):
            wide[0, i] = z[first + i]
            wide[1, i] = y[first + i]
        _costs(loss, m, wide[0], wide[1], wide[2], wide[3])
        for i in range(m):
            value[first + i] = wide[2, i]
            derivative[first + i] = wide[3, i]


# ---------------------------------------------------------------------------
# Tiles of rows.


@register_jitable
def _tile_rows(d, itemsize, columns):
    most, least = _TILE_BYTES, LINES
    if columns is not None:
        most, least = _TILE_COLUMNS_BYTES, _TILE_LEAST_COLUMNS
    fitting = most // max(d * itemsize, 1)
    return min(max(fitting - fitting % least, least), _TILE_ROWS)


@_exact
def _from_half(bits):
    """float32 from the bits of a float16."""
    # The exponent's bias differs by 112; infinities and NaN keep the highest exponent.
    magnitude = np.uint32(bits & 0x7FFF) << np.uint32(13)
    scaled = np.uint32(magnitude).view(np.float32) * np.float32(2.0**112)
    wide = np.float32(scaled).view(np.uint32)
    if bits & 0x7C00 == 0x7C00:
        wide |= np.uint32(0x7F800000)
    sign = np.uint32(bits & 0x8000) << np.uint32(16)
    return np.uint32(wide | sign).view(np.float32)


def _number(value):
    """The number that a stored feature stands for."""


@overload(_number)
def _choose_number(value):
    if value == types.uint16:
        return lambda value: _from_half(value)
    return lambda value: value


def _fetch_rows(values, columns, rows, m, scratch):
    d = values.shape[1]
    if abs(values.strides[0]) >= abs(values.strides[1]):
        for r in range(m):
            for j in range(d):
                scratch[r, j] = _number(values[rows[r], j])
    else:
        for j in range(d):
            for r in range(m):
                scratch[r, j] = _number(values[rows[r], j])


def _fetch_columns(values, columns, rows, m, scratch):
    d, height = len(scratch), values.shape[1]
    for r in range(m):
        panel, place = divmod(rows[r], height)
        for j in range(d):
            scratch[j, r] = values[panel * d + j, place]


def _fetch_nothing(values, columns, rows, m, scratch):
    pass


def _fetch(values, columns, rows, m, scratch):
    """Bring m rows into the scratch, in the direction in which they lie in memory."""


@overload(_fetch)
def _choose_fetch(values, columns, rows, m, scratch):
    if scratch is types.none:
        return _fetch_nothing
    return _fetch_rows if columns is types.none else _fetch_columns


def _in_place(values, indices, indptr, scratch, columns, rows, own, ordered):
    return values, rows, False, 0 if ordered else AHEAD_BYTES


def _in_place_columns(values, indices, indptr, scratch, columns, rows, own, ordered):
    return ((scratch,), own, True, 0) if ordered else ((values,), rows, False, 0)


def _converted(values, indices, indptr, scratch, columns, rows, own, ordered):
    return scratch, own, True, 0


def _sparse(values, indices, indptr, scratch, columns, rows, own, ordered):
    return (values, indices, indptr), rows, False, 0


def _source(values, indices, indptr, scratch, columns, rows, own, ordered):
    """Where tiles are read.

    Returns
    -------
    tile
        An array of rows, or in a tuple one of columns, or the three of CSR.
    lines : `rows` or `own`
        The places of a tile's rows in it. Those of columns always follow one another.
    fetched : bool
        Whether `_fetch` is to be called for each tile.
    ahead : int
        How many bytes ahead what follows is worth asking for.

    It is called once, because arrays that come and go in a loop have their references counted
    there, in atomic steps that took a quarter of the time.
    """


@overload(_source)
def _choose_source(values, indices, indptr, scratch, columns, rows, own, ordered):
    if isinstance(indptr, types.Array):
        return _sparse
    if columns is not types.none:
        return _in_place_columns
    return _converted if isinstance(scratch, types.Array) else _in_place


def _together(values, columns, ordered, first):
    """How many rows from `first` on one tile can have: of columns, those of one panel."""


@overload(_together, jit_options=_INLINED)
def _choose_together(values, columns, ordered, first):
    if columns is types.none:
        return lambda values, columns, ordered, first: 1 << 62

    def in_panel(values, columns, ordered, first):
        height = values.shape[1]
        return 1 << 62 if ordered else height - first % height

    return in_panel


@register_jitable
def _first_of(panels, d, row):
    """Where a row is in the first column of its panel, in numbers."""
    panel, place = divmod(row, panels.shape[1])
    return panel * d * panels.shape[1] + place


def _dots_rows(tile, rows, every, ahead, m, coef, k, d, bias, work, z):
    dots(tile, rows, m, 0, d, coef, k * coef.shape[1], work, ahead)
    for r in range(m):
        z[r] = work[r] + bias


def _dots_columns(tile, rows, every, ahead, m, coef, k, d, bias, work, z):
    for r in range(m):
        work[r] = bias
    start = _first_of(tile[0], d, rows[0])
    accumulate(tile[0], every, d, start, m, coef, k * coef.shape[1], work, 0, ahead)
    for r in range(m):
        z[r] = work[r]


def _dots_sparse(tile, rows, every, ahead, m, coef, k, d, bias, work, z):
    values, indices, indptr = tile
    for r in range(m):
        total = bias - bias
        for p in range(indptr[rows[r]], indptr[rows[r] + 1]):
            total += values[p] * coef[k, indices[p]]
        z[r] = total + bias


def _dots(tile, rows, every, ahead, m, coef, k, d, bias, work, z):
    """z[r] = tile[rows[r]] @ coef[k, :d] + bias"""


@overload(_dots, jit_options=_INLINED)
def _choose_dots(tile, rows, every, ahead, m, coef, k, d, bias, work, z):
    if isinstance(tile, types.Array):
        return _dots_rows
    return _dots_columns if len(tile) == 1 else _dots_sparse


def _pull_rows(tile, rows, every, ahead, m, e, work, g, k, d):
    accumulate(tile, rows, m, 0, d, e, 0, g, k * g.shape[1], ahead)


def _pull_columns(tile, rows, every, ahead, m, e, work, g, k, d):
    dots(tile[0], every, d, _first_of(tile[0], d, rows[0]), m, e, 0, work, ahead)
    for j in range(d):
        g[k, j] += work[j]


def _pull_sparse(tile, rows, every, ahead, m, e, work, g, k, d):
    values, indices, indptr = tile
    for r in range(m):
        for p in range(indptr[rows[r]], indptr[rows[r] + 1]):
            g[k, indices[p]] += e[r] * values[p]


def _pull(tile, rows, every, ahead, m, e, work, g, k, d):
    """g[k, :d] += sum_r e[r] * tile[rows[r]]"""


@overload(_pull, jit_options=_INLINED)
def _choose_pull(tile, rows, every, ahead, m, e, work, g, k, d):
    if isinstance(tile, types.Array):
        return _pull_rows
    return _pull_columns if len(tile) == 1 else _pull_sparse


@register_jitable
def _padded(coef):
    """The weights, and zeros up to whole registers."""
    n_outputs, d = coef.shape
    padded = np.zeros((n_outputs, d + (-d) % REGISTER), coef.dtype)
    padded[:, :d] = coef
    return padded


@register_jitable
def _every(d):
    """The places of d columns; those up to a multiple of LINES repeat the last one."""
    every = np.arange(d + (-d) % LINES)
    every[d:] = d - 1
    return every


@_exact_inlined
def _targets(soft, small, wide, n_outputs, k, rows, ordered, m, y):
    """y[r], the target of neuron k in row rows[r]."""
    code = 1 if n_outputs == 1 else k
    # Not negative, as the compiler cannot know.
    first = np.uint64(rows[0])
    for r in range(m):
        row = np.uint64(rows[r]) if ordered else first + np.uint64(r)
        if len(soft):
            y[r] = soft[k, row]
        elif len(small):
            y[r] = small[row] == code
        else:
            y[r] = wide[row] == code


@_exact
def _total(values):
    total = 0.0
    for value in values:
        total += value
    return total


@_sums
def _flush(partial, total):
    for k in range(total.shape[0]):
        for j in range(total.shape[1]):
            total[k, j] += partial[k, j]
            partial[k, j] = 0


@_sums
def _pass(
    values, indices, indptr, scratch, columns, soft, small, wide, weight, scale,
    loss, coef, intercept, order, start, stop, grad,
):  # fmt: skip
    """Value and gradient, shape (K, d + 1), of `scale` times the cost's sum over some rows.

    Rows start to stop, of `order` where it is not empty.
    """
    n_outputs, d = coef.shape
    block = _tile_rows(d, coef.itemsize, columns)
    rows, own = np.empty(block, np.int64), np.arange(block)
    z, y, cost, slope = np.empty(block), np.empty(block), np.empty(block), np.empty(block)
    weights, every = _padded(coef), _every(d)
    e, work = np.empty(block, coef.dtype), np.empty(max(block, len(every)), coef.dtype)
    coupled = loss == _MULTINOMIAL
    scores = np.empty((n_outputs if coupled else 0, block))
    wanted = np.empty((n_outputs if coupled else 0, block))
    # Sums of every block-th row, so that their order is that of the rows' numbers.
    costs, slopes = np.zeros(block), np.zeros((n_outputs, block))
    # At least d rows, so that a flush never costs more than what it follows, even for CSR.
    flush_rows = max(_FLUSH_ROWS, d)
    partial = np.zeros_like(weights)
    total = np.zeros((n_outputs, d))
    since_flush = 0
    ordered, weighted = len(order) > 0, len(weight) > 0
    tile, lines, fetched, ahead = _source(
        values, indices, indptr, scratch, columns, rows, own, ordered
    )
    first = start
    while first < stop:
        m = min(block, stop - first, _together(values, columns, ordered, first))
        for r in range(m):
            rows[r] = order[first + r] if ordered else first + r
        for r in range(m, m + (-m) % LINES):
            rows[r] = rows[m - 1]
        if fetched:
            _fetch(values, columns, rows, m, scratch)
        if coupled:
            for k in range(n_outputs):
                _dots(tile, lines, every, ahead, m, weights, k, d, intercept[k], work, scores[k])
                _targets(soft, small, wide, n_outputs, k, rows, ordered, m, wanted[k])
            _softmax_costs(m, scores, wanted, cost)
        for k in range(n_outputs):
            if coupled:
                for r in range(m):
                    cost[r] = cost[r] if k == 0 else 0.0
                    slope[r] = scores[k, r]
            else:
                _dots(tile, lines, every, ahead, m, weights, k, d, intercept[k], work, z)
                _targets(soft, small, wide, n_outputs, k, rows, ordered, m, y)
                # A constant in each call: the loop in it has no branch.
                if loss == _SQUARED_ERROR:
                    _costs(_SQUARED_ERROR, m, z, y, cost, slope)
                elif loss == _LOG_LOSS:
                    _costs(_LOG_LOSS, m, z, y, cost, slope)
                else:
                    _costs(_QUADRATIC, m, z, y, cost, slope)
            if weighted:
                for r in range(m):
                    cost[r] *= weight[rows[r]]
                    slope[r] *= weight[rows[r]]
            for r in range(m):
                costs[r] += cost[r]
                slopes[k, r] += slope[r]
                e[r] = slope[r]
            # What fills up the register of columns.
            for r in range(m, min(m + (-m) % REGISTER, block)):
                e[r] = 0
            _pull(tile, lines, every, ahead, m, e, work, partial, k, d)
        since_flush += m
        first += m
        if since_flush >= flush_rows or first >= stop:
            _flush(partial, total)
            since_flush = 0
    for k in range(n_outputs):
        for j in range(d):
            grad[k, j] = total[k, j] * scale
        grad[k, d] = _total(slopes[k]) * scale
    return _total(costs) * scale


def _predict(n, values, indices, indptr, scratch, columns, coef, intercept, activation, out):
    """The number of scores that are not finite."""
    n_outputs, d = coef.shape
    wrong = 0
    block = _tile_rows(d, coef.itemsize, columns)
    rows, own = np.empty(block, np.int64), np.arange(block)
    z, work = np.empty(block), np.empty(block, coef.dtype)
    weights, every = _padded(coef), _every(d)
    tile, lines, fetched, ahead = _source(
        values, indices, indptr, scratch, columns, rows, own, False
    )
    for first in range(0, n, block):
        m = min(block, n - first)
        for r in range(m + (-m) % LINES):
            rows[r] = first + min(r, m - 1)
        if fetched:
            _fetch(values, columns, rows, m, scratch)
        for k in range(n_outputs):
            _dots(tile, lines, every, ahead, m, weights, k, d, intercept[k], work, z)
            for r in range(m):
                # 0, or NaN.
                wrong += z[r] - z[r] != 0.0
            _activate(activation, m, z)
            for r in range(m):
                out[first + r, k] = z[r]
    return wrong


@_exact
def _activate(activation, m, z):
    if activation == _LOGISTIC:
        for i in range(m):
            z[i] = _sigmoids(z[i])[0]
    elif activation == _LOG_LOGISTIC:
        for i in range(m):
            z[i] = -(_log1p(_exp(-abs(z[i]))) + max(-z[i], 0.0))


# ---------------------------------------------------------------------------
# Runs.


def _descend(
    n, values, indices, indptr, scratch, columns, soft, small, wide, weight, scale,
    coef, intercept, slots, counters, rule, order, history, grad,
):  # fmt: skip
    """A run; `grad` is left with the last gradient or point."""
    full = rule.batch_size >= n
    own_order = np.empty(0, np.int32)
    counters[_EPOCHS] = 0
    for epoch in range(len(history)):
        rows = own_order if full or len(order) == 0 else order[epoch]
        mean = 0.0
        for start in range(0, n, rule.batch_size):
            stop = min(start + rule.batch_size, n)
            share = (stop - start) / n
            value = _pass(
                values, indices, indptr, scratch, columns, soft, small, wide, weight, scale / share,
                rule.loss, coef, intercept, rows, start, stop, grad,
            )  # fmt: skip
            norm, penalty = _add_penalty(coef, rule, grad)
            mean += value * share
            last = stop == n
            if last:
                mean += penalty
            history[epoch, 0] = mean
            history[epoch, 1] = norm
            history[epoch, 2] = counters[_STEP]
            if not (math.isfinite(mean) and (not last or math.isfinite(norm))):
                return epoch, _NONFINITE
            if full and norm <= rule.tol:
                return epoch, _CONVERGED
            _step(coef, intercept, slots, counters, rule, full, grad)
            history[epoch, 2] = counters[_STEP]
        counters[_EPOCHS] = epoch + 1
    return len(history), _RAN


@_exact
def _add_penalty(coef, rule, grad):
    """Add the l2 term; return the largest entry of the smallest subgradient, and the penalty."""
    n_outputs, d = coef.shape
    norm = squares = absolutes = 0.0
    for k in range(n_outputs):
        if not rule.fit_intercept:
            grad[k, d] = 0
        norm = _larger(norm, abs(grad[k, d]))
        for j in range(d):
            w = float(coef[k, j])
            if rule.l2 > 0:
                grad[k, j] += rule.l2 * w
            if w > 0:
                smallest = abs(grad[k, j] + rule.l1)
            elif w < 0:
                smallest = abs(grad[k, j] - rule.l1)
            else:
                smallest = max(abs(grad[k, j]) - rule.l1, 0.0)
            norm = _larger(norm, smallest)
            squares += w * w
            absolutes += abs(w)
    penalty = 0.0
    # The squares of large weights overflow, and 0 * inf would be NaN.
    if rule.l2 > 0:
        penalty += rule.l2 / 2 * squares
    if rule.l1 > 0:
        penalty += rule.l1 * absolutes
    return norm, penalty


@_exact
def _larger(a, b):
    """The larger one, or NaN if there is one."""
    return a if a >= b or a != a else b


@_exact
def _step(coef, intercept, slots, counters, rule, full, grad):
    """Move the parameters against the gradient as the rule says."""
    n_outputs, d = coef.shape
    steps = counters[_STEPS]
    step = rule.learning_rate
    if rule.solver == _ADAM:
        correction_1 = 1 - rule.beta_1 ** (steps + 1)
        correction_2 = 1 - rule.beta_2 ** (steps + 1)
    elif rule.solver == _NESTEROV:
        # The parameters are the extrapolated point y_k, the slot is x_k.
        if steps == 0:
            counters[_RATIO] = 1.0
            for k in range(n_outputs):
                for j in range(d + 1):
                    slots[0, k, j] = intercept[k] if j == d else coef[k, j]
    elif rule.solver != _GD and rule.solver != _MOMENTUM:
        step = _adaptive_step(coef, intercept, slots, counters, rule, grad)

    # From here on `grad` becomes the next point.
    uphill = 0.0
    for k in range(n_outputs):
        for j in range(d + 1):
            theta = float(intercept[k] if j == d else coef[k, j])
            g = float(grad[k, j])
            threshold = step * rule.l1
            if rule.solver == _MOMENTUM:
                slots[0, k, j] = rule.momentum * slots[0, k, j] - step * g
                new = theta + slots[0, k, j]
            elif rule.solver == _ADAM:
                slots[0, k, j] = rule.beta_1 * slots[0, k, j] + (1 - rule.beta_1) * g
                slots[1, k, j] = rule.beta_2 * slots[1, k, j] + (1 - rule.beta_2) * g * g
                root = math.sqrt(slots[1, k, j] / correction_2)
                rate = step / correction_1 / (root + rule.epsilon)
                new = theta - rate * slots[0, k, j]
                threshold = rule.l1 * correction_1 * rate
            else:
                new = theta - step * g
            if j < d and threshold > 0:
                new = _shrink(new, threshold)
            grad[k, j] = new
            if rule.solver == _NESTEROV:
                uphill += g * (new - slots[0, k, j])

    if rule.solver == _NESTEROV:
        _extrapolate(slots[0], counters, rule, full, uphill, grad)
    for k in range(n_outputs):
        for j in range(d):
            coef[k, j] = grad[k, j]
        if rule.fit_intercept:
            intercept[k] = grad[k, d]
    counters[_STEPS] = steps + 1
    counters[_STEP] = step


@_exact
def _shrink(w, threshold):
    """Proximal operator of threshold * |w|."""
    if w > threshold:
        return w - threshold
    if w < -threshold:
        return w + threshold
    return w - w


@_exact
def _adaptive_step(coef, intercept, slots, counters, rule, grad):
    """Malitsky & Mishchenko, arXiv 1910.09529, algorithm 1: no line search."""
    n_outputs, d = coef.shape
    moved = turned = 0.0
    for k in range(n_outputs):
        for j in range(d + 1):
            theta = intercept[k] if j == d else coef[k, j]
            moved += float(theta - slots[0, k, j]) ** 2
            turned += float(grad[k, j] - slots[1, k, j]) ** 2
            slots[0, k, j] = theta
            slots[1, k, j] = grad[k, j]
    if counters[_STEPS] == 0:
        counters[_RATIO] = np.inf
        return rule.learning_rate
    last = counters[_STEP]
    step = math.sqrt(1 + counters[_RATIO]) * last
    if turned > 0 and moved > 0:
        step = min(step, math.sqrt(moved) / (2 * math.sqrt(turned)))
    if not math.isfinite(step):
        step = last
    counters[_RATIO] = step / last
    return step


@_exact
def _extrapolate(previous, counters, rule, full, uphill, point):
    """Nesterov's next point in place of `point`; `numpy_` names the sources."""
    t = counters[_RATIO]
    if full and uphill > 0:
        t = 1.0
    t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
    factor = (t - 1) / t_next
    if not full:
        factor = min(factor, rule.momentum)
    for k in range(point.shape[0]):
        for j in range(point.shape[1]):
            new = point[k, j]
            point[k, j] = new + factor * (new - previous[k, j])
            previous[k, j] = new
    counters[_RATIO] = t_next


# ---------------------------------------------------------------------------
# Walks.


@_exact
def _horner(coef, x):
    result = coef[-1]
    for i in range(len(coef) - 2, -1, -1):
        result = result * x + coef[i]
    return result


def _walk(
    polynomial, slope, coef, intercept, slots, counters, rule, limits, last_x, last_gradient,
    marks, rates, path, values,
):  # fmt: skip
    """A walk down a polynomial; `numpy_` says what is judged."""
    grad = np.empty((1, 1))
    counters[_EPOCHS] = 0
    for k in range(len(path)):
        x = intercept[0]
        g, value = _horner(slope, x), _horner(polynomial, x)
        path[k, 0], values[k] = x, value
        status = _judge(marks, rule, limits, x, value, g, last_x[0], last_gradient[0])
        if status != _NONFINITE:
            last_x[0], last_gradient[0] = x, g
        if status != _RAN:
            return k, status
        rate = rates[k if len(rates) > 1 else 0]
        if limits.automatic and marks[_CURVATURE] > 0:
            rate = 1 / marks[_CURVATURE]
        grad[0, 0] = g
        step = Rule(
            rule.loss, rule.solver, rate, rule.momentum, rule.beta_1, rule.beta_2, rule.epsilon,
            0.0, 0.0, rule.tol, True, 1,
        )  # fmt: skip
        _step(coef, intercept, slots, counters, step, True, grad)
        counters[_EPOCHS] = k + 1
    return len(path), _RAN


@_exact
def _judge(marks, rule, limits, x, value, g, last_x, last_g):
    status = _RAN
    move = x - last_x
    if not math.isfinite(value + abs(g) + 0 * x):
        return _NONFINITE
    if abs(g) <= rule.tol:
        status = _CONVERGED
    elif marks[_POINTS] == 0:
        marks[_FIRST_VALUE], marks[_FIRST_NORM] = value, abs(g)
    else:
        back = g * last_g < 0 and g * g >= (1 - 1e-12) * (last_g * last_g)
        far = abs(move) > limits.rounding * abs(x)
        marks[_REVERSALS] = marks[_REVERSALS] + 1 if back and far else 0
        fixed = rule.solver == _GD or rule.solver == _MOMENTUM or rule.solver == _NESTEROV
        above = value > marks[_FIRST_VALUE] and abs(g) > marks[_FIRST_NORM]
        marks[_ABOVE] = marks[_ABOVE] + 1 if above and fixed else 0
        if far:
            marks[_CURVATURE] = max(marks[_CURVATURE], abs((g - last_g) / move))
        if marks[_REVERSALS] >= limits.reversals or marks[_ABOVE] >= limits.above:
            status = _OVERSHOT
        elif limits.xtol > 0 and abs(move) <= limits.xtol:
            status = _SMALL_STEP
        elif limits.ftol > 0 and abs(value - marks[_VALUE]) <= limits.ftol:
            status = _SMALL_FALL
    marks[_POINTS] += 1
    marks[_VALUE] = value
    return status


# Networks.


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
    """Rows that `_tile` returned, as an array."""


@overload(_gather)
def _choose_gather(tile, lines, m, target):
    if isinstance(tile, types.Array):
        return _gather_rows
    return _gather_columns if len(tile) == 1 else _gather_sparse


@_exact
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


@_exact
def _activate_hidden(hidden, a):
    for r in range(a.shape[0]):
        for j in range(a.shape[1]):
            if hidden == _HIDDEN_LOGISTIC:
                a[r, j] = _sigmoids(float(a[r, j]))[0]
            elif hidden == _TANH:
                a[r, j] = math.tanh(a[r, j])
            elif hidden == _RELU and a[r, j] < 0:
                a[r, j] = 0


@_exact
def _slope_hidden(hidden, a, e):
    """e times the derivative of the activation, from the activation itself."""
    for r in range(a.shape[0]):
        for j in range(a.shape[1]):
            if hidden == _HIDDEN_LOGISTIC:
                e[r, j] *= a[r, j] * (1 - a[r, j])
            elif hidden == _TANH:
                e[r, j] *= 1 - a[r, j] * a[r, j]
            elif hidden == _RELU and a[r, j] == 0:
                e[r, j] = 0


@_exact
def _bounded(cost, eps):
    """A cross-entropy of a probability held within [eps, 1 - eps]; NaN stays NaN."""
    low, high = -math.log1p(-eps), -math.log(eps)
    return low if cost < low else high if cost > high else cost


@_exact
def _output_row(output, z, y, eps, e, cost, slope):
    """Cost of a row; the derivative by its scores goes into e. z and y are float64."""
    n_outputs = len(z)
    total = 0.0
    if output == _SOFTMAX:
        top, pull = z[0], 0.0
        for k in range(1, n_outputs):
            top = _larger(top, z[k])
        for k in range(n_outputs):
            if y[k] != 0:
                pull += y[k] * (z[k] - top)
            e[k] = math.exp(z[k] - top)
            slope[k] = e[k]
            total += slope[k]
        for k in range(n_outputs):
            e[k] = slope[k] / total - y[k]
        return _bounded(math.log(total) - pull, eps)
    if output == _SIGMOID or output == _SIGMOID_SQUARED:
        _costs(_LOG_LOSS if output == _SIGMOID else _SQUARED_ERROR, n_outputs, z, y, cost, slope)
        for k in range(n_outputs):
            e[k] = slope[k]
            total += _bounded(cost[k], eps) if output == _SIGMOID else cost[k]
        return total
    if output == _EXPONENTIAL:
        for k in range(n_outputs):
            mean = math.exp(z[k])
            e[k] = mean - y[k]
            total += mean - y[k] - y[k] * z[k] + (y[k] * math.log(y[k]) if y[k] > 0 else 0.0)
        return total
    for k in range(n_outputs):
        e[k] = z[k] - y[k]
        total += (z[k] - y[k]) ** 2
    return total / (2 * n_outputs)


@_exact
def _answer_row(output, z):
    if output == _SOFTMAX:
        top, total = z[0], 0.0
        for k in range(1, len(z)):
            top = _larger(top, z[k])
        for k in range(len(z)):
            z[k] = math.exp(z[k] - top)
            total += z[k]
        for k in range(len(z)):
            z[k] = z[k] / total
    elif output == _SIGMOID or output == _SIGMOID_SQUARED:
        for k in range(len(z)):
            z[k] = _sigmoids(float(z[k]))[0]
    elif output == _EXPONENTIAL:
        for k in range(len(z)):
            z[k] = math.exp(z[k])


@_exact
def _network_pass(
    values, indices, indptr, scratch, columns, soft, small, wide, weight, units, hidden, output,
    theta, order, start, stop, layers, errors, places, grad, product, out, job,
):  # fmt: skip
    """Sum of the costs of rows start to stop; their gradients are added to `grad`."""
    depth, d, n_outputs = len(units) - 1, units[0], units[-1]
    block = _tile_rows(d, theta.itemsize, columns)
    rows, part, own = np.empty(_NETWORK_ROWS, np.int64), np.empty(block, np.int64), np.arange(block)
    tile, lines, fetched, _ = _source(values, indices, indptr, scratch, columns, part, own, False)
    z, y, cost, slope = np.empty((4, n_outputs))
    # -log1p(-eps) of the float types themselves.
    eps = 2.0**-23 if theta.itemsize == 4 else 2.0**-52
    value = 0.0
    for first in range(start, stop, _NETWORK_ROWS):
        m = min(_NETWORK_ROWS, stop - first)
        for r in range(m):
            rows[r] = order[first + r] if len(order) else first + r
        a = layers[: m * d].reshape(m, d)
        for begin in range(0, m, block):
            some = min(block, m - begin)
            for r in range(some):
                part[r] = rows[begin + r]
            if fetched:
                _fetch(values, columns, part, some, scratch)
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
        if job == _ANSWERS:
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
        if job == _COST:
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


def _network(
    job, n, values, indices, indptr, scratch, columns, soft, small, wide, weight, scale, units,
    hidden, output, theta, slots, counters, rule, rates, order, history, grad, out,
):  # fmt: skip
    """Epochs, or one pass for the cost, the gradient or the answers."""
    depth = len(units) - 1
    ordered = order.size > 0
    n = order.shape[1] if ordered else n
    most = min(_NETWORK_ROWS, n)
    places = np.zeros(depth + 2, np.int64)
    n_weights, widest = 0, 0
    for i in range(depth + 1):
        places[i + 1] = places[i] + most * units[i]
        if i < depth:
            n_weights += units[i] * units[i + 1]
            widest = max(widest, units[i] * units[i + 1])
    layers = np.empty(places[depth + 1], theta.dtype)
    errors, product = np.empty_like(layers), np.empty(widest, theta.dtype)
    own = np.empty(0, np.int32)
    if job != _EPOCHS_JOB:
        grad[:] = 0
        value = _network_pass(
            values, indices, indptr, scratch, columns, soft, small, wide, weight, units, hidden,
            output, theta, own, 0, n, layers, errors, places, grad, product, out, job,
        )  # fmt: skip
        for p in range(len(grad)):
            grad[p] *= scale
        return 0, value
    counters[_EPOCHS] = 0
    steps = counters[_STEPS]
    for epoch in range(len(rates)):
        rows = order[epoch] if ordered else own
        total = norm = 0.0
        for start in range(0, n, rule.batch_size):
            stop = min(start + rule.batch_size, n)
            mass = float(stop - start)
            if len(weight):
                mass = 0.0
                for r in range(start, stop):
                    mass += weight[rows[r] if ordered else r]
            # A batch that weighs nothing teaches nothing.
            share = 1 / mass if mass > 0 else 0.0
            squares = 0.0
            for p in range(n_weights):
                squares += float(theta[p]) ** 2
            grad[:] = 0
            value = _network_pass(
                values, indices, indptr, scratch, columns, soft, small, wide, weight, units,
                hidden, output, theta, rows, start, stop, layers, errors, places, grad, product,
                out, job,
            )  # fmt: skip
            total += (value + rule.l2 / 2 * squares) * share * (stop - start) / n
            if not math.isfinite(total):
                return epoch, float(_NONFINITE)
            steps += 1
            norm = _network_step(theta, slots, rule, rates[epoch], share, grad, n_weights, steps)
        for p in range(len(theta)):
            if not math.isfinite(theta[p]):
                return epoch, float(_NONFINITE)
        history[epoch, 0] = total
        history[epoch, 1] = norm
        history[epoch, 2] = rates[epoch]
        counters[_EPOCHS] = epoch + 1
        counters[_STEPS] = steps
    return len(rates), float(_RAN)


@_exact
def _network_step(theta, slots, rule, rate, share, grad, n_weights, steps):
    """Move the parameters as the rule says; the largest entry of the gradient."""
    if rule.solver == _ADAM:
        rate *= math.sqrt(1 - rule.beta_2**steps) / (1 - rule.beta_1**steps)
    norm = 0.0
    for p in range(len(theta)):
        g = float(grad[p])
        if p < n_weights:
            g += rule.l2 * theta[p]
        g *= share
        norm = _larger(norm, abs(g))
        if rule.solver == _ADAM:
            slots[0, p] = rule.beta_1 * slots[0, p] + (1 - rule.beta_1) * g
            slots[1, p] = rule.beta_2 * slots[1, p] + (1 - rule.beta_2) * g * g
            theta[p] -= rate * slots[0, p] / (math.sqrt(slots[1, p]) + rule.epsilon)
        else:
            slots[0, p] = rule.momentum * slots[0, p] - rate * g
            if rule.solver == _NESTEROV:
                theta[p] += rule.momentum * slots[0, p] - rate * g
            else:
                theta[p] += slots[0, p]
    return norm


# From row to row.


@_exact
def _shuffle(order, n, state):
    """The same swaps for the same state; a state of 0 would stay there."""
    state = np.uint32(max(state, 1))
    for i in range(n - 1):
        state = np.uint32(state ^ np.uint32(state << np.uint32(13)))
        state = np.uint32(state ^ np.uint32(state >> np.uint32(17)))
        state = np.uint32(state ^ np.uint32(state << np.uint32(5)))
        j = i + np.int64(state & np.uint32(0x7FFFFFFF)) % (n - i)
        order[i], order[j] = order[j], order[i]


@_exact
def _row_cost(loss, parameter, p, y):
    """Cost of a row, and its derivative with respect to the score."""
    z = p * y
    if loss == _HINGE:
        return (parameter - z, -y) if z <= parameter else (0.0, 0.0)
    if loss == _SQUARED_HINGE:
        z = max(parameter - z, 0.0)
        return z * z, -2.0 * y * z
    if loss == _MODIFIED_HUBER:
        if z >= 1.0:
            return 0.0, 0.0
        return ((1.0 - z) ** 2, -2.0 * (1.0 - z) * y) if z >= -1.0 else (-4.0 * z, -4.0 * y)
    if loss == _ROW_LOG_LOSS:
        above, below, t = _sigmoids(p)
        value = _log1p(t) + (1.0 - y) * max(p, 0.0) + y * max(-p, 0.0)
        return value, above * (1.0 - y) - below * y
    z = p - y
    if loss == _ROW_SQUARED or (loss == _HUBER and abs(z) <= parameter):
        return z * z / 2.0, z
    sign = math.copysign(1.0, z)
    beyond = abs(z) - parameter
    if loss == _HUBER:
        return parameter * (abs(z) - parameter / 2.0), sign * parameter
    if not beyond > 0.0:
        return 0.0, 0.0
    if loss == _EPSILON:
        return beyond, sign
    return beyond * beyond, sign * 2.0 * beyond


def _entries_sparse(tile, at, places):
    values, indices, indptr = tile
    start, stop = indptr[at], indptr[at + 1]
    return indices[start:stop], values[start:stop]


def _entries_rows(tile, at, places):
    return places, tile[at]


def _entries_columns(tile, at, places):
    d = len(places)
    panel, place = divmod(at, tile[0].shape[1])
    return places, tile[0][panel * d : panel * d + d, place].copy()


def _entries(tile, at, places):
    """The places of a row's entries, and the entries."""


@overload(_entries)
def _choose_entries(tile, at, places):
    if isinstance(tile, types.Array):
        return _entries_rows
    return _entries_columns if len(tile) == 1 else _entries_sparse


def _sweep(
    n, values, indices, indptr, scratch, columns, soft, small, wide, weight, scale_,
    coef, averages, debts, orders, all_marks, pace, class_weight, held_out, seeds, history,
):  # fmt: skip
    n_outputs, d = coef.shape
    places = np.arange(d, dtype=np.int32)
    own = np.zeros(1, np.int32)
    one = np.zeros(1, np.int32)
    tile, rows, fetched, _ = _source(values, indices, indptr, scratch, columns, one, own, False)
    low = 0.0 if pace.loss == _ROW_LOG_LOSS else -1.0
    most = 0
    for k in range(n_outputs):
        w, average, debt, marks, order = coef[k], averages[k], debts[k], all_marks[k], orders[k]
        marks[_M_EPOCHS] = 0.0
        if marks[_M_STATUS] != _RAN:
            continue
        wanted = 1 if n_outputs == 1 else k
        for epoch in range(len(history)):
            if len(seeds):
                _shuffle(order, n, np.int64(seeds[k]))
            total, learnt = 0.0, 0
            for i in range(n):
                row = order[i]
                if len(held_out) and held_out[row]:
                    continue
                one[0] = row
                if fetched:
                    _fetch(values, columns, one, 1, scratch)
                at, x = _entries(tile, rows[0], places)
                y = low
                if len(soft):
                    y = np.float64(soft[k, row])
                elif len(small):
                    if small[row] == wanted:
                        y = 1.0
                elif wide[row] == wanted:
                    y = 1.0
                s = class_weight[k, 0] if y > 0.0 else class_weight[k, 1]
                if len(weight):
                    s *= weight[row]
                total += _sweep_row(at, x, y, s, w, average, debt, marks, pace)
                learnt += 1
            value = total / max(learnt, 1)
            history[epoch, k, 0], history[epoch, k, 1] = value, marks[_M_STEP]
            marks[_M_EPOCHS] = epoch + 1
            most = max(most, epoch + 1)
            finite = math.isfinite(marks[_M_INTERCEPT])
            for j in range(d):
                finite = finite and math.isfinite(w[j])
            if not finite:
                marks[_M_STATUS] = _NONFINITE
                break
            if pace.tol > -math.inf and value > marks[_M_BEST] - pace.tol:
                marks[_M_WAITED] += 1
            else:
                marks[_M_WAITED] = 0
            if value < marks[_M_BEST]:
                marks[_M_BEST] = value
            if marks[_M_WAITED] >= pace.patience:
                if pace.schedule == _ADAPTIVE_SCHEDULE and marks[_M_STEP] > pace.least_step:
                    marks[_M_STEP] /= pace.divisor
                    marks[_M_WAITED] = 0
                else:
                    marks[_M_STATUS] = _CONVERGED
                    break
    return most


@_strict
def _sweep_row(at, x, y, s, w, average, debt, m, pace):
    """One step, for a row that weighs s; returns its share of the objective."""
    count = len(x)
    p = 0.0
    for j in range(count):
        p += w[at[j]] * x[j]
    p = p * m[_M_SCALE] + m[_M_INTERCEPT]
    if pace.schedule == _OPTIMAL:
        m[_M_STEP] = 1.0 / (pace.alpha * (pace.shift + m[_M_T] - 1.0))
    elif pace.schedule == _INVSCALING:
        m[_M_STEP] = pace.eta0 / m[_M_T] ** pace.power_t
    eta = m[_M_STEP]
    value, slope = _row_cost(pace.loss, pace.parameter, p, y)
    if pace.schedule >= _PA1:
        size = 0.0
        for j in range(count):
            size += np.float64(x[j]) * x[j]
        if pace.schedule == _PA1:
            if size == 0.0:
                return value
            update = min(pace.eta0, value / size)
        else:
            update = value / (size + 0.5 / pace.eta0)
        update *= y if pace.loss == _HINGE else math.copysign(1.0, y - p)
    else:
        value += pace.l2 / 2.0 * m[_M_SQUARES] + pace.l1 * m[_M_ABSOLUTES]
        update = -eta * min(max(slope, -pace.largest_slope), pace.largest_slope)
    update *= s
    if pace.l2 > 0.0:
        factor = max(0.0, 1.0 - eta * pace.l2)
        m[_M_SCALE] *= factor
        m[_M_SQUARES] *= factor * factor
        m[_M_ABSOLUTES] *= factor
        if m[_M_SCALE] < pace.least_scale:
            for j in range(len(average)):
                average[j] = (average[j] + m[_M_SHARE] * w[j]) / m[_M_WHOLE]
            for j in range(len(w)):
                w[j] *= m[_M_SCALE]
            m[_M_SCALE], m[_M_SHARE], m[_M_WHOLE] = 1.0, 0.0, 1.0
    scale = m[_M_SCALE]
    if update != 0.0:
        factor = update / scale
        squares = absolutes = 0.0
        for j in range(count):
            w[at[j]] += x[j] * factor
            squares += w[at[j]] * w[at[j]]
            absolutes += abs(w[at[j]])
        m[_M_SQUARES], m[_M_ABSOLUTES] = squares * scale * scale, absolutes * scale
        if pace.fit_intercept:
            m[_M_INTERCEPT] += update * pace.decay
    if 0 < pace.average_from <= m[_M_T]:
        seen = m[_M_T] - pace.average_from + 1.0
        if update != 0.0:
            factor = m[_M_SHARE] * update / scale
            for j in range(count):
                average[at[j]] -= x[j] * factor
        if seen > 1.0:
            m[_M_WHOLE] /= 1.0 - 1.0 / seen
        m[_M_SHARE] += m[_M_WHOLE] * scale / seen
        m[_M_AVERAGE] += (m[_M_INTERCEPT] - m[_M_AVERAGE]) / seen
    if pace.l1 > 0.0:
        m[_M_OWED] += eta * pace.l1
        for j in range(count):
            z, q = np.float64(w[at[j]]), np.float64(debt[at[j]])
            v = z
            if z > 0.0:
                v = max(0.0, z - (m[_M_OWED] + q) / scale)
            elif z < 0.0:
                v = min(0.0, z + (m[_M_OWED] - q) / scale)
            w[at[j]] = v
            debt[at[j]] = q + scale * (w[at[j]] - z)
    m[_M_T] += 1.0
    return value
