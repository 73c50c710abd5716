"""Sigmoid neurons trained by gradient descent.

`train` is the loop as one call; `SigmoidClassifier` and `SigmoidRegressor` are the same
with scikit-learn's interface.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from schuss import callbacks, plot
    from schuss.backends import get_backend, show_config, use_backend
    from schuss.errors import DivergenceError
    from schuss.linear import LogisticRegression, SGDClassifier, SGDRegressor
    from schuss.minimizer import (
        adam,
        adaptive,
        gd,
        grid,
        minimize,
        momentum,
        nesterov,
        newton,
    )
    from schuss.network import MLPClassifier, MLPRegressor
    from schuss.neuron import SigmoidClassifier, SigmoidRegressor, train
    from schuss.persistence import load, save

__all__ = [
    "DivergenceError",
    "LogisticRegression",
    "MLPClassifier",
    "MLPRegressor",
    "SGDClassifier",
    "SGDRegressor",
    "SigmoidClassifier",
    "SigmoidRegressor",
    "__version__",
    "adam",
    "adaptive",
    "callbacks",
    "gd",
    "get_backend",
    "grid",
    "load",
    "minimize",
    "momentum",
    "nesterov",
    "newton",
    "plot",
    "save",
    "show_config",
    "train",
    "use_backend",
]

# Names are loaded at first use, so that `import schuss` costs next to nothing.
_HOMES = {
    "DivergenceError": "errors",
    "LogisticRegression": "linear",
    "MLPClassifier": "network",
    "MLPRegressor": "network",
    "SGDClassifier": "linear",
    "SGDRegressor": "linear",
    "SigmoidClassifier": "neuron",
    "SigmoidRegressor": "neuron",
    "adam": "minimizer",
    "adaptive": "minimizer",
    "gd": "minimizer",
    "get_backend": "backends",
    "grid": "minimizer",
    "load": "persistence",
    "minimize": "minimizer",
    "momentum": "minimizer",
    "nesterov": "minimizer",
    "newton": "minimizer",
    "save": "persistence",
    "show_config": "backends",
    "train": "neuron",
    "use_backend": "backends",
}


def __getattr__(name):
    if name in ("callbacks", "plot"):
        return import_module(f"schuss.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'schuss' has no attribute {name!r}")
    value = getattr(import_module(f"schuss.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
