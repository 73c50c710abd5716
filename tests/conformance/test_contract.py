"""The backends offer the functions of the contract, with its signatures."""

import inspect
import subprocess
import sys

import numpy as np
import pytest

from schuss.backends import contract
from schuss.constants import Loss

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


def test_no_other_public_function(backend):
    public = {
        name
        for name, value in inspect.getmembers(backend, inspect.isroutine)
        if not name.startswith("_") and value.__module__ == backend.__name__
    }
    assert public - MEASURES == set(contract.FUNCTIONS)
    assert backend.__name__ == f"schuss.backends.{backend.NAME}_"


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
