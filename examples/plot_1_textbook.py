"""
The textbook's table
====================

Textbooks introduce gradient descent on a parabola: start at some x, compute the derivative, take a
step downhill, and repeat. On y = x² − 4x + 6 from x = 8, with the learning rate 0.1, each step
multiplies the distance to the minimum by 0.8, so `x_k = 2 + 6·0.8^k`.
"""

import numpy as np
from numpy.polynomial import Polynomial

import schuss
from schuss.plot import DescentDisplay

parabola = Polynomial([6, -4, 1])
result = schuss.minimize(parabola, 8.0, learning_rate=0.1, max_iter=40)

print(" k      x        y   derivative")
for k in (*range(8), 20, 30, 40):
    x = result.path[k, 0]
    print(f"{k:2}  {x:7.4f}  {result.path_fun[k]:7.4f}  {parabola.deriv()(x):10.4f}")

# %%
# All 41 iterates agree with the formula to the last digits:

print(np.abs(result.path[:, 0] - (2 + 6 * 0.8 ** np.arange(41))).max())

# %%
# The circle is the start of the path, the star its end.

DescentDisplay.from_result(result, parabola)

# %%
# From the curve to the neuron
# ----------------------------
#
# A neuron is trained in the same way, on the cost C of its outputs `ŷᵢ = σ(zᵢ)`, `zᵢ = w·xᵢ + b`.
# The text that this project starts from has three errors in its formulas, which schuss corrects:
#
# - it prints `σ(z) = 1 / (1 + e^z)`, which decreases where a neuron should be activated; the minus
#   sign is missing: `σ(z) = 1 / (1 + e^(−z))`;
# - it omits the input in the derivative: `∂ŷᵢ/∂w` is `ŷᵢ (1 − ŷᵢ) xᵢ`, not `ŷᵢ (1 − ŷᵢ)`;
# - it divides the cost by N in one place and by 2N in another; here it is
#   `C = 1/(2N) Σ (ŷᵢ − yᵢ)²` throughout, whose factor 2 cancels in the derivative.
#
# Finite differences confirm this. Here is the derivative of the cost of one neuron on three points,
# by differences, by the correct formula, and by the one without `xᵢ`:

x, y, w = np.array([-1.0, 0.5, 2.0]), np.array([0.0, 1.0, 1.0]), 0.7


def output(w):
    return 1 / (1 + np.exp(-w * x))


def cost(w):
    return ((output(w) - y) ** 2).sum() / (2 * len(x))


p, h = output(w), 1e-6
print(f"by differences  {(cost(w + h) - cost(w - h)) / (2 * h):9.6f}")
print(f"with x_i        {((p - y) * p * (1 - p) * x).mean():9.6f}")
print(f"without x_i     {((p - y) * p * (1 - p)).mean():9.6f}")

# %%
# `schuss.minimize` makes the same check, once, for a given gradient:

import warnings  # noqa: E402

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    schuss.minimize(cost, 0.7, jac=lambda w: ((output(w) - y) * output(w) * (1 - output(w))).mean())
print(caught[0].message)
