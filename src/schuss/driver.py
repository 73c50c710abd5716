"""The one loop of chunks, for every solver.

Between chunks of iterations, which run compiled and take about 50 ms each, this module
does what Python should: callbacks, history, stopping rules, Ctrl-C. What stops a run is
decided on the history, row by row, never on where a chunk happened to end.

What it asks of a solver is `solvers.run.Run`.
"""

import _signal
import math
import threading
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from schuss.checkpoint import Standing
from schuss.constants import HISTORY_COLUMNS
from schuss.errors import warn

_FIRST_CHUNK_SECONDS = 0.01
_CHUNK_SECONDS = 0.05
# Timing a chunk of microseconds says little; grow towards the target in steps.
_CHUNK_GROWTH = 10
_LONGEST_CHUNK = 100_000
# The duration of an iteration was only estimated for the first chunk.
_LONGEST_FIRST_CHUNK = 1000

# A run diverges where its loss is above the reference for this many iterations in a row,
# or once above this many times the reference.
_ROWS_ABOVE = 20
_GROWTH = 1e3
# How far above the reference counts: rounding for whole gradients, noise for batches.
_MARGIN = 1.01
_MARGIN_STOCHASTIC = 1.5


class Outcome(NamedTuple):
    """How a run went; the final weights are in its state."""

    history: dict[str, np.ndarray]
    loss: float
    stop_reason: str
    scores: np.ndarray | None = None  # of each iteration, where there is a `score`

    @property
    def n_iter(self):
        return len(self.history["loss"])


class Info:
    """What a callback is told.

    Attributes
    ----------
    unit : str
        What is counted: "iteration", or "model".
    n_iter, max_iter : int
        Iterations done, and the most there will be.
    loss, gradient_norm, step : float
        Of the last iteration.
    seconds : float
        Since the run began.
    validation_loss, score : float or None
        Of the rows held out: the loss, and what a network's early stopping looks at.
    coef, intercept : ndarray
        Copies of the weights, of shapes (K, d) and (K,).
    history : dict of ndarray
        All iterations so far.
    """

    unit = "iteration"

    def __init__(self, run, log, max_iter):
        self._run = run
        self._log = log
        self.n_iter = log.n_rows
        self.max_iter = max_iter
        kernels, others, _ = log.blocks[-1]
        self.loss, self.gradient_norm, self.step = kernels[-1].tolist()
        self.seconds = float(others[-1, 0])
        self.validation_loss = float(others[-1, 1]) if log.validated else None
        self.score = float(others[-1, 2]) if log.scored else None

    @property
    def coef(self):
        return self._run.state.coef.copy()

    @property
    def intercept(self):
        return self._run.state.intercept.copy()

    @property
    def history(self):
        return self._log.columns()


def run(
    solver, *, max_iter, plateau=None, validate=None, early_stopping=False, callbacks=(),
    checkpoint=None, score=None,
):  # fmt: skip
    """Advance a run until something stops it.

    Parameters
    ----------
    solver : object
        As the module describes it.
    max_iter : int
    plateau : Plateau or None
        Looks at the validation loss with `early_stopping`, else at the training loss, and
        there stops a run that ``is_settled()`` only.
    validate : callable or None
        Returns the validation loss at the weights of the moment; called after each
        iteration.
    early_stopping : bool
        Whether the weights with the best validation loss are kept.
    callbacks : sequence of callables
        ``f(info)``, with an `Info`, after each chunk; with an integer attribute
        ``every``, whenever that many iterations are done. True stops the run. A method
        ``finish()`` is called at the end, after errors too.
    checkpoint : Checkpoint or None
        Where to go on from, and what to tell after each chunk; written, too, where an error or
        Ctrl-C ends the run.
    score : callable or None
        What early stopping looks at instead of the validation loss, the larger the better;
        called after each iteration.

    Returns
    -------
    Outcome

    Raises
    ------
    KeyboardInterrupt
        Where Ctrl-C comes before the first iteration is done.
    """
    begin = solver.snapshot() if solver.retreats else None
    # The mean loss of a stochastic run's first epoch already is that of moving weights.
    first = solver.value() if solver.stochastic and max_iter > 1 else None
    log = _Log(validate is not None, score is not None)
    watch = _Watch(solver, first) if solver.watched else None
    reason = rows = None
    best = (math.inf, solver.weights()) if early_stopping else None
    if checkpoint is not None:
        found = checkpoint.resume(solver, _standing(solver, plateau, best), max_iter, log.n_columns)
        if found is not None:
            standing, done, reason = found
            best = standing.best
            log.resume(done)
            if plateau is not None:
                plateau.best, plateau.waited = standing.plateau
            if watch is not None:
                watch.find(log.columns()["loss"])
    chunk = min(max(1.0, _FIRST_CHUNK_SECONDS / solver.seconds_estimate), _LONGEST_FIRST_CHUNK)
    try:
        with noted_interrupts() as interrupts:
            while reason is None and log.n_rows < max_iter:
                epochs = _chunk_length(chunk, solver, log.n_rows, max_iter, callbacks, validate)
                before = solver.snapshot() if plateau is not None else None
                rows, reason = solver.advance(epochs)
                if interrupts and reason is None:
                    reason = "interrupted"
                level = None
                if plateau is not None and not early_stopping:
                    level = plateau.find(rows[:, 0])
                    if level is not None and level + 1 < epochs:
                        solver.restore(before)
                        rows, again = solver.advance(level + 1)
                        reason = "interrupted" if "interrupted" in (reason, again) else None
                if watch is not None and (stop := watch.find(rows[:, 0])) is not None:
                    reason, rows = "diverged", rows[: stop + 1]
                elif level is not None and reason is None and solver.is_settled():
                    reason = "converged"
                validation = scored = math.nan
                if validate is not None and len(rows):
                    validation = validate()
                    if best is not None:
                        scored = -validation if score is None else score()
                        if -scored < best[0]:
                            best = -scored, solver.weights()
                        if plateau.find(np.array([-scored])) is not None and reason is None:
                            reason = "early_stopping"
                seconds = log.add(rows, validation, scored)
                if len(rows) and reason != "diverged":
                    if checkpoint is not None and reason != "interrupted":
                        # An error in a callback ends the run, but loses nothing.
                        standing = _standing(solver, plateau, best)
                        checkpoint.keep(standing, log.n_rows, reason, log.rows)
                    info = Info(solver, log, max_iter) if callbacks else None
                    if call(callbacks, info, chunked=reason is not None) and reason is None:
                        reason = "callback"
                chunk = next_chunk(chunk, epochs, seconds)
    except KeyboardInterrupt:
        reason = "interrupted"
        if rows is not None and not log.holds(rows):
            log.add(rows, math.nan, math.nan)
    finally:
        if checkpoint is not None and reason != "diverged":
            checkpoint.flush()
        finish(callbacks)
    if reason == "interrupted":
        if not log.n_rows:
            raise KeyboardInterrupt("before the first iteration")
        warn(
            f"Training interrupted after {log.n_rows} of {max_iter} iterations; "
            "the weights reached are kept.",
            UserWarning,
        )
    outcome = _finish(solver, log, reason or "max_iter", begin, best, first)
    if outcome.stop_reason == "max_iter":
        text = solver.oscillation(outcome.history["loss"])
        if text is not None:
            warn(text, ConvergenceWarning)
    return outcome


def run_path(solver, penalties, max_iter):
    """Minimise under one penalty after the other, each from the weights of the one before.

    Parameters
    ----------
    solver : SecondOrder
    penalties : iterable of (float, float)
        `alpha` and `l1_ratio` of each, as `Objective` takes them; the strongest L1 penalty first
        is the quickest.
    max_iter : int
        For each of them.

    Yields
    ------
    Outcome
        While the weights are in the solver's state.
    """
    for alpha, l1_ratio in penalties:
        solver.set_penalty(alpha, l1_ratio)
        yield run(solver, max_iter=max_iter)


def _standing(solver, plateau, best):
    waited = None if plateau is None else (float(plateau.best), plateau.waited)
    return Standing(solver.snapshot(), waited, best)


@contextmanager
def noted_interrupts(postponed=False):
    """A list that has an item once Ctrl-C was pressed.

    A KeyboardInterrupt is lost where it meets a callback from C, as while Numba compiles; where
    such a callback returns numbers, raising is `postponed` to Ctrl-C pressed again.
    Handlers that are not Python's own are left in place.
    """
    noted: list[int] = []
    if (
        threading.current_thread() is not threading.main_thread()
        or _signal.getsignal(_signal.SIGINT) is not _signal.default_int_handler
    ):
        yield noted
        return

    def note(number, frame):
        noted.append(number)
        if not postponed or len(noted) > 1:
            _signal.default_int_handler(number, frame)

    try:
        # The module `signal` looks up enums besides, which takes a tenth of a small fit.
        _signal.signal(_signal.SIGINT, note)
        yield noted
    finally:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def next_chunk(chunk, epochs, seconds):
    """Iterations of the next chunk, after some that took so many seconds."""
    if seconds <= 0:
        return chunk
    wanted = _CHUNK_SECONDS * epochs / seconds
    return min(max(wanted, 1.0), _CHUNK_GROWTH * epochs, _LONGEST_CHUNK)


def _chunk_length(chunk, solver, done, max_iter, callbacks, validate):
    if validate is not None:
        return 1
    epochs = min(int(chunk), max_iter - done, solver.longest)
    for callback in callbacks:
        every = getattr(callback, "every", None)
        if every:
            epochs = min(epochs, every - done % every)
    return max(epochs, 1)


def finish(callbacks):
    """Tell the callbacks that want to know that a run is over."""
    for callback in callbacks:
        if hasattr(callback, "finish"):
            callback.finish()


def call(callbacks, info, chunked=True):
    """Call those that are due; whether one of them wants to stop."""
    stop = False
    for callback in callbacks:
        every = getattr(callback, "every", None)
        if every and info.n_iter % every and not chunked:
            continue
        stop = bool(callback(info)) or stop
    return stop


def _finish(solver, log, reason, begin, best, first):
    """Leave finite weights in the state, the best ones where they were kept."""
    if first is None and not solver.stochastic and log.n_rows > 1:
        first = float(log.blocks[0][0][0, 0])
    if reason == "diverged":
        if begin is not None:
            solver.restore(begin)
    elif best is not None and best[0] < math.inf:
        solver.restore(best[1])
    if reason == "interrupted":
        # Who pressed Ctrl-C does not wait for another pass.
        loss = float(log.blocks[-1][0][-1, 0])
        diverged = not solver.is_finite()
    else:
        loss = solver.value()
        diverged = not (math.isfinite(loss) and solver.is_finite())
    if not diverged and reason in ("converged", "precision"):
        diverged = solver.is_saturated(loss) or _has_risen(solver, loss, first)
    elif not diverged and reason == "max_iter" and solver.watched:
        diverged = _has_risen(solver, loss, first) and solver.is_unstable()
    if diverged:
        reason = "diverged"
        if begin is not None:
            solver.restore(begin)
            loss = solver.value()
    return Outcome(log.columns(), loss, reason, log.scores())


def _margin(solver):
    return _MARGIN_STOCHASTIC if solver.stochastic else _MARGIN


def _has_risen(solver, loss, first):
    """Whether a run ends above both its start and the best constant prediction."""
    limit = None if first is None else _margin(solver) * first
    return limit is not None and loss > limit and loss > _margin(solver) * solver.constant()


class _Watch:
    """Tells a run that its step makes diverge.

    The reference is the loss at the start, or that of the best constant prediction where
    that is larger: a run that begins at an optimum may well rise a little.
    """

    def __init__(self, solver, first):
        self._solver = solver
        self._first = first
        self._reference = None
        self._above = 0
        self._margin = _margin(solver)

    def find(self, losses):
        """Index of the row at which the run has diverged, or None."""
        if not len(losses):
            return None
        if self._first is None:
            self._first = float(losses[0])
        if losses.max() <= self._margin * self._first:
            self._above = 0
            return None
        if self._reference is None:
            self._reference = max(self._first, self._solver.constant())
        limit = self._margin * self._reference
        for i, loss in enumerate(losses.tolist()):
            self._above = self._above + 1 if loss > limit else 0
            if self._above >= _ROWS_ABOVE or loss > _GROWTH * self._reference:
                return i
        return None


class _Log:
    """History in blocks: columns of the kernels; seconds, validation loss, score; rows so far."""

    def __init__(self, validated, scored):
        self.validated, self.scored = validated, scored
        self.n_columns = len(HISTORY_COLUMNS) + 1 + validated + scored
        self.blocks = []
        self._begin = self._last = perf_counter()

    @property
    def n_rows(self):
        return self.blocks[-1][2] if self.blocks else 0

    def holds(self, rows):
        """Whether these rows are those added last."""
        return bool(self.blocks) and self.blocks[-1][0] is rows

    def resume(self, rows):
        if len(rows):
            kernels, others = np.split(rows, [len(HISTORY_COLUMNS)], axis=1)
            self.blocks.append((kernels, others, len(rows)))
            # The clock goes on from where it stood.
            self._begin -= float(others[-1, 0])

    def add(self, rows, validation, score):
        """Append a chunk; its rows are taken to have lasted equally long."""
        now = perf_counter()
        took, m = now - self._last, len(rows)
        if m:
            others = np.empty((m, self.n_columns - len(HISTORY_COLUMNS)))
            others[:, 0] = self._last - self._begin + np.arange(1, m + 1) * (took / m)
            others[:, 1:] = (validation, score)[: others.shape[1] - 1]
            self.blocks.append((rows, others, self.n_rows + m))
        self._last = now
        return took

    def rows(self):
        """All of the table, whose columns are contiguous."""
        table = np.empty((self.n_columns, self.n_rows)).T
        if self.blocks:
            kernels, others, _ = zip(*self.blocks, strict=True)
            np.concatenate(kernels, out=table[:, : len(HISTORY_COLUMNS)])
            np.concatenate(others, out=table[:, len(HISTORY_COLUMNS) :])
        return table

    def columns(self):
        table = self.rows()
        names = (*HISTORY_COLUMNS, "seconds", "validation_loss")
        return dict(zip(names, table.T, strict=False))

    def scores(self):
        return self.rows()[:, -1] if self.scored else None
