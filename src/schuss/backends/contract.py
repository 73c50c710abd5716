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
    real of shape (n,), or None for ones. Not negative, the largest near 1: sums of much larger
    ones may overflow, and so may the inverse of the sum of much smaller ones.
coef, intercept
    real of shapes (K, d), C order, and (K,).
n_threads
    Threads that may be used, at least 1. It never changes a bit of the result.

The caller checks all input and allocates every array; a backend only computes. Codes it checks
itself: one that it does not know is a ValueError.
"""

from typing import Any, NamedTuple

import numpy as np

from schuss.constants import (
    ADAPTIVE_DIVISOR,
    ADAPTIVE_LEAST,
    ARMIJO,
    FACTOR_STEPS,
    LARGEST_SLOPE,
    SINGULAR,
)

FUNCTIONS = (
    "prepare", "pointwise", "gradient", "evaluator", "newton", "add_product", "descend", "predict",
    "network_gradient", "network_epochs", "network_predict", "shuffle",
    "walk", "sweep",
)  # fmt: skip


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
    slots: np.ndarray  # (methods.N_SLOTS[solver], K, d + 1), intercept last
    counters: np.ndarray  # (constants.N_COUNTERS,) float64


class UpdateConfig(NamedTuple):
    """How a gradient becomes a step."""

    loss: int  # losses.Loss
    solver: int  # methods.Solver
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


class NewtonConfig(NamedTuple):
    """Which steps of Newton's method are taken."""

    loss: int  # losses.Loss.LOG_LOSS or SQUARED_ERROR
    l2: np.ndarray  # (r,) float64: l2[j] / 2 * theta[j]^2
    tol: float  # stop at max |gradient| <= tol
    rate: float  # a factor serves on where a step brought max |gradient| down to this share
    enough: float  # stop after a step of which the model expected less
    noise: float  # relative error of the objective
    armijo: float = ARMIJO
    singular: float = SINGULAR[8]
    steps: int = FACTOR_STEPS  # whose pairs mend a factor, at most; not less than 1


class Function(NamedTuple):
    """A function of float64 numbers that compiled code can call.

    A polynomial has `coef` and `slope`, the rest 0. A function in C is one of
    ``double f(double)`` (n = 1) and ``double f(int n, double *x)``, its gradient of
    ``double g(double)`` and ``void g(int n, double *x, double *out)``; each may take a last
    argument ``void *data``. Addresses are integers.
    """

    coef: np.ndarray  # (m,) float64, of the polynomial, constant first
    slope: np.ndarray  # (m - 1 or 1,) float64, of its derivative
    value: int = 0
    gradient: int = 0  # 0: central differences
    takes_array: bool = False
    value_takes_data: bool = False
    gradient_takes_data: bool = False
    value_data: int = 0
    gradient_data: int = 0


class Limits(NamedTuple):
    """What ends a walk besides ``UpdateConfig.tol``, and how its numbers come about."""

    xtol: float  # no parameter moved farther; 0: never mind
    ftol: float  # the value changed by no more; 0: never mind
    automatic: bool  # after the first, steps are 1 / the largest curvature met
    reversals: int  # constants.WALK_REVERSALS
    above: int  # constants.WALK_ABOVE
    rounding: float  # constants.WALK_ROUNDING
    difference: float  # constants.DIFFERENCE_STEP


class MinimizeState(NamedTuple):
    """What a walk remembers of the point before; all float64."""

    x: np.ndarray  # (n,)
    gradient: np.ndarray  # (n,)
    marks: np.ndarray  # (constants.N_MARKS,)


class Network(NamedTuple):
    """Layers of neurons: a_0 = x, a_l = phi(a_(l-1) W_l + b_l).

    Its parameters are one vector `theta`: the weights, one layer after the other, each of
    shape (neurons below, neurons) in C order, and then the intercepts of all layers.
    """

    units: tuple[int, ...]  # neurons in each layer, the features first
    hidden: int  # constants.Hidden
    output: int  # losses.Output

    @property
    def shapes(self):
        """Of the weights of each layer."""
        return tuple(zip(self.units[:-1], self.units[1:], strict=True))

    @property
    def n_parameters(self):
        return sum((below + 1) * above for below, above in self.shapes)

    def split(self, theta):
        """Views of the weights and of the intercepts, each a list with one for each layer."""
        sizes = [below * above for below, above in self.shapes] + list(self.units[1:])
        parts = np.split(theta, np.cumsum(sizes)[:-1])
        n = len(self.shapes)
        coefs = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=False)]
        return coefs, parts[n:]


class NetworkState(NamedTuple):
    """What training a network changes."""

    theta: np.ndarray  # (P,)
    slots: np.ndarray  # (methods.N_SLOTS[solver], P)
    counters: np.ndarray  # (constants.N_COUNTERS,) float64


class NetworkConfig(NamedTuple):
    """How the gradient of a batch becomes a step.

    With g the mean gradient of the batch, `l2` times the weights divided by the batch's sum
    of weights included, r the rate of the epoch and v the first slot:

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
    """What a sweep from row to row changes; with the seeds, a checkpoint."""

    coef: np.ndarray  # (K, d) real, to be multiplied by marks[:, SweepMark.SCALE]
    average: np.ndarray  # (K, d) real; see constants.SweepMark. (K, 0) without averages
    l1_applied: np.ndarray  # (K, d) real, cumulative L1 penalty had so far. (K, 0) without
    order: np.ndarray  # (K, n) int32, order of the rows in the last epoch
    marks: np.ndarray  # (K, constants.N_SWEEP_MARKS) float64


class SGDConfig(NamedTuple):
    """How a row becomes a step."""

    loss: int  # losses.RowLoss
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
    largest_derivative: float = LARGEST_SLOPE
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
    loss : losses.Loss
    value, derivative : real arrays of shape (m,), OUT
    """


def gradient(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    """One fused forward and backward pass.

    Parameters
    ----------
    data : Data
    loss : losses.Loss
    coef, intercept : IN
    coef_grad, intercept_grad : OUT
        Gradient of the mean cost, without penalties; shapes of coef and intercept.

    Returns
    -------
    float
        ``scale * sum_k sum_i s_i c(z_ki, y_ki)``, without penalties.
    """


def evaluator(data, loss, coef, intercept, coef_grad, intercept_grad, n_threads):
    """`gradient` for many calls with the same arrays.

    Its threads come at once, and may stay for a few milliseconds after that or a call, in
    expectation of the next.

    Returns
    -------
    callable
        Without arguments; returns what `gradient` returns, of the weights as they are then.
    """


def newton(data, config, theta, gradient, model, helper):
    """Whole steps of Newton's method, for one neuron on dense rows.

    The factor of a Hessian serves on as long as each step multiplies the largest entry of the
    gradient by `rate` or less, until `steps` pairs of L-BFGS mend it. Where a step
    by the factor of an earlier place is refused, that of the place itself takes its turn.

    A call stops early where `config` says so, before a step that the objective refuses, and where
    the Hessian has no factor; what then helps is for the caller to find. The objective refuses
    a step that keeps less than `armijo` of the decrease that the slope promises; where that is
    below the objective's rounding errors, one that does not make the gradient smaller.

    Parameters
    ----------
    data : Data
    config : NewtonConfig
    theta : ndarray of shape (r,), float64, IN and OUT of each call
        The weights, and where r = d + 1 the intercept. Each step is rounded to real.
    gradient : ndarray of shape (r,), float64, OUT of each call
        Of the objective, penalty included, at the last `theta`.
    model : ndarray of shape (r, r), float64, or None
        Serves as the first Hessian, for example that of some of the rows.
    helper : what `evaluator` returned for other rows in the same type, or None
        Its threads share the work.

    Returns
    -------
    callable
        Of ``history, hessian=None``. It takes up to ``len(history)`` steps. How many calls they
        are divided among does not matter, unless `theta` is changed between them.

        history : ndarray of shape (k, 3), float64, OUT
            Columns as `constants.HISTORY_COLUMNS`, about where each step led.
        hessian : ndarray of shape (r, r), float64, OUT, or None
            Of the objective, penalty included, at the last `theta`; that of the squared cost
            is its Gauss-Newton part.

        It returns

        steps : int
            Steps taken.
        expected : float
            Decrease that the model expected of the last step that was tried; inf where none
            was.
        gradients, hessians : int
            How often all rows were read for each.
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
        Whether only the upper triangle is wanted. What lies below it is of no use.
    """


def descend(data, state, config, order, history, n_threads):
    """Advance a run by up to ``len(history)`` epochs.

    With ``batch_size >= n`` an epoch is: value and gradient over all rows, a row of the
    history, then one step; it stops before the step where the gradient is at most `tol`
    or something is not finite. Otherwise an epoch is a step for each batch of rows, the
    gradient of a batch standing for the mean over all (factor n / rows in the batch),
    and a history row holds the mean of the batches' costs plus the penalty at the last
    batch, and the last batch's norm.

    The gradient includes the l2 term; l1 enters by the proximal operator after the step,
    and the norm recorded is the largest entry of the smallest subgradient; infinite or NaN,
    no matter which, where an entry of the gradient is.

    Parameters
    ----------
    data : Data
    state : State, IN and OUT
    config : UpdateConfig
    order : ndarray of shape (len(history), m), int32, or None
        The rows that each epoch takes, in this order; None for all n in their own. Ignored for
        full batches. Where they are not all rows, the others weigh 0, and m stands for n above.
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


def sweep(data, state, config, class_weight, held_out, seeds, history, n_threads):
    """Go on for up to ``len(history)`` epochs, one row after the other.

    The path is that of scikit-learn 1.9's ``SGDClassifier`` and ``SGDRegressor``. For each
    row, with score p = w.x + b, target y, cost c(p, y), step eta and weight s:

    1. w, b -> w (1 - eta l2), b; the factor is 0 where it would be negative
    2. w, b -> w - s eta c'(p) x, b - decay s eta c'(p)
       PA1 and PA2 put min(eta0, c / ||x||^2) or c / (||x||^2 + 1 / (2 eta0)) for eta,
       and the sign of c' for c'
    3. the averages take up w and b, from the row `average_from` on
    4. l1: each weight that the row touches moves towards 0 by what it lacks of the cumulative
       penalty (Tsuruoka, Tsujii and Ananiadou, 2009)

    Targets are real, or codes that become 1 and -1 (log-loss: 0). An epoch's objective is
    the mean over its rows of cost and penalty before the step; in it, the norms of sparse
    rows' weights are those of the entries that the last step touched. Not so for PA1, PA2.

    Parameters
    ----------
    data : Data
        `scale` is not used.
    state : SweepState, IN and OUT
        A neuron whose SweepMark.STATUS is not RAN stays where it is. Where its
        SweepMark.NONFINITE_SCORE stays 0, each row that it has learnt from is finite.
    config : SGDConfig
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

    Returns
    -------
    bool
        Whether every score is finite, which no activation could tell afterwards. So X was, too.
    """


def walk(function, state, config, limits, previous, rates, path, values):
    """Descend a function of n parameters by up to ``len(path)`` steps, in float64.

    At each point: value and gradient, a row of the path, then a step as `descend` takes it
    for full batches. It stops before the step where

    - value, gradient or a parameter is not finite (NONFINITE);
    - the gradient is at most ``config.tol`` (CONVERGED);
    - the step before was at most `xtol` (SMALL_STEP), or changed the value by at most `ftol`
      (SMALL_FALL);
    - steps overshoot for ever (OVERSHOT): the gradient has turned round and not shrunk
      `reversals` times in a row, or, for configs with a fixed step, `above` points in a row
      had a larger value and gradient than the first.

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
        Steps in place of ``config.learning_rate``.
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
    """Mean cost of a network over all rows, and its gradient, without penalty.

    Parameters
    ----------
    data : Data
        Targets: codes, where one output learns ``codes == 1`` and several learn
        ``codes == k``; or real, of shape (outputs, n). Output.SOFTMAX has codes, and two
        outputs at least.
    network : Network
    theta : real of shape (P,), IN
    grad : real of shape (P,), OUT, or None for the cost alone

    Returns
    -------
    float
        Summed over the outputs, but for Output.IDENTITY, where it is their mean while the
        gradient is that of the sum, both as in scikit-learn. Cross-entropies are those of
        probabilities held within [eps, 1 - eps].
    """


def network_epochs(data, network, state, config, rates, order, history, n_threads):
    """Train a network for up to ``len(history)`` epochs of mini-batches.

    A history row holds the mean over the rows of the batches' costs, the penalty of each
    included, the largest entry of the last batch's gradient, and the rate. It stops where
    a cost or, at the end of an epoch, a parameter is not finite; the state then is of no
    use.

    Parameters
    ----------
    data : Data
    network : Network
    state : NetworkState, IN and OUT
    config : NetworkConfig
    rates : float64 of shape (k,)
        Size of the steps of each epoch.
    order : ndarray of shape (k, m), int32, or None
        The rows that each epoch takes, in this order; None for all in their own order.
    history : float64 of shape (k, 3), OUT
        Columns as `constants.HISTORY_COLUMNS`.

    Returns
    -------
    epochs, status
        As of `descend`.
    """


def network_predict(X, network, theta, out, n_threads):
    """Answers of a network.

    Parameters
    ----------
    X : from prepare()
    network : Network
    theta : real of shape (P,)
    out : real of shape (n, outputs), C order, OUT
    """


def shuffle(random_state, order, out):
    """Orders of the rows for some epochs, each a shuffle of the one before.

    They are those of `sklearn.utils.shuffle`, and the generator ends where it would.

    Parameters
    ----------
    random_state : numpy.random.RandomState
    order : int32 of shape (n,), IN
    out : int32 of shape (k, n), C order, OUT
    """
