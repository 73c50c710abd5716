"""What is said about bad input, and the checks of user input that touch no kernel."""

import os
import warnings
from collections.abc import Callable, Iterable

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d

# Integer labels that span less than this are encoded by a table instead of a sort.
_TABLE_SIZE = 1 << 16
_LABELS_SHOWN = 5


def environment_choice(variable, choices):
    """The value of an environment variable, the first choice where it is unset."""
    value = os.environ.get(variable) or choices[0]
    return check_choice(value, variable, choices)


def check_choice(value, name, choices):
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}.")
    return value


def check_callbacks(callbacks):
    """Return the callbacks as a tuple of callables."""
    if callbacks is None:
        return ()
    several = callbacks if isinstance(callbacks, Iterable) else (callbacks,)
    several = tuple(several)
    for callback in several:
        if not isinstance(callback, Callable):
            raise TypeError(
                f"callbacks: got {callback!r}, expected a callable f(info) or a list of them."
            )
    return several


def check_labels(y, n_rows, classes=None, name="y"):
    """Return the sorted classes and the code of each label.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
    classes : ndarray or None
        Classes known already; every label must be one of them.

    Returns
    -------
    classes : ndarray
    codes : ndarray of shape (n_rows,), uint8 or (more than 256 classes) int32
    """
    y = column_or_1d(y, warn=True)
    check_rows(len(y), n_rows, name)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name=name)
    if classes is None:
        classes, codes = _encode(y)
    else:
        codes = _encode_known(y, classes, name)
    return classes, codes.astype(np.uint8 if len(classes) <= 256 else np.int32, copy=False)


def check_classes(classes, seen):
    """Refuse a problem in which there is nothing to tell apart."""
    if len(classes) < 2:
        raise ValueError(
            f"{seen} holds only one class, {_shown(classes)}; expected labels of at least "
            "two classes. Add rows of another class."
        )


def check_lost_classes(classes, weights):
    """Refuse, or tell of, classes whose rows all have the weight 0."""
    lost = classes[weights == 0]
    check_classes(classes[weights > 0], "y, where sample_weight is not 0,")
    if len(lost):
        warnings.warn(
            f"sample_weight is 0 in every row of the class {_shown(lost)}: there is nothing to "
            "learn it from. Weigh some of these rows, or leave them out.",
            UserWarning,
            stacklevel=2,
        )


def check_targets(y, n_rows, dtype, name="y", several=False):
    """Return real targets as an array of shape (n_rows,), or (n_rows, K) where allowed."""
    y = check_array(y, ensure_2d=False, allow_nd=True, dtype=dtype, input_name=name)
    if y.ndim == 2 and not several:
        if y.shape[1] != 1:
            raise ValueError(
                f"{name} has shape {y.shape}, expected ({n_rows},): one target a row. "
                "Train one model for each column, or use schuss.train."
            )
        warnings.warn(
            f"A column-vector {name} was passed when a 1d array was expected; "
            f"use {name}.ravel() to avoid this warning.",
            DataConversionWarning,
            stacklevel=2,
        )
        y = y[:, 0]
    elif y.ndim not in (1, 2):
        raise ValueError(f"{name} has shape {y.shape}, expected ({n_rows},) or ({n_rows}, K).")
    check_rows(len(y), n_rows, name)
    return y


def check_unit_interval(y, loss, name="y"):
    """Refuse targets that the cost is not defined for; warn of those out of reach."""
    low, high = float(y.min()), float(y.max())
    if low >= 0 and high <= 1:
        return
    came = f"{name} holds values from {low:.6g} to {high:.6g}"
    if loss == "log_loss":
        raise ValueError(
            f"{came}, but loss='log_loss' expects targets in [0, 1]. Scale {name} to [0, 1], "
            "or use loss='squared_error'."
        )
    warnings.warn(
        f"{came}: a sigmoid neuron answers in (0, 1) and cannot reach targets outside [0, 1]. "
        f"Scale {name} to [0, 1].",
        UserWarning,
        stacklevel=2,
    )


def check_weights(sample_weight, X, dtype):
    """Return weights of shape (n,), scaled by a power of two so that the largest is about 1.

    Only the ratios of the weights matter, and a power of two changes no digit of them;
    so neither their sum nor its inverse can overflow.
    """
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, allow_all_zero_weights=True)
    high = check_not_negative(weights).max()
    if high == 0:
        raise ValueError(
            "Sample weights must contain at least one non-zero number: every entry of "
            "sample_weight is 0. Leave sample_weight out to count all rows alike."
        )
    return np.ldexp(weights, -int(np.frexp(high)[1])).astype(dtype, copy=False)


def check_not_negative(weights):
    """Return the weights, none of which may be negative."""
    low = weights.min()
    if low < 0:
        raise ValueError(
            f"Negative values in data passed to `sample_weight`: the smallest is {low:.6g}, "
            "expected weights of 0 or more. Give rows that do not count the weight 0."
        )
    return weights


def check_start(value, shape, dtype, name):
    """Return a fresh array of initial weights; zeros where none are given."""
    if value is None:
        return np.zeros(shape, dtype=dtype)
    given = np.asarray(value)
    if given.size != np.prod(shape) or given.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} has shape {given.shape} and dtype {given.dtype}, expected numbers of "
            f"shape {shape}."
        )
    start = np.array(given.reshape(shape), dtype=dtype, order="C")
    if not np.isfinite(start).all():
        raise ValueError(f"{name} holds NaN or infinity, expected finite numbers.")
    return start


def check_rows(came, expected, name):
    if came != expected:
        raise ValueError(
            f"{name} has {came} rows, but X has {expected}: Found input variables with "
            f"inconsistent numbers of samples. Pass one entry of {name} for each row of X."
        )


def _encode(y):
    if y.dtype.kind in "biu":
        dtype = y.dtype
        y = y.view(np.uint8) if dtype.kind == "b" else y
        low, high = int(y.min()), int(y.max())
        if high - low < _TABLE_SIZE:
            offset = y.astype(np.int64) - low if low else y
            present = np.bincount(offset) > 0
            classes = np.flatnonzero(present)
            codes = (np.cumsum(present) - 1)[offset]
            # Back to where they came from without leaving the type of y.
            return (classes.astype(dtype) + np.array(low, dtype)).astype(dtype), codes
    try:
        check_classification_targets(y)
    except ValueError as error:
        raise ValueError(
            f"{error} y holds real numbers; for soft labels in [0, 1] use SigmoidRegressor "
            "or schuss.train."
        ) from None
    return np.unique(y, return_inverse=True)


def _encode_known(y, classes, name):
    unseen = np.setdiff1d(y, classes)
    if len(unseen):
        raise ValueError(
            f"{name} holds labels that are not among the classes: {_shown(unseen)}; expected "
            f"some of {_shown(classes)}."
        )
    return np.searchsorted(classes, y)


def _shown(labels):
    """A few labels as text."""
    text = ", ".join(repr(label) for label in labels[:_LABELS_SHOWN].tolist())
    return f"{text}, …" if len(labels) > _LABELS_SHOWN else text
