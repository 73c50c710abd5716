"""Sigmoid neurons trained by gradient descent.

`train` is the loop as one call; `SigmoidClassifier` and `SigmoidRegressor` are the same
with scikit-learn's interface.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from schuss import callbacks
    from schuss.backends import get_backend, show_config, use_backend
    from schuss.errors import DivergenceError
    from schuss.linear.sgd import SGDClassifier, SGDRegressor
    from schuss.neuron import SigmoidClassifier, SigmoidRegressor, train
    from schuss.persistence import load, save

__all__ = [
    "DivergenceError",
    "SGDClassifier",
    "SGDRegressor",
    "SigmoidClassifier",
    "SigmoidRegressor",
    "__version__",
    "callbacks",
    "get_backend",
    "load",
    "save",
    "show_config",
    "train",
    "use_backend",
]

# Names are loaded at first use, so that `import schuss` costs next to nothing.
_HOMES = {
    "DivergenceError": "errors",
    "SGDClassifier": "linear.sgd",
    "SGDRegressor": "linear.sgd",
    "SigmoidClassifier": "neuron",
    "SigmoidRegressor": "neuron",
    "get_backend": "backends",
    "load": "persistence",
    "save": "persistence",
    "show_config": "backends",
    "train": "neuron",
    "use_backend": "backends",
}


def __getattr__(name):
    if name == "callbacks":
        return import_module("schuss.callbacks")
    if name not in _HOMES:
        raise AttributeError(f"module 'schuss' has no attribute {name!r}")
    value = getattr(import_module(f"schuss.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
