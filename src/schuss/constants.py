"""Constants and integer codes that several modules need.

Compiled code needs the codes too, and those of `losses` and `methods`: ``setup.py`` writes them
to a file for Cython.
"""

from enum import IntEnum

import numpy as np


class Activation(IntEnum):
    """Output of `predict` as a function of the score z."""

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
    """Why `descend` or `walk` returned; only `walk` returns those after NONFINITE."""

    RAN = 0
    CONVERGED = 1
    NONFINITE = 2
    SMALL_STEP = 3
    SMALL_FALL = 4
    OVERSHOT = 5


class Counter(IntEnum):
    """Indices into ``State.counters``."""

    STEPS = 0  # parameter updates since the optimiser arrays were zero
    STEP = 1  # current step size
    RATIO = 2  # adaptive: ratio of the last two step sizes; nesterov: t_k
    EPOCHS = 3  # epochs finished in the current call


class WalkScalar(IntEnum):
    """Indices into ``MinimizeState.scalars``: the state of `walk` from earlier iterates."""

    POINTS = 0  # number of iterates evaluated
    VALUE = 1  # at the last of them
    FIRST_VALUE = 2
    FIRST_NORM = 3  # largest entry of the first gradient
    REVERSALS = 4  # consecutive steps after which the gradient had reversed and not decreased
    ABOVE = 5  # consecutive iterates with a larger value and gradient than the first
    CURVATURE = 6  # largest change of the gradient per length of the step


class ModelPart(IntEnum):
    """Columns of `newton_many`'s table of models: what each model learns from."""

    FIRST = 0  # place in the order of the first row
    STOP = 1
    TARGET = 2  # row of the targets
    WEIGHT = 3  # row of the sample weights, -1 for ones
    COLUMN = 4  # additional feature, -1 for none


class ModelReport(IntEnum):
    """Last axis of `newton_many`'s report."""

    STATUS = 0  # ModelStatus
    STEPS = 1
    LOSS = 2  # mean objective
    NORM = 3  # largest entry of its gradient


class ModelStatus(IntEnum):
    """How the fit of one of many models ended."""

    UNFINISHED = 0
    CONVERGED = 1
    MAX_ITER = 2
    PRECISION = 3  # rounding hides any further descent
    NONFINITE = 4
    ONE_CLASS = 5
    NO_WEIGHT = 6
    COLLINEAR = 7
    SEPARABLE = 8


N_COUNTERS = len(Counter)
N_WALK_SCALARS = len(WalkScalar)


class Schedule(IntEnum):
    """Learning rate schedules of `sweep`, as in scikit-learn."""

    CONSTANT = 0
    OPTIMAL = 1
    INVSCALING = 2
    ADAPTIVE = 3
    PA1 = 4
    PA2 = 5


class SGDScalar(IntEnum):
    """Indices into a row of ``SweepState.scalars``, the state of one neuron."""

    INTERCEPT = 0
    AVERAGE_INTERCEPT = 1
    # The weights are SCALE * coef, their averages (average + SHARE * coef) / WHOLE.
    SCALE = 2
    SHARE = 3
    WHOLE = 4
    # Norms of the weights, if the penalty needs them; see `contract.sweep`.
    SQUARES = 5
    ABSOLUTES = 6
    L1_TOTAL = 7  # cumulative L1 penalty due to every weight (Tsuruoka et al.)
    T = 8  # rows seen, plus one
    STEP = 9
    BEST = 10  # objective
    WAITED = 11  # epochs since the best objective
    EPOCHS = 12  # epochs finished in the current call
    STATUS = 13  # Status
    NONFINITE_SCORE = 14  # 1 once the score of a row was not finite


N_SGD_SCALARS = len(SGDScalar)

MOMENTUM = 0.9
# Kingma & Ba, arXiv 1412.6980, section 2.
ADAM_BETA_1 = 0.9
ADAM_BETA_2 = 0.999
ADAM_EPSILON = 1e-8

# `walk` stops after so many REVERSALS or iterates ABOVE; relative changes of the parameters below
# WALK_ROUNDING count as rounding errors.
WALK_REVERSALS = 20
WALK_ABOVE = 100
WALK_ROUNDING = 1e-10
# Step of central differences for parameters of size 1: the cube root of the precision balances
# truncation and rounding errors.
DIFFERENCE_STEP = float(np.cbrt(np.finfo(np.float64).eps))


# Schedule.ADAPTIVE divides a step size without improvement by this, down to the minimum.
ADAPTIVE_DIVISOR = 5.0
ADAPTIVE_LEAST = 1e-6
# `sweep` clips derivatives here, as scikit-learn does, to avoid overflow.
LARGEST_DERIVATIVE = 1e12
# Smaller scales of the weights are multiplied into the weights.
LEAST_SCALE = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-6}

# Columns of the history of `sweep` for each neuron.
SWEEP_COLUMNS = ("loss", "step")

# Sufficient decrease of a Newton step (Armijo). A Hessian is singular if a pivot falls to this
# fraction of its diagonal entry or less, by size of the numbers in bytes.
ARMIJO = 1e-4
SINGULAR = {8: 1e-14, 4: 1e-6}

# `newton_many` halves a step so often, and takes an unpenalised model for converged only where the
# last step changed no score by more than this: where classes are separable each step adds about 1.
HALVINGS = 30
SETTLED = 0.1

# Maximum number of Newton steps with one factorised Hessian.
FACTOR_STEPS = 10

# Columns of the history of `descend` and `newton`.
HISTORY_COLUMNS = ("loss", "gradient_norm", "step")

# Feature types that kernels read without a copy, and the type of the weights they train.
REAL_TYPE: dict[np.dtype, np.dtype] = {
    np.dtype(np.float64): np.dtype(np.float64),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.uint8): np.dtype(np.float32),
    np.dtype(np.int8): np.dtype(np.float32),
}
