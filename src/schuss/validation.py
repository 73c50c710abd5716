"""What is said about bad input, and the checks of user input that touch no kernel."""

import functools
import inspect
import os
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import assert_all_finite, check_array, compute_class_weight
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from schuss.errors import warn
from schuss.losses import LOSSES
from schuss.sparse import as_csr

# Integer labels that span less than this are encoded by a table instead of a sort.
_TABLE_SIZE = 1 << 16
# Labels that are encoded in one go: bounds the index arrays that NumPy makes of them.
_BLOCK_LABELS = 1 << 16
_LABELS_SHOWN = 5


def environment_choice(variable, choices):
    """The value of an environment variable, the first choice where it is unset or blank."""
    value = os.environ.get(variable, "").strip() or choices[0]
    return check_choice(value, variable, choices)


def check_parameters(estimator: Any):
    """scikit-learn's checks of those parameters that are not what they are by default.

    Its own look at all of them takes 70 of the 170 us of a fit of 100 x 5.
    """
    given = {
        name: getattr(estimator, name)
        for name, default in _defaults(estimator.__class__).items()
        if getattr(estimator, name) is not default
    }
    if given:
        validate_parameter_constraints(
            estimator._parameter_constraints, given, caller_name=type(estimator).__name__
        )


@functools.cache
def _defaults(cls: Any):
    parameters = inspect.signature(cls).parameters
    return {name: parameters[name].default for name in cls._get_param_names()}


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
        if not callable(callback):
            raise TypeError(
                f"callbacks: got {callback!r}, expected a callable f(info) or a list of them."
            )
        check_every(getattr(callback, "every", None), f"callbacks: {callback!r} has ")
    return several


def check_every(every, whose=""):
    """Return the number of iterations from one call of a callback to the next, or None."""
    wrong = not isinstance(every, Integral) or isinstance(every, bool)
    if every is not None and (wrong or every < 1):
        raise ValueError(
            f"{whose}every={every!r}: expected a positive whole number of iterations, or None "
            "to be called after each chunk of them."
        )
    return every


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
    y = label_array(y, n_rows, name)
    if classes is None:
        classes, codes = _encode(y)
    else:
        codes = _encode_known(y, classes, name)
        classes = own_type(classes, y)
    return classes, codes.astype(_code_type(len(classes)), copy=False)


def label_array(y, n_rows, name="y"):
    """Return labels as an array of shape (n_rows,), which may be one column before."""
    check_not_scalar(y, f"({n_rows},): one label a row", name)
    # What scikit-learn would pass unchanged is spared the fixed cost of its checks.
    if type(y) is not np.ndarray or y.ndim != 1:
        y = column_or_1d(y, warn=True)
    check_rows(len(y), n_rows, name)
    if y.dtype.kind in "biu":
        return y
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name=name)
    check_missing_labels(y, name)
    _check_text(y, name)
    try:
        with np.errstate(invalid="ignore"):
            check_classification_targets(y)
    except ValueError as error:
        if "continuous" not in str(error):
            raise
        raise ValueError(
            f"{error} {name} holds real numbers; for soft labels in [0, 1] use SigmoidRegressor "
            "or schuss.train."
        ) from None
    return y


def own_type(classes, y):
    """Classes as predictions shall have them: scikit-learn makes text of objects."""
    return classes.astype(object, copy=False) if y.dtype == object else classes


def check_missing_labels(y, name="y"):
    """Refuse rows whose label is None, NaN or NA."""
    y = np.asarray(y)
    if y.dtype.kind != "O" or y.ndim != 1 or all(isinstance(label, str) for label in y):
        return
    missing = [
        row
        for row, label in enumerate(y)
        if label is None or is_pandas_na(label) or is_scalar_nan(label)
    ]
    if missing:
        raise ValueError(
            f"{name} has missing labels: {y[missing[0]]} in {len(missing)} of {len(y)} rows, "
            f"first in row {missing[0]}. Input {name} contains NaN, expected a label in each "
            "row. Leave those rows out, or give them a label of their own."
        )


def check_classes(classes, codes=None, weights=None, *, warns=True, name="y"):
    """Refuse a problem with nothing to tell apart; warn, if told, of classes without weight."""
    lost = classes[:0]
    if weights is not None:
        sums = np.bincount(codes, weights=weights, minlength=len(classes))
        lost, classes = classes[sums == 0], classes[sums > 0]
    if len(classes) < 2:
        where = ", where sample_weight is not 0," if len(lost) else ""
        mend = "Give a positive weight to rows" if where else "Add rows"
        raise ValueError(
            f"{name}{where} holds only one class, {_shown(classes)}: This solver needs samples of "
            f"at least 2 classes in the data. {mend} of another class."
        )
    if len(lost) and warns:
        warn(
            f"sample_weight is 0 in every row of the classes {_shown(lost)}: there is nothing to "
            "learn them from. Give some of these rows a positive weight, or leave them out."
        )


def check_class_weight(class_weight, classes, codes, sample_weight):
    """Return a factor of the sample weights for each row.

    Parameters
    ----------
    class_weight : dict or "balanced"
    classes : ndarray of shape (n_classes,)
    codes : ndarray of shape (n,)
    sample_weight : ndarray of shape (n,) or None
    """
    factors = class_factors(class_weight, classes, codes, sample_weight)[codes]
    # Weights that are all 0 without class_weight are an error of sample_weight, found before.
    if not (factors if sample_weight is None else factors * sample_weight).any():
        raise ValueError(
            f"class_weight={class_weight!r} gives every row the weight 0, with the sample_weight "
            "there is. Give the class of at least one row that counts a weight above 0."
        )
    return factors


def check_partial_class_weight(class_weight):
    """Refuse what needs all rows at once."""
    if isinstance(class_weight, str):
        raise ValueError(
            f"class_weight {class_weight!r} is not supported for partial_fit. In order to use "
            "'balanced' weights, use compute_class_weight('balanced', classes=classes, "
            "y=y). In place of y you can use a large enough sample of the full training "
            "set target to properly estimate the class frequency distributions. Pass the "
            "resulting weights as the class_weight parameter."
        )


def class_factors(class_weight, classes, codes, sample_weight=None):
    """Return the factor of each class; see `check_class_weight`.

    scikit-learn takes text that looks like a number for one, so that "01" is "1", and neither
    is found in a dict. Here a label is itself, or else the number that is written so.
    """
    if class_weight is None:
        return np.ones(len(classes))
    if not isinstance(class_weight, dict):
        # A class whose rows weigh nothing has the factor inf, which no row shows.
        with np.errstate(divide="ignore"):
            factors = compute_class_weight(
                class_weight, classes=np.arange(len(classes)), y=codes, sample_weight=sample_weight
            )
        return np.where(np.isfinite(factors), factors, 0.0)
    for label, weight in class_weight.items():
        if not (isinstance(weight, Real) and 0 <= float(weight) < np.inf):
            raise ValueError(
                f"class_weight: the weight of class {label!r} is {weight!r}, expected a "
                "finite number of 0 or more."
            )
    labels = [_key(label, class_weight) for label in classes.tolist()]
    missing = [label for label in labels if label not in class_weight]
    if missing and len(labels) - len(missing) != len(class_weight):
        raise ValueError(
            f"class_weight={class_weight!r}: The classes, {missing}, are not in class_weight; "
            f"expected weights by label, of some of {_shown(classes)}. Correct the labels."
        )
    return np.array([class_weight.get(label, 1.0) for label in labels], np.float64)


def _key(label, class_weight):
    if isinstance(label, str) and label not in class_weight and label.isdecimal():
        return int(label) if str(int(label)) == label and int(label) in class_weight else label
    return label


def check_held_out(fitted, held_out):
    """Refuse a split of the rows for early stopping in which one part weighs nothing."""
    for name, weights in (("fitted", fitted), ("held-out", held_out)):
        if weights is not None and not weights.any():
            raise ValueError(
                f"sample_weight is 0 in every {name} row, with early_stopping=True. Give more "
                "rows a positive weight, or pass eval_set."
            )


def check_targets(y, n_rows, dtype, name="y", several=False):
    """Return real targets as an array of shape (n_rows,), or (n_rows, K) where allowed.

    They are of type `dtype`; where that is None, of float64 or float32 as they come.
    """
    check_not_scalar(y, f"({n_rows},)" + several * f" or ({n_rows}, K)" + ": targets by row", name)
    if type(y) is np.ndarray and y.dtype.kind in "biu":
        y = y.astype(np.float64 if dtype is None else dtype)
    else:
        reals = [np.float64, np.float32]
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                y = check_array(y, ensure_2d=False, allow_nd=True, dtype=reals, input_name=name)
        except OverflowError as error:
            raise _too_large(name, error) from None
        except ValueError as error:
            if "could not convert" not in str(error):
                raise
            raise ValueError(
                f"{name}: {error}; expected numbers. For labels use SigmoidClassifier."
            ) from None
    if y.ndim == 2 and not several:
        if y.shape[1] != 1:
            raise ValueError(
                f"{name} has shape {y.shape}, expected ({n_rows},): one target a row. "
                "Train one model for each column, or use schuss.train."
            )
        warn(
            f"A column-vector {name} was passed when a 1d array was expected; "
            f"use {name}.ravel() to avoid this warning.",
            DataConversionWarning,
        )
        y = y[:, 0]
    elif y.ndim not in (1, 2):
        raise ValueError(f"{name} has shape {y.shape}, expected ({n_rows},) or ({n_rows}, K).")
    check_rows(len(y), n_rows, name)
    return y if dtype is None or y.dtype == dtype else check_range(y, dtype, name)


def check_range(y, dtype, name="y"):
    """Return real targets in the type of the weights, which must hold them."""
    assert_all_finite(y, input_name=name)
    with np.errstate(over="ignore"):
        out = y.astype(dtype, copy=False)
    if not np.isfinite(out).all():
        raise ValueError(
            f"{name} holds values as large as {float(np.abs(y).max()):.3g}, beyond {out.dtype}, in "
            f"which this X trains. Scale {name}, or pass X as float64."
        )
    return out


def check_unit_interval(y, loss, name="y"):
    """Refuse targets that the loss is not defined for; warn of those out of reach."""
    low, high = float(y.min()), float(y.max())
    if low >= 0 and high <= 1:
        return
    came = f"{name} holds values from {low:.6g} to {high:.6g}"
    if LOSSES[loss].bounded_targets:
        others = [f"{key!r}" for key, other in LOSSES.items() if not other.bounded_targets]
        raise ValueError(
            f"{came}, but loss={loss!r} expects targets in [0, 1]. Scale {name} to [0, 1], "
            f"or use loss={' or '.join(others)}."
        )
    warn(
        f"{came}: a sigmoid neuron answers in (0, 1) and cannot reach targets outside [0, 1]. "
        f"Scale {name} to [0, 1].",
        UserWarning,
    )


def check_weights(sample_weight, X, *, all_zero=False):
    """Return the weights of the rows as float64; or None. Not all are 0, unless they may be."""
    if sample_weight is None:
        return None
    weights = given_weights(sample_weight, X)
    if not (check_not_negative(weights).any() or all_zero):
        raise ValueError(
            "Sample weights must contain at least one non-zero number: every entry of "
            "sample_weight is 0. Leave sample_weight out to count all rows alike."
        )
    return weights


def scale_weights(weights, dtype):
    """Return weights times a power of two, the largest at least 1 and below 2, and its exponent.

    Only the ratios of the weights matter, and a power of two changes no digit of them; so
    neither their sum nor its inverse can overflow. A penalty that is divided by the sum of the
    weights is scaled with them.
    """
    if weights is None:
        return None, 0
    exponent = 1 - int(np.frexp(weights.max())[1])
    return np.ldexp(weights, exponent).astype(dtype, copy=False), exponent


def given_weights(sample_weight, X):
    """Return the weights as finite float64, ones where there are none."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            weights = _check_sample_weight(
                sample_weight, X, dtype=np.float64, allow_all_zero_weights=True
            )
    except OverflowError as error:
        raise _too_large("sample_weight", error) from None
    if np.isscalar(sample_weight):
        # scikit-learn does not look at one number for all rows.
        assert_all_finite(weights, input_name="sample_weight")
    return weights


def _too_large(name, error):
    return ValueError(f"Input {name} contains a value too large for float64: {error}.")


def check_not_negative(weights):
    """Return the weights, none of which may be negative."""
    low = weights.min()
    if low < 0:
        raise ValueError(
            f"Negative values in data passed to `sample_weight`: the smallest is {low:.6g}, "
            "expected weights of 0 or more. Give rows that do not count the weight 0."
        )
    return weights


def check_offset(offset, n_rows):
    """Return known parts of the scores as float64 of shape (n_rows,); or None."""
    if offset is None:
        return None
    try:
        offset = np.asarray(offset, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"offset: {error}; expected a number for each row of X.") from None
    if offset.ndim != 1:
        raise ValueError(f"offset has shape {offset.shape}, expected ({n_rows},).")
    check_rows(len(offset), n_rows, "offset")
    wrong = np.flatnonzero(~np.isfinite(offset))
    if len(wrong):
        raise ValueError(
            f"offset is {offset[wrong[0]]} in row {wrong[0]}, and not finite in {len(wrong)} of "
            f"{n_rows} rows; expected finite numbers. Leave those rows out."
        )
    return offset


def check_start(value, shape, dtype, name):
    """Return a fresh array of initial weights; zeros where none are given.

    One neuron's may come with its axis or without it.
    """
    if value is None:
        return np.zeros(shape, dtype=dtype)
    given = np.asarray(value)
    own = shape[1:] if shape[0] == 1 else shape
    if given.shape not in (shape, own) or given.dtype.kind not in "biuf":
        expected = f"numbers of shape {own}" if own else "a number"
        raise ValueError(
            f"{name} has shape {given.shape} and dtype {given.dtype}, expected {expected}."
        )
    with np.errstate(over="ignore"):
        start = np.array(given.reshape(shape), dtype=dtype, order="C")
    if not np.isfinite(start).all():
        raise ValueError(
            f"{name} holds NaN, infinity or a number too large for {np.dtype(dtype)}, expected "
            "finite numbers."
        )
    return start


def start_weights(estimator, shape, dtype, again):
    """Return initial `coef` and `intercept`: zeros, or `again` those that the estimator has."""
    coef = intercept = None
    if again and hasattr(estimator, "coef_"):
        came = np.shape(estimator.coef_)
        if came not in (shape, shape[1:] if shape[0] == 1 else shape):
            raise ValueError(
                f"Initialization coef is of shape {came}, expected shape {shape}: the fitted "
                "weights are for other data. Fit data of the same shape, or set warm_start=False."
            )
        coef, intercept = linear_weights(estimator, shape[1])
        coef = coef.toarray() if sp.issparse(coef) else coef
    return (
        check_start(coef, shape, dtype, "coef_"),
        check_start(intercept, shape[:1], dtype, "intercept_"),
    )


def linear_weights(estimator, n_features):
    """Return `coef_` and `intercept_`, whoever set them, as of shapes (K, d) and (K,).

    K is 1 for two classes and for regressors. As scikit-learn does, one neuron's weights may
    come without their axis, and a number stands for all intercepts; lists will do as well.

    Parameters
    ----------
    estimator : linear model
    n_features : int
        Of X, which has `n_features_in_` features where that is set.

    Returns
    -------
    coef : ndarray of shape (K, d), or CSR
    intercept : ndarray of shape (K,)
    """
    coef, intercept = estimator.coef_, estimator.intercept_
    classes = getattr(estimator, "classes_", "01")
    k = 1 if len(classes) == 2 else len(classes)
    if (
        type(coef) is type(intercept) is np.ndarray
        and coef.shape == (k, n_features)
        and intercept.shape == (k,)
        and coef.dtype.kind == intercept.dtype.kind == "f"
    ):
        return coef, intercept
    if len(classes) < 2:
        raise ValueError(
            f"classes_ is {classes!r}, expected the sorted labels of two classes or more."
        )
    if sp.issparse(coef):
        # `sparsify` leaves a regressor's with one dimension.
        if coef.ndim == 1 and coef.format == "csr":
            coef = sp.csr_array((coef.data, coef.indices, coef.indptr), shape=(1, coef.shape[0]))
        coef = as_csr(coef, "coef_")
    else:
        coef = _as_numbers(coef, "coef_")
    shape = (k, n_features)
    if coef.shape not in (shape, shape[1:] if k == 1 else shape):
        raise ValueError(_wrong_shape("coef_", coef.shape, shape, n_features))
    intercept = _as_numbers(intercept, "intercept_")
    if intercept.shape not in ((k,), ()):
        raise ValueError(_wrong_shape("intercept_", intercept.shape, (k,)))
    return coef.reshape(shape), np.broadcast_to(intercept, (k,))


def check_finite_weights(**attributes):
    """Refuse weights, by the name of the attribute, that are not finite."""
    for name, arrays in attributes.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(
                f"{name} holds NaN or infinity, expected finite numbers. Set finite weights, or "
                "fit the estimator anew."
            )


def network_weights(estimator, n_features):
    """Return `coefs_` and `intercepts_`, whoever set them, as lists of arrays that fit together."""
    coefs = [_as_numbers(coef, f"coefs_[{i}]") for i, coef in enumerate(estimator.coefs_)]
    intercepts = [
        _as_numbers(intercept, f"intercepts_[{i}]")
        for i, intercept in enumerate(estimator.intercepts_)
    ]
    if not coefs or len(intercepts) != len(coefs):
        raise ValueError(
            f"coefs_ has {len(coefs)} entries and intercepts_ has {len(intercepts)}, expected "
            "one for each layer but the first."
        )
    below = n_features
    for i, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        if coef.ndim != 2 or coef.shape[0] != below or coef.shape[1] < 1:
            width = coef.shape[1] if coef.ndim == 2 and coef.shape[1] else "neurons"
            features = None if i else n_features
            raise ValueError(_wrong_shape(f"coefs_[{i}]", coef.shape, (below, width), features))
        below = coef.shape[1]
        if intercept.shape != (below,):
            raise ValueError(_wrong_shape(f"intercepts_[{i}]", intercept.shape, (below,)))
    return coefs, intercepts


def _as_numbers(value, name):
    if type(value) is np.ndarray and value.dtype.kind == "f" and value.dtype.itemsize <= 8:
        return value
    value = np.asarray(value)
    if value.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {value.dtype}, expected real numbers.")
    with np.errstate(over="ignore"):
        return value.astype(np.float64)


def _wrong_shape(name, came, expected, n_features=None):
    text = ", ".join(map(str, expected)) + "," * (len(expected) == 1)
    data = "" if n_features is None else f", as X has {n_features} features"
    return (
        f"{name} has shape {came}, expected ({text}){data}. Set an array of that shape, or fit "
        "the estimator anew."
    )


def check_rows(came, expected, name):
    if came != expected:
        raise ValueError(
            f"{name} has {came} rows, but X has {expected}: Found input variables with "
            f"inconsistent numbers of samples. Pass one entry of {name} for each row of X."
        )


def check_not_scalar(y, expected, name="y"):
    if not isinstance(y, (list, tuple)) and (y if hasattr(y, "ndim") else np.asarray(y)).ndim == 0:
        raise ValueError(f"{name} is {y!r}, expected an array of shape {expected}.")


def _check_text(y, name):
    """Refuse objects other than text; scikit-learn cannot tell what they mean either."""
    if y.dtype.kind != "O" or all(isinstance(label, str) for label in y):
        return
    types = ", ".join(sorted({type(label).__name__ for label in y}))
    raise ValueError(
        f"{name} has dtype object and holds {types}: Unknown label type. Expected text, whole "
        f"numbers or booleans, all of one type. Convert them, for example by {name}.astype(int) "
        f"or {name}.astype(str), and leave out rows without a label."
    )


def _code_type(n_classes):
    return np.uint8 if n_classes <= 256 else np.int32


def _encode(y):
    if y.dtype.kind in "biu":
        low, high = int(y.min()), int(y.max())
        if high - low == 1:
            return np.array([low, high], y.dtype), (y == high).view(np.uint8)
        if high - low < _TABLE_SIZE:
            present = _mark(y, low, high)
            classes = np.flatnonzero(present).astype(np.uint64) + np.uint64(low % 2**64)
            return classes.astype(y.dtype), _encode_by_table(y, low, present)
    return np.unique(y, return_inverse=True)


def _encode_known(y, classes, name):
    if y.dtype.kind in "biu" and classes.dtype.kind in "biu":
        low, high = int(classes[0]), int(classes[-1])
        if int(y.min()) < low or high < int(y.max()):
            refuse_unseen(np.unique(y[(y < low) | (y > high)]), classes, name)
        if high - low < _TABLE_SIZE:
            present = _mark(classes, low, high)
            if not (_mark(y, low, high) & ~present).any():
                return _encode_by_table(y, low, present)
        # Types of different signs would meet in float64, which does not tell all labels apart.
        y = y.astype(classes.dtype, copy=False)
    unseen = np.setdiff1d(y, classes)
    if len(unseen):
        refuse_unseen(unseen, classes, name)
    return np.searchsorted(classes, y)


def refuse_unseen(unseen, classes, name="y"):
    raise ValueError(
        f"{name} holds labels that are not among the classes: {_shown(unseen)}; expected "
        f"some of {_shown(classes)}."
    )


def _mark(y, low, high):
    """Which whole numbers from low to high there are."""
    present = np.zeros(high - low + 1, bool)
    for _, offsets in _offsets(y, low):
        present[offsets] = True
    return present


def _encode_by_table(y, low, present):
    table = np.cumsum(present) - 1
    table = table.astype(_code_type(table[-1] + 1))
    codes = np.empty(len(y), table.dtype)
    for rows, offsets in _offsets(y, low):
        codes[rows] = table[offsets]
    return codes


def _offsets(y, low):
    """``y - low``, a block of rows at a time; modulo 2^64, so for every integer type."""
    for start in range(0, len(y), _BLOCK_LABELS):
        rows = slice(start, start + _BLOCK_LABELS)
        yield rows, (y[rows].astype(np.uint64) - np.uint64(low % 2**64)).view(np.int64)


def _shown(labels):
    """A few labels as text."""
    text = ", ".join(repr(label) for label in labels[:_LABELS_SHOWN].tolist())
    return f"{text}, …" if len(labels) > _LABELS_SHOWN else text
