"""The state of a run on disk, so that it can go on after the process has ended.

A file of `schuss.tensors`: weights, optimiser arrays, counters, history and the random state
behind the order of the rows. As that is all a run changes, going on is exact.
"""

from pathlib import Path
from time import monotonic

import numpy as np

from schuss import tensors
from schuss.backends.contract import State
from schuss.constants import HISTORY_COLUMNS
from schuss.files import check_writable
from schuss.solvers.run import Snapshot

_FORMAT = "schuss-checkpoint"
_VERSION = 2
# Seconds between two writings.
_PERIOD = 60.0
# Relative difference of the first gradient that another backend's rounding explains.
_SAME_GRADIENT = 1e-3

# They do not change what is computed, or a checkpoint carries their state itself.
_FREE = ("random_state", "n_jobs")


class Checkpoint:
    """One file, for one call.

    Parameters
    ----------
    path : str or path-like
    parameters : mapping
        Of the call; a checkpoint of other ones is refused.
    epochs : int
        Of the call; a checkpoint that has more of them behind it is refused.

    Raises
    ------
    OSError
        Where the file could not be written later.
    """

    def __init__(self, path, parameters, epochs):
        self._path = Path(path)
        self._epochs = epochs
        try:
            check_writable(self._path)
        except OSError as error:
            raise type(error)(f"checkpoint: {error}. Give a path that can be written to.") from None
        self._parameters = {
            name: _plain(value) for name, value in parameters.items() if name not in _FREE
        }
        self._gradient = None
        self._written = monotonic()

    def resume(self, solver):
        """Bring a run that has not begun to where the file stands.

        Returns
        -------
        rows : ndarray or None
            The history so far.
        converged : bool
        """
        self._gradient = solver.gradient()
        if not self._path.exists():
            return None, False
        document, arrays = self._read()
        self._compare(document["parameters"], arrays, solver)
        if (done := len(arrays["history"])) > self._epochs:
            raise ValueError(
                f"checkpoint={str(self._path)!r} has {done} epochs behind it, more than "
                f"epochs={self._epochs}, and a run does not go back. Pass epochs={done} or more, "
                "give another path, or delete the file."
            )
        state = State(*(arrays[name] for name in State._fields))
        try:
            solver.restore(Snapshot(state, document["generator"]))
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            raise self._not_one(f"its random state: {error}") from error
        return arrays["history"], document["converged"]

    def save(self, solver, rows, final, converged):
        """Write the state, unless that was done a moment ago and more will come.

        `rows` is called for the history.
        """
        if not final and monotonic() - self._written < _PERIOD:
            return
        snapshot = solver.snapshot()
        document = {
            "format": _FORMAT,
            "format_version": _VERSION,
            "parameters": self._parameters,
            "generator": snapshot.generator,
            "converged": converged,
        }
        arrays = {
            **snapshot.state._asdict(),
            "history": rows(),
            "first_gradient": self._gradient,
        }
        tensors.write(self._path, arrays, document)
        self._written = monotonic()

    def _read(self):
        try:
            document, arrays = tensors.read(self._path, _FORMAT, _VERSION)
        except tensors.TensorFileError as error:
            raise self._not_one(error) from None
        expected = {*State._fields, "history", "first_gradient"}
        if not (
            arrays.keys() == expected
            and arrays["history"].shape[1:] == (len(HISTORY_COLUMNS) + 1,)
            and all(np.isfinite(arrays[name]).all() for name in ("coef", "intercept", "counters"))
            and isinstance(document.get("parameters"), dict)
            and isinstance(document.get("generator", False), dict | None)
            and isinstance(document.get("converged"), bool)
        ):
            raise self._not_one("it lacks something, or holds numbers that are not finite")
        return document, arrays

    def _not_one(self, reason):
        return ValueError(
            f"checkpoint={str(self._path)!r} is not a checkpoint that schuss.train wrote "
            f"({reason}). Give another path, or delete the file."
        )

    def _compare(self, parameters, arrays, solver):
        for name, mine in self._parameters.items():
            theirs = parameters.get(name)
            if theirs != mine:
                self._refuse(f"{name} was {theirs!r} there and is {mine!r} here")
        mine_by_name = {**solver.state._asdict(), "first_gradient": self._gradient}
        for name, mine in mine_by_name.items():
            theirs = arrays[name]
            if (theirs.shape, theirs.dtype) != (mine.shape, mine.dtype):
                self._refuse(
                    f"{name} is {theirs.dtype} of shape {theirs.shape} there, "
                    f"{mine.dtype} of shape {mine.shape} here"
                )
        first = arrays["first_gradient"]
        scale = max(float(np.abs(first).max(initial=0)), float(np.finfo(first.dtype).tiny))
        if not np.allclose(first, self._gradient, rtol=0, atol=_SAME_GRADIENT * scale):
            self._refuse("the gradient at the start differs: X, y or the weights are others")

    def _refuse(self, reason):
        raise ValueError(
            f"checkpoint={str(self._path)!r} belongs to another call: {reason}. Repeat the "
            "call as it was, give another path, or delete the file."
        )


def _plain(value):
    """A parameter as JSON gives it back."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, int | str | None) else float(value)
