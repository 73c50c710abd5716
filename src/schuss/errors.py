"""Exceptions of the library, and warnings that point to the user's line."""

import os
import sys
import warnings
from types import FrameType


def warn(message, category=UserWarning):
    """Warn of the line that called the library, however deep inside it this is found."""
    # Not imported here: `minimize` goes without scikit-learn.
    modules = [sys.modules[name] for name in ("schuss", "sklearn") if name in sys.modules]
    libraries = tuple(
        os.path.join(os.path.dirname(module.__file__ or ""), "") for module in modules
    )
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith(libraries):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


class DivergenceError(ArithmeticError, ValueError):
    """A run whose steps were too large for its data.

    It is a ValueError as well, which scikit-learn raises where weights are not finite.

    As after every error, the estimator is what it was before the fit; one that was not fitted
    is not fitted. What happened is told here.

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
        self.history = self.outcome = None
        self.result = None

    def __reduce__(self):
        return type(self), (str(self),), vars(self)


class BackendUnavailableError(ImportError):
    """A backend or instruction set that was asked for by name cannot be used here."""
