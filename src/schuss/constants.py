"""Names and codes that more than one module needs, each written once.

The integer codes cross into compiled code; ``ext/codes.pxi`` repeats them there
and ``tests/test_constants.py`` holds the two lists equal.
"""

from enum import IntEnum

import numpy as np


class Loss(IntEnum):
    """Costs a kernel can differentiate with respect to the score z."""

    SQUARED_ERROR = 0
    LOG_LOSS = 1
    # c(z) = z**2 / 2. Its gradient is X^T S X w, the product of power iteration.
    QUADRATIC = 2


class Solver(IntEnum):
    """First-order rules that turn a gradient into a step."""

    GD = 0
    MOMENTUM = 1
    NESTEROV = 2
    ADAM = 3
    ADAPTIVE = 4


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


class Output(IntEnum):
    """Activations of a network's last layer, each with its cost."""

    SOFTMAX = 0  # cross-entropy
    LOGISTIC = 1  # log-loss, of each output
    LOGISTIC_SQUARED = 2  # squared error, of each output
    IDENTITY = 3  # squared error
    EXPONENTIAL = 4  # half the Poisson deviance


class Status(IntEnum):
    """Why `descend` returned."""

    RAN = 0
    CONVERGED = 1
    NONFINITE = 2


class Counter(IntEnum):
    """Places in ``State.counters``."""

    STEPS = 0  # parameter updates since the optimiser arrays were zero
    STEP = 1  # step size in force (adaptive chooses its own)
    RATIO = 2  # adaptive: last step / the one before; nesterov: t_k
    EPOCHS = 3  # whole epochs finished in the current call


N_COUNTERS = len(Counter)

LOSSES = {"squared_error": Loss.SQUARED_ERROR, "log_loss": Loss.LOG_LOSS}

# Upper bounds of |d2c/dz2|: sigma' <= 1/4 for the log-loss; for the squared cost
# with y in {0, 1} the maximum lies at sigma = 0.3856 (roots of the third derivative).
CURVATURE_BOUND = {Loss.SQUARED_ERROR: 0.0771, Loss.LOG_LOSS: 0.25, Loss.QUADRATIC: 1.0}

# Optimiser arrays, each shaped like the parameters, that a rule keeps between steps.
N_SLOTS = {
    Solver.GD: 0,
    Solver.MOMENTUM: 1,
    Solver.NESTEROV: 1,
    Solver.ADAM: 2,
    Solver.ADAPTIVE: 2,
}

MOMENTUM = 0.9
# Kingma & Ba, arXiv 1412.6980, section 2.
ADAM_BETA_1 = 0.9
ADAM_BETA_2 = 0.999
ADAM_EPSILON = 1e-8

# Columns of the history that `descend` fills.
HISTORY_COLUMNS = ("loss", "gradient_norm", "step")

# Feature types that kernels read as they lie, and the type of the weights they train.
REAL_TYPE = {
    np.dtype(np.float64): np.dtype(np.float64),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.uint8): np.dtype(np.float32),
    np.dtype(np.int8): np.dtype(np.float32),
}
