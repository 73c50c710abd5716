"""Gradients of the costs against numerical derivatives, to 1e-7 relative in float64."""

import numpy as np
import pytest

from schuss.losses import Loss

from . import cases

RTOL = 1e-7
SIZES = ((1, 1), (2, 3), (65, 7), (200, 33))
LOSSES = tuple(loss for loss in Loss if loss != Loss.MULTINOMIAL)


def formula(p, loss):
    """The cost as the textbook writes it, for complex parameters in extended precision."""
    X, y = p.X.astype(np.longdouble), p.y.astype(np.longdouble)
    weight = np.ones(len(X)) if p.weight is None else p.weight.astype(np.longdouble)

    def cost(theta):
        z = theta[:, :-1] @ X.T + theta[:, -1:]
        if loss == Loss.SQUARED_ERROR:
            each = (1 / (1 + np.exp(-z)) - y) ** 2 / 2
        elif loss == Loss.LOG_LOSS:
            each = np.log(1 + np.exp(z)) - y * z
        else:
            assert loss == Loss.QUADRATIC
            each = z**2 / 2
        return p.scale * (weight * each).sum()

    return cost


def complex_step(cost, theta):
    """Im C(theta + ih) / h: no difference is taken, so h can be tiny and nothing cancels."""
    slope = np.empty(theta.shape)
    for place in np.ndindex(*theta.shape):
        moved = theta.astype(np.clongdouble)
        moved[place] += 1e-30j
        slope[place] = cost(moved).imag / np.longdouble(1e-30)
    return slope


def richardson(value, theta):
    """Central differences with steps h and h/2, combined so that the h**2 term drops out."""
    slope, h = np.empty(theta.shape), 2e-3
    for place in np.ndindex(*theta.shape):

        def difference(step, place=place):
            ahead, behind = theta.copy(), theta.copy()
            ahead[place] += step
            behind[place] -= step
            return (value(ahead) - value(behind)) / (2 * step)

        slope[place] = (4 * difference(h / 2) - difference(h)) / 3
    return slope


@pytest.mark.parametrize("weighted", (False, True), ids=("", "weighted"))
@pytest.mark.parametrize("n_outputs", (1, 3))
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name.lower())
def test_gradient(backend, loss, n_outputs, weighted):
    rng = np.random.default_rng(7)
    for n, d in SIZES:
        p = cases.problem(rng.standard_normal((n, d)), (n_outputs, weighted, "real", loss), rng)
        if weighted:
            p.weight += 0.5  # else a single row may have none
        value, coef, intercept = cases.gradient(backend, p)
        actual = np.column_stack([coef, intercept])
        theta = np.column_stack([p.coef, p.intercept])

        cost = formula(p, loss)
        assert value == pytest.approx(float(cost(theta.astype(np.longdouble))), rel=1e-13)
        expected = complex_step(cost, theta)
        assert np.abs(actual - expected).max() <= RTOL * np.abs(expected).max()
        # Entry by entry the loss of digits is that of the sum over the rows.
        np.testing.assert_allclose(actual, expected, rtol=RTOL, atol=1e-13)

        def own_value(theta, p=p):
            p.coef, p.intercept = theta[:, :-1].copy(), theta[:, -1].copy()
            return cases.gradient(backend, p)[0]

        differences = richardson(own_value, theta)
        assert np.abs(actual - differences).max() <= RTOL * np.abs(differences).max()
