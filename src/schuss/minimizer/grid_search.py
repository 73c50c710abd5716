"""The best point of a grid."""

import math
import os
from numbers import Integral

import numpy as np
from scipy.optimize import Bounds

from schuss.minimizer.inputs import check_number
from schuss.minimizer.problem import noting
from schuss.minimizer.run import make_result, warn_of_interrupt


def grid_axes(bounds, n_points):
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
    # The points twice while they are made, and their values; Python's numbers do not overflow.
    needed, memory = 8 * size * (2 * variables + 1), _memory()
    if needed > memory / 2:
        shape = " x ".join(map(str, counts))
        raise ValueError(
            f"n_points={n_points!r}: a grid of {shape} = {size:,} points takes "
            f"{needed / 1e9:,.3g} GB, more than half of the memory here ({memory / 1e9:,.3g} GB). "
            "Take fewer points, or narrower bounds one after the other."
        )
    return [np.linspace(*pair, count) for pair, count in zip(pairs, counts, strict=True)]


def _memory():
    """Bytes of memory of the machine; 8 GB where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8 << 30


def search_grid(problem, axes, callback):
    """Result of the best point."""
    if problem.n != len(axes):
        raise ValueError(
            f"x0 has {problem.n} entries, but bounds are for {len(axes)} variables; expected "
            "as many."
        )
    # No point of it is the caller's choice.
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
                with noting(k, x), np.errstate(all="ignore"):
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
        f"The best of {len(values):,} points{others}; the minimum "
        f"may lie about half a spacing away ({reach}), or in a valley between the points.",
        x=x, fun=float(values[best]), jac=gradient, nit=len(points) - 1, path=points,
        path_fun=values, path_step=1, learning_rate=None,
    )  # fmt: skip
