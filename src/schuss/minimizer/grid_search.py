"""The best point of a grid."""

import math
from numbers import Integral
from typing import Any

import numpy as np
from scipy.optimize import Bounds

from schuss.memory import machine_memory
from schuss.minimizer.inputs import check_number
from schuss.minimizer.problem import Problem, note_iteration
from schuss.minimizer.run import Callback, MinimizeResult, make_result, warn_of_interrupt


def grid_axes(bounds: Any, n_points: Any) -> list[np.ndarray]:
    """Coordinates of the grid along each variable."""
    if bounds is None:
        raise ValueError(
            "method='grid' needs bounds, a (low, high) for each variable, such as [(-5, 5)]."
        )
    if isinstance(bounds, Bounds):
        bounds = np.stack([np.atleast_1d(bounds.lb), np.atleast_1d(bounds.ub)], axis=1)
    pairs = np.asarray(bounds, dtype=np.float64)
    pairs = pairs[None] if pairs.ndim == 1 else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"bounds={bounds!r}: expected a (low, high) for each variable.")
    if not (np.isfinite(pairs).all() and (pairs[:, 0] < pairs[:, 1]).all()):
        raise ValueError(f"bounds={bounds!r}: expected finite numbers, low < high.")
    counts = np.broadcast_to(np.asarray(n_points), len(pairs)).tolist()
    for count in counts:
        check_number(count, "n_points", Integral, 2)
    size, variables = math.prod(counts), len(pairs)
    # Two copies of the points while they are made, and the values; Python's integers.
    needed, memory = 8 * size * (2 * variables + 1), machine_memory()
    if needed > memory / 2:
        shape = " x ".join(map(str, counts))
        raise ValueError(
            f"n_points={n_points!r}: a grid of {shape} = {size:,} points takes "
            f"{needed / 1e9:,.3g} GB, more than half of the memory here ({memory / 1e9:,.3g} GB). "
            "Use fewer points, or refine narrower bounds step by step."
        )
    return [np.linspace(low, high, count) for (low, high), count in zip(pairs, counts, strict=True)]


def search_grid(problem: Problem, axes: list[np.ndarray], callback: Callback) -> MinimizeResult:
    """Evaluate the function on a grid; the result is the best point."""
    if problem.n != len(axes):
        raise ValueError(
            f"x0 has {problem.n} entries, but bounds has {len(axes)}; expected one for each "
            "variable."
        )
    # No point is the user's own starting point.
    problem.start = None
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    values = np.full(len(points), np.nan)
    reason, done = "converged", 0
    try:
        if problem.polynomial is not None and callback.function is None:
            values[:], done = problem.polynomial(points[:, 0]), len(points)
            problem.nfev += len(points)
        else:
            for k, x in enumerate(points):
                with note_iteration(k, x), np.errstate(all="ignore"):
                    values[k] = problem.value(x)
                done = k + 1
                if callback.stops(x, values[k]):
                    reason = "callback"
                    break
    except KeyboardInterrupt:
        if not done:
            raise
        reason = "interrupted"
        warn_of_interrupt(f"{done} of {len(points)} points", "the best of them")
    values, points = values[:done], points[:done]
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError(
            f"fun is not finite at any of the {len(values):,} points of the grid: "
            f"{values[0]} at x = {points[0]}. Choose other bounds."
            + (f" ({problem.fault}.)" if problem.fault else "")
        )
    best = int(np.where(finite, values, np.inf).argmin())
    x = points[best].copy()
    with np.errstate(all="ignore"):
        gradient = problem.gradient(x)
    others = "" if finite.all() else f" ({np.sum(~finite):,} of them not finite)"
    reach = ", ".join(f"{(axis[1] - axis[0]) / 2:.3g}" for axis in axes)
    return make_result(
        problem, "grid", reason,
        f"The best of {len(values):,} points{others}. The minimum may be half a grid spacing "
        f"away ({reach}), or in a narrow valley between the points.",
        x=x, fun=float(values[best]), jac=gradient, nit=len(points) - 1, path=points,
        path_fun=values, path_step=1, learning_rate=None,
    )  # fmt: skip
