"""Exceptions of the library, and what an estimator keeps of a fit that raised one."""

from contextlib import contextmanager

# Attributes that checking the input sets, before there are weights to go with them.
_SET_BY_CHECKS = ("classes_", "n_features_in_", "feature_names_in_")


@contextmanager
def whole_or_not(estimator):
    """Undo what checks of the input have set, where a fit ends before it has a result."""
    attributes = vars(estimator)
    before = {name: attributes[name] for name in _SET_BY_CHECKS if name in attributes}
    history = attributes.get("history_")
    try:
        yield
    except BaseException:
        if attributes.get("history_") is history:
            for name in _SET_BY_CHECKS:
                attributes.pop(name, None)
            attributes.update(before)
        raise


class DivergenceError(ArithmeticError):
    """A run whose steps were too large for its data.

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
