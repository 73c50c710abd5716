"""Separation of two classes: columns whose coefficients the data send to infinity.

The likelihood of logistic regression has a maximum unless some direction of the parameters
raises no row's loss (Albert and Anderson, Biometrika 71, 1984). A linear program finds one: of
the parameters in [-1, 1] it maximises the sum of the rows' margins, none of which may be
negative (Konis, Linear programming algorithms for detecting separated data in binary logistic
regression models, Oxford, 2007).
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

# Newton's step from nearly the maximum changes each score by less, unless there is no maximum: a
# smaller change than 1 shows that the losses' derivatives, corrected by it, are positive weights
# under which the rows add up to 0, and so that no direction exists.
MOST_CHANGE = 0.5

# Rows of a program, those added at a time where others are violated, and how often.
_ROWS, _ADDED, _ROUNDS = 2000, 1000, 50
_TOLERANCE = 1e-7
# Columns up to which those that are not needed are left out of a direction.
_DROPPED = 100


class Separation(NamedTuple):
    """A direction that raises no row's loss.

    Attributes
    ----------
    columns : ndarray
        Indices of the columns that it is made of.
    direction : ndarray of shape (r,)
    n_rows : int
        Rows whose loss it lowers.
    """

    columns: np.ndarray
    direction: np.ndarray
    n_rows: int

    def message(self, names):
        """What to say of it, given the names of its columns."""
        which = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
        what = f"column {which} separates" if len(names) == 1 else f"columns {which} separate"
        return (
            f"X: {what} {self.n_rows} rows of one class from all of the other, so the likelihood "
            "has no maximum: coefficients there grow with every iteration, and their standard "
            "errors say nothing. Leave out what tells the label, pass bias_reduction='firth' to "
            "fit, or add a penalty."
        )


def find(X, y, sample_weight=None, *, intercept=True):
    """A direction that raises no row's loss and lowers some, or None where there is none.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, d)
    y : ndarray of shape (n,)
        0 and 1.
    sample_weight : ndarray of shape (n,), or None
        Rows of weight 0 do not count.
    intercept : bool
        Whether a column of ones follows those of X.

    Returns
    -------
    Separation or None
    """
    counted = slice(None) if sample_weight is None else np.flatnonzero(sample_weight)
    X, sign = X[counted], np.where(y[counted] > 0.5, 1.0, -1.0)
    largest = np.abs(X).max(axis=0)
    largest = largest.toarray().ravel() if sp.issparse(largest) else largest.astype(np.float64)
    units = 1 / np.where(largest > 0, largest, 1.0)
    n, d = X.shape

    def margins(rows):
        """Rows [x 1] in units of their columns, of the sign of their class."""
        part = X[rows]
        part = part.toarray() if sp.issparse(part) else part.astype(np.float64)
        part = part * units * sign[rows, None]
        return np.column_stack([part, sign[rows]]) if intercept else part

    def products(direction):
        z = X @ (direction[:d] * units)
        return sign * (z + direction[d:].sum() if intercept else z)

    total = (X.T @ sign) * units
    if intercept:
        total = np.append(total, sign.sum())
    rows = np.unique(np.linspace(0, n - 1, min(n, _ROWS)).astype(np.int64))
    for _ in range(_ROUNDS):
        direction = _direction(margins(rows), total, d, _TOLERANCE * n)
        if direction is None:
            return None
        changes = products(direction)
        violated = np.flatnonzero(changes < -_TOLERANCE)
        if not len(violated):
            break
        rows = np.union1d(rows, violated[np.argsort(changes[violated])[:_ADDED]])
    else:
        return None
    columns = np.flatnonzero(np.abs(direction) > _TOLERANCE)
    # The intercept alone separates nothing; it is named only where no column is.
    features = columns[columns < d]
    scale = np.append(units, 1.0) if intercept else units
    return Separation(
        features if len(features) else columns, direction * scale,
        int((changes > _TOLERANCE).sum()),
    )  # fmt: skip


def _direction(margins, total, d, least):
    """A direction of few columns in [-1, 1] that lowers no margin, or None.

    From the best one, columns are left out as long as what remains still raises their sum.
    """

    def best(bounds):
        found = linprog(-total, A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=bounds)
        return found.x if found.x is not None and -found.fun > least else None

    bounds = [(-1.0, 1.0)] * len(total)
    direction = best(bounds)
    if direction is None:
        return None
    for j in np.argsort(np.abs(direction[:d]))[: None if d <= _DROPPED else 0]:
        if direction[j]:
            bounds[j] = (0.0, 0.0)
            without = best(bounds)
            if without is None:
                bounds[j] = (-1.0, 1.0)
            else:
                direction = without
        else:
            bounds[j] = (0.0, 0.0)
    return direction
