"""Solvers by name, and how a run of each begins."""

from schuss.methods import SOLVERS
from schuss.solvers.first_order import FirstOrder
from schuss.solvers.second_order import SecondOrder

__all__ = ["start"]


def start(name, objective, coef, intercept, **options):
    """Begin a run.

    Parameters
    ----------
    name : key of `methods.SOLVERS`
    objective : Objective
    coef, intercept : ndarrays of shapes (K, d) and (K,)
        Initial weights; the run changes them in place.
    **options
        As `first_order.FirstOrder` takes them.

    Returns
    -------
    run.Run
    """
    method = SOLVERS[name]
    if method.rule is not None:
        return FirstOrder(name, objective, coef, intercept, **options)
    for option, usual in (("batch_size", None), ("learning_rate", "auto")):
        came = options.get(option, usual)
        if came != usual:
            raise ValueError(
                f"{option}={came!r} with solver={name!r}: this solver takes all rows at once and "
                f"finds its own steps. Leave {option}={usual!r}, or choose solver='sgd'."
            )
    return SecondOrder(objective, coef, intercept, tol=options.get("tol", 0.0), exact=method.exact)
