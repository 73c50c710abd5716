"""The backends offer the functions of the contract, with its signatures."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

from schuss.backends import contract
from schuss.constants import Activation
from schuss.losses import Loss

from . import cases


def test_contract_lists_what_it_describes():
    described = {
        name
        for name, value in inspect.getmembers(contract, inspect.isfunction)
        if value.__module__ == contract.__name__
    }
    assert described == set(contract.FUNCTIONS)


@pytest.mark.parametrize("name", contract.FUNCTIONS)
def test_signature(backend, name):
    expected = inspect.signature(getattr(contract, name))
    assert inspect.signature(getattr(backend, name)) == expected


# What bench/ measures the machine with; no kernel of the contract.
MEASURES = {"read_once", "multiply_add"}
# Parts of the reference that Numba compiles, or that blocks of a stream are descended by.
SHARED = {"descend_by", "has_ended", "learning_rate", "row_loss", "shuffle_rows"}


def test_no_other_public_function(backend):
    public = {
        name
        for name, value in inspect.getmembers(backend, inspect.isroutine)
        if not name.startswith("_") and value.__module__ == backend.__name__
    }
    shared = SHARED if backend.NAME == "numpy" else set()
    assert public - MEASURES == set(contract.FUNCTIONS) | shared
    assert backend.__name__ == f"schuss.backends.{backend.NAME}_"


@pytest.mark.parametrize("n", (1, 17, 300))
@pytest.mark.parametrize("real", ("float32", "float64"))
def test_prediction_tells_whether_all_scores_are_finite(kernels, real, n):
    """Of rows, never of what fills up a register, and before the activation hides it."""
    X = np.ones((n, 5), real)
    coef, intercept = np.array([[1, 0, 1, 1, 1]], real), np.zeros(1, real)
    out = np.empty((n, 1), real)

    def finite():
        prepared = kernels.prepare(X)
        with np.errstate(over="ignore", invalid="ignore"):
            return kernels.predict(prepared, coef, intercept, Activation.LOGISTIC, out, 1)

    assert finite() is True
    for wrong in (np.nan, np.inf, -np.inf):
        for row, column in ((0, 0), (n - 1, 4), (n // 2, 1)):
            X[row, column] = wrong
            assert finite() is False
            X[row, column] = 1
    X[n - 1] = np.finfo(real).max
    assert finite() is False


def test_subnormal_numbers_survive(backend):
    """Neither the import nor a call sets the processor's flush-to-zero."""
    p = cases.problem(np.ones((70, 3)), (1, False, "real", Loss.LOG_LOSS), np.random.default_rng(0))
    cases.gradient(backend, p, n_threads=2)
    smallest = np.array([5e-324])
    assert smallest[0] != 0
    assert (smallest * np.ones(1))[0] == 5e-324
    assert (np.array([2.3e-308]) / 4)[0] > 0


def test_import_leaves_subnormal_numbers_alone(backend):
    code = f"import {backend.__name__}; x = 2.3e-308; assert x / 4 > 0 and 5e-324 != 0"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
