"""Exceptions of the library, and what an estimator keeps of a fit that raised one."""

import copy
from contextlib import contextmanager


@contextmanager
def whole_or_not(estimator):
    """A copy to fit, whose attributes are taken over in one step once it has a result.

    So an error or Ctrl-C, wherever it comes, leaves the estimator as it was. The copy's
    ``history_``, set last of all, tells that there is a result.
    """
    before = dict(vars(estimator))
    work = copy.copy(estimator)
    try:
        yield work
    finally:
        after = vars(work)
        if after.get("history_") is not before.get("history_"):
            if "feature_names_in_" not in after:
                vars(estimator).pop("feature_names_in_", None)
            # One call of C code, which no signal handler divides.
            vars(estimator).update(
                {name: after[name] for name in after if after[name] is not before.get(name)}
            )


class DivergenceError(ArithmeticError, ValueError):
    """A run whose steps were too large for its data.

    It is a ValueError as well, which scikit-learn raises where weights are not finite.

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
    """A backend or instruction set that was asked for by name cannot be used here."""
