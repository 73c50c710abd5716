"""Sigmoid neurons trained by gradient descent.

`train` is the loop as one call; `SigmoidClassifier` and `SigmoidRegressor` are the same
with scikit-learn's interface.
"""

import lazy_loader

__version__ = "0.1.0"

# Names are listed once, in __init__.pyi, and loaded at first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
