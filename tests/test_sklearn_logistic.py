"""scikit-learn's tests of the logistic regressions, with ours in their place."""

from schuss import LogisticRegression, LogisticRegressionCV, SGDClassifier
from tests import sklearn_suite

globals().update(
    sklearn_suite.load(
        "sklearn.linear_model.tests.test_logistic", "sklearn.linear_model",
        LogisticRegression, LogisticRegressionCV, SGDClassifier,
    )
)  # fmt: skip
