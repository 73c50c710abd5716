"""scikit-learn's own checks, for each estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from schuss import SGDClassifier, SGDRegressor, SigmoidClassifier, SigmoidRegressor

# They train for a few iterations, and towards any real number.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Not converged"),
    pytest.mark.filterwarnings("ignore:.*cannot reach targets"),
]


@parametrize_with_checks([SigmoidClassifier(), SigmoidRegressor()])
def test_scikit_learn_check(estimator, check):
    check(estimator)


# scikit-learn expects the same of its own, for the same reason.
_WEIGHTS = "a row of weight 0 takes a step of length 0, and the order of the others changes"


def _expected(estimator):
    return {
        name: _WEIGHTS
        for name in (
            "check_sample_weight_equivalence_on_dense_data",
            "check_sample_weight_equivalence_on_sparse_data",
        )
    }


@parametrize_with_checks(
    [SGDClassifier(max_iter=5), SGDRegressor(max_iter=5)], expected_failed_checks=_expected
)
@pytest.mark.filterwarnings("ignore:Maximum number of iteration")
def test_scikit_learn_check_of_sgd(estimator, check):
    check(estimator)
