"""scikit-learn's own tests of these classes, run with ours in their place."""

import importlib.util
import sys
import tomllib
from pathlib import Path

import pytest
from sklearn import linear_model

import schuss

_EXCEPTIONS = tomllib.loads(
    Path(__file__).with_name("sklearn_exceptions.toml").read_text(encoding="utf-8")
)
_NAMES = ("SGDClassifier", "SGDRegressor")


class _Ours:
    """`sklearn.linear_model` with two classes replaced."""

    SGDClassifier = schuss.SGDClassifier
    SGDRegressor = schuss.SGDRegressor

    def __getattr__(self, name):
        return getattr(linear_model, name)


def _load():
    """A copy of scikit-learn's module whose classes inherit from, and whose tests use, ours."""
    path = importlib.util.find_spec("sklearn.linear_model.tests.test_sgd").origin
    spec = importlib.util.spec_from_file_location("scikit_learn_test_sgd", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in _NAMES:
            patch.setattr(linear_model, name, getattr(schuss, name))
        spec.loader.exec_module(module)
    module.linear_model = _Ours()
    return module


theirs = _load()
globals().update({name: value for name, value in vars(theirs).items() if name.startswith("test_")})


@pytest.fixture
def global_random_seed():
    """Its value where scikit-learn's suite is not told another."""
    return 42


@pytest.fixture(autouse=True)
def expected_failure(request):
    reason = _EXCEPTIONS.get(f"test_sgd::{request.node.originalname}")
    if reason is not None:
        request.applymarker(pytest.mark.xfail(reason=reason, strict=False))


def test_ours_are_in_place():
    """Nothing else would fail if scikit-learn's classes were tested instead."""
    for make in (theirs.SGDClassifier, theirs.SGDRegressor):
        assert type(make()).__module__ == "schuss.linear.sgd"
    assert isinstance(theirs.SparseSGDClassifier(), schuss.SGDClassifier)
    assert isinstance(theirs.SparseSGDRegressor(), schuss.SGDRegressor)
