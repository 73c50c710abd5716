"""Drop-in linear models: scikit-learn's interface and answers, schuss's kernels."""

from schuss.linear.logistic import LogisticRegression
from schuss.linear.logistic_cv import LogisticRegressionCV
from schuss.linear.sgd import Perceptron, SGDClassifier, SGDRegressor

__all__ = [
    "LogisticRegression",
    "LogisticRegressionCV",
    "Perceptron",
    "SGDClassifier",
    "SGDRegressor",
]
