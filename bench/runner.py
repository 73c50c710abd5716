"""Timing that can be trusted: verified work, interleaved rounds, ratios within a round.

A library is timed only after it has shown that it does the work: its weights, and the
cost before each step, agree with a float64 reference after a few epochs (where one
epoch more or less is far outside the tolerance) and after the epochs that are timed. The
result of every timed run is held to the same reference.

Then the rounds: A B C A B C … A machine that slows down for a while slows all of them,
so the ratio of two libraries is taken within each round, and the median and quartiles
over the rounds are reported.
"""

import gc
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from bench import memory
from bench.libraries import BASELINE, Library, Outcome, Run, Unsupported, kernel_run
from bench.problems import Task
from schuss.backends import numpy_

# Epochs of the first check: the weights still move so much that one epoch more or less
# cannot pass.
SHORT_EPOCHS = 3
# Largest deviation from the reference, relative to the largest entry: room for plain sums
# over a million rows, which lose about n * eps at the most, and no more.
TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-4}
MIN_ROUNDS = 3


class Refused(Exception):
    """A library did not do the work that was asked for, so it is not timed."""


@dataclass
class Row:
    """One library on one problem.

    Attributes
    ----------
    seconds : list of float
        An epoch's time in each round; empty where `note` says why it was not timed.
    setup, first : float
        Seconds that `prepare` took, and the first run of all epochs (with whatever the
        library compiles for it).
    """

    library: str
    seconds: list[float] = field(default_factory=list)
    setup: float | None = None
    first: float | None = None
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether the work was not done, or was done wrongly; being skipped is neither."""
        return self.note.startswith(("refused", "failed"))


@dataclass
class Result:
    """One problem: the rows of all libraries, and the read rate in the same rounds."""

    task: str
    loss: str
    dtype: str
    shape: tuple[int, int]
    nbytes: int
    epochs: int
    n_threads: int
    rows: list[Row]
    read_seconds: list[float]

    def ratio(self, row: Row, to: str = BASELINE.name) -> np.ndarray:
        """How many times quicker the row was than the library `to`, round by round."""
        base = next(other for other in self.rows if other.library == to)
        if not base.seconds or not row.seconds:
            return np.empty(0)
        return np.divide(base.seconds, row.seconds)

    def read_share(self, row: Row) -> np.ndarray:
        """Share of the read rate that one read of X an epoch would amount to."""
        if not row.seconds or self.nbytes < memory.MIN_BYTES:
            return np.empty(0)
        return np.divide(self.read_seconds, row.seconds)


def quartiles(values) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; NaN where there are no values."""
    if len(values) == 0:
        return (np.nan, np.nan, np.nan)
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)


class Reference:
    """The contract's plain implementation with float64 weights, whatever X is."""

    def __init__(self, task: Task):
        run = kernel_run(numpy_, task, np.float64, 1)
        self.tolerance = TOLERANCE[task.real]
        self._outcomes = {epochs: run(epochs) for epochs in {SHORT_EPOCHS, task.epochs}}

    def check(self, outcome: Outcome, epochs: int) -> None:
        """Raise `Refused` unless the outcome is that of so many epochs."""
        expected = self._outcomes[epochs]
        if len(outcome.losses) != epochs:
            raise Refused(f"asked for {epochs} epochs, did {len(outcome.losses)}")
        for name, ours, theirs in (
            ("weights", _parameters(expected), _parameters(outcome)),
            ("losses", expected.losses, np.asarray(outcome.losses)),
        ):
            if ours.shape != theirs.shape:
                raise Refused(f"{name} of shape {theirs.shape}, expected {ours.shape}")
            deviation = np.abs(theirs - ours).max() / np.abs(ours).max()
            if not deviation <= self.tolerance:
                raise Refused(
                    f"after {epochs} epochs the {name} differ from the reference by "
                    f"{deviation:.1e}, more than {self.tolerance:.0e}"
                )


def _parameters(outcome):
    return np.append(np.asarray(outcome.coef, dtype=np.float64), outcome.intercept)


def verify(run: Run, task: Task, reference: Reference) -> float:
    """Check a run, short and in full; return the seconds of the first full one."""
    reference.check(run(SHORT_EPOCHS), SHORT_EPOCHS)
    start = time.perf_counter()
    outcome = run(task.epochs)
    seconds = time.perf_counter() - start
    reference.check(outcome, task.epochs)
    return seconds


def measure(
    task: Task,
    libraries: Iterable[Library],
    *,
    n_threads: int = 1,
    rounds: int = 7,
    min_seconds: float = 0.02,
    budget: float = 60.0,
) -> Result:
    """Verify and time the libraries on one problem; the NumPy loop is always among them.

    Parameters
    ----------
    rounds : int
        Timings of each library.
    min_seconds : float
        A timing repeats a library's run until it lasts this long.
    budget : float
        Seconds after which no further round is begun, `MIN_ROUNDS` apart.
    """
    libraries = [BASELINE, *(library for library in libraries if library is not BASELINE)]
    rows = {library.name: Row(library.name) for library in libraries}
    timed: dict[str, Run] = {}
    reference = Reference(task)
    read = memory.reader(task.buffers, n_threads)

    with limit_threads(n_threads), warnings.catch_warnings():
        # Runs end after a fixed number of epochs, on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for library in libraries:
            row = rows[library.name]
            try:
                timed[library.name] = _set_up(library, task, n_threads, reference, row)
            except Unsupported as error:
                row.note = f"skipped: {error}"
            except Refused as error:
                row.note = f"refused: {error}"
            except Exception as error:  # one broken library must not cost the others' rows
                row.note = f"failed: {type(error).__name__}: {_first_line(error)}"
        with _no_garbage_collection():
            read_seconds = _rounds(task, timed, rows, reference, read, rounds, min_seconds, budget)

    return Result(
        task=task.name,
        loss=task.loss,
        dtype=task.X.dtype.name,
        shape=task.X.shape,
        nbytes=task.nbytes,
        epochs=task.epochs,
        n_threads=n_threads,
        rows=list(rows.values()),
        read_seconds=read_seconds,
    )


def _rounds(task, timed, rows, reference, read, rounds, min_seconds, budget):
    """Fill the rows' seconds, A B C A B C; return those of the reads in between."""
    repeats = {
        name: _repeats(lambda run=run: run(task.epochs), min_seconds) for name, run in timed.items()
    }
    read_repeats = _repeats(read, min_seconds)
    read_seconds = []
    deadline = time.perf_counter() + budget
    for done in range(rounds):
        if done >= MIN_ROUNDS and time.perf_counter() > deadline:
            break
        read_seconds.append(_seconds(read, read_repeats)[0])
        for name, run in list(timed.items()):
            row = rows[name]
            seconds, outcome = _seconds(lambda run=run: run(task.epochs), repeats[name])
            row.seconds.append(seconds / task.epochs)
            try:
                reference.check(outcome, task.epochs)
            except Refused as error:
                row.note = f"refused: {error}"
                row.seconds.clear()
                del timed[name]
    return read_seconds


@contextmanager
def limit_threads(n_threads: int) -> Iterator[None]:
    """Hold this process to so many threads, as far as the platform lets it.

    BLAS and OpenMP pools are told so; on Linux the calling thread, and with it every
    thread that a library starts later, is also pinned to as many processors, which binds
    those that cannot be told.
    """
    with threadpool_limits(n_threads):
        if not hasattr(os, "sched_setaffinity"):
            yield
            return
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(allowed)[-n_threads:])
        try:
            yield
        finally:
            os.sched_setaffinity(0, allowed)


def _set_up(library, task, n_threads, reference, row):
    reason = library.missing()
    if reason:
        raise Unsupported(reason)
    start = time.perf_counter()
    run = library.prepare(task, n_threads)
    row.setup = time.perf_counter() - start
    row.first = verify(run, task, reference)
    return run


def _first_line(error):
    return next(iter(str(error).splitlines()), "")


def _seconds(call: Callable, repeats: int):
    """Mean time of a call, and what the last one returned."""
    start = time.perf_counter()
    for _ in range(repeats):
        result = call()
    return (time.perf_counter() - start) / repeats, result


@contextmanager
def _no_garbage_collection():
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _repeats(call: Callable, min_seconds: float) -> int:
    """Calls that last at least so long, judged by a growing number of them."""
    repeats = 1
    while True:
        seconds = _seconds(call, repeats)[0] * repeats
        if seconds >= min_seconds / 4:
            return max(1, math.ceil(min_seconds * repeats / seconds))
        repeats *= 4
