"""The choices of `schuss.constants` as plain numbers: compiled code keeps their values."""

from schuss.constants import Activation, Counter, Hidden, Mark, Schedule, Status, SweepMark
from schuss.losses import Loss, Output, RowLoss
from schuss.methods import Solver

SQUARED_ERROR, LOG_LOSS = int(Loss.SQUARED_ERROR), int(Loss.LOG_LOSS)
QUADRATIC, MULTINOMIAL = int(Loss.QUADRATIC), int(Loss.MULTINOMIAL)
GD, MOMENTUM, NESTEROV, ADAM, ADAPTIVE = (
    int(s) for s in (Solver.GD, Solver.MOMENTUM, Solver.NESTEROV, Solver.ADAM, Solver.ADAPTIVE)
)
LOGISTIC, LOG_LOGISTIC = int(Activation.LOGISTIC), int(Activation.LOG_LOGISTIC)
HIDDEN_LOGISTIC, TANH, RELU = int(Hidden.LOGISTIC), int(Hidden.TANH), int(Hidden.RELU)
SOFTMAX, SIGMOID, SIGMOID_SQUARED, EXPONENTIAL = (
    int(o) for o in (Output.SOFTMAX, Output.LOGISTIC, Output.LOGISTIC_SQUARED, Output.EXPONENTIAL)
)
RAN, CONVERGED, NONFINITE = int(Status.RAN), int(Status.CONVERGED), int(Status.NONFINITE)
SMALL_STEP, SMALL_FALL, OVERSHOT = (
    int(s) for s in (Status.SMALL_STEP, Status.SMALL_FALL, Status.OVERSHOT)
)
POINTS, VALUE, FIRST_VALUE, FIRST_NORM, REVERSALS, ABOVE, CURVATURE = (
    int(m) for m in (
        Mark.POINTS, Mark.VALUE, Mark.FIRST_VALUE, Mark.FIRST_NORM, Mark.REVERSALS, Mark.ABOVE,
        Mark.CURVATURE,
    )
)  # fmt: skip
STEPS, STEP, RATIO, EPOCHS = (
    int(c) for c in (Counter.STEPS, Counter.STEP, Counter.RATIO, Counter.EPOCHS)
)

HINGE, SQUARED_HINGE, MODIFIED_HUBER, ROW_LOG_LOSS, ROW_SQUARED, HUBER, EPSILON = (
    int(RowLoss(i)) for i in range(7)
)
OPTIMAL, INVSCALING, ADAPTIVE_SCHEDULE, PA1 = (int(Schedule(i)) for i in range(1, 5))
(
    M_INTERCEPT, M_AVERAGE, M_SCALE, M_SHARE, M_WHOLE, M_SQUARES, M_ABSOLUTES, M_OWED,
    M_T, M_STEP, M_BEST, M_WAITED, M_EPOCHS, M_STATUS, M_NONFINITE_SCORE,
) = (int(m) for m in sorted(SweepMark))  # fmt: skip
