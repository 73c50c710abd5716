"""The codes in ext/codes.pxi are those of constants.py."""

import re
from pathlib import Path

import numpy as np
import pytest

from schuss import constants, losses

CODES = Path(__file__).resolve().parents[1] / "ext" / "codes.pxi"
ENUMS = (
    constants.Loss,
    constants.Solver,
    constants.Activation,
    constants.Hidden,
    constants.Output,
    constants.Status,
    constants.Counter,
    constants.Mark,
    constants.RowLoss,
    constants.Schedule,
    constants.SweepMark,
)


@pytest.mark.skipif(not CODES.exists(), reason="no Cython sources beside the tests")
def test_cython_codes_equal_the_constants():
    found = re.findall(r"^\s*([A-Z][A-Z0-9_]*)\s*=\s*(\d+)", CODES.read_text(), re.MULTILINE)
    # A prefix is an enum's name, so that LOSS_… and the rest cannot be mixed up.
    expected = {f"{e.__name__}_{m.name}".upper(): m.value for e in ENUMS for m in e}
    assert {name: int(code) for name, code in found} == expected
    assert len(found) == len(expected), "a code is written twice"


@pytest.mark.parametrize("enum", ENUMS, ids=lambda e: e.__name__)
def test_codes_count_from_zero(enum):
    assert sorted(enum) == list(range(len(enum)))


def test_each_solver_and_loss_is_complete():
    assert set(constants.N_SLOTS) == set(constants.Solver)
    assert set(losses.BY_CODE) == set(constants.Loss)
    assert {loss.code for loss in losses.ROW_LOSSES.values()} == set(constants.RowLoss)
    assert set(losses.NETWORK_OUTPUTS.values()) == set(constants.Output)
    assert len(constants.Counter) == constants.N_COUNTERS
    assert len(constants.Mark) == constants.N_MARKS
    assert len(constants.SweepMark) == constants.N_SWEEP_MARKS


def test_curvature_bounds_are_the_maxima():
    """|c''| on a dense grid comes up to the bound, and not over it."""
    z = np.linspace(-12, 12, 2_000_001)
    p = 1 / (1 + np.exp(-z))
    slope = p * (1 - p)
    squared = max(np.abs(slope * (slope + (p - y) * (1 - 2 * p))).max() for y in (0, 1))
    bound = {name: loss.curvature_bound for name, loss in losses.LOSSES.items()}
    assert squared <= bound["squared_error"] <= 1.001 * squared
    assert slope.max() <= bound["log_loss"] <= 1.000001 * slope.max()
