"""scikit-learn's tests of Perceptron, with ours in its place."""

from schuss import Perceptron
from tests import sklearn_suite

globals().update(
    sklearn_suite.load(
        "sklearn.linear_model.tests.test_perceptron", "sklearn.linear_model", Perceptron
    )
)
