"""scikit-learn's own checks, for each estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from schuss import (
    LogisticRegression,
    MLPClassifier,
    MLPRegressor,
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
        SigmoidClassifier(),
        SigmoidRegressor(),
        MLPClassifier(max_iter=100),
        MLPRegressor(max_iter=100),
    ]
)
def test_scikit_learn_check(estimator, check):
    check(estimator)
