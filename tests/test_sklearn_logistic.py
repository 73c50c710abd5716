"""scikit-learn's tests of LogisticRegression, with ours in its place."""

from schuss import LogisticRegression
from tests import sklearn_suite

globals().update(
    sklearn_suite.load(
        "sklearn.linear_model.tests.test_logistic", "sklearn.linear_model", LogisticRegression
    )
)
