"""The solvers, each in one entry.

A new first-order solver is a code and an entry here, and its step in each backend. Parameter
constraints, choices of the command line, lists in the documentation, and what `solvers` does for
a name come from the entry. Importing this takes no time.
"""

from dataclasses import dataclass
from enum import IntEnum


class Solver(IntEnum):
    """First-order rules that turn a gradient into a step."""

    GD = 0
    MOMENTUM = 1
    NESTEROV = 2
    ADAM = 3
    ADAPTIVE = 4


@dataclass(frozen=True)
class Method:
    """A solver as users know it.

    Attributes
    ----------
    summary : str
        One line for users.
    rule : Solver or None
        The step that the backends take; None: whole gradients and a line search, which need no
        learning rate and keep nothing to go on from.
    n_slots : int
        Optimiser arrays, each shaped like the parameters, that the rule keeps between steps.
    takes_batches : bool
    batch_size : int or None
        Where none is given; None: all rows.
    learning_rate : float or None
        What ``learning_rate="auto"`` means; None: the inverse of the curvature's bound.
    fixed_step : bool
        Whether the step stays what it was at the start. Otherwise a given one is where to begin,
        no further than 1 / L, and nothing but L is kept between calls: gradients of different
        rows say nothing about a step.
    stable : float
        Steps converge below this, times the inverse of the curvature's bound.
    squares : bool
        Whether the rule squares gradients, which may overflow.
    exact : bool
        Of those without a rule: Newton's method, whatever it costs.
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
    def resumable(self):
        """Whether a later call, of ``partial_fit`` or from a checkpoint, can go on."""
        return self.rule is not None

    def explain_bound(self, curvature, where):
        """Say which steps converge, given a bound of the curvature."""
        return (
            f"the curvature {where} is up to {curvature:.6g}, and the largest safe step is "
            f"{self.stable:.3g}/curvature = {self.stable / curvature:.6g}"
        )


# What users choose from.
SOLVERS = {
    "gd": Method("gradient descent, all rows at once", Solver.GD),
    "momentum": Method("gradient descent with momentum 0.9", Solver.MOMENTUM, n_slots=1),
    "nesterov": Method(
        "accelerated gradient descent (Nesterov), with restarts",
        Solver.NESTEROV,
        n_slots=1,
        # At the momentum of its late steps: 2 (1 + beta) / (1 + 2 beta), beta = 1.
        stable=4 / 3,
    ),
    "adaptive": Method(
        "gradient descent that finds its step from successive gradients",
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

# Of each rule; several solvers may share one.
N_SLOTS = {method.rule: method.n_slots for method in SOLVERS.values() if method.rule is not None}

# Methods of `schuss.minimize`.
MINIMIZERS = ("gd", "momentum", "nesterov", "adam", "adaptive", "newton", "grid")
