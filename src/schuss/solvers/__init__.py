"""Solvers by name, and how a run of each begins."""

from schuss.solvers.first_order import METHODS, FirstOrder

SOLVERS = tuple(METHODS)

__all__ = ["SOLVERS", "start"]


def start(name, objective, coef, intercept, **options):
    """Begin a run.

    Parameters
    ----------
    name : one of `SOLVERS`
    objective : Objective
    coef, intercept : ndarrays of shapes (K, d) and (K,)
        Initial weights; the run changes them in place.
    **options
        As `first_order.FirstOrder` takes them.

    Returns
    -------
    object
        With the attributes and methods that `driver.run` describes.
    """
    return FirstOrder(name, objective, coef, intercept, **options)
