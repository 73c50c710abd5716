"""The number of threads: from where, how many, and that the result does not depend on it."""

import numpy as np
import pytest
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from threadpoolctl import threadpool_limits

from schuss import threads, train


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(threads.VARIABLE, raising=False)


def test_sources_in_their_order(monkeypatch):
    assert threads.available() == _openmp_effective_n_threads()
    monkeypatch.setenv(threads.VARIABLE, "3")
    assert threads.available() == 3
    assert threads.available(5) == 5
    assert threads.available(np.int64(2)) == 2
    monkeypatch.setenv(threads.VARIABLE, " ")
    assert threads.available() == _openmp_effective_n_threads()


def test_negative_numbers_count_from_all():
    everything = threads.available(-1)
    assert everything >= 1
    assert threads.available(-everything) == 1
    assert threads.available(-everything - 5) == 1


def test_limits_of_threadpoolctl_are_respected():
    with threadpool_limits(1):
        assert threads.available() == 1


@pytest.mark.parametrize("wrong", [0, 1.5, "2", True])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="n_jobs=.*expected a positive number of threads"):
        threads.available(wrong)


@pytest.mark.parametrize("wrong", ["0", "many", "1.5"])
def test_nonsense_in_the_environment_is_refused(monkeypatch, wrong):
    monkeypatch.setenv(threads.VARIABLE, wrong)
    with pytest.raises(ValueError, match=threads.VARIABLE):
        threads.available()


@pytest.mark.parametrize("solver", ["gd", "sgd"])
def test_the_result_does_not_depend_on_threads(monkeypatch, solver):
    monkeypatch.setattr(threads, "MIN_ELEMENTS_PER_THREAD", 10)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3001, 9)).astype(np.float32)
    y = (X[:, 0] > 0.3).astype(float)
    options = {"solver": solver, "epochs": 5, "random_state": 0, "batch_size": 700}
    one, *others = (train(X, y, n_jobs=n, **options) for n in (1, 2, 3, 8))
    for other in others:
        np.testing.assert_array_equal(one.coef, other.coef)
        np.testing.assert_array_equal(one.history["loss"], other.history["loss"])
