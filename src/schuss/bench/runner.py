"""Timing that can be trusted: verified work, interleaved rounds, ratios within a round.

A library is timed only after it has shown that it does the work: its outcome agrees with the
task's reference after a few epochs (where one epoch more or less is far outside the tolerance)
and after the epochs that are timed. The outcome of every round is held to it again.

Then the rounds: A B C A B C ... A machine that slows down for a while slows all of them, so the
ratio of two libraries is taken within each round, and the median and quartiles over the rounds
are reported. Fixed arithmetic is timed before and after each round: where it took much longer
than elsewhere, the processor was not all ours.
"""

import gc
import math
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
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
from schuss.bench.libraries import (
    BASELINE,
    Library,
    Outcome,
    Refused,
    Run,
    Unsupported,
    kernel_run,
)
from schuss.bench.problems import GAP, Fit, Task

# Epochs of the first check: the weights still move so much that one epoch more or less fails.
SHORT_EPOCHS = 3
# Largest deviation relative to the largest entry: room for plain float32 sums of 10^6 rows.
TOLERANCE = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-4}
MIN_ROUNDS = 3
# Of a round's fixed arithmetic, relative to the quickest round.
MAX_SLOWDOWN = 1.15
# OpenBLAS's threads spin this long after a product, and take the next library's processor.
PAUSE = 0.1
# A tolerance is not tightened further where a fit has taken as long as this.
MAX_SECONDS_A_FIT = 20.0
# They make OpenBLAS use the kernels of another processor, which halves a peer's speed.
UNFAIR = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def fair_environment(**changes: str) -> dict[str, str]:
    """This process's environment for another one, whose BLAS chooses its own kernels."""
    return {name: text for name, text in os.environ.items() if name not in UNFAIR} | changes


@contextmanager
def fair_process() -> Iterator[Callable[..., Any]]:
    """Yield a caller of functions in a fresh process with a `fair_environment`."""
    kept = {name: os.environ.pop(name) for name in UNFAIR if name in os.environ}
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            yield lambda function, *arguments: pool.submit(function, *arguments).result()
    finally:
        os.environ.update(kept)


@dataclass
class Row:
    """One library on one problem."""

    library: str
    seconds: list[float] = field(default_factory=list)  # of an epoch, in each round
    setup: float | None = None  # seconds that `prepare` took
    first: float | None = None  # and the first run, with whatever the library compiles for it
    memory: int | None = None  # bytes by which both raised the process's peak (Linux only)
    details: dict[str, Any] = field(default_factory=dict)  # as the tolerance that was enough
    note: str = ""  # why it was not timed

    @property
    def failed(self) -> bool:
        """Whether the work was not done, or was done wrongly; being skipped is neither."""
        return self.note.startswith(("refused", "failed"))


@dataclass
class Result:
    """One problem: the rows of all libraries, and the machine's limit in the same rounds."""

    task: str
    loss: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    epochs: int
    n_threads: int
    rows: list[Row]
    # Of a unit at the machine's limit, a sequential read of X or its multiplications at the FMA
    # peak; and of the fixed arithmetic.
    limit_seconds: list[float]
    probe_seconds: list[float] = field(default_factory=list)
    operations: int = 0  # of a unit's matrix products, where they are counted

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Result":
        """The result that JSON has kept."""
        rows = [Row(**row) for row in entry["rows"]]
        return cls(**{**entry, "shape": tuple(entry["shape"]), "rows": rows})

    def ratio(self, row: Row, to: str = BASELINE.name) -> np.ndarray:
        """How many times faster the row was than the library `to`, round by round."""
        base = next((other for other in self.rows if other.library == to), Row(to))
        if not base.seconds or not row.seconds:
            return np.empty(0)
        return np.divide(base.seconds, row.seconds)

    def share(self, row: Row) -> np.ndarray:
        """Share of the machine's limit, round by round."""
        if not row.seconds or not self.limit_seconds:
            return np.empty(0)
        return np.divide(self.limit_seconds, row.seconds)


def quartiles(values) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; NaN where there are no values."""
    if len(values) == 0:
        return (np.nan, np.nan, np.nan)
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)


def steady(probe_seconds: list[float]) -> np.ndarray:
    """Which rounds ran at the processor's speed; at least `MIN_ROUNDS`, the best ones.

    They are told by the arithmetic alone, never by what was measured.
    """
    probe = np.asarray(probe_seconds)
    mask = probe <= MAX_SLOWDOWN * probe.min(initial=np.inf)
    mask[np.argsort(probe, kind="stable")[:MIN_ROUNDS]] = True
    return mask


class Reference:
    """Outcomes that others are held to: weights and losses, each relative to the largest.

    A run that is longer than any of the reference's is held to the losses of its first epochs.
    """

    def __init__(self, run: Run, lengths: Iterable[int], weights: float, losses: float):
        self.lengths, self.tolerances = tuple(lengths), {"weights": weights, "losses": losses}
        self._outcomes = {epochs: run(epochs) for epochs in sorted(set(self.lengths))}

    def check(self, outcome: Outcome, epochs: int) -> dict[str, float]:
        """Raise `Refused` unless the outcome is that of so many epochs."""
        if len(outcome.losses) != epochs:
            raise Refused(f"asked for {epochs} epochs, did {len(outcome.losses)}")
        expected = self._outcomes.get(epochs, self._outcomes[self.lengths[-1]])
        pairs = {"losses": (expected.losses, outcome.losses[: len(expected.losses)])}
        if epochs in self._outcomes:
            pairs["weights"] = _parameters(expected), _parameters(outcome)
        worst = 0.0
        for name, (right, found) in sorted(pairs.items(), reverse=True):
            if np.shape(right) != np.shape(found):
                raise Refused(f"{name} of shape {np.shape(found)}, expected {np.shape(right)}")
            off = float(np.abs(np.subtract(found, right)).max() / np.abs(right).max())
            if not off <= self.tolerances[name]:
                raise Refused(
                    f"after {epochs} epochs the {name} differ from the reference by {off:.1e}, "
                    f"more than {self.tolerances[name]:.0e}"
                )
            worst = max(worst, off)
        return {"deviation": worst}


class Optimum:
    """The least value of a fit's objective, by SciPy's L-BFGS in float64."""

    lengths = (1,)

    def __init__(self, task: Fit):
        # float64 features, or the gradient would be of float32 products.
        self._wide = replace(task, X=task.X.astype(np.float64, copy=False))
        self.size = task.n_outputs * (task.shape[1] + 1)
        # With an L1 penalty over the positive and the negative parts of the weights, each >= 0.
        parts = (2 * self.size - 2) * (task.l1 > 0)
        found = minimize(
            self._wide.objective, np.zeros(parts + 1 if parts else self.size), jac=True,
            method="L-BFGS-B", bounds=[(0, None)] * parts + [(None, None)] if parts else None,
            options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-10},
        )  # fmt: skip
        self.value = found.fun

    def check(self, outcome: Outcome, epochs: int) -> None:
        """Raise `Refused` unless the weights are as good as the optimum, but for `GAP`."""
        found = _parameters(outcome)
        if found.shape != (self.size,):
            raise Refused(f"weights of shape {np.shape(outcome.coef)}")
        gap = self._wide.objective(found)[0] / self.value - 1
        if not gap <= GAP:
            raise Refused(f"the objective is {gap:.1e} above the optimum, more than {GAP:.0e}")


def _parameters(outcome):
    return np.append(np.asarray(outcome.coef, dtype=np.float64), outcome.intercept)


def reference_of(task):
    """What checks the outcomes of a task: an object with `lengths` and `check`."""
    if isinstance(task, Fit):
        return Optimum(task)
    if not isinstance(task, Task):
        return task.reference()
    # The contract's plain implementation with float64 weights, whatever X is.
    run, tolerance = kernel_run(numpy_, task, np.float64, 1), TOLERANCE[task.real]
    return Reference(run, (SHORT_EPOCHS, task.epochs), tolerance, tolerance)


def limit_of(task, n_threads: int) -> "Work | None":
    """The machine's limit for a unit of the task, where there is one."""
    if not isinstance(task, Task):
        return task.limit(n_threads)
    if isinstance(task, Fit) or task.nbytes < memory.MIN_BYTES:
        return None
    read = memory.reader(task.buffers, n_threads)
    return Work(read) if read else None


def verify(run, reference, length: int | None = None) -> tuple[float, dict[str, Any]]:
    """Check a run, short and in full: seconds of the first full run, and what the check tells."""
    for epochs in sorted({*reference.lengths, length or reference.lengths[-1]}):
        start = time.perf_counter()
        outcome = run(epochs)
        seconds = time.perf_counter() - start
        details = reference.check(outcome, epochs)
    return seconds, details or {}


def measure(
    task,
    libraries: Iterable[Library],
    *,
    n_threads: int = 1,
    rounds: int = 7,
    min_seconds: float = 0.02,
    budget: float = 60.0,
) -> Result:
    """Verify and time the libraries on one problem.

    A timing repeats a library's run until it lasts `min_seconds`; after a `budget` of seconds no
    further round is begun, `MIN_ROUNDS` apart.

    Parameters
    ----------
    task : Task, Fit, or an object with the attributes that `Result` keeps, and with
        `reference()` and `limit(n_threads)`
    rounds : int
        Timings of each library.
    """
    rows: dict[str, Row] = {}
    works: dict[str, Work] = {}
    with limit_threads(n_threads), warnings.catch_warnings():
        # Runs end after a fixed number of epochs, on purpose.
        warnings.simplefilter("ignore", ConvergenceWarning)
        reference = reference_of(task)
        if limit := limit_of(task, n_threads):
            works[_LIMIT] = limit
        for library in libraries:
            row = rows[library.name] = Row(library.name)
            try:
                works[library.name] = _set_up(library, task, n_threads, reference, row)
            except Unsupported as error:
                row.note = f"skipped: {error}"
            except Refused as error:
                row.note = f"refused: {error}"
            except Exception as error:  # one broken library must not cost the others' rows
                told = next(iter(str(error).splitlines()), "")
                row.note = f"failed: {type(error).__name__}: {told}"
        seconds, probe, refused = interleave(
            works, n_threads=n_threads, rounds=rounds, min_seconds=min_seconds, budget=budget
        )
    for name, reason in refused.items():
        rows[name].note = f"refused: {reason}"
    for name, row in rows.items():
        row.seconds = seconds.get(name, [])
    return Result(
        task=task.name, loss=task.loss, dtype=np.dtype(task.dtype).name, shape=task.shape,
        nbytes=task.nbytes, epochs=task.epochs, n_threads=n_threads, rows=list(rows.values()),
        limit_seconds=seconds.get(_LIMIT, []), probe_seconds=probe,
        operations=getattr(task, "operations", 0),
    )  # fmt: skip


# Not a library's name.
_LIMIT = "limit"


def _set_up(library, task, n_threads, reference, row) -> "Work":
    """Prepare and verify a library, at the loosest of its tolerances that suffices."""
    if reason := library.missing():
        raise Unsupported(reason)
    epochs = task.epochs * library.longer
    choices: list[tuple[float, ...]] = [(tol,) for tol in library.tolerances] or [()]
    for choice in choices:
        start = time.perf_counter()
        with memory.peak() as peak:
            run = library.prepare(task, n_threads, *choice)
            row.setup = time.perf_counter() - start
            if not library.verified:
                return Work(partial(run, epochs), epochs)
            try:
                row.first, details = verify(run, reference, epochs)
            except Refused:
                # Too loose: the next one, while there is one and it does not take all day, of
                # which compiling takes its share in the first.
                late = time.perf_counter() - start > MAX_SECONDS_A_FIT
                if choice == choices[-1] or (late and choice != choices[0]):
                    raise
                continue
        row.memory = peak.bytes
        row.details = ({"tol": choice[0]} if choice else {}) | details
        return Work(partial(run, epochs), epochs, partial(reference.check, epochs=epochs))
    raise AssertionError("unreachable")


class Work(NamedTuple):
    """A call that takes its turn in every round."""

    call: Callable[[], Any]
    units: float = 1  # a timing is that of one of so many
    check: Callable[[Any], None] | None = None  # of what the call returns; raises Refused


def interleave(
    works: Mapping[str, Work], *, n_threads=1, rounds=7, min_seconds=0.02, budget=60.0
) -> tuple[dict[str, list[float]], list[float], dict[str, str]]:
    """Time every work once a round, A B C A B C; parameters as in `measure`.

    By name, the seconds of a unit in each round, and why some have none as they failed their
    check; between them the seconds of fixed arithmetic in each round (see `steady`).
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    refused: dict[str, str] = {}
    probes: list[float] = []
    with limit_threads(n_threads), _no_garbage_collection(), _probe(n_threads) as probe:
        repeats: dict[str, int] = {}
        for name, work in works.items():
            try:
                repeats[name] = _repeats(work.call, min_seconds)
            except Refused as error:
                refused[name] = str(error)
        deadline = time.perf_counter() + budget
        for done in range(rounds):
            if done >= MIN_ROUNDS and time.perf_counter() > deadline:
                break
            before = probe()
            for name, work in works.items():
                if name in refused:
                    continue
                try:
                    if n_threads > 1:
                        time.sleep(PAUSE)
                        work.call() if repeats[name] > 1 else None
                    taken, outcome = _seconds(work.call, repeats[name])
                    seconds[name].append(taken / work.units)
                    if work.check is not None:
                        work.check(outcome)
                except Refused as error:
                    refused[name] = str(error)
                    seconds[name].clear()
            probes.append(max(before, probe()))
    return seconds, probes, refused


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


@contextmanager
def limit_threads(n_threads: int) -> Iterator[None]:
    """Tell BLAS and OpenMP; on Linux pin the process, which binds those that cannot be told."""
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
