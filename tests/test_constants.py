"""Codes, and that each has its entry."""

import ast
import os
import re
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

import schuss
from schuss import constants, losses, methods

ROOT = Path(__file__).resolve().parents[1]
ENUMS = tuple(
    value
    for module in (constants, losses, methods)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, IntEnum) and value is not IntEnum
)


def test_setup_writes_codes_and_structs():
    """By its own function, which reads the sources of the package without importing it."""
    tree = ast.parse((ROOT / "setup.py").read_text("utf-8"))
    scope = {"ast": ast, "Path": Path, "errors": Mock()}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.FunctionDef)):
            exec(compile(ast.Module([node], []), "setup.py", "exec"), scope)
    here = os.getcwd()
    os.chdir(ROOT)
    try:
        text = scope["_codes"]()
    finally:
        os.chdir(here)
    found = re.findall(r"^    (\w+) = (\d+)$", text, re.MULTILINE)
    expected = {f"{e.__name__}_{m.name}".upper(): m.value for e in ENUMS for m in e}
    assert {name: int(code) for name, code in found} == expected
    assert len(found) == len(expected), "a code is written twice"
    assert "cdef struct SGDConfig:\n    int64_t loss\n    double parameter\n" in text
    assert "cdef struct NewtonConfig:\n    int64_t loss\n    double tol\n" in text, "arrays are not"
    assert "cdef struct WalkScalars:\n    double points\n    double value\n" in text


@pytest.mark.parametrize("enum", ENUMS, ids=lambda e: e.__name__)
def test_codes_count_from_zero(enum):
    assert sorted(enum) == list(range(len(enum)))


def test_each_solver_and_loss_is_complete():
    assert set(methods.N_SLOTS) == set(methods.Solver)
    for method in methods.SOLVERS.values():
        assert method.n_slots == methods.N_SLOTS.get(method.rule, 0)
    assert set(losses.BY_CODE) == set(losses.Loss)
    assert {loss.code for loss in losses.ROW_LOSSES.values()} == set(losses.RowLoss)
    assert set(losses.NETWORK_OUTPUTS.values()) == set(losses.Output)
    assert len(constants.Counter) == constants.N_COUNTERS
    assert len(constants.WalkScalar) == constants.N_WALK_SCALARS
    assert len(constants.SGDScalar) == constants.N_SGD_SCALARS


def test_curvature_bounds_are_the_maxima():
    """|c''| on a dense grid comes up to the bound, and not over it."""
    z = np.linspace(-12, 12, 2_000_001)
    p = 1 / (1 + np.exp(-z))
    slope = p * (1 - p)
    squared = max(np.abs(slope * (slope + (p - y) * (1 - 2 * p))).max() for y in (0, 1))
    bound = {name: loss.curvature_bound for name, loss in losses.LOSSES.items()}
    assert squared <= bound["squared_error"] <= 1.001 * squared
    assert slope.max() <= bound["log_loss"] <= 1.000001 * slope.max()


def test_docstrings_list_the_entries():
    for documented in (schuss.train, schuss.SigmoidClassifier):
        for entries in (losses.LOSSES, methods.SOLVERS):
            names = ", ".join(f'"{name}"' for name in entries)
            assert f"{{{names}}}, default=" in documented.__doc__
            for name, entry in entries.items():
                assert f'- "{name}": {entry.summary}\n' in documented.__doc__


def test_a_loss_brings_its_own_probabilities(monkeypatch):
    """Predictions, decisions and the best constant come from the entry of the loss."""
    X = np.linspace(-2, 2, 40)[:, None]
    y = (X[:, 0] > 0.3).astype(int)
    model = schuss.SigmoidClassifier(loss="log_loss", solver="newton", alpha=0.1).fit(X, y)
    logistic = model.predict_proba(X)
    z = model.decision_function(X)

    def cauchit(z, logs):
        p = 0.5 + np.arctan(z - 1) / np.pi
        return (np.log(1 - p), np.log(p)) if logs else (1 - p, p)

    entry = replace(losses.LOSSES["log_loss"], probabilities=cauchit, even_score=1.0)
    monkeypatch.setitem(losses.LOSSES, "cauchit", entry)
    model.set_params(loss="cauchit")
    p = 0.5 + np.arctan(z - 1) / np.pi
    np.testing.assert_allclose(model.predict_proba(X), np.column_stack([1 - p, p]))
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(model.predict_proba(X)))
    np.testing.assert_array_equal(model.predict(X), (p > 0.5).astype(int))
    np.testing.assert_allclose(model.decision_function(X), z - 1)
    assert not np.allclose(model.predict_proba(X), logistic)
    several = schuss.SigmoidClassifier(loss="log_loss", alpha=0.1).fit(X, y + (X[:, 0] > 1))
    several.set_params(loss="cauchit")
    ratio = several.predict_proba(X)[:, 0] / several.predict_proba(X)[:, 1]
    p = 0.5 + np.arctan(several.decision_function(X)) / np.pi
    np.testing.assert_allclose(ratio, p[:, 0] / p[:, 1])
    np.testing.assert_allclose(several.predict_proba(X).sum(axis=1), 1)
    regressor = schuss.SigmoidRegressor(loss="log_loss", alpha=0.1).fit(X, y)
    regressor.set_params(loss="cauchit")
    scores = X @ regressor.coef_ + regressor.intercept_
    np.testing.assert_allclose(regressor.predict(X), 0.5 + np.arctan(scores - 1) / np.pi)


def test_unbounded_curvature_names_what_helps(monkeypatch):
    entry = replace(losses.LOSSES["log_loss"], curvature_bound=np.inf)
    monkeypatch.setitem(losses.LOSSES, "log_loss", entry)
    X, y = [[0.0], [1.0], [2.0]], [0, 1, 1]
    with pytest.raises(ValueError, match="loss='log_loss' has no bound.*solver='lbfgs'"):
        schuss.train(X, y, loss="log_loss")
    for options in ({"solver": "lbfgs"}, {"solver": "adam"}, {"learning_rate": 0.1}):
        assert schuss.train(X, y, loss="log_loss", alpha=0.1, **options).loss < np.log(2)
