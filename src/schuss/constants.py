"""Names and codes that more than one module needs, each written once.

The integer codes cross into compiled code, as do those of `losses` and `methods`: ``setup.py``
writes them down for Cython.
"""

from enum import IntEnum

import numpy as np


class Activation(IntEnum):
    """What `predict` makes of the score z."""

    IDENTITY = 0
    LOGISTIC = 1
    LOG_LOGISTIC = 2


class Hidden(IntEnum):
    """Activations of a network's hidden layers."""

    IDENTITY = 0
    LOGISTIC = 1
    TANH = 2
    RELU = 3


class Status(IntEnum):
    """Why `descend` or `walk` returned; those after NONFINITE are of `walk` alone."""

    RAN = 0
    CONVERGED = 1
    NONFINITE = 2
    SMALL_STEP = 3
    SMALL_FALL = 4
    OVERSHOT = 5


class Counter(IntEnum):
    """Places in ``State.counters``."""

    STEPS = 0  # parameter updates since the optimiser arrays were zero
    STEP = 1  # step size in force (adaptive chooses its own)
    RATIO = 2  # adaptive: last step / the one before; nesterov: t_k
    EPOCHS = 3  # whole epochs finished in the current call


class Mark(IntEnum):
    """Places in ``MinimizeState.marks``: what `walk` remembers of the points behind it."""

    POINTS = 0  # points seen
    VALUE = 1  # at the last one
    FIRST_VALUE = 2
    FIRST_NORM = 3  # largest entry of the first gradient
    REVERSALS = 4  # steps in a row whose gradient turned round and did not shrink
    ABOVE = 5  # points in a row with a larger value and gradient than the first
    CURVATURE = 6  # largest change of the gradient over a step, for its length


N_COUNTERS = len(Counter)
N_MARKS = len(Mark)


class Schedule(IntEnum):
    """How the step of `sweep` changes from row to row; scikit-learn's."""

    CONSTANT = 0
    OPTIMAL = 1
    INVSCALING = 2
    ADAPTIVE = 3
    PA1 = 4
    PA2 = 5


class SweepMark(IntEnum):
    """Places in a row of ``SweepState.marks``, one row for each neuron."""

    INTERCEPT = 0
    AVERAGE_INTERCEPT = 1
    # The weights are SCALE * coef, their averages (average + SHARE * coef) / WHOLE.
    SCALE = 2
    SHARE = 3
    WHOLE = 4
    # Norms of the weights, told of in `contract.sweep`; where the penalty needs them.
    SQUARES = 5
    ABSOLUTES = 6
    OWED = 7  # l1 penalty that every weight should have had
    T = 8  # rows seen, plus one
    STEP = 9
    BEST = 10  # objective
    WAITED = 11  # epochs since it improved
    EPOCHS = 12  # whole ones of the current call
    STATUS = 13  # Status
    NONFINITE_SCORE = 14  # 1 once the score of a row was not finite


N_SWEEP_MARKS = len(SweepMark)

MOMENTUM = 0.9
# Kingma & Ba, arXiv 1412.6980, section 2.
ADAM_BETA_1 = 0.9
ADAM_BETA_2 = 0.999
ADAM_EPSILON = 1e-8

# `walk` gives up after so many REVERSALS or points ABOVE, and takes for rounding what moves
# the parameters by less than this part of them.
WALK_REVERSALS = 20
WALK_ABOVE = 100
WALK_ROUNDING = 1e-10
# Length of a central difference, for parameters of size 1: the cube root of the precision,
# where truncation and rounding are about equal.
DIFFERENCE_STEP = float(np.cbrt(np.finfo(np.float64).eps))


# Schedule.ADAPTIVE divides a step that brings no more improvement, down to the least one.
ADAPTIVE_DIVISOR = 5.0
ADAPTIVE_LEAST = 1e-6
# `sweep` cuts derivatives off here, as scikit-learn does against overflow.
LARGEST_SLOPE = 1e12
# Scales of weights below this are multiplied into them.
LEAST_SCALE = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-6}

# Columns of the history that `sweep` fills for each neuron.
SWEEP_COLUMNS = ("loss", "step")

# A step of Newton's method keeps at least this share of the decrease that the slope promises
# (Armijo). A Hessian of which elimination leaves this share of a diagonal entry or less has no
# factor: what is left is rounding, of numbers of so many bytes.
ARMIJO = 1e-4
SINGULAR = {8: 1e-14, 4: 1e-6}

# Steps of Newton's method that one factor serves for, at most.
FACTOR_STEPS = 10

# Columns of the history that `descend` and `newton` fill.
HISTORY_COLUMNS = ("loss", "gradient_norm", "step")

# Feature types that kernels read as they lie, and the type of the weights they train.
REAL_TYPE: dict[np.dtype, np.dtype] = {
    np.dtype(np.float64): np.dtype(np.float64),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.uint8): np.dtype(np.float32),
    np.dtype(np.int8): np.dtype(np.float32),
}
