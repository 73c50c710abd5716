"""The solvers, each in one entry.

A new first-order solver is a code and an entry here, and its update in each backend. Parameter
constraints, choices of the command line, lists in the documentation, and the algorithm in
`solvers` come from the entry. This module is quick to import.
"""

from dataclasses import dataclass
from enum import IntEnum


class Solver(IntEnum):
    """Updates of first-order solvers that the kernels implement."""

    GD = 0
    MOMENTUM = 1
    NESTEROV = 2
    ADAM = 3
    ADAPTIVE = 4


@dataclass(frozen=True)
class Method:
    """A solver that users can choose.

    Attributes
    ----------
    summary : str
        One line for help texts and docstrings.
    rule : Solver or None
        Update in the kernels; None: full-batch gradients and a line search, without a learning
        rate or a state to resume from.
    n_slots : int
        Number of optimiser arrays, each shaped like the parameters, in the state.
    takes_batches : bool
        Whether it can use mini-batches.
    batch_size : int or None
        Default batch size; None: all rows.
    learning_rate : float or None
        Value of ``learning_rate="auto"``; None: 1 / L, L being the bound of the curvature.
    fixed_step : bool
        Whether the step size stays the learning rate. Otherwise a given learning rate is the
        first step size, at most 1 / L, and only L is kept between calls, because gradients of
        different rows say nothing about a step size.
    stable : float
        Learning rates below this times 1 / L converge.
    squares : bool
        Whether it squares gradients, which may overflow.
    exact : bool
        For second-order solvers: whether it is Newton's method, at any cost.
    """

    summary: str
    rule: Solver | None = None
    n_slots: int = 0
    takes_batches: bool = True
    batch_size: int | None = None
    learning_rate: float | None = None
    fixed_step: bool = True
    stable: float = 2.0
    squares: bool = False
    exact: bool = False

    @property
    def resumable(self) -> bool:
        """Whether ``partial_fit`` or a checkpoint can resume it."""
        return self.rule is not None

    def explain_bound(self, curvature: float, where: str) -> str:
        """Which learning rates converge, given a bound of the curvature."""
        return (
            f"the curvature {where} is at most {curvature:.6g}, so the largest safe learning rate "
            f"is {self.stable:.3g}/curvature = {self.stable / curvature:.6g}"
        )


# The choices of users.
SOLVERS = {
    "gd": Method("gradient descent, all rows at once", Solver.GD),
    "momentum": Method("gradient descent with momentum 0.9", Solver.MOMENTUM, n_slots=1),
    "nesterov": Method(
        "accelerated gradient descent (Nesterov), with restarts",
        Solver.NESTEROV,
        n_slots=1,
        # 2 (1 + beta) / (1 + 2 beta) for the momentum beta = 1 of late iterations.
        stable=4 / 3,
    ),
    "adaptive": Method(
        "gradient descent with step sizes from successive gradients",
        Solver.ADAPTIVE,
        n_slots=2,
        takes_batches=False,
        fixed_step=False,
    ),
    "adam": Method(
        "Adam, on mini-batches",
        Solver.ADAM,
        n_slots=2,
        batch_size=32,
        learning_rate=0.01,
        squares=True,
    ),
    "sgd": Method("gradient descent on mini-batches", Solver.GD, batch_size=32),
    "lbfgs": Method(
        "L-BFGS, to the optimum in a few passes",
        takes_batches=False,
    ),
    "newton": Method(
        "Newton's method, to the optimum in a few passes",
        takes_batches=False,
        exact=True,
    ),
}

# Number of optimiser arrays of each update, which several solvers may share.
N_SLOTS = {method.rule: method.n_slots for method in SOLVERS.values() if method.rule is not None}

# Methods of `schuss.minimize`.
MINIMIZERS = ("gd", "momentum", "nesterov", "adam", "adaptive", "newton", "grid")
