"""The losses, each in one entry.

A new loss is a code and an entry here, and its formula in each backend. Parameter constraints,
choices of the command line, lists in the documentation, curvature bounds, probabilities and the
properties that solvers need come from the entry. NumPy and SciPy are imported by the functions,
so that this module is quick to import.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class Loss(IntEnum):
    """Losses of the score z that the kernels implement."""

    SQUARED_ERROR = 0
    LOG_LOSS = 1
    # z**2 / 2. Its gradient is X^T S X w, the product of power iteration.
    QUADRATIC = 2
    # Cross-entropy of softmax over the K scores of a row, which it couples; the targets of a
    # row sum to 1. Only the kernel `gradient` implements it.
    MULTINOMIAL = 3


class RowLoss(IntEnum):
    """Losses of one row, as in scikit-learn, that the SGD kernel implements."""

    HINGE = 0
    SQUARED_HINGE = 1
    MODIFIED_HUBER = 2
    LOG_LOSS = 3
    SQUARED_ERROR = 4
    HUBER = 5
    EPSILON_INSENSITIVE = 6
    SQUARED_EPSILON_INSENSITIVE = 7


class Output(IntEnum):
    """Activations of a network's last layer, each with its loss."""

    SOFTMAX = 0  # cross-entropy
    LOGISTIC = 1  # log-loss, of each output
    LOGISTIC_SQUARED = 2  # squared error, of each output
    IDENTITY = 3  # squared error
    EXPONENTIAL = 4  # half the Poisson deviance


def _logit(p):
    import numpy as np

    with np.errstate(divide="ignore"):
        return np.log(p) - np.log1p(-p)


@dataclass(frozen=True, eq=False)
class LossFunction:
    """A loss l(z, y) of the scores z of a neuron, for all modules above the backends.

    Attributes
    ----------
    code : Loss
        Code in the kernels.
    summary : str
        One line for help texts and docstrings.
    curvature_bound : float
        Upper bound of ``|d2l/dz2|`` for targets in [0, 1]; infinity if there is none, and so no
        safe learning rate.
    second_derivative : callable
        Second derivative at the scores, positive semidefinite: exact, or the Gauss-Newton
        part. For a loss that couples the scores of a row, their probabilities p, which stand
        for ``diag(p) - p p^T``.
    at_zero : callable
        Loss of a row for zero scores, given the number of neurons; infinity if it depends on
        the target.
    convex : bool
    couples : bool
        Whether the scores of a row depend on each other.
    curvature_outside : float
        Increase of the bound for each unit by which a target lies outside [0, 1].
    bounded_targets : bool
        Whether targets outside [0, 1] are an error, not only out of reach.
    probabilities : callable or None
        ``probabilities(scores, logarithms)`` returns 1 - p and p, p being the probability of
        the positive class, or their logarithms. None: p is the logistic function of the kernels.
    score : callable
        Scores of probabilities p, the inverse of `probabilities`.
    even_score : float
        Score of p = 1/2.
    """

    code: Loss
    summary: str
    curvature_bound: float
    second_derivative: Callable[[np.ndarray], np.ndarray]
    at_zero: Callable[[int], float]
    convex: bool = True
    couples: bool = False
    curvature_outside: float = 0.0
    bounded_targets: bool = True
    probabilities: Callable[[np.ndarray, bool], tuple[np.ndarray, np.ndarray]] | None = None
    score: Callable[[np.ndarray], np.ndarray] = _logit
    even_score: float = 0.0


def _logistic_derivative(z):
    from scipy.special import expit

    p = expit(z)
    p *= 1 - p
    return p


def _ones(z):
    import numpy as np

    return np.ones_like(z)


def _softmax(z):
    from scipy.special import softmax

    return softmax(z, axis=1)


# The choices of users.
LOSSES = {
    "squared_error": LossFunction(
        Loss.SQUARED_ERROR,
        "1/(2N) sum (yhat - y)^2",
        # The maximum lies at sigma = 0.3856 (roots of the third derivative).
        curvature_bound=0.0771,
        # Its Gauss-Newton part, sigma'^2.
        second_derivative=lambda z: _logistic_derivative(z) ** 2,
        at_zero=lambda n_outputs: math.inf,
        convex=False,
        # |sigma''| <= 1 / (6 sqrt(3)).
        curvature_outside=1 / (6 * math.sqrt(3)),
        bounded_targets=False,
    ),
    "log_loss": LossFunction(
        Loss.LOG_LOSS,
        "1/N sum log(1 + exp(z)) - y z",
        curvature_bound=0.25,
        second_derivative=_logistic_derivative,
        at_zero=lambda n_outputs: n_outputs * math.log(2.0),
    ),
}

# z^2 / 2, whose gradient is the product of power iteration, X^T S X w.
QUADRATIC = LossFunction(
    Loss.QUADRATIC,
    "1/(2N) sum z^2",
    curvature_bound=1.0,
    second_derivative=_ones,
    at_zero=lambda n_outputs: 0.0,
)

# Cross-entropy of softmax over the scores of a row.
MULTINOMIAL = LossFunction(
    Loss.MULTINOMIAL,
    "1/N sum log(sum exp(z)) - z_y",
    curvature_bound=0.5,
    second_derivative=_softmax,
    at_zero=math.log,
    couples=True,
)


BY_CODE = {loss.code: loss for loss in (*LOSSES.values(), QUADRATIC, MULTINOMIAL)}


@dataclass(frozen=True)
class RowLossFunction:
    """A loss of one row for stochastic gradient descent, as in scikit-learn.

    Attributes
    ----------
    code : RowLoss
    threshold : float or None
        Threshold of the hinge losses; None: the estimator's `epsilon`.
    negative : float
        Target of the negative rows.
    """

    code: RowLoss
    threshold: float | None = 0.0
    negative: float = -1.0


ROW_LOSSES = {
    "hinge": RowLossFunction(RowLoss.HINGE, 1.0),
    "perceptron": RowLossFunction(RowLoss.HINGE),
    "squared_hinge": RowLossFunction(RowLoss.SQUARED_HINGE, 1.0),
    "modified_huber": RowLossFunction(RowLoss.MODIFIED_HUBER, 1.0),
    "log_loss": RowLossFunction(RowLoss.LOG_LOSS, negative=0.0),
    "squared_error": RowLossFunction(RowLoss.SQUARED_ERROR),
    "huber": RowLossFunction(RowLoss.HUBER, None),
    "epsilon_insensitive": RowLossFunction(RowLoss.EPSILON_INSENSITIVE, None),
    "squared_epsilon_insensitive": RowLossFunction(RowLoss.SQUARED_EPSILON_INSENSITIVE, None),
}

# Last layers of networks, by scikit-learn's names of the activation and the loss.
NETWORK_OUTPUTS = {
    ("softmax", "log_loss"): Output.SOFTMAX,
    ("logistic", "log_loss"): Output.LOGISTIC,
    ("logistic", "squared_error"): Output.LOGISTIC_SQUARED,
    ("identity", "squared_error"): Output.IDENTITY,
    ("exp", "poisson"): Output.EXPONENTIAL,
}
