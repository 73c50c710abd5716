"""The kernel contract: what a backend is asked to do.

A backend is a module with the functions of `FUNCTIONS`, with these names and these
signatures; `numpy_` is the plain reference, and `tests/conformance` holds the others
to it. Here the functions are only described.

Conventions, for every function
-------------------------------
n, d, K
    Rows, features and neurons (outputs). One neuron is K = 1.
real
    float64 or float32: the type of the weights, hence of every floating array of the
    call but `history` and `counters` (float64). `constants.REAL_TYPE` gives it for a
    feature type.
X
    What `prepare` returned for the rows; opaque to the caller, read only, never copied
    as a whole unless it is small enough to live in the cache.
y
    Targets: real of shape (K, n), C order; or class codes, uint8 or int32 of shape (n,).
    Neuron k of several learns ``codes == k``; one neuron alone learns ``codes == 1``.
sample_weight
    real of shape (n,), or None for ones. Not negative.
coef, intercept
    real of shapes (K, d), C order, and (K,).
n_threads
    Threads that may be used, at least 1. It never changes a bit of the result.

The caller checks all input and allocates every array; a backend only computes.
"""

from typing import Any, NamedTuple

import numpy as np

from schuss.constants import ADAPTIVE_DIVISOR, ADAPTIVE_LEAST, LARGEST_SLOPE

FUNCTIONS = ("prepare", "pointwise", "gradient", "descend", "sweep", "predict")


class Data(NamedTuple):
    """What is learnt from."""

    X: Any  # from prepare()
    y: np.ndarray  # (K, n) real, or (n,) codes
    sample_weight: np.ndarray | None  # (n,) real
    scale: float  # 1 / sum of the weights: turns sums into means


class State(NamedTuple):
    """What a run changes; with the random state of the rows' order, a checkpoint."""

    coef: np.ndarray  # (K, d)
    intercept: np.ndarray  # (K,)
    slots: np.ndarray  # (constants.N_SLOTS[solver], K, d + 1), intercept last
    counters: np.ndarray  # (constants.N_COUNTERS,) float64


class Rule(NamedTuple):
    """How a gradient becomes a step."""

    loss: int  # constants.Loss
    solver: int  # constants.Solver
    learning_rate: float
    momentum: float
    beta_1: float
    beta_2: float
    epsilon: float
    l2: float  # l2/2 * ||w||^2, not on the intercept
    l1: float  # l1 * ||w||_1, not on the intercept
    tol: float  # full batch: stop at max |subgradient| <= tol
    fit_intercept: bool
    batch_size: int  # rows a step; n or more: one step an epoch


class SweepState(NamedTuple):
    """What a sweep from row to row changes; with the seeds, a checkpoint."""

    coef: np.ndarray  # (K, d) real, to be multiplied by marks[:, SweepMark.SCALE]
    average: np.ndarray  # (K, d) real; see constants.SweepMark. (K, 0) without averages
    debt: np.ndarray  # (K, d) real, l1 penalty that each weight had. (K, 0) without
    order: np.ndarray  # (K, n) int32, order of the rows in the last epoch
    marks: np.ndarray  # (K, constants.N_SWEEP_MARKS) float64


class Pace(NamedTuple):
    """How a row becomes a step."""

    loss: int  # constants.RowLoss
    parameter: float  # threshold of the hinges, epsilon of the others
    schedule: int  # constants.Schedule
    eta0: float
    power_t: float
    alpha: float  # OPTIMAL: a step is 1 / (alpha * (shift + t - 1))
    shift: float
    l2: float  # l2/2 * ||w||^2, not on the intercept
    l1: float  # l1 * ||w||_1, not on the intercept
    fit_intercept: bool
    decay: float  # of the intercept's steps
    average_from: int  # row from which weights are averaged, 0 for never
    tol: float  # an epoch that improves the objective by less counts; -inf: none does
    patience: int  # so many of them in a row end the sweep
    least_scale: float  # constants.LEAST_SCALE of the weights' type
    largest_slope: float = LARGEST_SLOPE
    divisor: float = ADAPTIVE_DIVISOR
    least_step: float = ADAPTIVE_LEAST


def prepare(X):
    """Return rows as this backend's kernels read them.

    Parameters
    ----------
    X : ndarray of shape (n, d), any strides, or scipy.sparse CSR array
        Of a type in `constants.REAL_TYPE`; CSR: float64 or float32, indices of 32
        or 64 bits.
    """


def pointwise(z, y, loss, value, derivative):
    """Cost and its derivative with respect to z, element by element.

    Parameters
    ----------
    z, y : real arrays of one shape (m,)
    loss : constants.Loss
    value, derivative : real arrays of shape (m,), OUT
    """


def gradient(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    """One fused forward and backward pass.

    Parameters
    ----------
    data : Data
    loss : constants.Loss
    coef, intercept : IN
    coef_grad, intercept_grad : OUT
        Gradient of the mean cost, without penalties; shapes of coef and intercept.

    Returns
    -------
    float
        ``scale * sum_k sum_i s_i c(z_ki, y_ki)``, without penalties.
    """


def descend(data, state, rule, order, history, n_threads):
    """Advance a run by up to ``len(history)`` epochs.

    With ``batch_size >= n`` an epoch is: value and gradient over all rows, a row of the
    history, then one step; it stops before the step where the gradient is at most `tol`
    or something is not finite. Otherwise an epoch is a step for each batch of rows, the
    gradient of a batch standing for the mean over all (factor n / rows in the batch),
    and a history row holds the mean of the batches' costs plus the penalty at the last
    batch, and the last batch's norm.

    The gradient includes the l2 term; l1 enters by the proximal operator after the step,
    and the norm recorded is the largest entry of the smallest subgradient.

    Parameters
    ----------
    data : Data
    state : State, IN and OUT
    rule : Rule
    order : ndarray of shape (len(history), n), int32, or None
        Order in which each epoch takes the rows; None for their own order. Ignored
        for full batches.
    history : ndarray of shape (k, 3), float64, OUT
        Columns as `constants.HISTORY_COLUMNS`; rows up to and including the one at
        which it stopped are filled.

    Returns
    -------
    epochs : int
        Epochs finished, also in ``state.counters[EPOCHS]`` if an exception ends the call.
    status : int
        constants.Status
    """


def sweep(data, trail, pace, class_weight, held_out, seeds, history, n_threads):
    """Go on for up to ``len(history)`` epochs, one row after the other.

    The path is that of scikit-learn 1.9's ``SGDClassifier`` and ``SGDRegressor``. For each
    row, with score p = w.x + b, target y, cost c(p, y), step eta and weight s:

    1. w, b -> w (1 - eta l2), b; the factor is 0 where it would be negative
    2. w, b -> w - s eta c'(p) x, b - decay s eta c'(p)
       PA1 and PA2 put min(eta0, c / ||x||^2) or c / (||x||^2 + 1 / (2 eta0)) for eta,
       and the sign of c' for c'
    3. the averages take up w and b, from the row `average_from` on
    4. l1: each weight that the row touches moves towards 0 by the penalty that it is still
       owed (Tsuruoka, Tsujii and Ananiadou, 2009)

    Targets are real, or codes that become 1 and -1 (log-loss: 0). An epoch's objective is
    the mean over its rows of cost and penalty before the step; in it, the norms of sparse
    rows' weights are those of the entries that the last step touched. Not so for PA1, PA2.

    Parameters
    ----------
    data : Data
        `scale` is not used.
    trail : SweepState, IN and OUT
        A neuron whose SweepMark.STATUS is not RAN stays where it is.
    pace : Pace
    class_weight : ndarray of shape (K, 2), float64
        Weights of rows whose target is positive, and of the others.
    held_out : ndarray of shape (n,), uint8, or None
        Rows that are not to be learnt from are not 0.
    seeds : ndarray of shape (K,), uint32, or None
        Each epoch shuffles the order that the last one left, from this state of a xorshift
        generator (Marsaglia 2003), swapping place i with i + r % (n - i). None: no shuffling.
    history : ndarray of shape (k, K, 2), float64, OUT
        Columns as `constants.SWEEP_COLUMNS`; rows of the epochs that a neuron did are filled.

    Returns
    -------
    int
        Most epochs that a neuron finished; its own are in SweepMark.EPOCHS, also if an exception
        ends the call.
    """


def predict(X, coef, intercept, activation, out, n_threads):
    """Scores ``X @ coef.T + intercept``, through an activation.

    Parameters
    ----------
    X : from prepare()
    activation : constants.Activation
    out : real array of shape (n, K), C order, OUT
    """
