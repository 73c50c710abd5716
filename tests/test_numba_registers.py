"""The Numba backend's loops in registers, for each length of a register."""

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from schuss.backends.numba_kernels import registers  # noqa: E402

# Narrower ones than the processor's own are the path of other processors; wider ones are
# cut in pieces by LLVM.
WIDTHS = (16, 32, 64)


@pytest.fixture(params=WIDTHS)
def loops(request, monkeypatch):
    """Both loops, compiled anew."""
    monkeypatch.setattr(registers, "REGISTER_BYTES", request.param)
    return numba.njit(registers.dots), numba.njit(registers.accumulate)


def lines_of(rng, real, n, length):
    """Whole numbers, whose sums are exact, in lines that end where the array does."""
    return rng.integers(-9, 10, (n, length)).astype(real)


@pytest.mark.parametrize("real", ("float32", "float64"))
def test_loops(loops, real):
    dots, accumulate = loops
    rng = np.random.default_rng(0)
    for n, length, start in (
        (1, 1, 0),
        (7, 3, 0),
        (8, 16, 1),
        (9, 17, 0),
        (30, 100, 5),
        (20, 200, 0),
    ):
        lines = lines_of(rng, real, n, length)
        places = rng.permutation(n)
        padded = np.concatenate([places, np.full(-n % registers.LINES, places[-1])])
        read = length - start
        vector = np.zeros(3 + read + registers.REGISTER, real)
        vector[3 : 3 + read] = rng.integers(-9, 10, read)
        out = np.empty(len(padded), real)
        dots(lines, padded, n, start, read, vector, 3, out, 0)
        np.testing.assert_array_equal(out[:n], lines[places, start:] @ vector[3 : 3 + read])

        factors = rng.integers(-9, 10, n + 2).astype(real)
        sums = np.ones(2 + read + registers.REGISTER, real)
        accumulate(lines, padded, n, start, read, factors, 2, sums, 2, 0)
        np.testing.assert_array_equal(sums[2 : 2 + read], 1 + factors[2:] @ lines[places, start:])


def test_what_is_not_finite_stays_in_its_line(loops):
    dots, accumulate = loops
    lines = np.ones((8, 20), np.float32)
    lines[2, 19], lines[7, 0] = np.inf, np.nan
    places, ones, out = np.arange(8), np.zeros(32, np.float32), np.empty(8, np.float32)
    ones[:20] = 1
    dots(lines, places, 8, 0, 20, ones, 0, out, 0)
    np.testing.assert_array_equal(out, [20, 20, np.inf, 20, 20, 20, 20, np.nan])
    sums = np.zeros(32, np.float32)
    accumulate(lines, places, 3, 0, 20, ones, 0, sums, 0, 0)
    np.testing.assert_array_equal(sums[:20], [3] * 19 + [np.inf])
