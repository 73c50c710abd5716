"""Figures of a report, and the table people read."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from schuss.report import EvaluationReport, TrainingReport, score_classes, score_fractions


def test_two_classes_beside_the_majority():
    y = np.array(["a", "b", "b", "b", "a"])
    p = np.array([0.2, 0.9, 0.4, 0.7, 0.3])
    scores = score_classes(y, np.column_stack([1 - p, p]), np.array(["a", "b"]))
    assert scores.metrics["accuracy"] == 0.8
    assert scores.metrics["log_loss"] == pytest.approx(
        -np.mean(np.log([0.8, 0.9, 0.4, 0.7, 0.7])), rel=1e-12
    )
    assert scores.metrics["roc_auc"] == 1.0
    assert scores.baseline["accuracy"] == 0.6
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    assert scores.baseline["log_loss"] == pytest.approx(entropy, rel=1e-12)
    assert scores.baseline["roc_auc"] == 0.5
    assert scores.baseline_name == "majority class"


def test_several_classes_in_float32():
    rng = np.random.default_rng(0)
    classes = np.array([3, 5, 9])
    y = rng.choice(classes, 50)
    p = rng.dirichlet([1, 1, 1], 50).astype(np.float32)
    p /= p.sum(axis=1, keepdims=True)
    scores = score_classes(y, p, classes)
    assert scores.metrics["accuracy"] == np.mean(classes[p.argmax(axis=1)] == y)
    assert scores.metrics["log_loss"] == pytest.approx(
        log_loss(y, p / p.sum(axis=1, dtype=float, keepdims=True)), rel=1e-6
    )
    expected = np.mean([roc_auc_score(y == c, p[:, k]) for k, c in enumerate(classes)])
    assert scores.metrics["roc_auc"] == pytest.approx(expected)


def test_area_is_not_defined_where_a_class_is_absent():
    p = np.array([[0.2, 0.8], [0.4, 0.6]])
    scores = score_classes(np.array([1, 1]), p, np.array([0, 1]))
    assert scores.metrics["roc_auc"] is None
    assert scores.baseline["accuracy"] == 1.0
    report = EvaluationReport("m", "f", "y", [0, 1], 0, scores)
    assert report.to_dict()["metrics"]["roc_auc"] is None
    assert "not defined" in rendered(report, 80)


def test_fractions_beside_their_mean():
    scores = score_fractions(np.array([0.0, 0.5, 1.0]), np.array([0.1, 0.5, 0.8], np.float32))
    assert scores.metrics["mean_absolute_error"] == pytest.approx(0.1, rel=1e-6)
    assert scores.metrics["root_mean_squared_error"] == pytest.approx((0.05 / 3) ** 0.5, rel=1e-6)
    assert scores.metrics["r2"] == pytest.approx(0.9, rel=1e-6)
    assert scores.baseline["r2"] == 0.0


def training_report(**changes):
    scores = score_classes(
        np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), np.array([0, 1])
    )
    values = {
        "file": "flights.csv.gz",
        "target": "late",
        "classes": [0, 1],
        "rows_trained": 261_876,
        "rows_held_out": 65_470,
        "rows_without_target": 0,
        "columns_numeric": 6,
        "columns_categorical": 3,
        "columns_left_out": {},
        "features": 129,
        "estimator": "SigmoidClassifier",
        "loss": "log_loss",
        "solver": "nesterov",
        "learning_rate": 0.5,
        "alpha": 0.01,
        "l1_ratio": 0.0,
        "epochs": 200,
        "stop_reason": "converged",
        "converged": True,
        "cost_before": 0.693147,
        "cost_after": 0.25,
        "seconds_reading": 0.5,
        "seconds_training": 1.25,
        "epochs_per_second": 160.0,
        "backend": "cython",
        "isa": "x86-64-v4",
        "threads": 2,
        "version": "0.1.0",
        "model": "flights.schuss.safetensors",
        "scores": scores,
    }
    return TrainingReport(**(values | changes))


def rendered(report, width):
    console = pytest.importorskip("rich.console").Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(report.table())
    return capture.get()


@pytest.mark.parametrize("width", [80, 200])
def test_table_has_every_figure_and_fits(width):
    text = rendered(training_report(), width)
    assert max(map(len, text.splitlines())) <= width
    for figure in (
        "261,876", "65,470 held out", "129", "6 numeric, 3 categorical", "200", "converged",
        "0.693147", "0.250000", "0.6667", "0.4149", "0.6365", "1.0000", "0.5000",
        "1.25 s", "160 epochs per second", "cython", "x86-64-v4, 2 threads", "majority class",
        "flights.schuss.safetensors",
    ):  # fmt: skip
        assert figure in text, figure


def test_titles_are_one_line():
    lines = rendered(training_report(file="a name that is longer " * 4 + "than the table"), 200)
    assert "a name that is longer than the table" in lines.splitlines()[0]


def test_one_column_is_no_columns():
    text = rendered(training_report(columns_numeric=1, columns_categorical=0), 100)
    assert "from 1 numeric column " in text


def test_table_says_what_is_unusual():
    text = rendered(
        training_report(
            rows_without_target=12,
            columns_left_out={"id": "one value only"},
            stop_reason="interrupted",
            rows_held_out=0,
            isa=None,
            threads=1,
        ),
        100,
    )
    for words in (
        "12 without a target left out", "left out: id (one value only)", "interrupted",
        "training rows", "1 thread",
    ):  # fmt: skip
        assert words in text, words


def test_values_for_programs_are_plain():
    import json

    values = training_report().to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["metrics"].keys() == values["baseline"].keys()
    assert "scores" not in values
