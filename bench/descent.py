"""`schuss.minimize` beside a plain Python loop, and its methods beside SciPy's answers.

    python -m bench.descent

The first table takes turns: gradient descent on x**2 - 4 x + 6 by `schuss.minimize`, which keeps
the path and its values, and by Python loops over the same two functions, f and its slope, for a
tenth of the iterations. The second shows where each method ends, in how many steps and
evaluations, beside the least of SciPy's default, on four problems with given derivatives.
"""

import argparse
import sys
from statistics import median
from time import perf_counter

import numpy as np
import scipy.optimize
from numpy.polynomial import Polynomial
from rich.console import Console
from rich.table import Table

import schuss

STEP, START = 1e-3, 8.0
METHODS = ("gd", "momentum", "nesterov", "adam", "adaptive", "newton")


def value(x):
    return x**2 - 4 * x + 6


def slope(x):
    return 2 * x - 4


def loop(n):
    """The loop that people write: both functions, nothing kept."""
    x = START
    for _ in range(n):
        y, g = value(x), slope(x)  # noqa: F841 - the value is part of the work
        x -= STEP * g
    return x


def keeping_loop(n):
    """The same, keeping the path and the values as `schuss.minimize` does."""
    x, path, values = START, [], []
    for _ in range(n):
        path.append(x)
        values.append(value(x))
        x -= STEP * slope(x)
    return x


def compiled(n):
    result = schuss.minimize(Polynomial([6, -4, 1]), START, learning_rate=STEP, max_iter=n, tol=0)
    assert result.nit == n and len(result.path) == n + 1
    return result.x[0]


def race(iterations, rounds):
    runs = {
        "schuss.minimize": (compiled, iterations),
        "Python": (loop, iterations // 10),
        "Python, path kept": (keeping_loop, iterations // 10),
    }
    # Equal work first: the same points, to rounding.
    ends = [run(1000) for run, _ in runs.values()]
    assert np.ptp(ends) < 1e-12, ends
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, n) in runs.items():
            begin = perf_counter()
            run(n)
            seconds[name].append((perf_counter() - begin) / n)
    table = Table(title=f"{iterations:,} iterations, medians of {rounds} rounds in turn")
    for column in ("", "ns an iteration", "times schuss (median)", "(lowest)", "(highest)"):
        table.add_column(column, justify="right" if column else "left")
    for name, times in seconds.items():
        ratios = [t / mine for t, mine in zip(times, seconds["schuss.minimize"], strict=True)]
        figures = [median(ratios), min(ratios), max(ratios)]
        table.add_row(name, f"{1e9 * median(times):.2f}", *(f"{r:.1f}" for r in figures))
    return table


def beale(x):
    return sum((c - x[0] + x[0] * x[1] ** k) ** 2 for k, c in enumerate((1.5, 2.25, 2.625), 1))


def beale_slope(x):
    terms = [(c - x[0] + x[0] * x[1] ** k, k) for k, c in enumerate((1.5, 2.25, 2.625), 1)]
    return np.array(
        [
            sum(2 * t * (x[1] ** k - 1) for t, k in terms),
            sum(2 * t * x[0] * k * x[1] ** (k - 1) for t, k in terms),
        ]
    )


def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


def himmelblau_slope(x):
    a, b = x[0] ** 2 + x[1] - 11, x[0] + x[1] ** 2 - 7
    return np.array([4 * x[0] * a + 2 * b, 2 * a + 4 * x[1] * b])


def problems():
    """Name, value, gradient, Hessian or None, start, and a distance of x to the minimum."""
    scale = np.logspace(0, 4, 100)
    yield (
        "Rosenbrock", scipy.optimize.rosen, scipy.optimize.rosen_der, scipy.optimize.rosen_hess,
        np.array([-1.2, 1.0]), lambda x: np.abs(x - 1).max(),
    )  # fmt: skip
    yield "Beale", beale, beale_slope, None, np.ones(2), lambda x: np.abs(x - [3, 0.5]).max()
    minima = np.array(
        [[3, 2], [-2.805118, 3.131313], [-3.779310, -3.283186], [3.584428, -1.848127]]
    )
    yield (
        "Himmelblau", himmelblau, himmelblau_slope, None, np.zeros(2),
        lambda x: np.abs(minima - x).max(axis=1).min(),
    )  # fmt: skip
    yield (
        "quadratic, 100 dimensions, condition 1e4", lambda x: 0.5 * x @ (scale * x),
        lambda x: scale * x, np.diag(scale), np.ones(100), lambda x: np.abs(x).max(),
    )  # fmt: skip


def compare(name, fun, jac, hess, x0, distance, max_iter):
    table = Table(title=name)
    for column in ("method", "f", "distance of x", "steps", "f evaluated", "ended"):
        table.add_column(column, justify="left" if column in ("method", "ended") else "right")
    theirs = scipy.optimize.minimize(fun, x0, jac=jac)
    rows = [("SciPy, BFGS", theirs, "converged" if theirs.success else "not converged")]
    for method in METHODS:
        result = schuss.minimize(fun, x0, jac=jac, hess=hess, method=method, max_iter=max_iter)
        rows.append((method, result, result.stop_reason))
    if len(x0) == 2:
        grid = schuss.minimize(fun, method="grid", bounds=[(-5, 5)] * 2, n_points=101)
        rows.append(("grid", grid, grid.stop_reason))
    for method, result, reason in rows:
        table.add_row(
            method, f"{result.fun:.2e}", f"{distance(result.x):.1e}", f"{result.nit:,}",
            f"{result.nfev:,}", reason,
        )  # fmt: skip
    return table


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.descent", description=__doc__)
    parser.add_argument("--iterations", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--max-iter", type=int, default=50_000)
    options = parser.parse_args(arguments)
    console = Console(width=100)
    console.print(race(options.iterations, options.rounds))
    for problem in problems():
        console.print(compare(*problem, options.max_iter))
    return 0


if __name__ == "__main__":
    sys.exit(main())
