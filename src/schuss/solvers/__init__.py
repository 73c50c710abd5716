"""Solvers by name, and how a run of each begins."""

from schuss.solvers.first_order import METHODS, FirstOrder
from schuss.solvers.second_order import SecondOrder

# Whole gradients and a line search: no batches, no step to choose, no state to go on from.
SECOND_ORDER = ("lbfgs", "newton")
SOLVERS = (*METHODS, *SECOND_ORDER)

__all__ = ["SECOND_ORDER", "SOLVERS", "start"]


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
    run.Run
    """
    if name not in SECOND_ORDER:
        return FirstOrder(name, objective, coef, intercept, **options)
    for option, usual in (("batch_size", None), ("learning_rate", "auto")):
        came = options.get(option, usual)
        if came != usual:
            raise ValueError(
                f"{option}={came!r} with solver={name!r}: this solver takes all rows at once and "
                f"finds its own steps. Leave {option}={usual!r}, or choose solver='sgd'."
            )
    return SecondOrder(
        objective, coef, intercept, tol=options.get("tol", 0.0), exact=name == "newton"
    )
