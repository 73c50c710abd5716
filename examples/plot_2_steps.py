"""
Too small, right and too large a step
=====================================

The step η decides whether a descent crawls, arrives, or climbs. On a parabola of curvature L each
step multiplies the distance to the minimum by `1 − η L`: steps converge below 2/L, and 1/L is there
at once. Here L = 2.
"""

from numpy.polynomial import Polynomial

import schuss
from schuss.plot import DescentDisplay, LearningCurveDisplay

parabola = Polynomial([6, -4, 1])
names = {0.02: "too small, 0.02", 0.1: "right, 0.1", 0.95: "large, 0.95", 1.05: "too large, 1.05"}
results = {
    name: schuss.minimize(parabola, 8.0, learning_rate=step, max_iter=60)
    for step, name in names.items()
}

# %%
# Left of the right step there is patience, right of it zigzag; above 2/L = 1 every step
# lands farther up the other side.

DescentDisplay.from_result(results, parabola, bounds=[(-6.5, 10.5)])

# %%
# That run is stopped, and told which learning rate would do:

print(results["too large, 1.05"].message)

# %%
# The distance in height, over the iterations, falls on straight lines: convergence is linear.

for result in results.values():
    result.path_fun = result.path_fun - parabola(2.0)
display = LearningCurveDisplay.from_result(results, log_scale=True)
display.ax_.set_xlabel("iteration")
display.ax_.set_ylabel("height above the minimum")
display.ax_.set_ylim(1e-6, 1e3)

# %%
# ``learning_rate="auto"`` takes 1/L where the curvature is known, as it is of a polynomial:

print(schuss.minimize(parabola, 8.0).path.ravel())
