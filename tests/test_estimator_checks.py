"""scikit-learn's own checks, for each estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from schuss import (
    LogisticRegression,
    LogisticRegressionCV,
    MLPClassifier,
    MLPRegressor,
    Perceptron,
    SGDClassifier,
    SGDRegressor,
    SigmoidClassifier,
    SigmoidRegressor,
)

# They train for a few iterations, and towards any real number.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Not converged"),
    pytest.mark.filterwarnings("ignore:Stochastic Optimizer"),
    pytest.mark.filterwarnings("ignore:.*cannot reach targets"),
]


@parametrize_with_checks(
    [
        LogisticRegression(),
        LogisticRegressionCV(cv=3, Cs=3),
        SigmoidClassifier(),
        SigmoidRegressor(),
        MLPClassifier(max_iter=100),
        MLPRegressor(max_iter=100),
    ]
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


# scikit-learn expects the same of its own: a row of weight 0 has its place in the order.
_EXPECTED = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "a row of weight 0 takes its turn, and the order of the others is not that without it",
)


@parametrize_with_checks(
    [SGDClassifier(max_iter=5), Perceptron(max_iter=5), SGDRegressor(max_iter=5)],
    expected_failed_checks=lambda estimator: _EXPECTED,
)
@pytest.mark.filterwarnings("ignore:Maximum number of iteration")
def test_scikit_learn_check_of_sgd(estimator, check):
    check(estimator)
