"""The arguments of `fit_many`, checked, and the table of the models that they stand for."""

import math
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from schuss import data, validation
from schuss.blocks import Source
from schuss.constants import ModelPart, ModelReport
from schuss.many.streamed import StreamedRows
from schuss.memory import machine_memory

# Rows of several targets that are transposed at a time.
_TRANSPOSED_ROWS = 256
# Groups that a table of 16-bit codes holds, which NumPy sorts in one read.
_SHORT_CODES = 1 << 16


class Models(NamedTuple):
    """What `newton_many` takes, and the keys that tell the models apart."""

    X: Any
    y: np.ndarray  # (T, n) real
    classes: np.ndarray | None
    sample_weight: np.ndarray | None  # (S, n) real
    exponent: int  # of the power of two by which the weights were multiplied
    order: np.ndarray | None
    extra: np.ndarray | None
    table: np.ndarray  # (models / len(Cs), 5)
    Cs: np.ndarray
    keys: dict[str, np.ndarray]  # one entry for each model
    names: np.ndarray | None  # of the features

    @property
    def is_shared(self):
        """Whether all models learn from all rows."""
        return bool((self.n_rows == self.X.shape[0]).all())

    @property
    def n_rows(self):
        """Of each row of the table."""
        return self.table[:, ModelPart.STOP] - self.table[:, ModelPart.FIRST]


def models_of(X, y, groups, sample_weight, Cs, scan, loss, errors):
    """Check the arguments of `fit_many`; see there.

    The models are all combinations of groups, targets, rows of weights, columns of the scan and
    penalties, the last one varying fastest.
    """
    names = _names(X)
    if isinstance(X, Source):
        X, y, sample_weight, groups = _streamed(X, y, sample_weight, groups, scan)
    else:
        X = data.check_features(X, finite=True)
    n, real = X.shape[0], data.real_type(X)
    classes, y, target_names = _targets(y, n, real, loss)
    weights, exponent = _weights(sample_weight, n, real)
    extra, column_names = _columns(scan, n)
    Cs = _penalties(Cs, scan is not None)
    group_keys, order, first, stop = None, None, np.zeros(1, np.int64), np.array([n])
    if groups is not None:
        group_keys, order, first, stop = _groups(groups, n)
        if order is not None and not isinstance(X, StreamedRows):
            data.check_orders(n)
            order = order.astype(data.ORDER_TYPE)
    shape = (
        len(first), len(y), 1 if weights is None else len(weights),
        1 if extra is None else extra.shape[1],
    )  # fmt: skip
    _check_memory(math.prod(shape) * len(Cs), X.shape[1] + (extra is not None), errors)
    several = sample_weight is not None and np.ndim(sample_weight) == 2
    of_axes = {
        "group": group_keys,
        "target": target_names,
        "weight": np.arange(shape[2]) if several else None,
        "column": column_names if extra is None or column_names is not None
        else np.arange(shape[3]),
    }  # fmt: skip
    places = np.unravel_index(np.arange(math.prod(shape)), shape)
    table = np.empty((len(places[0]), len(ModelPart)), np.int64)
    table[:, ModelPart.FIRST], table[:, ModelPart.STOP] = first[places[0]], stop[places[0]]
    table[:, ModelPart.TARGET] = places[1]
    table[:, ModelPart.WEIGHT] = -1 if weights is None else places[2]
    table[:, ModelPart.COLUMN] = -1 if extra is None else places[3]
    keys = {
        name: np.repeat(key[place], len(Cs))
        for (name, key), place in zip(of_axes.items(), places, strict=True)
        if key is not None
    }
    keys["C"] = np.tile(Cs, len(table))
    return Models(X, y, classes, weights, exponent, order, extra, table, Cs, keys, names)


def _streamed(source, y, sample_weight, groups, scan):
    """X, y, weights and keys of a stream."""
    for name, value in (("y", y), ("sample_weight", sample_weight), ("scan", scan)):
        if value is not None:
            raise ValueError(f"{name} was passed with a stream, expected None: {_IN_STREAM[name]}")
    if groups is None:
        raise ValueError(
            "groups is missing: of a stream, fit_many fits models of groups of rows, whose rows it "
            "gathers. For one model on all rows pass the stream to LogisticRegression."
        )
    rows = StreamedRows(source)
    return (
        rows, rows.y, rows.sample_weight,
        rows.column(groups) if isinstance(groups, str) else groups,
    )  # fmt: skip


_IN_STREAM = {
    "y": "its blocks hold the targets.",
    "sample_weight": "its blocks hold the weights.",
    "scan": "columns are added to an X in memory.",
}


def group_codes(groups, n, known=None):
    """Keys of the groups in order, and for each row the place of its key.

    Parameters
    ----------
    groups : array-like of shape (n,)
    n : int
    known : ndarray or None
        Keys, of which each row must have one.
    """
    validation.check_not_scalar(groups, f"({n},): the key of each row", "groups")
    groups = np.asarray(groups)
    if groups.ndim == 2 and groups.shape[1] == 1:
        groups = groups[:, 0]
    if groups.ndim != 1:
        raise ValueError(
            f"groups has shape {groups.shape}, expected ({n},): one key a row. Make one key of "
            "several columns, for example by joining them as text."
        )
    validation.check_rows(len(groups), n, "groups")
    if groups.dtype.kind == "f" and not np.isfinite(groups).all():
        _refuse_missing(np.flatnonzero(~np.isfinite(groups)), groups)
    if groups.dtype.kind == "M" and np.isnat(groups).any():
        _refuse_missing(np.flatnonzero(np.isnat(groups)), groups)
    if groups.dtype.kind == "O":
        missing = [i for i, key in enumerate(groups.tolist()) if key is None or key != key]
        if missing:
            _refuse_missing(missing, groups)
        kinds = sorted({type(key).__name__ for key in groups.tolist()})
        if len(kinds) > 1:
            raise ValueError(
                f"groups holds keys of several types ({', '.join(kinds)}), which have no order. "
                "Convert them, for example by groups.astype(str)."
            )
    if known is None:
        if groups.dtype.kind in "biu":
            return validation.check_labels(groups, n, name="groups")
        return np.unique(groups, return_inverse=True)
    codes = np.searchsorted(known, groups)
    codes[codes == len(known)] = 0
    unseen = np.unique(groups[known[codes] != groups])
    if len(unseen):
        validation.refuse_unseen(unseen, known, "groups")
    return known, codes


def _refuse_missing(rows, groups):
    raise ValueError(
        f"groups has missing keys: {groups[rows[0]]} in {len(rows)} of {len(groups)} rows, first "
        f"in row {rows[0]}. Leave those rows out, or give them a key of their own."
    )


def _groups(groups, n):
    """Keys, order of the rows (None: as they are), and where each group begins and ends in it."""
    array = np.asarray(groups)
    if array.ndim == 1 and len(array) == n and array.dtype.kind in "biuUS" and n:
        # Keys that already lie together, as in a table that was sorted by them.
        starts = np.flatnonzero(array[1:] != array[:-1]) + 1
        starts = np.concatenate([[0], starts])
        keys = array[starts]
        if (keys[1:] > keys[:-1]).all():
            return keys, None, starts, np.append(starts[1:], n)
    keys, codes = group_codes(groups, n)
    short = len(keys) <= _SHORT_CODES
    order = np.argsort(codes.astype(np.uint16) if short else codes, kind="stable")
    stops = np.cumsum(np.bincount(codes, minlength=len(keys)))
    return keys, order, np.append(0, stops[:-1]), stops


def _targets(y, n, real, loss):
    """Classes (None: real targets), targets of shape (T, n), and their names (None: one)."""
    if y is None:
        raise ValueError("fit_many requires y to be passed, but the target y is None.")
    given = y if hasattr(y, "ndim") else np.asarray(y)
    if given.ndim == 2:
        names = _names(y)
        array = np.asarray(y)
        if array.dtype.kind not in "biu":
            array = validation.check_targets(y, n, None, several=True)
        validation.check_rows(len(array), n, "y")
        if not array.shape[1]:
            raise ValueError(f"y has shape {array.shape}, expected a column for each model.")
        validation.check_unit_interval(array, loss)
        names = np.arange(array.shape[1]) if names is None else names
        targets = np.empty(array.shape[::-1], real)
        for start in range(0, n, _TRANSPOSED_ROWS):
            part = targets[:, start : start + _TRANSPOSED_ROWS]
            part[...] = array[start : start + _TRANSPOSED_ROWS].T
        exact = array.dtype.kind in "bu" and array.max() <= 1 or _are_labels(array)
        return (np.array([0, 1]) if exact else None), targets, names
    if np.asarray(y).dtype.kind == "f":
        array = validation.check_targets(y, n, real)
        if array.min() >= 0 and array.max() <= 1:
            return (np.array([0.0, 1.0]) if _are_labels(array) else None), array[None], None
    classes, codes = validation.check_labels(y, n)
    validation.check_classes(classes)
    if len(classes) > 2:
        raise ValueError(
            f"y holds {len(classes)} classes, expected two. For one model a class pass their "
            "indicators, y[:, None] == np.unique(y), as targets of shape (n, n_classes)."
        )
    return classes, codes[None].astype(real), None


def _are_labels(targets):
    return bool(((targets == 0) | (targets == 1)).all())


def _weights(sample_weight, n, real):
    """Weights of shape (S, n), the largest at least 1 and below 2, and exponent of the scale."""
    if sample_weight is None:
        return None, 0
    if np.ndim(sample_weight) != 2:
        weights = validation.check_weights(sample_weight, np.empty((n, 0)))[None]
        return validation.scale_weights(weights, real)
    weights = np.asarray(sample_weight)
    if weights.dtype.kind not in "biuf" or weights.shape[1] != n or not len(weights):
        raise ValueError(
            f"sample_weight has shape {weights.shape} and dtype {weights.dtype}, expected numbers "
            f"of shape (S, {n}): a row of weights for each model."
        )
    if weights.dtype.kind == "f":
        validation.assert_all_finite(weights, input_name="sample_weight")
    weights = np.ascontiguousarray(weights, np.float64)
    validation.check_not_negative(weights)
    empty = np.flatnonzero(~weights.any(axis=1))
    if len(empty):
        raise ValueError(
            f"sample_weight[{empty[0]}] is 0 in every row: Sample weights must contain at least "
            "one non-zero number for each model. Leave that row of sample_weight out."
        )
    return validation.scale_weights(weights, real)


def _columns(scan, n):
    """Columns to scan, of shape (n, q), and their names."""
    if scan is None:
        return None, None
    names = _names(scan)
    if sp.issparse(scan):
        raise ValueError(
            "scan is a sparse matrix, expected an array of shape (n, q). Pass some columns at a "
            "time, as scan.toarray()."
        )
    if np.ndim(scan) == 1:
        raise ValueError(
            f"scan has shape {np.shape(scan)}, expected ({n}, q): columns to be added to X one at "
            "a time. For one column pass scan[:, None]."
        )
    extra = data.check_features(scan, finite=True)
    validation.check_rows(extra.shape[0], n, "scan")
    return extra, names


def _penalties(Cs, scans):
    if Cs is None:
        return np.array([math.inf if scans else 1.0])
    given = np.atleast_1d(np.asarray(Cs))
    if given.ndim != 1 or not given.size or given.dtype.kind not in "iuf" or not (given > 0).all():
        raise ValueError(
            f"Cs={Cs!r}: expected a positive number or several, inverse strengths of the penalty; "
            "math.inf stands for none."
        )
    return given.astype(np.float64)


def _check_memory(n_models, n_features, errors):
    """Refuse results, and what they are made of, that the machine has no room for."""
    numbers = 2 * (1 + errors) * (n_features + 1) + 2 * len(ModelPart) + len(ModelReport) + 4
    needed, memory = 8 * n_models * numbers, machine_memory()
    if needed > memory / 2:
        raise MemoryError(
            f"{n_models:,} models of {n_features} features take {needed / 1e9:,.3g} GB, more than "
            f"half of the memory here ({memory / 1e9:,.3g} GB). Fit some of them at a time, or "
            "without standard_errors."
        )


def penalty_of(C: Real) -> float:
    return 0.0 if math.isinf(C) else 1.0 / float(C)


def _names(frame):
    """Names of the columns of a data frame, None where there are none."""
    columns = getattr(frame, "columns", None)
    if columns is None or not all(isinstance(name, str) for name in columns):
        return None
    return np.array(list(columns), dtype=object)
