"""Timing that can be trusted: verified work, interleaved rounds, ratios within a round.

A library is timed only after it has shown that it does the work: its weights, and the
cost before each step, agree with a float64 reference after a few epochs (where one
epoch more or less is far outside the tolerance) and after the epochs that are timed. The
result of every timed run is held to the same reference.

Then the rounds: A B C A B C … A machine that slows down for a while slows all of them,
so the ratio of two libraries is taken within each round, and the median and quartiles
over the rounds are reported. A fixed piece of arithmetic is timed before and after each
round: where it took much longer than elsewhere, the processor was not all ours.
"""

import gc
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from schuss.backends import numpy_
from schuss.bench import memory
from schuss.bench.libraries import BASELINE, Library, Outcome, Run, Unsupported, kernel_run
from schuss.bench.problems import GAP, Fit, Task

# Epochs of the first check: the weights still move so much that one epoch more or less
# cannot pass.
SHORT_EPOCHS = 3
# Largest deviation from the reference, relative to the largest entry: room for plain sums
# over a million rows, which lose about n * eps at the most, and no more.
TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-4}
MIN_ROUNDS = 3
# A round whose arithmetic took longer than this, relative to the quickest round, says more
# about the neighbours than about the libraries.
MAX_SLOWDOWN = 1.15


# A tolerance is not tightened further where a fit has taken as long as this.
MAX_SECONDS_A_FIT = 10.0


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
    probe_seconds: list[float] = field(default_factory=list)

    def ratio(self, row: Row, to: str = BASELINE.name) -> np.ndarray:
        """How many times quicker the row was than the library `to`, round by round."""
        base = next((other for other in self.rows if other.library == to), Row(to))
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


class Work(NamedTuple):
    """A call that takes its turn in every round."""

    call: Callable[[], Any]
    units: int = 1  # a timing is that of one of so many
    check: Callable[[Any], None] | None = None  # of what the call returns; raises Refused


@dataclass
class Rounds:
    """What `interleave` measured.

    Attributes
    ----------
    seconds : dict of list of float
        Time of a unit in each round, by the name of the work; empty where it was refused.
    probe_seconds : list of float
        Time of the same arithmetic in each round: see `steady`.
    refused : dict of str
        Why, for work that failed its check.
    """

    seconds: dict[str, list[float]]
    probe_seconds: list[float] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def ratio(self, name: str, to: str) -> np.ndarray:
        """How many times quicker one was than the other, round by round."""
        if not self.seconds[name] or not self.seconds[to]:
            return np.empty(0)
        return np.divide(self.seconds[to], self.seconds[name])


def interleave(
    works: Mapping[str, Work],
    *,
    n_threads: int = 1,
    rounds: int = 7,
    min_seconds: float = 0.02,
    budget: float = 60.0,
) -> Rounds:
    """Time every work once a round, A B C A B C; parameters as in `measure`."""
    result = Rounds({name: [] for name in works})
    with limit_threads(n_threads), _no_garbage_collection(), _probe(n_threads) as probe:
        repeats = {name: _repeats(work.call, min_seconds) for name, work in works.items()}
        deadline = time.perf_counter() + budget
        for done in range(rounds):
            if done >= MIN_ROUNDS and time.perf_counter() > deadline:
                break
            before = probe()
            for name, work in works.items():
                if name in result.refused:
                    continue
                seconds, outcome = _seconds(work.call, repeats[name])
                result.seconds[name].append(seconds / work.units)
                try:
                    if work.check is not None:
                        work.check(outcome)
                except Refused as error:
                    result.refused[name] = str(error)
                    result.seconds[name].clear()
            result.probe_seconds.append(max(before, probe()))
    return result


def steady(probe_seconds: list[float]) -> np.ndarray:
    """Which rounds ran at the processor's speed; at least `MIN_ROUNDS`, the best ones.

    They are told by the arithmetic alone, never by what was measured.
    """
    probe = np.asarray(probe_seconds)
    mask = probe <= MAX_SLOWDOWN * probe.min(initial=np.inf)
    mask[np.argsort(probe, kind="stable")[:MIN_ROUNDS]] = True
    return mask


@contextmanager
def _probe(n_threads):
    """A function that times fixed arithmetic in the first cache, on every thread at once."""

    def arithmetic(start):
        work = np.linspace(1, 2, 2048)
        for _ in range(1000):
            np.sqrt(work, out=work)
        return time.perf_counter() - start

    with ThreadPoolExecutor(n_threads) as pool:
        yield lambda: max(pool.map(arithmetic, [time.perf_counter()] * n_threads))


class Reference:
    """The contract's plain implementation with float64 weights, whatever X is."""

    def __init__(self, task: Task):
        run = kernel_run(numpy_, task, np.float64, 1)
        self.tolerance = TOLERANCE[task.real]
        self.lengths = (SHORT_EPOCHS, task.epochs)
        self._outcomes = {epochs: run(epochs) for epochs in set(self.lengths)}

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


class Optimum:
    """The least value of a fit's objective, by SciPy's L-BFGS in float64."""

    def __init__(self, task: Fit):
        self.task, self.lengths = task, (1,)
        start = np.zeros(task.X.shape[1])
        tight = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-10}
        # float64 features, or the gradient would be of float32 products.
        wide = replace(task, X=task.X.astype(np.float64, copy=False))
        found = minimize(wide.objective, start, jac=True, method="L-BFGS-B", options=tight)
        self.value, self._wide = found.fun, wide

    def check(self, outcome: Outcome, epochs: int) -> None:
        """Raise `Refused` unless the weights are as good as the optimum, but for `GAP`."""
        coef = np.asarray(outcome.coef, dtype=np.float64)
        if coef.shape != (self.task.X.shape[1],) or outcome.intercept != 0:
            raise Refused(f"weights of shape {coef.shape} and an intercept {outcome.intercept}")
        gap = self._wide.objective(coef)[0] / self.value - 1
        if not gap <= GAP:
            raise Refused(f"the objective is {gap:.1e} above the optimum, more than {GAP:.0e}")


def _parameters(outcome):
    return np.append(np.asarray(outcome.coef, dtype=np.float64), outcome.intercept)


def verify(run: Run, task: Task, reference: Reference | Optimum) -> float:
    """Check a run, short and in full; return the seconds of the first full one."""
    for epochs in reference.lengths:
        start = time.perf_counter()
        outcome = run(epochs)
        seconds = time.perf_counter() - start
        reference.check(outcome, epochs)
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
    """Verify and time the libraries on one problem; a descent has the NumPy loop among them.

    Parameters
    ----------
    rounds : int
        Timings of each library.
    min_seconds : float
        A timing repeats a library's run until it lasts this long.
    budget : float
        Seconds after which no further round is begun, `MIN_ROUNDS` apart.
    """
    libraries = [library for library in libraries if library is not BASELINE]
    reference: Reference | Optimum
    if isinstance(task, Fit):
        reference = Optimum(task)
    else:
        reference = Reference(task)
        libraries.insert(0, BASELINE)
    rows = {library.name: Row(library.name) for library in libraries}
    timed: dict[str, Run] = {}

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
        measured = interleave(
            {_READ: Work(memory.reader(task.buffers, n_threads))}
            | {name: as_work(run, task, reference) for name, run in timed.items()},
            n_threads=n_threads, rounds=rounds, min_seconds=min_seconds, budget=budget,
        )  # fmt: skip
    for name in timed:
        rows[name].seconds = measured.seconds[name]
        if name in measured.refused:
            rows[name].note = f"refused: {measured.refused[name]}"

    return Result(
        task=task.name,
        loss=task.loss,
        dtype=task.X.dtype.name,
        shape=task.X.shape,
        nbytes=task.nbytes,
        epochs=task.epochs,
        n_threads=n_threads,
        rows=list(rows.values()),
        read_seconds=measured.seconds[_READ],
        probe_seconds=measured.probe_seconds,
    )


# Not a library's name.
_READ = "sequential read"


def as_work(run: Run, task: Task, reference: Reference | Optimum) -> Work:
    """All epochs of a run, an epoch the unit, each result held to the reference."""
    return Work(
        partial(run, task.epochs), task.epochs, partial(reference.check, epochs=task.epochs)
    )


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
    choices = [(tol,) for tol in library.tolerances] or [()]
    for choice in choices:
        start = time.perf_counter()
        run = library.prepare(task, n_threads, *choice)
        row.setup = time.perf_counter() - start
        try:
            row.first = verify(run, task, reference)
            return run
        except Refused:
            # Too loose: the next one, while there is one and it does not take all day.
            if choice == choices[-1] or time.perf_counter() - start > MAX_SECONDS_A_FIT:
                raise
    raise AssertionError("unreachable")


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
