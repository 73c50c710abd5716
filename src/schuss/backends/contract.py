"""The kernel contract: the functions that every backend implements.

A backend is a module with the functions of `FUNCTIONS`, with these names and signatures.
`numpy_` is the reference implementation, and `tests/conformance` compares the others with it.
This module only describes the functions.

Conventions for every function
------------------------------
n, d, K
    Rows, features and neurons (outputs). One neuron is K = 1.
real
    float64 or float32: the type of the weights, and so of all floating-point arrays of a
    call except `history` and `counters`, which are float64. `constants.REAL_TYPE` maps the
    type of the features to it.
X
    The return value of `prepare`; opaque to the caller, read only. It is not copied as a
    whole, unless it is small enough for the cache.
y
    Targets: real of shape (K, n), C order; or class codes, uint8 or int32 of shape (n,).
    Neuron k of several learns ``codes == k``; one neuron alone learns ``codes == 1``.
sample_weight
    real of shape (n,), or None for ones. Nonnegative, the largest near 1: sums of much larger
    weights may overflow, and so may the inverse of the sum of much smaller ones.
coef, intercept
    real of shapes (K, d), C order, and (K,).
n_threads
    Maximum number of threads, at least 1. The result has the same bits for any number.

The caller checks all input and allocates all arrays. A backend checks codes only: an unknown code
raises ValueError.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from schuss.constants import (
    ADAPTIVE_DIVISOR,
    ADAPTIVE_LEAST,
    ARMIJO,
    FACTOR_STEPS,
    HALVINGS,
    LARGEST_DERIVATIVE,
    SETTLED,
    SINGULAR,
)

FUNCTIONS = (
    "prepare", "pointwise", "gradient", "evaluator", "newton", "newton_many", "gradient_many",
    "information", "weighted_gram", "add_product", "descend", "predict",
    "network_gradient", "network_epochs", "network_predict", "shuffle",
    "walk", "sweep", "take_columns", "coordinate_descent",
)  # fmt: skip


class Data(NamedTuple):
    """Training data."""

    X: Any  # from prepare()
    y: np.ndarray  # (K, n) real, or (n,) codes
    sample_weight: np.ndarray | None  # (n,) real
    scale: float  # 1 / sum of the weights


class State(NamedTuple):
    """State of a run. With the random state of the row order it is a checkpoint."""

    coef: np.ndarray  # (K, d)
    intercept: np.ndarray  # (K,)
    slots: np.ndarray  # (methods.N_SLOTS[solver], K, d + 1), intercept last
    counters: np.ndarray  # (constants.N_COUNTERS,) float64


class UpdateConfig(NamedTuple):
    """Solver and objective of `descend` and `walk`."""

    loss: int  # losses.Loss
    solver: int  # methods.Solver
    learning_rate: float
    momentum: float
    beta_1: float
    beta_2: float
    epsilon: float
    l2: float  # l2/2 * ||w||^2, not on the intercept
    l1: float  # l1 * ||w||_1, not on the intercept
    tol: float  # full batches: stop at max |subgradient| <= tol
    fit_intercept: bool
    batch_size: int  # n or more: full batches, one step per epoch


class NewtonConfig(NamedTuple):
    """Objective and stopping criteria of `newton`."""

    loss: int  # losses.Loss.LOG_LOSS or SQUARED_ERROR
    l2: np.ndarray  # (r,) float64: l2[j] / 2 * theta[j]^2
    tol: float  # stop at max |gradient| <= tol
    rate: float  # keep a factor while steps reduce max |gradient| to this fraction or less
    enough: float  # stop after a step whose predicted decrease is smaller
    noise: float  # relative error of the objective
    gap: float = math.inf  # and at a predicted decrease of at most this share of the objective
    floor: float = -math.inf  # or, too, at a smaller objective
    armijo: float = ARMIJO
    singular: float = SINGULAR[8]
    steps: int = FACTOR_STEPS  # maximum number of steps with one factor, at least 1


class ManyConfig(NamedTuple):
    """Objective and stopping criteria of `newton_many`."""

    loss: int  # losses.Loss.LOG_LOSS or SQUARED_ERROR
    l2: np.ndarray  # (P,) float64: l2[p] / 2 * ||w||^2 beside the sum of the losses
    fit_intercept: bool
    tol: float  # stop at max |gradient| of the mean objective <= tol
    max_iter: int
    noise: float  # relative error of the objective
    singular: float  # of NewtonConfig
    armijo: float = ARMIJO
    settled: float = SETTLED
    halvings: int = HALVINGS


class Function(NamedTuple):
    """A function of float64 arguments that compiled code can call.

    A polynomial has `coef` and `derivative`, the rest is 0. A C function is one of
    ``double f(double)`` (n = 1) and ``double f(int n, double *x)``, its gradient of
    ``double g(double)`` and ``void g(int n, double *x, double *out)``; each may take a last
    argument ``void *data``. Addresses are integers.
    """

    coef: np.ndarray  # (m,) float64, of the polynomial, constant first
    derivative: np.ndarray  # (m - 1 or 1,) float64, of the polynomial that is its derivative
    value: int = 0
    gradient: int = 0  # 0: central differences
    takes_array: bool = False
    value_takes_data: bool = False
    gradient_takes_data: bool = False
    value_data: int = 0
    gradient_data: int = 0


class Limits(NamedTuple):
    """Stopping criteria of `walk` besides ``UpdateConfig.tol``, and its constants."""

    xtol: float  # stop if no parameter changes by more; 0: off
    ftol: float  # stop if the value changes by no more; 0: off
    automatic: bool  # after the first step, step size 1 / largest curvature so far
    reversals: int  # constants.WALK_REVERSALS
    above: int  # constants.WALK_ABOVE
    rounding: float  # constants.WALK_ROUNDING
    difference: float  # constants.DIFFERENCE_STEP


class MinimizeState(NamedTuple):
    """The previous iterate of `walk`; all float64."""

    x: np.ndarray  # (n,)
    gradient: np.ndarray  # (n,)
    scalars: np.ndarray  # (constants.N_WALK_SCALARS,)


class Network(NamedTuple):
    """Layers of neurons: a_0 = x, a_l = phi(a_(l-1) W_l + b_l).

    The parameters are one vector `theta`: the weights layer by layer, each of shape
    (neurons below, neurons) in C order, and then the intercepts of all layers.
    """

    units: tuple[int, ...]  # neurons in each layer, the features first
    hidden: int  # constants.Hidden
    output: int  # losses.Output

    @property
    def shapes(self):
        """Shape of the weights of each layer."""
        return tuple(zip(self.units[:-1], self.units[1:], strict=True))

    @property
    def n_parameters(self):
        return sum((below + 1) * above for below, above in self.shapes)

    def split(self, theta):
        """Views of the weights and of the intercepts, each a list with an entry per layer."""
        sizes = [below * above for below, above in self.shapes] + list(self.units[1:])
        parts = np.split(theta, np.cumsum(sizes)[:-1])
        n = len(self.shapes)
        coefs = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=False)]
        return coefs, parts[n:]


class NetworkState(NamedTuple):
    """State of the training of a network."""

    theta: np.ndarray  # (P,)
    slots: np.ndarray  # (methods.N_SLOTS[solver], P)
    counters: np.ndarray  # (constants.N_COUNTERS,) float64


class NetworkConfig(NamedTuple):
    """Solver of `network_epochs`.

    With g the mean gradient of the batch, including `l2` times the weights divided by the
    batch's sum of sample weights, r the learning rate of the epoch and v the first slot:

    momentum
        v <- momentum v - r g, theta <- theta + v.
    nesterov
        v <- momentum v - r g, theta <- theta + momentum v - r g.
    adam
        As in `UpdateConfig`, but epsilon is added before the correction of the second moment.
    """

    solver: int  # methods.Solver.MOMENTUM, NESTEROV or ADAM
    momentum: float
    beta_1: float
    beta_2: float
    epsilon: float
    l2: float  # l2/2 * ||W||^2 / sum of the batch's weights
    batch_size: int


class SweepState(NamedTuple):
    """State of a sweep from row to row. With the seeds it is a checkpoint."""

    coef: np.ndarray  # (K, d) real, to be multiplied by scalars[:, SGDScalar.SCALE]
    average: np.ndarray  # (K, d) real; see constants.SGDScalar. (K, 0) without averages
    l1_applied: np.ndarray  # (K, d) real, L1 penalty applied to each weight. (K, 0) without
    order: np.ndarray  # (K, n) int32, order of the rows in the last epoch
    scalars: np.ndarray  # (K, constants.N_SGD_SCALARS) float64


class SGDConfig(NamedTuple):
    """Loss, learning rate and penalties of `sweep`."""

    loss: int  # losses.RowLoss
    parameter: float  # threshold of the hinges, epsilon of the others
    schedule: int  # constants.Schedule
    eta0: float
    power_t: float
    alpha: float  # of the penalties; OPTIMAL: a step is 1 / (alpha * (shift + t - 1))
    shift: float
    l2: float  # l2/2 * ||w||^2, not on the intercept
    l1: float  # l1 * ||w||_1, not on the intercept
    l1_ratio: float  # l2 = (1 - l1_ratio) * alpha and l1 = l1_ratio * alpha, or both are 0
    fit_intercept: bool
    decay: float  # of the intercept's steps
    average_from: int  # first row whose weights are averaged, 0: none
    tol: float  # an epoch that improves the objective by less counts; -inf: none does
    patience: int  # so many of them in a row end the sweep
    least_scale: float  # constants.LEAST_SCALE of the weights' type
    in_order: bool = False  # float64: each sum from its first term on, each product rounded
    largest_derivative: float = LARGEST_DERIVATIVE
    divisor: float = ADAPTIVE_DIVISOR
    least_step: float = ADAPTIVE_LEAST


class Columns(NamedTuple):
    """Columns of X, one after the other."""

    values: np.ndarray  # real: (m, n), or of a sparse X the (nnz,) entries by column
    rows: np.ndarray | None  # (nnz,) int32, ascending within a column; None: dense
    starts: np.ndarray | None  # (m + 1,) int64, where each column begins in `values`


def prepare(X):
    """Return X in the form that the kernels of this backend read.

    Parameters
    ----------
    X : ndarray of shape (n, d), any strides, or scipy.sparse CSR array
        Of a type in `constants.REAL_TYPE`; CSR: float64 or float32, indices of 32
        or 64 bits.
    """


def pointwise(z, y, loss, value, derivative):
    """Loss and its derivative with respect to z, elementwise.

    Parameters
    ----------
    z, y : real arrays of one shape (m,)
    loss : losses.Loss
    value, derivative : real arrays of shape (m,), OUT
    """


def gradient(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    """Mean loss and its gradient: one fused forward and backward pass.

    Parameters
    ----------
    data : Data
    loss : losses.Loss
    coef, intercept : IN
    coef_grad, intercept_grad : OUT
        Gradient of the mean loss, without penalties; shapes of coef and intercept.

    Returns
    -------
    float
        ``scale * sum_k sum_i s_i c(z_ki, y_ki)``, without penalties.
    """


def evaluator(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    """`gradient` for many calls with the same arrays.

    The threads start at once, and may stay alive for a few milliseconds to serve the next
    call.

    Returns
    -------
    callable
        Without arguments; returns what `gradient` returns for the current weights.
    """


def newton(data, config, theta, gradient, model, helper):
    """Whole steps of Newton's method, for one neuron on dense rows.

    The factorised Hessian is kept as long as each step multiplies the largest entry of the
    gradient by `rate` or less, until `steps` curvature pairs of L-BFGS update it. If a step with
    the factor of an earlier iterate is refused, the current Hessian is factorised.

    A call stops early if a stopping criterion of `config` holds, if a step is refused, and if the
    current Hessian has no factor. A step is refused if it achieves less than `armijo` times the
    decrease that the directional derivative predicts; if that decrease is below the rounding
    errors of the objective, if it does not reduce the gradient.

    Parameters
    ----------
    data : Data
    config : NewtonConfig
    theta : ndarray of shape (r,), float64, IN and OUT of each call
        The weights, and where r = d + 1 the intercept. Each step is rounded to real.
    gradient : ndarray of shape (r,), float64, OUT of each call
        Of the objective, penalty included, at the last `theta`.
    model : ndarray of shape (r, r), float64, or None
        The first Hessian, for example that of a subsample.
    helper : return value of `evaluator` for other rows of the same type, or None
        Its threads are used.

    Returns
    -------
    callable
        With arguments ``history, hessian=None``. It takes up to ``len(history)`` steps. The
        result does not depend on the number of calls, unless `theta` is changed between them.

        history : ndarray of shape (k, 3), float64, OUT
            Columns as `constants.HISTORY_COLUMNS`, after each step.
        hessian : ndarray of shape (r, r), float64, OUT, or None
            Of the objective, penalty included, at the last `theta`; for squared error its
            Gauss-Newton part.

        It returns

        steps : int
            Steps taken.
        expected : float
            Decrease that the model predicts for the step that is not needed any more, or else
            predicted for the last step that was tried; inf if none was.
        gradients, hessians : int
            Number of passes over all rows for each.
    """


def newton_many(data, order, extra, models, config, theta, variance, report, n_threads):
    """Newton's method for many small models, each of some rows.

    A model m learns from the rows ``order[first:stop]`` of X with a row of the targets, a row of
    the sample weights, and perhaps one more feature: the groups of a table, its labels, folds and
    replicates, or a scan over features are all tables of models. Its objectives p, with the
    penalties ``l2[p]``, are minimised one after the other: each begins where the last converged
    one ended.

    Each step solves a Hessian and is halved, up to `halvings` times, until it achieves `armijo`
    times the decrease that the directional derivative predicts, or, where that is below the
    rounding errors of the objective, reduces the gradient.

    Parameters
    ----------
    data : Data
        y : real (T, n). sample_weight : real (S, n), or None. `scale` is not used.
    order : ndarray of shape (m,), int32, or None
        Rows of the models; None for all in their own order.
    extra : ndarray of shape (n, q), any strides, of a type in `constants.REAL_TYPE`, or None
        Additional features, of which each model has one, after those of X.
    models : ndarray of shape (M, 5), int64, C order
        Columns as `constants.ModelPart`.
    config : ManyConfig
    theta : ndarray of shape (M, P, r), float64, C order, IN and OUT
        Weights, that of the additional feature, the intercept: as many as there are.
        ``theta[:, 0]`` is where the fits begin. Each step is rounded to real. Without a meaning
        where the report has another status than CONVERGED, MAX_ITER or PRECISION.
    variance : ndarray of shape (M, P, r), float64, OUT, or None
        Diagonal of the inverse of the Hessian of the sum of the losses and the penalty.
    report : ndarray of shape (M, P, 4), float64, OUT
        Last axis as `constants.ModelReport`; zeros before.

        ONE_CLASS
            The targets of all rows with a weight are 0, or 1, and there is an intercept.
        NO_WEIGHT
            No row has a weight.
        COLLINEAR
            The first Hessian is singular.
        SEPARABLE
            Without a penalty, with the log-loss: all rows are on the side of their labels, a later
            Hessian is singular, or the last step, as a whole, still changes a score by more than
            `settled`.
    """


def gradient_many(data, models, loss, theta, values, gradients, n_threads):
    """Losses and gradients of many models on all rows, by one read of X for many of them.

    Those of a model have the same bits whatever other models there are.

    Parameters
    ----------
    data, models
        As of `newton_many`; of the models only TARGET and WEIGHT are read.
    loss : losses.Loss.LOG_LOSS or SQUARED_ERROR
    theta : ndarray of shape (M, r), float64, C order, IN
        Weights, and where r = d + 1 the intercept; rounded to real.
    values : ndarray of shape (M,), float64, OUT
        Sums of the weighted losses, without penalties.
    gradients : ndarray of shape (M, r), float64, C order, OUT
        Their gradients.
    """


def information(data, offset, fit_intercept, bias_reduced, singular, n_threads):
    """Log-likelihood of logistic regression and its derivatives, for one neuron on dense rows.

    Parameters
    ----------
    data : Data
        `scale` is not used.
    offset : real of shape (n,), or None
        Added to the scores.
    fit_intercept : bool
    bias_reduced : bool
        Whether half the logarithm of the determinant of the information is added to the
        log-likelihood (Firth's penalty).
    singular : float
        Of `NewtonConfig`.
    n_threads : int

    Returns
    -------
    callable
        With arguments ``theta, gradient, information``, of r = d + 1 parameters with an
        intercept, which is the last, else d.

        theta : ndarray of shape (r,), float64, IN
            Rounded to real.
        gradient : ndarray of shape (r,), float64, OUT
            Of the negative log-likelihood.
        information : ndarray of shape (r, r), float64, C order, OUT
            ``sum_i s_i sigma'(z_i) x_i x_i^T``, with x_i a row of [X 1].

        It returns the negative log-likelihood, the sum of the weighted losses; infinity where
        `bias_reduced` meets an information without a factor, and the gradient then has no
        meaning.
    """


def weighted_gram(X, factors, fit_intercept, out, n_threads):
    """``sum_i factors_i x_i x_i^T`` over dense rows x_i of [X 1], or of X.

    Parameters
    ----------
    X : from prepare()
    factors : real of shape (n,), of 0 or more
    fit_intercept : bool
    out : ndarray of shape (r, r), float64, C order, OUT
    """


def add_product(left, right, factor, out, upper):
    """Add ``factor * left.T @ right`` to a matrix.

    Parameters
    ----------
    left, right : real arrays of shapes (n, p) and (n, q), any strides
    factor : float
    out : float64 of shape (p, q), each row contiguous, IN and OUT
        The sum of some rows is one of reals; their sums are added in float64.
    upper : bool
        Whether only the upper triangle is used; the rest is unspecified.
    """


def descend(data, state, config, order, history, n_threads):
    """Advance a run by up to ``len(history)`` epochs.

    With ``batch_size >= n`` an epoch is one step on all rows: value and gradient are stored in
    the history, and the run stops before the step if the gradient is at most `tol` or something
    is not finite. Otherwise an epoch is one step per batch, with the gradient of the batch times
    n / rows in the batch. A row of the history then holds the mean of the batches' losses plus
    the penalty at the last batch, and the gradient norm of the last batch.

    The gradient includes the L2 term. L1 is applied by the proximal operator after the step; the
    norm in the history is the largest entry of the smallest subgradient, infinite or NaN if an
    entry of the gradient is.

    Parameters
    ----------
    data : Data
    state : State, IN and OUT
    config : UpdateConfig
    order : ndarray of shape (len(history), m), int32, or None
        Rows of each epoch in their order; None for all n in their own order. Ignored for full
        batches. If they are not all rows, the others have weight 0, and m replaces n above.
    history : ndarray of shape (k, 3), float64, OUT
        Columns as `constants.HISTORY_COLUMNS`. Rows up to and including the one at which it
        stopped are filled.

    Returns
    -------
    epochs : int
        Epochs finished, also in ``state.counters[EPOCHS]`` if an exception ends the call.
    status : int
        constants.Status
    """


def sweep(data, state, config, class_weight, held_out, seeds, history, n_threads):
    """Train for up to ``len(history)`` epochs of one step per row.

    The path is that of scikit-learn 1.9's ``SGDClassifier`` and ``SGDRegressor``. For each
    row, with score p = w.x + b, target y, loss c(p, y), step size eta and weight s:

    1. w, b -> w (1 - eta l2), b; the factor is 0 where it would be negative
    2. w, b -> w - s eta c'(p) x, b - decay s eta c'(p)
       PA1 and PA2 put min(eta0, c / ||x||^2) or c / (||x||^2 + 1 / (2 eta0)) for eta,
       and the sign of c' for c'
    3. w and b are added to the averages, from the row `average_from` on
    4. L1: the cumulative penalty is applied to the weights of the row's nonzero entries
       (Tsuruoka, Tsujii and Ananiadou, 2009)

    Targets are real, or codes that become 1 and -1 (log-loss: 0). An epoch's objective is
    the mean over its rows of loss and penalty before the step. For sparse rows the penalty is
    that of the weights which the last step changed. PA1 and PA2 have no penalty.

    Parameters
    ----------
    data : Data
        `scale` is not used.
    state : SweepState, IN and OUT
        A neuron whose SGDScalar.STATUS is not RAN stays where it is. Where its
        SGDScalar.NONFINITE_SCORE stays 0, each row that it has learnt from is finite.
    config : SGDConfig
    class_weight : ndarray of shape (K, 2), float64
        Weights of rows whose target is positive, and of the others.
    held_out : ndarray of shape (n,), uint8, or None
        Nonzero for rows that are not trained on.
    seeds : ndarray of shape (K,), uint32, or None
        Each epoch shuffles the order that the last one left, from this state of a xorshift
        generator (Marsaglia 2003), swapping place i with i + r % (n - i). None: no shuffling.
    history : ndarray of shape (k, K, 2), float64, OUT
        Columns as `constants.SWEEP_COLUMNS`; rows of the epochs that a neuron did are filled.

    Returns
    -------
    int
        Largest number of epochs that a neuron finished. Each has its own in SGDScalar.EPOCHS,
        also if an exception ends the call.
    """


def predict(X, coef, intercept, activation, out, n_threads):
    """An activation of the scores ``X @ coef.T + intercept``.

    Parameters
    ----------
    X : from prepare()
    activation : constants.Activation
    out : real array of shape (n, K), C order, OUT

    Returns
    -------
    bool
        Whether all scores, and so all rows of X, are finite.
    """


def walk(function, state, config, limits, previous, rates, path, values):
    """Minimise a function of n parameters by up to ``len(path)`` iterations, in float64.

    Each iteration evaluates value and gradient, stores the iterate in the path and takes a step
    as `descend` does for full batches. It stops before the step if

    - value, gradient or a parameter is not finite (NONFINITE);
    - the gradient is at most ``config.tol`` (CONVERGED);
    - the last step was at most `xtol` (SMALL_STEP), or changed the value by at most `ftol`
      (SMALL_FALL);
    - the iterates oscillate (OVERSHOT): the gradient has reversed without decreasing
      `reversals` times in a row, or, for solvers with a fixed step size, `above` consecutive
      iterates had a larger value and gradient than the first.

    Parameters
    ----------
    function : Function
        The NumPy backend also takes a Python callable, ``function(x) -> value, gradient``.
    state : State, IN and OUT
        Of K = 1 and d = n - 1: the last parameter stands in the intercept's place.
    config : UpdateConfig
        Without penalties; loss and batch_size are ignored.
    limits : Limits
    previous : MinimizeState, IN and OUT
        Zeros at the start.
    rates : ndarray of shape (len(path),) or (1,), float64
        Step sizes in place of ``config.learning_rate``.
    path : ndarray of shape (k, n), float64, OUT
    values : ndarray of shape (k,), float64, OUT
        Rows up to and including the one at which it stopped are filled.

    Returns
    -------
    steps : int
        Steps taken, also in ``state.counters[EPOCHS]`` if an exception ends the call.
    status : int
        constants.Status
    """


def network_gradient(data, network, theta, grad, n_threads):
    """Mean loss of a network over all rows, and its gradient, without penalty.

    Parameters
    ----------
    data : Data
        Targets: codes, where one output learns ``codes == 1`` and several learn
        ``codes == k``; or real, of shape (outputs, n). Output.SOFTMAX has codes, and two
        outputs at least.
    network : Network
    theta : real of shape (P,), IN
    grad : real of shape (P,), OUT, or None for the loss alone

    Returns
    -------
    float
        Summed over the outputs, but for Output.IDENTITY, where it is their mean while the
        gradient is that of the sum, both as in scikit-learn. Cross-entropies are those of
        probabilities held within [eps, 1 - eps].
    """


def network_epochs(data, network, state, config, rates, order, history, n_threads):
    """Train a network for up to ``len(history)`` epochs of mini-batches.

    A row of the history holds the mean over the rows of the batches' losses including the
    penalties, the largest entry of the last batch's gradient, and the learning rate. It stops if
    a loss or, at the end of an epoch, a parameter is not finite; the state is then invalid.

    Parameters
    ----------
    data : Data
    network : Network
    state : NetworkState, IN and OUT
    config : NetworkConfig
    rates : float64 of shape (k,)
        Learning rate of each epoch.
    order : ndarray of shape (k, m), int32, or None
        Rows of each epoch in their order; None for all in their own order.
    history : float64 of shape (k, 3), OUT
        Columns as `constants.HISTORY_COLUMNS`.

    Returns
    -------
    epochs, status
        As of `descend`.
    """


def network_predict(X, network, theta, out, n_threads):
    """Output of a network.

    Parameters
    ----------
    X : from prepare()
    network : Network
    theta : real of shape (P,)
    out : real of shape (n, outputs), C order, OUT
    """


def shuffle(random_state, order, out):
    """Row orders of several epochs, each a shuffle of the last.

    They and the final state of the generator are those of `sklearn.utils.shuffle`.

    Parameters
    ----------
    random_state : numpy.random.RandomState
    order : int32 of shape (n,), IN
    out : int32 of shape (k, n), C order, OUT
    """


def take_columns(X, features):
    """Copy some columns.

    Parameters
    ----------
    X : from prepare()
        CSR may hold an entry in several parts, which are added.
    features : ndarray of shape (m,), int32, different from each other

    Returns
    -------
    Columns
    """


def coordinate_descent(
    columns, places, residual, curvature, l2, l1, theta, change, tol, rate, sweeps
):  # fmt: skip
    """Minimise a quadratic model of the loss plus penalties over some weights, one at a time.

    With A the columns of ``places`` and t0 the weights at the call it is::

        (A (t - t0)) . residual + sum_i curvature_i (A (t - t0))_i^2 / 2
            + sum_j l2_j t_j^2 / 2 + l1_j |t_j|

    Sweeps over all weights alternate with sweeps over those that are not 0, until a sweep over all
    of them finds no entry of the smallest subgradient above `tol`, or above `rate` times what the
    first one found. A weight whose column has no curvature, and no l2, stays as it is.

    Parameters
    ----------
    columns : Columns
    places : ndarray of shape (w,), int32
        Which of them, in the order of the weights; each once.
    residual : ndarray of shape (n,), real, IN and OUT
        Derivatives of the loss by the scores; those of the model at the end.
    curvature : ndarray of shape (n,), real, not negative
    l2, l1 : ndarray of shape (w,), float64, not negative
    theta : ndarray of shape (w,), float64, IN and OUT
        New weights are rounded to real.
    change : ndarray of shape (n,), real, OUT
        ``A (t - t0)``.
    tol, rate : float
    sweeps : int
        The most, at least 1.

    Returns
    -------
    sweeps : int
    first, last : float
        Largest entry of the smallest subgradient that the first and the last sweep met.
    """
