"""The accuracy of the kernels' formulas on a part of the inputs, and the measuring of it.

``python -m bench accuracy --only "every float32"`` takes every float32 number.
"""

from types import SimpleNamespace

import mpmath
import numpy as np
import pytest

from bench import tasks
from schuss.bench.runner import measure
from schuss.constants import Activation
from tests import accuracy

STRIDE = 16_381


@pytest.fixture(scope="module")
def kernels():
    return pytest.importorskip("schuss.backends.cython_", exc_type=ImportError)


@pytest.fixture(scope="module")
def floats(kernels):
    return accuracy.total(accuracy.every_float(kernels, STRIDE, 2))


@pytest.fixture(scope="module")
def doubles(kernels):
    return accuracy.errors(kernels, accuracy.doubles(4_000))


@pytest.mark.parametrize("function", accuracy.EXACT)
@pytest.mark.parametrize("real", ["floats", "doubles"])
def test_errors_are_within_the_limit(request, real, function):
    worst = request.getfixturevalue(real)[function]
    assert worst.inputs >= 4_000
    # An error of nearly half a unit is no flaw but the rounding of the result itself.
    assert 0.49 < worst.ulp <= accuracy.LIMIT, worst


@pytest.mark.parametrize(
    "z", [accuracy.patterns(0, accuracy.PATTERNS, 65_537), accuracy.doubles(400)]
)
def test_exact_values(kernels, z):
    assert accuracy.flaws(kernels, z) == []


def test_every_float_is_met_once():
    ends = [accuracy.patterns(start, start + 5) for start in (0, 1 << 31, 0x7F800000, 0xFF7FFFFE)]
    assert [end.size for end in ends] == [5, 5, 1, 3]
    assert ends[0][1] == np.finfo(np.float32).smallest_subnormal
    assert ends[2][0] == np.inf and ends[3][-1] == -np.inf
    assert np.signbit(ends[1][0]) and ends[1][0] == 0


def test_inputs_are_counted(kernels, monkeypatch):
    monkeypatch.setattr(accuracy, "PATTERNS", 3 * accuracy.CHUNK + 5)
    worst = accuracy.total(accuracy.every_float(kernels, 1, 2))
    assert {row.inputs for row in worst.values()} == {3 * accuracy.CHUNK + 5}


def test_the_truth_for_floats_is_that_for_doubles():
    z = accuracy.doubles(400)
    z = z[abs(z) < 700]
    with mpmath.workprec(accuracy.PRECISION):
        truth = accuracy.expected_by_mpmath(z)
        for name, values in accuracy.expected(z).items():
            assert (abs(values - truth[name]) <= 1e-14 * abs(truth[name])).all(), name


def test_units_in_the_last_place():
    one = np.array([1.0])
    assert accuracy.ulps(np.float32([1 + 2**-22]), one) == 2
    assert accuracy.ulps(np.float32([0.5]), one / 2) == 0
    # Half a unit, of the subnormal numbers too.
    assert accuracy.ulps(np.float32([0.0]), np.array([2.0**-150])) == 0.5
    for wrong in (np.nan, np.inf):
        assert accuracy.ulps(np.float32([wrong]), one) == np.inf
        assert accuracy.ulps(np.float32([wrong]), np.array([wrong])) == 0
    with mpmath.workprec(accuracy.PRECISION):
        exact = np.array([mpmath.mpf(1) + mpmath.mpf(2) ** -54], dtype=object)
        assert accuracy.ulps(one, exact) == 0.25


def off_by(kernels, units):
    """Kernels whose sigma is too large by some units in the last place."""

    def predict(X, coef, intercept, activation, out, n_threads):
        kernels.predict(X, coef, intercept, activation, out, n_threads)
        if activation == Activation.LOGISTIC:
            out += (units * np.spacing(out)).astype(out.dtype)

    return SimpleNamespace(**{**vars(kernels), "predict": predict})


def test_a_wrong_sigma_is_seen(kernels):
    z = accuracy.patterns(0, accuracy.PATTERNS, 65_537)
    worst = accuracy.errors(off_by(kernels, 4), z)
    assert worst[accuracy.SIGMA].ulp > accuracy.LIMIT
    assert worst[accuracy.LOSS].ulp <= accuracy.LIMIT
    flaws = "\n".join(accuracy.flaws(off_by(kernels, 1), z))
    assert "σ(z) at z = 0.0" in flaws and "is not σ·σ'" in flaws


@pytest.mark.parametrize(("units", "word"), [(0, ""), (1, "is not σ·σ'"), (4, "σ(z)")])
def test_the_study_refuses_wrong_formulas(kernels, monkeypatch, units, word):
    monkeypatch.setattr(tasks, "import_module", lambda name: off_by(kernels, units))

    (row,) = measure(
        tasks.formulas("float32", 1_000_003), tasks.FORMULAS, rounds=3, min_seconds=0.0
    ).rows

    assert word in row.note and bool(word) == row.note.startswith("refused")
    if not word:
        assert set(accuracy.EXACT) < set(row.details) and len(row.seconds) == 3
