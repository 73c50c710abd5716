# The integer codes of src/schuss/constants.py; tests/test_constants.py holds the two equal.

cdef enum:
    LOSS_SQUARED_ERROR = 0
    LOSS_LOG_LOSS = 1
    LOSS_QUADRATIC = 2
    LOSS_MULTINOMIAL = 3

    SOLVER_GD = 0
    SOLVER_MOMENTUM = 1
    SOLVER_NESTEROV = 2
    SOLVER_ADAM = 3
    SOLVER_ADAPTIVE = 4

    ACTIVATION_IDENTITY = 0
    ACTIVATION_LOGISTIC = 1
    ACTIVATION_LOG_LOGISTIC = 2

    STATUS_RAN = 0
    STATUS_CONVERGED = 1
    STATUS_NONFINITE = 2

    COUNTER_STEPS = 0
    COUNTER_STEP = 1
    COUNTER_RATIO = 2
    COUNTER_EPOCHS = 3
