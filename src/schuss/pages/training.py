"""The report of a training as one page: verdict, scores, curves, weights, data, parameters.

It needs jinja2 and matplotlib, of the extra ``plot``; no network, and light or dark is what the
reader has set.
"""

import inspect
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from schuss.pages import page
from schuss.pages.pictures import picture_rows
from schuss.report import LABELS, STOP_REASONS, TrainingReport, figure

# Classes up to which a confusion matrix is shown, and the number of weights.
_MAX_CLASSES = 30
_MAX_WEIGHTS = 20
# Width of the longest bar in rem.
_BAR = 12


def training_page(
    report: TrainingReport, estimator: Any, X: Any, y: np.ndarray, *,
    names: Sequence[str] | None = None, notes: Iterable[str] = (), command: str = "",
    side: int | None = None, files: Sequence[str] = (),
) -> str:  # fmt: skip
    """Return the page.

    Parameters
    ----------
    report : TrainingReport
    estimator : fitted estimator
    X, y : array-like of shape (n, d), ndarray of shape (n,)
        The rows that are scored: those held out, if there are any.
    names : sequence of str, optional
        Names of the features, one for each column of X.
    notes : iterable of str
        Remarks on the data.
    command : str
        What repeats the training.
    side : int, optional
        Pixels of a side, where X are pictures.
    files : sequence of str
        Those of the pictures.

    Returns
    -------
    str
    """
    held_out = report.rows_held_out > 0
    which = f"{report.scores.n_rows:,} {'held-out' if held_out else 'training'} rows"
    confusion, charts = _scores(estimator, X, y, which)
    return page(
        "training",
        f"schuss train: {report.file}",
        verdict=_verdict(report, which),
        warnings=() if held_out else (
            "No rows were held out: these scores are those of the rows that it was trained on, and "
            "say nothing about others.",
        ),
        scored=f"Scores on {which}, beside those of the {report.scores.baseline_name}.",
        baseline=report.scores.baseline_name,
        metrics=[
            (LABELS[name], figure(value), figure(report.scores.baseline[name]))
            for name, value in report.scores.metrics.items()
        ],
        confusion=confusion,
        score_charts=charts,
        loss_charts=_loss_charts(estimator),
        weights=_weights(estimator, names) if side is None else None,
        picture_rows=[] if side is None else picture_rows(estimator, X, y, side, files),
        data=_data(report),
        notes=list(notes),
        parameters=_parameters(estimator),
        command=command,
        versions=_versions(),
        numbers=json.dumps(report.to_dict(), indent=1, ensure_ascii=False),
    )  # fmt: skip


def _verdict(report, which):
    ended = {
        "converged": "converged",
        "callback": "was stopped by a callback",
        "interrupted": "was interrupted; the weights reached are kept",
    }
    reason = ended.get(report.stop_reason)
    if reason is None:
        reason = f"ended: {STOP_REASONS.get(report.stop_reason, report.stop_reason)}"
    plural = "s" * (report.epochs != 1)
    text = f"Training {reason}, after {report.epochs:,} epoch{plural}. "
    name = next(iter(report.scores.metrics))
    value, other = report.scores.metrics[name], report.scores.baseline[name]
    return text + (
        f"On the {which} its {LABELS[name]} is {figure(value)}; that of the "
        f"{report.scores.baseline_name} is {figure(other)}."
    )


def _data(report):
    yield "file", report.file
    yield "target", report.target
    if report.classes is not None:
        yield "classes", ", ".join(map(str, report.classes[:50]))
    yield "rows trained on", f"{report.rows_trained:,}"
    yield "rows held out", f"{report.rows_held_out:,}"
    if report.rows_without_target:
        yield "rows without a target, left out", f"{report.rows_without_target:,}"
    if report.pictures:
        yield "pictures", report.pictures
    else:
        yield "numeric columns", f"{report.columns_numeric:,}"
        yield "categorical columns", f"{report.columns_categorical:,}"
    yield "features", f"{report.features:,}"
    for name, why in report.columns_left_out.items():
        yield f"left out: {name}", why


def _parameters(estimator):
    defaults = inspect.signature(type(estimator).__init__).parameters
    for name, value in sorted(estimator.get_params(deep=False).items()):
        default = defaults[name].default
        yield name, repr(value), type(value) is type(default) and value == default


def _versions():
    from schuss import show_config

    for name, value in show_config().items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{key}: {item}" for key, item in value.items())
        yield name, value


def _weights(estimator, names):
    """The largest weights of a neuron, or of the neurons of several classes."""
    coef = getattr(estimator, "coef_", None)
    if coef is None:
        return None
    coef = np.atleast_2d(np.asarray(coef, dtype=float))
    if names is None:
        names = getattr(estimator, "feature_names_in_", range(coef.shape[1]))
    labels = [str(name) for name in names]
    rows, columns = np.unravel_index(
        np.argsort(-np.abs(coef), axis=None, kind="stable")[:_MAX_WEIGHTS], coef.shape
    )
    largest = float(np.abs(coef).max(initial=0)) or 1.0
    classes: Any = getattr(estimator, "classes_", None)
    several = len(coef) > 1
    return {
        "text": f"{len(rows)} of {coef.size:,}; features are as the model sees them, after scaling "
        "and encoding. Orange speaks for the "
        + ("class" if several else f"class {classes[1]}" if classes is not None else "value 1")
        + ", blue against it.",
        "rows": [
            (
                f"{labels[j]} → {classes[k]}" if several else labels[j],
                f"{coef[k, j]:.4g}",
                f"{_BAR * abs(coef[k, j]) / largest:.2f}",
                "one" if coef[k, j] > 0 else "zero",
            )
            for k, j in zip(rows.tolist(), columns.tolist(), strict=True)
        ],
    }


# ----- charts -------------------------------------------------------------------------


def _scores(estimator, X, y, which):
    """The confusion matrix, and the curves of the scored rows."""
    from sklearn.metrics import confusion_matrix

    from schuss.plot import CalibrationDisplay, RocCurveDisplay

    if not hasattr(estimator, "classes_"):
        answers = np.asarray(estimator.predict(X), dtype=float)

        def scatter(axes):
            axes.plot([0, 1], [0, 1], color="#888888", linewidth=1)
            axes.plot(answers, y, "o", markersize=3, alpha=0.5)
            axes.set_xlabel("predicted")
            axes.set_ylabel("observed")

        return None, [_chart(scatter, f"Observed over predicted fractions of the {which}.")]
    classes, confusion = estimator.classes_, None
    if len(classes) <= _MAX_CLASSES:
        counts = confusion_matrix(y, estimator.predict(X), labels=classes)
        shares = 60 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        confusion = {
            "classes": [str(name) for name in classes.tolist()],
            "rows": [
                (str(classes[i]), [
                    (int(counts[i, j]), round(float(shares[i, j])), "zero" if i == j else "one")
                    for j in range(len(classes))
                ])
                for i in range(len(classes))
            ],
        }  # fmt: skip
    if len(classes) != 2 or len(np.unique(y)) != 2:
        return confusion, []
    positive = estimator.predict_proba(X)[:, 1].astype(float)
    is_second = y == classes[1]

    def calibration(axes):
        CalibrationDisplay.from_predictions(
            is_second, positive, n_bins=10, strategy="quantile", ax=axes, name="this model"
        )
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("observed share")

    def roc(axes):
        RocCurveDisplay.from_predictions(is_second, positive, ax=axes, name="this model")
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")

    return confusion, [
        _chart(calibration, f"Calibration: of the {which} with a predicted probability, the share "
               f"that is {classes[1]}. On the diagonal, probabilities are right."),
        _chart(roc, f"ROC curve of the {which}: the closer to the upper left corner, the better."),
    ]  # fmt: skip


def _loss_charts(estimator):
    from schuss.plot import LearningCurveDisplay

    history = getattr(estimator, "history_", None)
    if history is None or not len(history["loss"]):
        return []
    first, last = history["loss"][0], history["loss"][-1]
    return [
        _chart(
            lambda axes, over=over: LearningCurveDisplay.from_estimator(
                estimator, over=over, ax=axes
            ),
            f"Loss over the {over}: from {first:.4g} to {last:.4g}.",
        )
        for over in ("epochs", "seconds")
    ]


def _chart(draw, text):
    """What `draw` draws into axes, as SVG whose black is the page's ink."""
    import matplotlib
    from markupsafe import Markup
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none", "svg.hashsalt": text, "font.family": "sans-serif",
        "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        picture = Figure(figsize=(5, 3.4), layout="constrained")
        draw(picture.subplots())
        stream = io.StringIO()
        picture.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    # Names of groups are the same in each chart, and nothing refers to them.
    svg = re.sub('<g id="[^"]*"', "<g", svg[svg.index("<svg") :])
    for black in ("#000000", "black", "rgb(0,0,0)"):
        svg = svg.replace(f": {black}", ": currentColor")
    # Text has no colour of its own.
    svg = svg.replace("<svg ", '<svg aria-hidden="true" fill="currentColor" ', 1)
    return {"svg": Markup(svg), "text": text}
