"""Exceptions, and warnings that point to the user's line."""

import os
import sys
import warnings
from types import FrameType
from typing import Any


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn with the line that called the library, at any depth inside it."""
    # Not imported here: `minimize` does not need scikit-learn.
    modules = [sys.modules[name] for name in ("schuss", "sklearn") if name in sys.modules]
    libraries = tuple(
        os.path.join(os.path.dirname(module.__file__ or ""), "") for module in modules
    )
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_code.co_filename.startswith(libraries):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


class SeparationWarning(UserWarning):
    """A likelihood without a maximum, as some columns of X separate the classes.

    Coefficients of these columns grow with every iteration; their standard errors say nothing.
    """


class DivergenceError(ArithmeticError, ValueError):
    """A run that diverged, because its learning rate was too large for the data.

    It is also a ValueError, which scikit-learn raises if weights are not finite. As after
    every error, the estimator is unchanged.

    Attributes
    ----------
    learning_rate : float
        The learning rate that was used.
    largest_safe_step : float or None
        The largest learning rate that converges, from a bound of the curvature of the
        objective on this data; None for a solver that does not depend on it.
    history : dict of ndarray or None
        The iterations of the run that diverged, as in ``history_``.
    result : TrainResult or None
        The result of `schuss.train` up to then.
    """

    history: dict[str, Any] | None
    result: Any

    def __init__(
        self,
        message: str,
        learning_rate: float | None = None,
        largest_safe_step: float | None = None,
    ):
        super().__init__(message)
        self.learning_rate = learning_rate
        self.largest_safe_step = largest_safe_step
        self.history = self.outcome = None
        self.result = None

    def __reduce__(self):
        return type(self), (str(self),), vars(self)


class BackendUnavailableError(ImportError):
    """A backend or instruction set that was selected by name is not available."""
