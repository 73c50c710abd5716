"""
The textbook's table
====================

Gradient descent is first met on a parabola: start somewhere, look at the slope, take a step
downhill, and again. On y = x² − 4x + 6 from x = 8, with steps of 0.1 times the slope, each step
leaves 0.8 of the way to the minimum, so `x_k = 2 + 6·0.8^k`.
"""

import numpy as np
from numpy.polynomial import Polynomial

import schuss
from schuss.plot import DescentDisplay

parabola = Polynomial([6, -4, 1])
result = schuss.minimize(parabola, 8.0, learning_rate=0.1, max_iter=40)

print(" k      x        y     slope")
for k in (*range(8), 20, 30, 40):
    x = result.path[k, 0]
    print(f"{k:2}  {x:7.4f}  {result.path_fun[k]:7.4f}  {parabola.deriv()(x):7.4f}")

# %%
# All 41 rows are those of the formula, to the last digits:

print(np.abs(result.path[:, 0] - (2 + 6 * 0.8 ** np.arange(41))).max())

# %%
# The circle is where the path starts, the star where it ends.

DescentDisplay.from_result(result, parabola)

# %%
# From the curve to the neuron
# ----------------------------
#
# A neuron is trained in the same way, on the cost C of its answers `ŷᵢ = σ(zᵢ)`,
# `zᵢ = w·xᵢ + b`. The text that this project starts from has three slips in its formulas, and what
# schuss computes differs from it there:
#
# - it prints `σ(z) = 1 / (1 + e^z)`, which falls where a neuron should fire; the minus sign is
#   missing: `σ(z) = 1 / (1 + e^(−z))`;
# - it leaves the input out of the slope: `∂ŷᵢ/∂w` is `ŷᵢ (1 − ŷᵢ) xᵢ`, not `ŷᵢ (1 − ŷᵢ)`;
# - it divides the cost by N in one place and by 2N in another; here it is
#   `C = 1/(2N) Σ (ŷᵢ − yᵢ)²` throughout, whose 2 the derivative takes away.
#
# That these are slips is seen without algebra. Here is the slope of the cost of one neuron on
# three points, by differences, beside the right formula and the one without `xᵢ`:

x, y, w = np.array([-1.0, 0.5, 2.0]), np.array([0.0, 1.0, 1.0]), 0.7


def answer(w):
    return 1 / (1 + np.exp(-w * x))


def cost(w):
    return ((answer(w) - y) ** 2).sum() / (2 * len(x))


p, h = answer(w), 1e-6
print(f"by differences  {(cost(w + h) - cost(w - h)) / (2 * h):9.6f}")
print(f"with x_i        {((p - y) * p * (1 - p) * x).mean():9.6f}")
print(f"without x_i     {((p - y) * p * (1 - p)).mean():9.6f}")

# %%
# `schuss.minimize` makes the same check, once, of a gradient that it is given:

import warnings  # noqa: E402

with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    schuss.minimize(cost, 0.7, jac=lambda w: ((answer(w) - y) * answer(w) * (1 - answer(w))).mean())
print(told[0].message)
