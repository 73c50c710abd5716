"""The state of a run on disk, so that it can go on after the process has ended.

A file of safetensors with JSON metadata: weights, optimiser arrays, counters, history and
the random state behind the order of the rows. As that is all a run changes, going on is
exact.
"""

import json
from pathlib import Path
from time import monotonic

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors_numpy

from schuss.backends.contract import State
from schuss.files import check_writable, write_whole
from schuss.solvers.run import Snapshot

_FORMAT = "schuss-checkpoint"
_VERSION = 1
_METADATA_KEY = "schuss"
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
        self._parameters = {name: value for name, value in parameters.items() if name not in _FREE}
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
        document, tensors = self._read()
        self._compare(document["parameters"], tensors, solver)
        if (done := len(tensors["history"])) > self._epochs:
            raise ValueError(
                f"checkpoint={str(self._path)!r} has {done} epochs behind it, more than "
                f"epochs={self._epochs}, and a run does not go back. Pass epochs={done} or more, "
                "give another path, or delete the file."
            )
        solver.restore(
            Snapshot(State(*(tensors[name] for name in State._fields)), document["generator"])
        )
        return tensors["history"], document["converged"]

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
        tensors = {
            **snapshot.state._asdict(),
            "history": np.ascontiguousarray(rows()),
            "first_gradient": self._gradient,
        }
        content = safetensors_numpy.save(
            tensors, metadata={_METADATA_KEY: json.dumps(document, default=float)}
        )
        with write_whole(self._path) as file:
            file.write(content)
        self._written = monotonic()

    def _read(self):
        try:
            with safe_open(self._path, framework="numpy") as file:
                document = json.loads((file.metadata() or {})[_METADATA_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            found = document["format"], document["format_version"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"checkpoint={str(self._path)!r} is not a checkpoint that schuss.train wrote "
                f"({type(error).__name__}: {error}). Give another path, or delete the file."
            ) from error
        if found != (_FORMAT, _VERSION):
            self._refuse(f"its format is {found[0]} {found[1]}, expected {_FORMAT} {_VERSION}")
        return document, tensors

    def _compare(self, parameters, tensors, solver):
        for name, mine in self._parameters.items():
            theirs = parameters.get(name)
            if theirs != mine:
                self._refuse(f"{name} was {theirs!r} there and is {mine!r} here")
        for name, mine in zip(State._fields, solver.state, strict=True):
            theirs = tensors[name]
            if (theirs.shape, theirs.dtype) != (mine.shape, mine.dtype):
                self._refuse(
                    f"{name} is {theirs.dtype} of shape {theirs.shape} there, "
                    f"{mine.dtype} of shape {mine.shape} here"
                )
        first = tensors["first_gradient"]
        scale = max(float(np.abs(first).max(initial=0)), float(np.finfo(first.dtype).tiny))
        if not np.allclose(first, self._gradient, rtol=0, atol=_SAME_GRADIENT * scale):
            self._refuse("the gradient at the start differs: X, y or the weights are others")

    def _refuse(self, reason):
        raise ValueError(
            f"checkpoint={str(self._path)!r} belongs to another call: {reason}. Repeat the "
            "call as it was, give another path, or delete the file."
        )
