"""The same bad input gets the same error from every estimator."""

import warnings

import numpy as np
import pytest

import schuss
from schuss import data

CLASSIFIERS = ("SigmoidClassifier", "LogisticRegression", "SGDClassifier", "MLPClassifier")
REGRESSORS = ("SigmoidRegressor", "SGDRegressor", "MLPRegressor")
ALL = CLASSIFIERS + REGRESSORS
N = 40
X = np.random.default_rng(0).standard_normal((N, 3))
Y = (np.arange(N) % 2).astype(np.int64)


def make(name, **params):
    if name.startswith("MLP"):
        params = {"hidden_layer_sizes": (3,), **params}
    return getattr(schuss, name)(**{"max_iter": 3, **params})


def changed(values, at, value):
    values = np.array(values, dtype=float)
    values[at] = value
    return values


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("params", [{}, {"solver": "lbfgs"}, {"solver": "adam"}])
@pytest.mark.parametrize("name", [name for name in ALL if name != "LogisticRegression"])
def test_bad_rows_that_are_held_out_are_refused(name, params, value):
    if name.startswith("SGD"):
        params = {"loss": "hinge"} if name == "SGDClassifier" else {}
    model = make(name, early_stopping=True, validation_fraction=0.3, random_state=0, **params)
    for row in range(0, N, 3):
        with pytest.raises(ValueError, match="Input X contains"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(changed(X, (row, 1), value), Y)


@pytest.mark.parametrize("name", ["SGDClassifier", "SGDRegressor", "MLPRegressor"])
def test_what_may_help_is_not_looked_for_in_a_fit_that_ends_well(name, monkeypatch):
    passes = []
    monkeypatch.setattr(data, "largest", lambda X: passes.append(X) or 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(name).fit(X, Y)
    assert not passes
