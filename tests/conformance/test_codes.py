"""A code that a backend does not know is an error, never another code's result."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from schuss.backends import contract, numpy_
from schuss.constants import Activation, Hidden, Schedule
from schuss.losses import Loss, Output, RowLoss
from schuss.methods import Solver

# Functions, their arguments (or fields of these) that hold codes, and what else they refuse.
CODES = (
    ("pointwise", "loss", Loss, [Loss.MULTINOMIAL]),
    ("gradient", "loss", Loss, []),
    ("evaluator", "loss", Loss, []),
    ("newton", "config.loss", Loss, [Loss.QUADRATIC, Loss.MULTINOMIAL]),
    ("newton_many", "config.loss", Loss, [Loss.QUADRATIC, Loss.MULTINOMIAL]),
    ("gradient_many", "loss", Loss, [Loss.QUADRATIC, Loss.MULTINOMIAL]),
    ("descend", "config.loss", Loss, []),
    ("descend", "config.solver", Solver, []),
    ("walk", "config.solver", Solver, []),
    ("predict", "activation", Activation, []),
    ("sweep", "config.loss", RowLoss, []),
    ("sweep", "config.schedule", Schedule, []),
    ("network_gradient", "network.hidden", Hidden, []),
    ("network_gradient", "network.output", Output, []),
    ("network_epochs", "network.hidden", Hidden, []),
    ("network_epochs", "network.output", Output, []),
    ("network_epochs", "config.solver", Solver, [Solver.GD, Solver.ADAPTIVE]),
    ("network_predict", "network.hidden", Hidden, []),
    ("network_predict", "network.output", Output, []),
)
# Codes that each function takes, for those of its arguments that are not tested.
KNOWN = {"loss": Loss.LOG_LOSS, "solver": Solver.MOMENTUM, "schedule": 0, "hidden": 0, "output": 0}


def call(backend, function, argument, code):
    names = inspect.signature(getattr(contract, function)).parameters
    name, _, field = argument.partition(".")
    arguments = {n: SimpleNamespace(**KNOWN) if n in ("config", "network") else None
                 for n in names}  # fmt: skip
    arguments[name] = SimpleNamespace(**KNOWN | {field: code}) if field else code
    return getattr(backend, function)(**arguments)


@pytest.mark.parametrize(("function", "argument", "codes", "others"), CODES)
def test_unknown_code_is_refused(backend, function, argument, codes, others):
    for code in (-1, len(codes), 99, *others):
        with pytest.raises(ValueError, match=f"^{argument}={int(code)}|^{argument}=<.*{code}") as e:
            call(backend, function, argument, code)
        known = sorted(set(codes) - set(others))
        assert ", ".join(f"{c.value} ({c.name})" for c in known) in str(e.value)


def test_every_argument_with_codes_is_listed():
    fields = {"loss", "solver", "schedule", "hidden", "output"}
    tuples = {
        "config": {
            "newton": contract.NewtonConfig,
            "newton_many": contract.ManyConfig,
            "network_epochs": contract.NetworkConfig,
            "sweep": contract.SGDConfig,
        },
        "network": contract.Network,
    }
    expected = set()
    for function in contract.FUNCTIONS:
        for name in inspect.signature(getattr(contract, function)).parameters:
            kind = tuples.get(name, ())
            if isinstance(kind, dict):
                kind = kind.get(function, contract.UpdateConfig)
            if name in ("loss", "activation"):
                expected.add((function, name))
            expected |= {
                (function, f"{name}.{f}") for f in getattr(kind, "_fields", ()) if f in fields
            }
    # A walk has no loss.
    assert expected - {("walk", "config.loss")} == {(f, argument) for f, argument, *_ in CODES}


Z = np.ones((2, 1))


@pytest.mark.parametrize(
    "compute",
    (
        lambda code: numpy_._loss(Z, Z, code),
        lambda code: numpy_._curvature(Z, code),
        lambda code: numpy_._hidden(code, Z),
        lambda code: numpy_._hidden_derivative(code, Z),
        lambda code: numpy_._output(code, Z),
        lambda code: numpy_._network_loss(code, Z, Z),
        lambda code: numpy_.row_loss(code, 0.1, 1.0, -1.0),
    ),
)
def test_no_formula_of_the_reference_serves_for_another(compute):
    with pytest.raises(ValueError, match="is unknown"):
        compute(99)
