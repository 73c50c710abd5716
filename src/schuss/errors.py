"""Exceptions of the library."""


class DivergenceError(ArithmeticError, ValueError):
    """A run whose steps were too large for its data.

    A ValueError as well, which is what scikit-learn raises there.

    The estimator stays usable: its weights are those from before the fit, its history
    shows how the cost grew, and ``stop_reason_`` is ``"diverged"``.

    Attributes
    ----------
    learning_rate : float
        The step that was used.
    largest_safe_step : float or None
        From the bound on the curvature of the cost on this data; None for a solver whose
        step does not depend on it.
    result : TrainResult or None
        What `schuss.train` would have returned.
    """

    def __init__(self, message, learning_rate=None, largest_safe_step=None):
        super().__init__(message)
        self.learning_rate = learning_rate
        self.largest_safe_step = largest_safe_step
        self.result = None

    def __reduce__(self):
        return type(self), (str(self), self.learning_rate, self.largest_safe_step)


class BackendUnavailableError(ImportError):
    """A backend that was asked for by name cannot be used here."""
