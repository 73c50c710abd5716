"""BLAS is left alone: fits have the same bits whatever its threads do, and no limit is set."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from schuss.solvers import curvature
from schuss.vectors import dot, norm


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fits_in_threads_have_the_bits_of_serial_ones():
    """A process of its own: one that hangs is ended, and BLAS's limits are those of a process."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.stress_threads", "--processes", "8"],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_nothing_sets_a_limit_of_blas():
    package = Path(curvature.__file__).parents[1]
    files = [path for path in package.rglob("*.py") if "bench" not in path.parts]
    assert len(files) > 20
    for path in files:
        assert "threadpool_limits" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("n", (0, 1, 4096, 4097, 50_000))
def test_dot(n):
    x, y = np.random.default_rng(n).standard_normal((2, n))
    assert dot(x, y) == pytest.approx(float(np.sum(x * y)), abs=1e-10)
    assert norm(x) == pytest.approx(float(np.sqrt(np.sum(x * x))), rel=1e-12)


@pytest.mark.parametrize("r", (3, 48, 49, 200))
def test_factors_of_any_size_and_units(r):
    rng = np.random.default_rng(r)
    X = rng.standard_normal((2 * r, r))
    units = np.logspace(-30, 30, r)
    solution = rng.standard_normal(r)
    matrix = X.T @ X
    factor = curvature.factorise(matrix * np.outer(units, units))
    found = curvature.solve(factor, (matrix @ solution) * units) * units
    np.testing.assert_allclose(found, solution, rtol=1e-8, atol=1e-10)


def test_factor_of_a_singular_matrix():
    line = np.random.default_rng(0).standard_normal((1, 60))
    matrix = line.T @ line
    found = curvature.solve(curvature.factorise(matrix), matrix @ np.ones(60))
    np.testing.assert_allclose(matrix @ found, matrix @ np.ones(60), rtol=1e-6, atol=1e-9)
