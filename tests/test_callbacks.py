"""Callbacks that report: bars, logs, trackers, pruning."""

import csv
import io
import json

import numpy as np
import pytest

import schuss
from schuss.callbacks import Log, Metrics, OptunaPruning, ProgressBar

X = np.linspace(-2, 2, 40)[:, None]
Y = (X[:, 0] + np.tile([0.3, -0.3], 20) > 0).astype(int)
ESTIMATORS = {
    "neuron": schuss.SigmoidClassifier(max_iter=30, tol=0),
    "logistic": schuss.LogisticRegression(),
    "sgd": schuss.SGDClassifier(max_iter=20, tol=None, random_state=0),
    "network": schuss.MLPClassifier((3,), max_iter=20, random_state=0, tol=0, n_iter_no_change=99),
}


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    from sklearn.base import clone

    return clone(ESTIMATORS[request.param])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_log_has_a_line_for_each_iteration(estimator, name, tmp_path):
    file = tmp_path / name

    estimator.fit(X, Y, callbacks=[Log(file)])

    text = file.read_text(encoding="utf-8")
    if name.endswith("csv"):
        rows = list(csv.DictReader(io.StringIO(text)))
    else:
        rows = [json.loads(line) for line in text.splitlines()]
    assert [int(row["n_iter"]) for row in rows] == list(
        range(1, len(estimator.history_["loss"]) + 1)
    )
    np.testing.assert_allclose(
        [float(row["loss"]) for row in rows], estimator.history_["loss"], rtol=1e-12
    )


def test_a_log_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"path='log.txt': expected a name that ends in .csv"):
        Log("log.txt")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_metrics_go_to_a_tracker(estimator):
    seen = []

    estimator.fit(X, Y, callbacks=[Metrics(lambda *entry: seen.append(entry), prefix="a/")])

    names = {name for name, _, _ in seen}
    assert {"a/loss", "a/seconds"} <= names
    assert all(np.isfinite(value) for _, value, _ in seen)
    assert seen[-1][2] == len(estimator.history_["loss"])
    with pytest.raises(TypeError, match="log=3: expected a callable"):
        Metrics(3)


@pytest.mark.parametrize("transient", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_bar_in_a_terminal(estimator, transient):
    console = pytest.importorskip("rich.console").Console(
        file=io.StringIO(), force_terminal=True, width=80
    )

    estimator.fit(X, Y, callbacks=[ProgressBar("neuron", console, transient)])

    shown = console.file.getvalue()
    assert "neuron" in shown and "loss" in shown
    # The cursor is there again.
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert shown.endswith("\x1b[2K") == transient  # which clears its line


def test_lines_in_a_file(capsys):
    console = pytest.importorskip("rich.console").Console(file=io.StringIO())

    schuss.SigmoidClassifier(max_iter=30, tol=0).fit(X, Y, callbacks=[ProgressBar("a", console)])

    assert console.file.getvalue() == ""
    assert capsys.readouterr().out.startswith("iteration ")


@pytest.mark.parametrize("fails", [False, True])
def test_callbacks_are_finished_however_a_run_ends(fails):
    calls = []

    class Watch:
        every = 1

        def __call__(self, info):
            calls.append("call")
            if fails:
                raise RuntimeError("no")

        def finish(self):
            calls.append("finish")

    model = schuss.SigmoidClassifier(max_iter=3, tol=0)
    if fails:
        with pytest.raises(RuntimeError, match="no"):
            model.fit(X, Y, callbacks=[Watch()])
        assert calls == ["call", "finish"] and not hasattr(model, "coef_")
    else:
        model.fit(X, Y, callbacks=[Watch()])
        assert calls == ["call"] * 3 + ["finish"]


def test_a_trial_is_pruned():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    model = schuss.SigmoidClassifier(max_iter=50, tol=0)

    def objective(trial):
        trial.suggest_float("alpha", 0, 1)
        model.fit(X, Y, eval_set=(X, Y), callbacks=[OptunaPruning(trial)])

    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0))
    study.optimize(objective, n_trials=1)

    assert study.trials[0].state == optuna.trial.TrialState.PRUNED
    assert list(study.trials[0].intermediate_values) == [1] and not hasattr(model, "coef_")


def test_a_metric_that_is_not_there_is_named():
    class Trial:
        pass

    with pytest.raises(ValueError, match="metric='validation_loss': this run has none"):
        schuss.SigmoidClassifier().fit(X, Y, callbacks=[OptunaPruning(Trial())])
