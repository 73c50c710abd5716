"""The state of a run on disk, so that it can go on after the process has ended.

A file of `schuss.tensors`: what the driver and the solver change, the history, and what tells
the data and the parameters of the call. As that is all a run changes, going on is exact.
"""

import hashlib
import json
import math
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from schuss import tensors
from schuss.files import check_writable

_FORMAT = "schuss-checkpoint"
_VERSION = 3
# Seconds between two writings.
_PERIOD = 60.0
# Relative difference of the fingerprints that another backend's rounding explains.
_SAME_ROWS = 1e-3
# Parameters of more JSON than this are compared by their digest.
_LONGEST_PARAMETER = 1000

# They do not change what is computed, or a checkpoint carries their state itself.
_FREE = ("random_state", "n_jobs", "verbose", "max_iter", "warm_start")

# Whose other rows another fingerprint shows, in the order in which they are given.
_PARTS = (
    "X, y or the weights of the rows are others",
    "the rows of eval_set are others, or those held out, which a random_state that is a number "
    "would keep",
)


class Standing(NamedTuple):
    """What a run changes, besides its history: tuples and dicts of arrays and numbers."""

    run: Any  # `Run.snapshot`
    plateau: tuple[float, int] | None  # best value, iterations waited
    best: tuple[float, Any] | None  # what early stopping judged best, and `Run.weights` there


class Checkpoint:
    """One file, for one call.

    Parameters
    ----------
    path : str or path-like
    parameters : mapping
        Of the call, ``solver`` among them; a checkpoint of other ones is refused.
    limit : str
        Name of the parameter that bounds the iterations.

    Raises
    ------
    OSError
        Where the file could not be written later.
    """

    def __init__(self, path, parameters, limit="max_iter"):
        self._path = Path(path)
        self._limit = limit
        try:
            check_writable(self._path)
        except OSError as error:
            raise type(error)(f"checkpoint: {error}. Give a path that can be written to.") from None
        self._parameters = {
            name: _plain(value) for name, value in parameters.items() if name not in _FREE
        }
        self._shapes, self._fingerprints = [], []
        self._latest = None
        self._written = monotonic()

    def identify(self, run, shapes, fingerprints):
        """Take up what tells the rows, of a run that can go on later.

        Parameters
        ----------
        run : Run
        shapes : list of (int, int)
            Of X, and of the rows that validate, where there are some.
        fingerprints : list of ndarray
            One for each of them.
        """
        if not run.resumable:
            raise ValueError(
                f"checkpoint={str(self._path)!r} with solver={self._parameters['solver']!r}: this "
                "solver mostly ends within a few dozen passes and keeps no state to go on from. "
                "Leave checkpoint=None, or choose another solver."
            )
        self._shapes = [list(shape) for shape in shapes]
        self._fingerprints = fingerprints

    def resume(self, run, standing, max_iter, n_columns):
        """Bring a run that has not begun to where the file stands.

        Parameters
        ----------
        run : Run
        standing : Standing
            Of the run as it is, whose structure the file must have.
        max_iter, n_columns : int
            Most rows, and columns, of the history.

        Returns
        -------
        standing : Standing
        history : ndarray
        reason : str or None
            Why the run had come to its end.

        None where there is no file.
        """
        if not self._path.exists():
            return None
        document, arrays = self._read()
        self._compare(document, arrays)
        history = arrays["history"]
        if history.shape[1] != n_columns:
            raise self._not_one("its history has other columns")
        if len(history) > max_iter:
            raise ValueError(
                f"checkpoint={str(self._path)!r} already ran {len(history)} iterations, more than "
                f"{self._limit}={max_iter}. Pass {self._limit}={len(history)} or more, give "
                "another path, or delete the file."
            )
        seen = {"history", *map(_name_of_rows, range(len(self._shapes)))}
        try:
            standing = self._unpack(standing, "state", arrays, document["state"], seen)
            if seen != arrays.keys() | document["state"].keys():
                raise ValueError("it holds more than this run has")
            run.resume(standing.run)
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, _OtherCallError):
                raise
            raise self._not_one(str(error)) from error
        if not run.is_finite():
            raise self._not_one("its weights are not finite")
        return standing, history, document["stop_reason"]

    def keep(self, standing, n_rows, reason, history):
        """Remember where a run stands, and write it where the last writing is long ago.

        Parameters
        ----------
        standing : Standing
            Not changed later.
        n_rows : int
            Iterations done.
        reason : str or None
            Why the run has come to its end.
        history : callable
            Returns the history, with these rows first.
        """
        self._latest = standing, n_rows, reason, history
        if monotonic() - self._written >= _PERIOD:
            self.flush()

    def flush(self):
        """Write what has been kept last."""
        if self._latest is None:
            return
        standing, n_rows, reason, history = self._latest
        arrays, state = {"history": history()[:n_rows]}, dict[str, Any]()
        arrays |= {_name_of_rows(i): part for i, part in enumerate(self._fingerprints)}
        _pack(standing, "state", arrays, state)
        document = {
            "format": _FORMAT,
            "format_version": _VERSION,
            "parameters": self._parameters,
            "rows": self._shapes,
            "state": state,
            "stop_reason": reason,
        }
        tensors.write(self._path, arrays, document)
        self._latest = None
        self._written = monotonic()

    def _read(self):
        try:
            document, arrays = tensors.read(self._path, _FORMAT, _VERSION)
        except tensors.TensorFileError as error:
            raise self._not_one(error) from None
        if document["format_version"] < _VERSION:
            raise self._not_one(f"its format is {document['format_version']}, not {_VERSION}")
        history = arrays.get("history")
        if not (
            isinstance(document.get("parameters"), dict)
            and isinstance(document.get("state"), dict)
            and isinstance(document.get("rows"), list)
            and document.get("stop_reason", "") in (None, "converged", "early_stopping")
            and all(_name_of_rows(i) in arrays for i in range(len(document["rows"])))
            and history is not None
            and history.dtype == np.float64
            and history.ndim == 2
        ):
            raise self._not_one("it lacks something")
        return document, arrays

    def _compare(self, document, arrays):
        theirs = document["parameters"]
        for name in {**self._parameters, **theirs}:
            mine = self._parameters.get(name)
            if theirs.get(name) != mine:
                self._refuse(f"{name} was {theirs.get(name)!r} there and is {mine!r} here")
        if len(document["rows"]) != len(self._shapes):
            there, here = (
                "rows to validate" if len(rows) > 1 else "no rows to validate"
                for rows in (document["rows"], self._shapes)
            )
            self._refuse(f"it has {there} there and {here} here")
        for i, (mine, part) in enumerate(zip(self._shapes, _PARTS, strict=False)):
            if document["rows"][i] != mine:
                self._refuse(f"{part}, of shape {document['rows'][i]} there and {mine} here")
            first, here = arrays[_name_of_rows(i)], self._fingerprints[i]
            if (first.shape, first.dtype) != (here.shape, here.dtype):
                self._refuse(
                    f"{part}, for weights of {first.dtype} of shape {first.shape} there, "
                    f"{here.dtype} of shape {here.shape} here"
                )
            scale = max(float(np.abs(first).max(initial=0)), float(np.finfo(first.dtype).tiny))
            if not np.allclose(first, here, rtol=0, atol=_SAME_ROWS * scale, equal_nan=True):
                self._refuse(part)

    def _unpack(self, template, name, arrays, state, seen):
        """What `_pack` took apart, of the same structure as `template`."""
        if not isinstance(template, np.ndarray | float):
            if isinstance(template, tuple | dict):
                parts = {
                    key: self._unpack(part, f"{name}.{key}", arrays, state, seen)
                    for key, part in _parts(template)
                }
                if isinstance(template, dict):
                    return parts
                make = getattr(type(template), "_make", tuple)
                return make(parts.values())
            seen.add(name)
            if name not in state or type(state[name]) is not type(template):
                raise LookupError(f"it lacks {name}")
            return state[name]
        seen.add(name)
        if name not in arrays:
            raise LookupError(f"it lacks {name}")
        mine, theirs = np.asarray(template), arrays[name]
        if (theirs.shape, theirs.dtype) != (mine.shape, mine.dtype):
            self._refuse(
                f"{name} is {theirs.dtype} of shape {theirs.shape} there, "
                f"{mine.dtype} of shape {mine.shape} here"
            )
        return theirs if isinstance(template, np.ndarray) else float(theirs)

    def _not_one(self, reason):
        return ValueError(
            f"checkpoint={str(self._path)!r} is not a checkpoint that this version of schuss "
            f"wrote ({reason}). Give another path, or delete the file."
        )

    def _refuse(self, reason):
        raise _OtherCallError(
            f"checkpoint={str(self._path)!r} belongs to another call: {reason}. Repeat the "
            "call as it was, give another path, or delete the file."
        )


class _OtherCallError(ValueError):
    """A whole checkpoint, but not of this call."""


def _name_of_rows(i):
    return f"rows.{i}"


def _parts(value):
    """Names and parts of a tuple or dict."""
    if isinstance(value, dict):
        return value.items()
    return zip(getattr(value, "_fields", range(len(value))), value, strict=True)


def _pack(value, name, arrays, state):
    """Put arrays and floats, which may be infinite, into `arrays`, the rest into `state`."""
    if isinstance(value, np.ndarray | float):
        arrays[name] = np.asarray(value)
    elif isinstance(value, tuple | dict):
        for key, part in _parts(value):
            _pack(part, f"{name}.{key}", arrays, state)
    else:
        state[name] = value


def _plain(value):
    """A parameter as JSON gives it back, or its digest where it is long."""
    plain = _json(value)
    text = json.dumps(plain)
    if len(text) <= _LONGEST_PARAMETER:
        return plain
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _json(value):
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return [[_json(key), _json(part)] for key, part in value.items()]
    if isinstance(value, list | tuple):
        return [_json(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    return value if isinstance(value, int | str | None) else repr(value)
