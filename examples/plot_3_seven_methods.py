"""
One function, seven methods
===========================

Himmelblau's function has four minima of the same value. The iterative methods converge to one near
their path; grid search covers the whole region, at the price of one evaluation for each point.
"""

import schuss
from schuss.plot import DescentDisplay


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


start, region = [-1.0, -3.5], [(-5, 5), (-5, 5)]
results = {
    method: schuss.minimize(himmelblau, start, method=method)
    for method in ("gd", "momentum", "nesterov", "adam", "adaptive", "newton")
}
results["grid"] = schuss.minimize(himmelblau, method="grid", bounds=region, n_points=21)

# %%
# Momentum overshoots the minimum and returns, Adam takes steps of even length, Newton-Raphson takes
# few long ones.

DescentDisplay.from_result(results, himmelblau, bounds=region)

# %%
# The number of evaluations of each method, and its result. Without a learning rate, the methods
# derive one from the curvature along the path; the derivatives are finite differences here.

print("method     steps  evaluations  lowest value   x")
for method, result in results.items():
    x = ", ".join(f"{value:.3f}" for value in result.x)
    print(f"{method:9} {result.nit:6,} {result.nfev:12,} {result.fun:13.2e}   {x}")

# %%
# A narrow valley
# ---------------
#
# Rosenbrock's function is a curved valley, steep across and nearly flat along. Gradient descent is
# slow there, and needs 8,000 iterations.


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


valley = {
    method: schuss.minimize(rosenbrock, [-1.0, 2.0], method=method, max_iter=20_000)
    for method in ("gd", "nesterov", "newton")
}
DescentDisplay.from_result(valley, rosenbrock, bounds=[(-2, 1.6), (-0.5, 3)])

# %%
# The same valley as a mountain: the fall to its floor is short, the way along it long.

DescentDisplay.from_result(
    valley["newton"], rosenbrock, bounds=[(-2, 1.6), (-0.5, 3)], kind="surface"
)
