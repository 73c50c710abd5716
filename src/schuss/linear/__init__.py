"""Linear models with scikit-learn's interface, and its answers."""

from schuss.linear.logistic import LogisticRegression

__all__ = ["LogisticRegression"]
