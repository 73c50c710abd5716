"""Drop-in linear models: scikit-learn's interface, schuss's kernels."""

from schuss.linear.sgd import SGDClassifier, SGDRegressor

__all__ = ["SGDClassifier", "SGDRegressor"]
