"""Checks of the arguments of `minimize`, and of what the user's functions return."""

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np


def check_number(value: Any, name: str, kind: Any, least: Any) -> None:
    """Refuse what is no number of this kind, or a smaller one."""
    if not isinstance(value, kind) or isinstance(value, bool) or not value >= least:
        what = "an integer" if kind is Integral else "a number"
        raise ValueError(f"{name}={value!r}: expected {what} of at least {least}.")


def _number_array(value, name, expected):
    """`value` as an array of shape () or (n,) that is not empty."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.ndim > 1 or array.size == 0:
        raise ValueError(
            f"{name}={value!r}: shape {array.shape} and dtype {array.dtype}, expected {expected}."
        )
    return np.array(array, dtype=np.float64, ndmin=1)


def check_x0(x0: Any) -> tuple[np.ndarray, bool]:
    """Return the starting point as an array, and whether it was given as a number."""
    if x0 is None:
        raise ValueError("x0 is missing; expected a number or an array of shape (n,).")
    start = _number_array(x0, "x0", "a number or an array of numbers of shape (n,)")
    if not np.isfinite(start).all():
        raise ValueError(f"x0={x0!r}: NaN or infinity, expected finite numbers.")
    return start, np.ndim(x0) == 0


def check_learning_rate(learning_rate: Any) -> Any:
    """Return "auto", a callable, or an array."""
    if callable(learning_rate) or (isinstance(learning_rate, str) and learning_rate == "auto"):
        return learning_rate
    rates = _number_array(
        learning_rate, "learning_rate",
        "a positive number, 'auto', a function of the iteration, or an array",
    )  # fmt: skip
    if not (np.isfinite(rates).all() and (rates > 0).all()):
        raise ValueError(f"learning_rate={learning_rate!r}: expected positive, finite numbers.")
    return rates


def as_number(value: Any, name: str) -> float:
    """What a function returned, as a float."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        shown = f"shape {array.shape}, dtype {array.dtype}" if array.size != 1 else repr(value)
        raise ValueError(f"{name} returned {shown}; expected one real number.")
    return float(array.reshape(()))


def as_array(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """What a function returned, as an array of float64."""
    array = np.asarray(value)
    if array.size != math.prod(shape) or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, expected real numbers of "
            f"shape {shape}."
        )
    return np.array(array, dtype=np.float64).reshape(shape)


def scheduled_rates(schedule: Callable[[int], float], start: int, count: int) -> np.ndarray:
    """Learning rates of `count` iterations from `start` on."""
    rates = np.empty(count)
    for k in range(count):
        rates[k] = as_number(schedule(start + k), f"learning_rate({start + k})")
        if not 0 < rates[k] < math.inf:
            raise ValueError(
                f"learning_rate({start + k}) returned {rates[k]}; expected a positive, finite "
                "number."
            )
    return rates
