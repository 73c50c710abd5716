"""Fits of a likelihood with an offset, within bounds, or with Firth's penalty.

`TrainedLikelihood` gives an estimator's `fit` these arguments; `plan` is how such a fit is run.
"""

from collections.abc import Mapping
from os import PathLike
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import _fit_context
from sklearn.utils import metadata_routing

from schuss import data, objective, validation
from schuss.docstrings import extends
from schuss.inference import Inferable, refuse_collinear
from schuss.losses import LOSSES
from schuss.solvers.bounded import BoundedNewton
from schuss.training import Plan, Trained

_DIRECTIONS = {
    "increasing": 1, "decreasing": -1, "none": 0, 1: 1, -1: -1, 0: 0,
}  # fmt: skip


class Constraints(NamedTuple):
    """What `fit` was given."""

    offset: Any
    bounds: Any
    monotone: Any
    bias_reduction: Any


class TrainedLikelihood(Inferable, Trained):
    """`Trained`, where `fit` takes what a likelihood can have."""

    __metadata_request__fit = dict.fromkeys(
        ("bias_reduction", "bounds", "monotone"), metadata_routing.UNUSED
    )

    @_fit_context(prefer_skip_nested_validation=True)
    @extends(Trained.fit)
    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, offset: ArrayLike | None = None,
        bounds: Any = None, monotone: Any = None, bias_reduction: str | None = None,
        eval_set: Any = None, callbacks: Any = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> Self:  # fmt: skip
        """
        offset : array-like of shape (n,), default=None
            Known parts of the log-odds, such as logarithms of exposures, which are added to the
            scores. Predictions know nothing of it: add it to `decision_function`. Like the
            next three arguments for two classes, the log-loss and no L1 penalty only; they are
            served by Newton's method.
        bounds : (lower, upper), or dict, default=None
            Bounds of the coefficients: two numbers or arrays of shape (d,), -inf and inf where
            there is none; or pairs by the name or place of the feature.
        monotone : array-like of shape (d,), or dict, default=None
            Signs of the coefficients: 1 or "increasing" for 0 or more, -1 or "decreasing" for 0
            or less, 0 or "none" for any; or these by the name or place of the feature.
        bias_reduction : {"firth"}, default=None
            Maximise the likelihood times the root of the information's determinant (Firth,
            Biometrika 80, 1993): estimates of smaller bias, finite for separated classes. Without
            another penalty only.
        """
        constraints = Constraints(offset, bounds, monotone, bias_reduction)
        more = {} if all(given is None for given in constraints) else {"constraints": constraints}
        return self._train(
            X, y, sample_weight, eval_set=eval_set, callbacks=callbacks, checkpoint=checkpoint,
            **more,
        )  # fmt: skip

    def _plan_constrained(
        self, rows, eval_rows, constraints, coef, intercept, *, tol, max_iter, started
    ):
        """A `Plan` with constraints; `started` tells whether the weights are of an earlier fit."""
        offset, bounds, monotone, bias_reduction = constraints
        if len(coef) > 1:
            given = [name for name, value in constraints._asdict().items() if value is not None]
            raise ValueError(f"{' and '.join(given)}: there are {len(coef)} classes, expected two.")
        self._check_likelihood()
        if isinstance(rows.X, data.Blocked):
            raise ValueError(
                "offset, bounds, monotone and bias_reduction take rows in memory, but X is a "
                "stream."
            )
        names = self._parameter_names(rows.X.shape[1])
        offset = validation.check_offset(offset, rows.X.shape[0])
        if bias_reduction not in (None, "firth"):
            raise ValueError(f"bias_reduction={bias_reduction!r}: expected 'firth' or None.")
        if offset is not None and eval_rows is not None:
            raise ValueError("offset with eval_set or early_stopping: rows held out have none.")
        features = names[: rows.X.shape[1]]
        lower, upper = _bounds(bounds, monotone, features)
        start = coef[0].astype(np.float64)
        outside = np.flatnonzero((start < lower) | (start > upper))
        if started and len(outside):
            j = outside[0]
            raise ValueError(
                f"bounds: the coefficient of {features[j]!r} starts at {start[j]:.6g}, outside "
                f"[{lower[j]:.6g}, {upper[j]:.6g}]. Set warm_start=False, or move its bounds."
            )
        free = np.full(len(names) - len(features), np.inf)
        likelihood, _, _ = self._likelihood_of(
            rows.X, rows.y, rows.sample_weight, offset, start=(coef, intercept),
            bias_reduced=bias_reduction is not None,
        )  # fmt: skip
        if bias_reduction is not None and likelihood.is_penalised:
            raise ValueError(
                "bias_reduction='firth' is a penalty of its own and takes no other. Set "
                "C=numpy.inf (LogisticRegression) or alpha=0."
            )
        run = BoundedNewton(
            likelihood, coef, intercept, lower=np.append(lower, -free),
            upper=np.append(upper, free), tol=tol,
        )  # fmt: skip
        if bias_reduction is not None and np.isinf(run.value()):
            refuse_collinear(run.place()[2], names, likelihood.singular)
        validate = None
        if eval_rows is not None:
            _, validate = objective.on_rows(rows, eval_rows, LOSSES["log_loss"], coef, intercept)
        return Plan(run, max_iter, eval_rows, validate=validate)


def _bounds(bounds, monotone, names):
    """Arrays of lower and upper bounds of the coefficients."""
    d = len(names)
    lower, upper = np.full(d, -np.inf), np.full(d, np.inf)
    if isinstance(bounds, Mapping):
        for key, pair in bounds.items():
            j = _place(key, names, "bounds")
            try:
                lower[j], upper[j] = pair
            except (TypeError, ValueError):
                raise ValueError(
                    f"bounds: that of {key!r} is {pair!r}, expected a pair (lower, upper)."
                ) from None
    elif bounds is not None:
        try:
            low, high = bounds
            lower[:], upper[:] = low, high
        except (TypeError, ValueError):
            raise ValueError(
                "bounds: expected a pair (lower, upper) of numbers or of arrays of shape "
                f"({d},), or a dict of pairs by feature."
            ) from None
    if isinstance(monotone, Mapping):
        signs = np.zeros(d)
        for key, direction in monotone.items():
            signs[_place(key, names, "monotone")] = _direction(direction)
    elif monotone is not None:
        given = list(np.atleast_1d(np.asarray(monotone, dtype=object)))
        if len(given) != d:
            raise ValueError(
                f"monotone has {len(given)} entries, expected one for each of {d} features."
            )
        signs = np.array([_direction(direction) for direction in given])
    if monotone is not None:
        lower, upper = lower.copy(), upper.copy()
        lower[signs > 0] = np.maximum(lower[signs > 0], 0.0)
        upper[signs < 0] = np.minimum(upper[signs < 0], 0.0)
    empty = np.flatnonzero(~(lower <= upper))
    if len(empty):
        j = empty[0]
        raise ValueError(
            f"bounds{' and monotone' if monotone is not None else ''}: no coefficient of "
            f"{names[j]!r} is between {lower[j]:.6g} and {upper[j]:.6g}; expected lower <= upper."
        )
    return lower, upper


def _place(key, names, argument):
    if key in names:
        return names.index(key)
    if isinstance(key, int | np.integer) and 0 <= key < len(names):
        return int(key)
    raise ValueError(
        f"{argument}: {key!r} is no feature of X; expected some of "
        f"{', '.join(map(repr, names[:20]))}, or places from 0 to {len(names) - 1}."
    )


def _direction(value):
    try:
        return _DIRECTIONS[value]
    except (KeyError, TypeError):
        raise ValueError(
            f"monotone: got {value!r}, expected 1, 0, -1, 'increasing', 'decreasing' or 'none'."
        ) from None
