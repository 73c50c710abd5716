"""
Choosing the learning rate
==========================

The learning rate η decides whether gradient descent converges slowly, fast, or not at all. On a
parabola with curvature L, each step multiplies the distance to the minimum by `1 − η L`: gradient
descent converges for η < 2/L, and in a single step for η = 1/L. Here L = 2.
"""

from numpy.polynomial import Polynomial

import schuss
from schuss.plot import DescentDisplay, LearningCurveDisplay

parabola = Polynomial([6, -4, 1])
names = {0.02: "too small, 0.02", 0.1: "good, 0.1", 0.95: "large, 0.95", 1.05: "too large, 1.05"}
results = {
    name: schuss.minimize(parabola, 8.0, learning_rate=rate, max_iter=60)
    for rate, name in names.items()
}

# %%
# A small learning rate needs many iterations, a large one oscillates; above 2/L = 1 each iterate is
# farther from the minimum than the previous one.

DescentDisplay.from_result(results, parabola, bounds=[(-6.5, 10.5)])

# %%
# The last run was stopped, and its message suggests a learning rate:

print(results["too large, 1.05"].message)

# %%
# The value above the minimum decreases on straight lines in a logarithmic plot: convergence is
# linear.

for result in results.values():
    result.path_fun = result.path_fun - parabola(2.0)
display = LearningCurveDisplay.from_result(results, log_scale=True)
display.ax_.set_xlabel("iteration")
display.ax_.set_ylabel("value above the minimum")
display.ax_.set_ylim(1e-6, 1e3)

# %%
# ``learning_rate="auto"`` is 1/L if the curvature is known, as it is for a polynomial:

print(schuss.minimize(parabola, 8.0).path.ravel())
