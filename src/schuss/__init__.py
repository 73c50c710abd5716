"""Sigmoid neurons trained by gradient descent.

`train` is the training loop as one call; `SigmoidClassifier` and `SigmoidRegressor` have
scikit-learn's interface.
"""

import ast
import os
import sys
from importlib import import_module

__version__ = "0.1.0"

# Names are listed once, in __init__.pyi, and loaded at first use.
with open(os.path.splitext(__file__)[0] + ".pyi", encoding="utf-8") as _stub:
    _MODULES = {
        alias.name: line.module
        for line in ast.parse(_stub.read()).body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
__all__ = sorted(_MODULES)


def __dir__() -> list[str]:
    return list(__all__)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        # The message of Python, with its suggestion of similar names.
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__]
        )
    module = _MODULES[name]
    if module is None:
        value: object = import_module(f"{__name__}.{name}")
    else:
        value = getattr(import_module(f"{__name__}.{module}"), name)
    # Some modules have the name of a function in them.
    globals()[name] = value
    return value


def load_ipython_extension(ipython):
    """``%load_ext schuss``: `accelerate`, for a notebook."""
    from schuss.acceleration import accelerate

    accelerate()


def unload_ipython_extension(ipython):
    """``%unload_ext schuss``: `restore`."""
    from schuss.acceleration import restore

    restore()
