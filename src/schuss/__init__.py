"""Sigmoid neurons trained by gradient descent.

`train` is the training loop as one call; `SigmoidClassifier` and `SigmoidRegressor` have
scikit-learn's interface.
"""

import sys

import lazy_loader

__version__ = "0.1.0"

# Names are listed once, in __init__.pyi, and loaded at first use.
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name not in __all__:
        # The message of Python, with its suggestion of similar names.
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__]
        )
    return _load(name)


def load_ipython_extension(ipython):
    """``%load_ext schuss``: `accelerate`, for a notebook."""
    from schuss.acceleration import accelerate

    accelerate()


def unload_ipython_extension(ipython):
    """``%unload_ext schuss``: `restore`."""
    from schuss.acceleration import restore

    restore()
