"""Checks of the arguments of `minimize`, and of what its caller's functions return."""

import math
from numbers import Integral

import numpy as np


def check_number(value, name, kind, least):
    if not isinstance(value, kind) or isinstance(value, bool) or not value >= least:
        what = "a whole number" if kind is Integral else "a number"
        raise ValueError(f"{name}={value!r}: expected {what} of at least {least}.")


def check_x0(x0):
    if x0 is None:
        raise ValueError("x0 is missing; expected a number or an array of shape (n,) to start at.")
    given = np.asarray(x0)
    if given.dtype.kind not in "biuf" or given.ndim > 1 or given.size == 0:
        raise ValueError(
            f"x0 has shape {given.shape} and dtype {given.dtype}, expected a number or an array "
            "of numbers of shape (n,)."
        )
    start = np.array(given, dtype=np.float64, ndmin=1)
    if not np.isfinite(start).all():
        raise ValueError(f"x0 = {given} holds NaN or infinity, expected finite numbers.")
    return start, given.ndim == 0


def check_learning_rate(learning_rate):
    """Return "auto", a callable, or an array."""
    if callable(learning_rate) or (isinstance(learning_rate, str) and learning_rate == "auto"):
        return learning_rate
    steps = np.asarray(learning_rate)
    if steps.dtype.kind not in "iuf" or steps.ndim > 1 or steps.size == 0:
        raise ValueError(
            f"learning_rate={learning_rate!r}: expected a positive number, 'auto', a function of "
            "the iteration, or an array."
        )
    steps = np.array(steps, dtype=np.float64, ndmin=1)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise ValueError(f"learning_rate={learning_rate!r}: expected positive, finite numbers.")
    return steps


def as_number(value, name):
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        shown = f"shape {array.shape}, dtype {array.dtype}" if array.size != 1 else repr(value)
        raise ValueError(f"{name} returned {shown}; expected one real number.")
    return float(array.reshape(()))


def as_array(value, shape, name):
    array = np.asarray(value)
    if array.size != math.prod(shape) or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, expected real numbers of "
            f"shape {shape}."
        )
    return np.array(array, dtype=np.float64).reshape(shape)


def scheduled_rates(schedule, start, count):
    """What a function of the iteration gives for some iterations."""
    steps = np.empty(count)
    for k in range(count):
        step = as_number(schedule(start + k), f"learning_rate({start + k})")
        if not 0 < step < math.inf:
            raise ValueError(
                f"learning_rate({start + k}) returned {step}; expected a positive, finite number."
            )
        steps[k] = step
    return steps
