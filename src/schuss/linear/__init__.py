"""Drop-in linear models: scikit-learn's interface and answers, schuss's kernels."""

from schuss.linear.logistic import LogisticRegression
from schuss.linear.sgd import SGDClassifier, SGDRegressor

__all__ = ["LogisticRegression", "SGDClassifier", "SGDRegressor"]
