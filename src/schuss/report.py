"""What a training run or an evaluation came to: figures for programs, one table for people."""

import math
from dataclasses import asdict, dataclass, field

import numpy as np
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

__all__ = [
    "DescentReport",
    "EvaluationReport",
    "Scores",
    "TrainingReport",
    "score_classes",
    "score_fractions",
]

# Names that people read.
_LABELS = {
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "roc_auc": "ROC AUC",
    "mean_absolute_error": "mean absolute error",
    "root_mean_squared_error": "root mean squared error",
    "r2": "R squared",
}
_STOP_REASONS = {
    "max_iter": "stopped at --max-iter",
    "precision": "stopped by rounding, gradient above --tol",
    "early_stopping": "stopped early, validation loss no better",
    "interrupted": "interrupted, as far as it came",
}


# Points of a path as JSON, at the most: some 100 MB of text.
_JSON_POINTS = 1_000_000


@dataclass
class Scores:
    """Metrics of a model, and those of the best constant answer, on the same rows."""

    n_rows: int
    metrics: dict[str, float | None]  # None where a metric is not defined for these rows
    baseline: dict[str, float | None]
    baseline_name: str


def score_classes(y, probabilities, classes):
    """Score class probabilities beside those of the majority class.

    Parameters
    ----------
    y : ndarray of shape (n,)
        True labels, all among `classes`.
    probabilities : ndarray of shape (n, n_classes)
    classes : ndarray of shape (n_classes,), sorted

    Returns
    -------
    Scores
        The baseline gives every row the shares of the classes in `y`.

    Examples
    --------
    >>> import numpy as np
    >>> from schuss.report import score_classes
    >>> p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> scores = score_classes(np.array([0, 1, 1]), p, np.array([0, 1]))
    >>> round(scores.metrics["accuracy"], 3), round(scores.baseline["log_loss"], 3)
    (0.667, 0.637)
    """
    codes = np.searchsorted(classes, y)
    shares = np.bincount(codes, minlength=len(classes)) / len(codes)
    constant = np.broadcast_to(shares, (len(codes), len(classes)))
    return Scores(
        n_rows=len(codes),
        metrics=_class_metrics(codes, np.asarray(probabilities, dtype=np.float64)),
        baseline=_class_metrics(codes, constant),
        baseline_name="majority class",
    )


def _class_metrics(codes, probabilities):
    n_classes = probabilities.shape[1]
    # A sum off by float32's rounding is no reason for a warning.
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    auc = None
    if len(np.unique(codes)) == n_classes:
        score = probabilities[:, 1] if n_classes == 2 else probabilities
        auc = float(roc_auc_score(codes, score, multi_class="ovr", labels=np.arange(n_classes)))
    return {
        "accuracy": float(accuracy_score(codes, probabilities.argmax(axis=1))),
        "log_loss": float(log_loss(codes, probabilities, labels=np.arange(n_classes))),
        "roc_auc": auc,
    }


def score_fractions(y, prediction):
    """Score estimated fractions beside their mean.

    Parameters
    ----------
    y, prediction : ndarray of shape (n,)

    Returns
    -------
    Scores
    """
    return Scores(
        n_rows=len(y),
        metrics=_fraction_metrics(y, np.asarray(prediction, dtype=np.float64)),
        baseline=_fraction_metrics(y, np.full(len(y), y.mean())),
        baseline_name="mean",
    )


def _fraction_metrics(y, prediction):
    return {
        "mean_absolute_error": float(mean_absolute_error(y, prediction)),
        "root_mean_squared_error": math.sqrt(np.mean((y - prediction) ** 2)),
        "r2": float(r2_score(y, prediction)) if len(y) > 1 else None,
    }


@dataclass
class EvaluationReport:
    """How a model does on the rows of a file."""

    model: str
    file: str
    target: str
    classes: list | None
    rows_without_target: int
    scores: Scores

    def to_dict(self):
        """Return plain values for JSON."""
        return _flat(asdict(self))

    def table(self):
        """Return a `rich.table.Table`."""
        table = _new_table(f"{self.model} on {self.file}")
        table.add_row("rows", f"{self.scores.n_rows:,}", _without_target(self.rows_without_target))
        _add_target(table, self)
        _add_scores(table, self.scores, "this model")
        return table


@dataclass
class TrainingReport:
    """How a model was trained, and how it does on the rows held out."""

    file: str
    target: str
    classes: list | None
    rows_trained: int
    rows_held_out: int
    rows_without_target: int
    columns_numeric: int
    columns_categorical: int
    columns_left_out: dict[str, str]
    features: int
    estimator: str
    loss: str
    solver: str
    learning_rate: float
    alpha: float
    l1_ratio: float
    epochs: int
    stop_reason: str
    converged: bool
    cost_before: float
    cost_after: float
    seconds_reading: float
    seconds_training: float
    epochs_per_second: float
    backend: str
    isa: str | None
    threads: int
    version: str
    model: str | None
    scores: Scores = field(repr=False)

    def to_dict(self):
        """Return plain values for JSON."""
        return _flat(asdict(self))

    def table(self):
        """Return a `rich.table.Table`."""
        table = _new_table(f"schuss train: {self.file}")
        held_out = f"and {self.rows_held_out:,} held out" if self.rows_held_out else ""
        table.add_row("rows", f"{self.rows_trained:,}", held_out)
        if self.rows_without_target:
            table.add_row("", "", _without_target(self.rows_without_target))
        columns = f"from {self.columns_numeric} numeric"
        if self.columns_categorical:
            columns += f", {self.columns_categorical} categorical"
        columns += " column" + "s" * (self.columns_numeric + self.columns_categorical != 1)
        table.add_row("features", f"{self.features:,}", columns)
        if self.columns_left_out:
            left_out = ", ".join(f"{name} ({why})" for name, why in self.columns_left_out.items())
            table.add_row("", "", f"left out: {left_out}")
        _add_target(table, self)
        table.add_row("solver", self.solver, f"step {self.learning_rate:.4g}")
        if self.alpha:
            kind = {0: "L2", 1: "L1"}.get(self.l1_ratio, f"{self.l1_ratio:.3g} of it L1, else L2")
            table.add_row("penalty", f"{self.alpha:.4g}", kind)
        reason = _STOP_REASONS.get(self.stop_reason, self.stop_reason)
        table.add_row("epochs", f"{self.epochs:,}", reason)
        table.add_row("cost before", f"{self.cost_before:.6f}", self.loss)
        table.add_row("cost after", f"{self.cost_after:.6f}", "")
        rate = f"{self.epochs_per_second:,.4g} epochs a second"
        table.add_row("time", f"{self.seconds_training:.3g} s", rate)
        threads = f"{self.threads} thread" + "s" * (self.threads != 1)
        table.add_row("backend", self.backend, f"{self.isa}, {threads}" if self.isa else threads)
        rows = "held-out rows" if self.rows_held_out else "training rows"
        _add_scores(table, self.scores, rows)
        if self.model:
            table.caption = f"saved: {self.model}"
        return table


@dataclass
class DescentReport:
    """How a function was minimised, with the path."""

    expression: str
    variables: list[str]
    method: str
    learning_rate: float | None
    x: np.ndarray
    fun: float
    jac: np.ndarray
    nit: int
    nfev: int
    njev: int
    success: bool
    status: int
    stop_reason: str
    message: str
    derivatives: str
    path: np.ndarray
    path_fun: np.ndarray
    path_step: int  # path[i] is iterate min(i * path_step, nit)
    n_shown: int = field(repr=False, default=0)  # rows of the table; 0: all

    def to_dict(self):
        """Return values for JSON, arrays among them; long paths are thinned."""
        values = {name: value for name, value in vars(self).items() if name != "n_shown"}
        stride = 1 if self.method == "grid" else -(-self.nit // (self.path_step * _JSON_POINTS))
        if stride > 1:
            values["path_step"] = self.path_step * stride
            for name in ("path", "path_fun"):
                values[name] = np.concatenate([values[name][:-1:stride], values[name][-1:]])
        return values

    def tables(self, width=None):
        """Return `rich.table.Table`s that fit into so many columns of characters.

        Where the variables do not fit side by side, the first are shown, and all of them at
        the end in a table of their own.
        """
        points, last = self.method == "grid", len(self.path) - 1
        rows = range(last + 1)
        if self.n_shown and last >= self.n_shown:
            head = (self.n_shown + 1) // 2
            rows = [*range(head), None, *range(last + 1 - self.n_shown + head, last + 1)]
        lines = [
            ["..."] * (len(self.variables) + 2)
            if k is None
            else [f"{min(k * self.path_step, self.nit):,}"]
            + [f"{value:.6g}" for value in (*self.path[k], self.path_fun[k])]
            for k in rows
        ]
        best = ["best", *(f"{value:.6g}" for value in (*self.x, self.fun))]
        headers = ["point" if points else "iteration", *self.variables]
        headers.append(f"f({', '.join(self.variables)})")
        n = _fitting([headers[:1], *lines, best] if points else [headers[:1], *lines], width)
        hidden = n < len(self.variables)
        if hidden:
            headers[-1] = "f"
        rate = "" if self.learning_rate is None else f", learning rate {self.learning_rate:.6g}"
        table = _titled_table(f"{self.expression}: {self.method}{rate}", width)
        shorten = (lambda cells: [*cells[: n + 1], "...", cells[-1]]) if hidden else list
        for header in shorten(headers):
            table.add_column(header, justify="right", overflow="fold")
        for cells in lines:
            table.add_row(*shorten(cells))
        if points:
            table.add_section()
            table.add_row(*shorten(best), style="bold")
        return [table, self._end()] if hidden else [table]

    def _end(self):
        """All variables where the run ended."""
        table = _titled_table("")
        table.add_column("variable", overflow="fold")
        table.add_column("x", justify="right", overflow="fold")
        for name, x in zip(self.variables, self.x, strict=True):
            table.add_row(name, f"{x:.6g}")
        return table


def _fitting(lines, width):
    """How many variables of these rows, each with a first and a last cell, fit side by side."""
    wide = [max(map(len, column)) + 3 for column in zip(*lines[1:], strict=True)]
    wide[0] = max(wide[0], len(lines[0][0]) + 3)
    if width is None or sum(wide) + 1 <= width:
        return len(wide) - 2
    left = width - 1 - wide[0] - wide[-1] - len("...") - 3
    return max(1, int(np.searchsorted(np.cumsum(wide[1:-1]), left, side="right")))


def _flat(report):
    scores = report.pop("scores")
    return report | {"metrics": scores["metrics"], "baseline": scores["baseline"]}


def _titled_table(title, width=None, **settings):
    """At least as wide as its title, which would be broken into lines otherwise."""
    from rich.box import ROUNDED
    from rich.cells import cell_len
    from rich.table import Table

    return Table(
        title=title, box=ROUNDED, title_justify="left", caption_justify="left",
        min_width=min(cell_len(title), width or math.inf), **settings,
    )  # fmt: skip


def _new_table(title):
    table = _titled_table(title, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right")
    table.add_column()
    return table


def _without_target(n_rows):
    return f"{n_rows:,} without a target left out" if n_rows else ""


def _add_target(table, report):
    if report.classes is None:
        table.add_row("target", report.target, "fractions within [0, 1]")
    else:
        shown = ", ".join(map(str, report.classes[:5])) + ", ..." * (len(report.classes) > 5)
        table.add_row("target", report.target, f"{len(report.classes)} classes: {shown}")


def _add_scores(table, scores, of_model):
    table.add_section()
    table.add_row("", of_model, scores.baseline_name, style="bold")
    for name, value in scores.metrics.items():
        table.add_row(_LABELS[name], _figure(value), _figure(scores.baseline[name]))


def _figure(value):
    return "not defined" if value is None else f"{value:.4f}"
