"""The L1 penalty: quadratic models plus ``sum l1 |t|``, and subgradients."""

import numpy as np

from schuss.constants import SINGULAR
from schuss.solvers.curvature import factorise, solve

_ROUNDS = 100
_SWEEPS = 2


def smallest_subgradient(gradient, theta, l1):
    """Of a function with this gradient plus ``sum l1 |theta|``."""
    at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - l1, 0.0)
    return np.where(theta != 0, gradient + l1 * np.sign(theta), at_zero)


def minimise(hessian, gradient, theta, l1, tol, singular=SINGULAR[8]):
    """Minimise ``g (t - theta) + (t - theta) H (t - theta) / 2 + sum l1 |t|`` over t.

    Sweeps of coordinate descent find which weights are 0; between them a linear system
    gives the others, as far as no sign changes. So the number of sweeps does not grow
    with the condition of H, as it would for coordinate descent alone.

    Parameters
    ----------
    hessian : ndarray of shape (r, r), positive semidefinite
    gradient, theta, l1 : ndarrays of shape (r,)
    tol : float
        Largest entry of the smallest subgradient that is good enough.
    singular : float
        As `curvature.Blocks` takes it.

    Returns
    -------
    ndarray of shape (r,)
    """
    t, gradient = theta.copy(), gradient.copy()
    curvature = hessian.diagonal().copy()
    for _ in range(_ROUNDS):
        for _ in range(_SWEEPS):
            moves = (t != 0) | (np.abs(gradient) > l1)
            for j in np.flatnonzero((curvature > 0) & moves).tolist():
                h = curvature[j]
                wanted = h * t[j] - gradient[j]
                new = max(wanted - l1[j], 0.0) if wanted > 0 else min(wanted + l1[j], 0.0)
                move = new / h - t[j]
                if move:
                    t[j] = new / h
                    gradient += move * hessian[j]
        for _ in range(len(t)):
            if _solve_face(hessian, t, gradient, l1, singular):
                break
        if np.abs(smallest_subgradient(gradient, t, l1)).max(initial=0) <= tol:
            break
    return t


def _solve_face(hessian, t, gradient, l1, singular):
    """Minimise over the weights that are not 0, up to the first that would change its sign.

    Returns whether none would.
    """
    face = np.flatnonzero((t != 0) | (l1 == 0))
    if not len(face):
        return True
    old = t[face]
    pull = gradient[face] + l1[face] * np.sign(old)
    move = -solve(factorise(hessian[np.ix_(face, face)], singular), pull)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = np.where((l1[face] > 0) & (move * old < 0), -old / move, np.inf)
    share = min(1.0, float(crossing.min()))
    new = old + share * move
    new[crossing <= share] = 0.0
    t[face] = new
    gradient += np.einsum("i,ij->j", new - old, hessian[face])
    return share == 1.0
