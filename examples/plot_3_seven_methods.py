"""
The same hill by seven methods
==============================

Himmelblau's function has four valleys of the same depth. All methods but one descend into the
valley that they come to first; the grid looks at the whole country, and pays for each point.
"""

import schuss
from schuss.plot import DescentDisplay


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


start, country = [-1.0, -3.5], [(-5, 5), (-5, 5)]
results = {
    method: schuss.minimize(himmelblau, start, method=method)
    for method in ("gd", "momentum", "nesterov", "adam", "adaptive", "newton")
}
results["grid"] = schuss.minimize(himmelblau, method="grid", bounds=country, n_points=21)

# %%
# Momentum runs past the bottom and comes back, Adam moves at an even pace, Newton-Raphson jumps.

DescentDisplay.from_result(results, himmelblau, bounds=country)

# %%
# What each paid, and where it ended. With no step given, the methods take theirs from the
# curvature that they meet; the derivatives are differences of the function here.

print("method     steps  evaluations  lowest value   x")
for method, result in results.items():
    x = ", ".join(f"{value:.3f}" for value in result.x)
    print(f"{method:9} {result.nit:6,} {result.nfev:12,} {result.fun:13.2e}   {x}")

# %%
# A long valley
# -------------
#
# Rosenbrock's function is one curved valley, steep across and nearly flat along. Plain steps
# creep there; the path of 8,000 of them is longer than it looks.


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


valley = {
    method: schuss.minimize(rosenbrock, [-1.0, 2.0], method=method, max_iter=20_000)
    for method in ("gd", "nesterov", "newton")
}
DescentDisplay.from_result(valley, rosenbrock, bounds=[(-2, 1.6), (-0.5, 3)])
