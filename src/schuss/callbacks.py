"""Callbacks for ``fit`` and `train`.

A callback is any callable ``f(info)``; ``info`` is a `schuss.driver.Info`. It is called
after each chunk of iterations, about every 50 ms, and at the end; a callable with an
integer attribute ``every`` is called every so many iterations. If it returns True, the
run stops, and ``stop_reason_`` is ``"callback"``. A method ``finish()``, where there is one, is
called when the run is over, however it ended.

Examples
--------
>>> import schuss
>>> from schuss.callbacks import TargetLoss
>>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
>>> result = schuss.train(X, y, solver="nesterov", callbacks=[TargetLoss(0.05, every=10)])
>>> result.stop_reason
'callback'
>>> result.loss < 0.05
True
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schuss.validation import check_choice, check_every

if TYPE_CHECKING:
    from schuss.driver import Info


class Callback:
    """Base class of the callbacks.

    Parameters
    ----------
    every : int or None
        Number of iterations between two calls; None: called after each chunk.
    """

    def __init__(self, every: int | None = None):
        self.every = check_every(every)

    def __call__(self, info: Info) -> bool | None:
        raise NotImplementedError


class TargetLoss(Callback):
    """Stop when the loss reaches a value.

    Parameters
    ----------
    loss : float
    every : int or None
        As in `Callback`.
    """

    def __init__(self, loss: float, every: int | None = None):
        super().__init__(every)
        self.loss = loss

    def __call__(self, info: Info) -> bool:
        return info.loss <= self.loss


class TimeLimit(Callback):
    """Stop after a number of seconds.

    Parameters
    ----------
    seconds : float
    """

    def __init__(self, seconds: float):
        super().__init__()
        self.seconds = seconds

    def __call__(self, info: Info) -> bool:
        return info.seconds >= self.seconds


class Print(Callback):
    """Print progress lines, as ``verbose`` does.

    Parameters
    ----------
    seconds : float
        Minimum time between two lines.
    every : int or None
        As in `Callback`.
    """

    def __init__(self, seconds: float = 1.0, every: int | None = None):
        super().__init__(every)
        self.seconds = seconds
        self._next = 0.0

    def __call__(self, info: Info) -> None:
        if info.seconds < self._next and info.n_iter < info.max_iter:
            return
        self._next = info.seconds + self.seconds
        validation = info.validation_loss
        print(
            f"{info.unit} {info.n_iter}/{info.max_iter}  loss {info.loss:.6g}"
            + ("" if isnan(info.gradient_norm) else f"  gradient {info.gradient_norm:.3g}")
            + ("" if isnan(info.step) else f"  step {info.step:.3g}")
            + ("" if validation is None else f"  validation {validation:.6g}")
            + f"  {info.seconds:.1f} s"
        )


class ProgressBar(Callback):
    """Show a progress bar, in terminals and notebooks; elsewhere print a line now and then.

    It needs rich, of the extra ``cli``.

    Parameters
    ----------
    description : str, default="training"
        Text before the bar.
    console : rich.console.Console, optional
        Where to draw; by default stderr.
    transient : bool, default=False
        Whether the bar goes once the run is over.

    Examples
    --------
    >>> import schuss
    >>> from schuss.callbacks import ProgressBar
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
    >>> neuron = schuss.SigmoidClassifier()
    >>> neuron.fit(X, y, callbacks=[ProgressBar()])  # doctest: +SKIP
    """

    def __init__(self, description: str = "training", console: Any = None, transient: bool = False):
        super().__init__()
        self.transient = transient
        self.description = description
        self.console = console
        self._bar: Any = None
        self._lines: Print | None = None

    def __call__(self, info: Info) -> None:
        if self._bar is None and self._lines is None:
            self._start(info.max_iter)
        if self._lines is not None:
            self._lines(info)
            return
        self._bar.update(self._task, completed=info.n_iter, loss=f"{info.loss:.6g}")

    def _start(self, total):
        try:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )
        except ImportError as error:
            raise ImportError(
                'ProgressBar needs rich, which is not installed: pip install "schuss[cli]"'
            ) from error
        console = self.console or Console(stderr=True)
        if not (console.is_terminal or console.is_jupyter):
            self._lines = Print(10.0)
            return
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"), TimeElapsedColumn(),
            console=console, refresh_per_second=10, transient=self.transient,
        )  # fmt: skip
        self._task = self._bar.add_task(self.description, total=total, loss="")
        self._bar.start()

    def finish(self) -> None:
        """Stop drawing."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._lines = None


def _figures(info: Info) -> dict[str, float]:
    """What there is to report of a moment; NaN and None are left out."""
    found = {
        "loss": info.loss, "gradient_norm": info.gradient_norm, "step": info.step,
        "seconds": info.seconds, "validation_loss": info.validation_loss, "score": info.score,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None and value == value}


class Log(Callback):
    """Write a line for each call, as CSV or JSON lines.

    Parameters
    ----------
    path : str or path-like
        A name that ends in .csv or .jsonl; a file that is there is written over.
    every : int, default=1
        As in `Callback`.

    Examples
    --------
    >>> import schuss
    >>> from schuss.callbacks import Log
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
    >>> result = schuss.train(X, y, epochs=3, callbacks=[Log("log.jsonl")])  # doctest: +SKIP
    """

    _COLUMNS = ("loss", "gradient_norm", "step", "seconds", "validation_loss", "score")

    def __init__(self, path: Any, every: int | None = 1):
        super().__init__(every)
        self.path = Path(path)
        if self.path.suffix not in (".csv", ".jsonl"):
            raise ValueError(f"path={str(path)!r}: expected a name that ends in .csv or .jsonl.")
        self._file: Any = None

    def __call__(self, info: Info) -> None:
        is_csv = self.path.suffix == ".csv"
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", newline="")
            if is_csv:
                csv.writer(self._file).writerow(("n_iter", *self._COLUMNS))
        found = {n: v if isfinite(v) else None for n, v in _figures(info).items()}
        if is_csv:
            row = (info.n_iter, *(found.get(name) for name in self._COLUMNS))
            csv.writer(self._file).writerow(row)
        else:
            self._file.write(json.dumps({"n_iter": info.n_iter, **found}) + "\n")
        # What was reached can be read while the run goes on, and after a crash.
        self._file.flush()

    def finish(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._file = None


class Metrics(Callback):
    """Hand the figures to an experiment tracker.

    Parameters
    ----------
    log : callable
        ``log(name, value, n_iter)``: for TensorBoard ``SummaryWriter().add_scalar``, for MLflow
        ``mlflow.log_metric``.
    prefix : str, default=""
        Before the names: loss, gradient_norm, step, seconds, validation_loss, score.
    every : int or None
        As in `Callback`.

    Examples
    --------
    >>> import schuss
    >>> from schuss.callbacks import Metrics
    >>> seen = []
    >>> log = Metrics(lambda name, value, n_iter: seen.append((name, n_iter)), every=10)
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
    >>> result = schuss.train(X, y, epochs=20, learning_rate=0.1, callbacks=[log])
    >>> seen[0], seen[-1]
    (('loss', 10), ('seconds', 20))
    """

    def __init__(
        self, log: Callable[[str, float, int], Any], prefix: str = "", every: int | None = None
    ):
        super().__init__(every)
        if not callable(log):
            raise TypeError(f"log={log!r}: expected a callable log(name, value, n_iter).")
        self.log = log
        self.prefix = prefix

    def __call__(self, info: Info) -> None:
        for name, value in _figures(info).items():
            self.log(self.prefix + name, value, info.n_iter)


class OptunaPruning(Callback):
    """Report to a trial of Optuna, and end the fit where the trial is to be pruned.

    The fit then raises ``optuna.TrialPruned``, and leaves the estimator as it was.

    Parameters
    ----------
    trial : optuna.trial.Trial
    metric : {"validation_loss", "loss", "score"}, default="validation_loss"
        What is reported; "validation_loss" needs an ``eval_set`` or early stopping.
    every : int or None, default=1
        As in `Callback`.
    """

    def __init__(self, trial: Any, metric: str = "validation_loss", every: int | None = 1):
        super().__init__(every)
        self.trial = trial
        self.metric = check_choice(metric, "metric", ("validation_loss", "loss", "score"))

    def __call__(self, info: Info) -> None:
        value = getattr(info, self.metric)
        if value is None:
            raise ValueError(
                f"metric={self.metric!r}: this run has none; give fit an eval_set, or set "
                "early_stopping=True."
            )
        self.trial.report(value, info.n_iter)
        if self.trial.should_prune():
            from optuna import TrialPruned

            raise TrialPruned(f"pruned after {info.n_iter} iterations, at {value:.6g}")
