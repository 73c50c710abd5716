"""More than 2**31 entries, through an X that repeats one row and takes no memory."""

import numpy as np
import pytest

from schuss.constants import Activation, Loss

from . import cases


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ("float32", "uint8"))
def test_more_entries_than_32_bits_count(backend, reference, dtype):
    if backend.NAME == "numpy":
        pytest.skip("NumPy indexes with 64 bits, and is slow at this")
    rng = np.random.default_rng(0)
    n, d = (1 << 22) + 3, 515
    assert n * d > 1 << 31
    X = np.broadcast_to(cases.dense(dtype, 1, d, rng), (n, d))
    p = cases.problem(X, (1, False, "uint8", Loss.LOG_LOSS), rng)
    p.y[:] = 1
    one = cases.SimpleNamespace(**{**vars(p), "X": X[:1].copy(), "y": p.y[:1], "scale": 1.0})
    bounds = cases.gradient_bound(one, reference)
    for actual, expected, bound in zip(
        cases.gradient(backend, p, 2), cases.gradient(backend, one), bounds, strict=True
    ):
        # All terms are equal, so that the errors of the sum have one sign: more is allowed.
        cases.assert_within(actual, expected, 100 * bound, dtype)
    actual, expected = (cases.predict(backend, q, Activation.IDENTITY, 2) for q in (p, one))
    # Both may err, each by the bound.
    bound = 2 * cases.predict_bound(one, Activation.IDENTITY)
    cases.assert_within(actual, np.broadcast_to(expected, actual.shape), bound, dtype)
