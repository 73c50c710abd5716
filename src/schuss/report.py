"""Results of training, evaluation and minimisation: values for JSON, and tables to print."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from schuss.minimizer import MinimizeResult

__all__ = [
    "EvaluationReport",
    "MinimizeReport",
    "Scores",
    "TrainingReport",
    "score",
    "score_classes",
    "score_fractions",
]

# Names in tables.
LABELS = {
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "roc_auc": "ROC AUC",
    "mean_absolute_error": "mean absolute error",
    "root_mean_squared_error": "root mean squared error",
    "r2": "R squared",
}
STOP_REASONS = {
    "max_iter": "stopped at --max-iter",
    "precision": "stopped by rounding errors, gradient above --tol",
    "separated": "no optimum without a penalty: the classes are separable",
    "early_stopping": "early stopping, validation loss no longer improved",
    "interrupted": "interrupted",
}


# Maximum number of points of a path as JSON: some 100 MB of text.
_JSON_POINTS = 1_000_000


@dataclass
class Scores:
    """Metrics of a model, and those of the best constant prediction, on the same rows."""

    n_rows: int
    metrics: dict[str, float | None]  # None where a metric is not defined for these rows
    baseline: dict[str, float | None]
    baseline_name: str


def score_classes(y: np.ndarray, probabilities: Any, classes: np.ndarray) -> Scores:
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
        The baseline gives every row the class frequencies in `y`.

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
    frequencies = np.bincount(codes, minlength=len(classes)) / len(codes)
    constant = np.broadcast_to(frequencies, (len(codes), len(classes)))
    return Scores(
        n_rows=len(codes),
        metrics=_class_metrics(codes, np.asarray(probabilities, dtype=np.float64)),
        baseline=_class_metrics(codes, constant),
        baseline_name="majority class",
    )


def _class_metrics(codes, probabilities):
    n_classes = probabilities.shape[1]
    # scikit-learn warns of sums that are off by float32's rounding.
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


def score_fractions(y: np.ndarray, prediction: Any) -> Scores:
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


def score(estimator: Any, X: Any, y: np.ndarray) -> Scores:
    """Score a fitted classifier by its probabilities, a regressor by its predictions."""
    if hasattr(estimator, "classes_"):
        return score_classes(y, estimator.predict_proba(X), estimator.classes_)
    return score_fractions(y, estimator.predict(X))


@dataclass
class EvaluationReport:
    """Scores of a model on the rows of a file."""

    model: str
    file: str
    target: str
    classes: list | None
    rows_without_target: int
    scores: Scores

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return _flat(asdict(self))

    def table(self) -> Any:
        """Return a `rich.table.Table`."""
        table = new_table(f"{self.model} on {self.file}")
        table.add_row("rows", f"{self.scores.n_rows:,}", _without_target(self.rows_without_target))
        _add_target(table, self)
        _add_scores(table, self.scores, "this model")
        return table


@dataclass
class TrainingReport:
    """How a model was trained, and its scores on the held-out rows.

    The fields are the keys of the JSON document, in which the loss is called cost.
    """

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
    hidden: list[int] | None = None
    pictures: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return _flat(asdict(self))

    def table(self) -> Any:
        """Return a `rich.table.Table`."""
        table = new_table(f"schuss train: {self.file}")
        held_out = f"and {self.rows_held_out:,} held out" if self.rows_held_out else ""
        table.add_row("rows", f"{self.rows_trained:,}", held_out)
        if self.rows_without_target:
            table.add_row("", "", _without_target(self.rows_without_target))
        columns = f"from {self.columns_numeric} numeric"
        if self.columns_categorical:
            columns += f", {self.columns_categorical} categorical"
        columns += " column" + "s" * (self.columns_numeric + self.columns_categorical != 1)
        table.add_row("features", f"{self.features:,}", self.pictures or columns)
        if self.hidden:
            table.add_row("hidden", ", ".join(map(str, self.hidden)), "neurons of a network")
        if self.columns_left_out:
            left_out = ", ".join(f"{name} ({why})" for name, why in self.columns_left_out.items())
            table.add_row("", "", f"left out: {left_out}")
        _add_target(table, self)
        table.add_row("solver", self.solver, f"learning rate {self.learning_rate:.4g}")
        if self.alpha:
            kind = {0.0: "L2", 1.0: "L1"}.get(self.l1_ratio, f"{self.l1_ratio:.3g} L1, the rest L2")
            table.add_row("penalty", f"{self.alpha:.4g}", kind)
        reason = STOP_REASONS.get(self.stop_reason, self.stop_reason)
        table.add_row("epochs", f"{self.epochs:,}", reason)
        table.add_row("initial loss", f"{self.cost_before:.6f}", self.loss)
        table.add_row("final loss", f"{self.cost_after:.6f}", "")
        rate = f"{self.epochs_per_second:,.4g} epochs per second"
        table.add_row("time", f"{self.seconds_training:.3g} s", rate)
        threads = f"{self.threads} thread" + "s" * (self.threads != 1)
        table.add_row("backend", self.backend, f"{self.isa}, {threads}" if self.isa else threads)
        rows = "held-out rows" if self.rows_held_out else "training rows"
        _add_scores(table, self.scores, rows)
        if self.model:
            table.caption = f"saved: {self.model}"
        return table


@dataclass
class MinimizeReport:
    """How a function was minimised, with the path."""

    expression: str
    variables: tuple[str, ...]
    result: MinimizeResult
    n_shown: int = 0  # rows of the table; 0: all

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON, arrays among them; of a long path only some points."""
        result = self.result
        values = {"expression": self.expression, "variables": self.variables, **result}
        # Those of an `Expression` are not "given" by the user.
        values["derivatives"] = "exact"
        stride = (
            1 if result.method == "grid" else -(-result.nit // (result.path_step * _JSON_POINTS))
        )
        if stride > 1:
            values["path_step"] = result.path_step * stride
            for name in ("path", "path_fun"):
                values[name] = np.concatenate([result[name][:-1:stride], result[name][-1:]])
        return values

    def tables(self, width: int | None = None) -> list[Any]:
        """Return `rich.table.Table`s that fit into `width` columns of characters.

        Where the variables do not fit side by side, the first are shown, and the final values
        of all in a table of their own.
        """
        result, grid = self.result, self.result.method == "grid"
        last = len(result.path) - 1
        rows: Sequence[int | None] = range(last + 1)
        if self.n_shown and last >= self.n_shown:
            head = (self.n_shown + 1) // 2
            rows = [*range(head), None, *range(last + 1 - self.n_shown + head, last + 1)]
        lines = [
            ["..."] * (len(self.variables) + 2)
            if k is None
            else [f"{min(k * result.path_step, result.nit):,}"]
            + [f"{value:.6g}" for value in (*result.path[k], result.path_fun[k])]
            for k in rows
        ]
        best = ["best", *(f"{value:.6g}" for value in (*result.x, result.fun))]
        headers = ["point" if grid else "iteration", *self.variables]
        headers.append(f"f({', '.join(self.variables)})")
        n = _fitting([headers[:1], *lines, best] if grid else [headers[:1], *lines], width)
        hidden = n < len(self.variables)
        if hidden:
            headers[-1] = "f"
        rate = "" if result.learning_rate is None else f", learning rate {result.learning_rate:.6g}"
        table = _titled_table(f"{self.expression}: {result.method}{rate}", width)
        shorten = (lambda cells: [*cells[: n + 1], "...", cells[-1]]) if hidden else list
        for header in shorten(headers):
            table.add_column(header, justify="right", overflow="fold")
        for cells in lines:
            table.add_row(*shorten(cells))
        if grid:
            table.add_section()
            table.add_row(*shorten(best), style="bold")
        return [table, self._final_values()] if hidden else [table]

    def _final_values(self):
        table = _titled_table("")
        table.add_column("variable", overflow="fold")
        table.add_column("x", justify="right", overflow="fold")
        for name, x in zip(self.variables, self.result.x, strict=True):
            table.add_row(name, f"{x:.6g}")
        return table


def _fitting(lines, width):
    """Number of variables that fit side by side, in rows with a first and a last cell."""
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
    """A table at least as wide as its title, which rich would wrap otherwise."""
    from rich.box import ROUNDED
    from rich.cells import cell_len
    from rich.table import Table

    return Table(
        title=title, box=ROUNDED, title_justify="left", caption_justify="left",
        min_width=min(cell_len(title), width or cell_len(title)), **settings,
    )  # fmt: skip


def new_table(title: str, columns: int = 3) -> Any:
    """Return a `rich.table.Table` of names, of figures unless `columns` is 2, and of notes."""
    table = _titled_table(title, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    if columns > 2:
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
        table.add_row(LABELS[name], figure(value), figure(scores.baseline[name]))


def figure(value: float | None) -> str:
    """Return a metric as text."""
    return "not defined" if value is None else f"{value:.4f}"
