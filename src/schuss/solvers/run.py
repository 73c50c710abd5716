"""A run of a solver, as `driver.run` advances it."""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from schuss.backends.contract import State


def check_order(order, n_rows):
    """Refuse numbers that are not those of all rows, each once: the kernels trust them."""
    if not (np.sort(order, axis=-1) == np.arange(n_rows)).all():
        raise ValueError(f"its order of the rows is not one of {n_rows:,} rows")


class Progress(NamedTuple):
    """What `Run.advance` brought."""

    rows: np.ndarray  # (m, 3) history, one row for each iteration
    reason: str | None  # why it cannot go on


class Snapshot(NamedTuple):
    """All that a run of a neuron changes."""

    state: State
    generator: dict | None  # state of the bit generator behind the rows' order
    norm: float = math.inf  # largest entry of the last gradient


class Plateau:
    """Stop where the best value has not improved by `tol` for `patience` iterations.

    A run that goes on after such a stop is given the same patience again. `best` and
    `waited` are those of an earlier run that this one continues.
    """

    def __init__(self, tol, patience, best=math.inf, waited=0):
        self._tol = tol
        self._patience = patience
        self.best = best
        self.waited = waited

    def find(self, values):
        """Index of the value at which to stop, or None."""
        for i, value in enumerate(values.tolist()):
            self.waited = self.waited + 1 if value > self.best - self._tol else 0
            self.best = min(self.best, value)
            if self.waited >= self._patience:
                self.waited = 0
                return i
        return None


class Run:
    """What the driver asks for, with the answers of a solver that finds its own steps.

    To these each solver adds ``state``; ``seconds_estimate``, the rough duration of an
    iteration, which chooses the length of the first chunk; ``advance(k)``, up to k iterations,
    which returns a `Progress`; ``value()`` and ``is_finite()`` of the objective and the weights
    where it stands; ``constant()``, the objective of the best constant prediction;
    ``snapshot()`` and ``restore(snapshot)`` of all that it changes, random state included, as
    tuples and dicts of arrays and numbers; and ``divergence_error()``, the error to raise where
    it diverged.

    Attributes
    ----------
    stochastic : bool
        Whether the losses of its history are those of moving weights.
    watched : bool
        Whether a loss that grows ends it: a step that the user chose may be too long.
    retreats : bool
        Whether it goes back to its start where it diverges.
    longest : int
        Iterations that one `advance` should take at the most.
    resumable : bool
        Whether its snapshots hold all that another process needs to go on.
    unrecorded : tuple of str
        Columns of the history that it leaves empty.
    """

    retreats = True
    resumable = True
    stochastic = False
    unrecorded: tuple[str, ...] = ()

    if TYPE_CHECKING:
        # What each solver adds.
        def __getattr__(self, name: str) -> Any: ...

    @property
    def watched(self) -> bool:
        return False

    @property
    def longest(self) -> int:
        return 1 << 30

    @property
    def passes(self) -> int:
        return self.objective.passes

    @property
    def hessians(self) -> int:
        return 0

    @property
    def sample_size(self) -> int | None:
        return None

    def info(self) -> dict[str, Any]:
        """What serves: see `TrainResult.fit_info`."""
        return {
            "backend": self.objective.backend.NAME,
            "algorithm": self.algorithm,
            "threads": self.objective.n_threads(),
            "sample_size": self.sample_size,
            "passes": self.passes,
            "hessians": self.hessians,
        }

    def weights(self):
        """What early stopping keeps, to be restored."""
        return self.snapshot()

    def resume(self, snapshot):
        """`restore` what a file holds, which may be anything of the right structure."""
        self.restore(snapshot)

    def is_saturated(self, value):
        """Whether a stationary point of this value is one that too large a step fell into."""
        return False

    def is_settled(self):
        """Whether a loss that no longer improves is an end, not a matter of small steps."""
        return True

    def is_within(self, tol):
        """Whether it stands where one that was held to this tolerance had ended."""
        return False

    def is_unstable(self):
        """Whether the step is longer than what surely converges."""
        return False

    def oscillation(self, losses):
        """What to say of a run of all its epochs, or None."""
        return None


class WholeRun(Run):
    """A run over all rows at once, whose parameters are ``theta`` beside those of ``state``."""

    # Pairs, models and samples would have to be kept, too.
    resumable = False

    def constant(self):
        return float(self.objective.constant())

    def is_finite(self):
        return bool(np.isfinite(self.theta).all())

    def snapshot(self):
        return Snapshot(State(*(array.copy() for array in self.state)), None)

    def restore(self, snapshot):
        for mine, theirs in zip(self.state, snapshot.state, strict=True):
            mine[...] = theirs
        self.reset()

    def memory(self):
        return None
