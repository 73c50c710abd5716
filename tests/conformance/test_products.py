"""Products of matrices: every size of a tile, any strides, the upper triangle or all."""

import numpy as np
import pytest

SIZES = ((0, 2, 3), (1, 1, 1), (5, 3, 7), (130, 9, 17), (257, 33, 300), (300, 290, 31))


@pytest.mark.parametrize("real", (np.float64, np.float32))
@pytest.mark.parametrize("layout", ("C", "F", "every second"))
def test_product(backend, real, layout):
    rng = np.random.default_rng(0)
    form = {
        "C": lambda a: a,
        "F": np.asfortranarray,
        "every second": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    }[layout]
    for n, p, q in SIZES:
        left, right = (form(rng.standard_normal((n, m)).astype(real)) for m in (p, q))
        whole = rng.standard_normal((p + 2, q + 3))
        before, out = whole.copy(), whole[1:-1, 2:-1]
        expected = out - 2.0 * np.einsum(
            "ij,ik->jk", *(a.astype(np.float64) for a in (left, right))
        )
        backend.add_product(left, right, -2.0, out, upper=False)
        bound = 8 * np.finfo(real).eps * max(n, 1)
        np.testing.assert_allclose(out, expected, rtol=0, atol=bound)
        whole[1:-1, 2:-1] = before[1:-1, 2:-1]
        np.testing.assert_array_equal(whole, before)


@pytest.mark.parametrize("r", (1, 8, 17, 300))
def test_upper_triangle(backend, r):
    lines = np.random.default_rng(1).standard_normal((100, r))
    out = np.ones((r, r))
    backend.add_product(lines, lines, 0.5, out, upper=True)
    expected = 1 + 0.5 * np.einsum("ij,ik->jk", lines, lines)
    np.testing.assert_allclose(np.triu(out), np.triu(expected), rtol=0, atol=1e-12)
