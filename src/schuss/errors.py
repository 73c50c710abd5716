"""Exceptions of the library."""


class DivergenceError(ArithmeticError, ValueError):
    """A run whose steps were too large for its data.

    It is a ValueError as well, which scikit-learn raises where weights are not finite.

    As after every error, the estimator is what it was before the fit; one that was not fitted
    is not fitted. What happened is told here. `LogisticRegression` does not raise it: like
    scikit-learn's it warns.

    Attributes
    ----------
    learning_rate : float
        The step that was used.
    largest_safe_step : float or None
        From the bound on the curvature of the cost on this data; None for a solver whose
        step does not depend on it.
    history : dict of ndarray or None
        The iterations of the run that diverged, as in ``history_``.
    result : TrainResult or None
        What `schuss.train` would have returned.
    """

    def __init__(self, message, learning_rate=None, largest_safe_step=None):
        super().__init__(message)
        self.learning_rate = learning_rate
        self.largest_safe_step = largest_safe_step
        self.history = None
        self.result = None

    def __reduce__(self):
        return type(self), (str(self),), vars(self)


class BackendUnavailableError(ImportError):
    """A backend or instruction set that was asked for by name cannot be used here."""
