"""Displays: what is drawn, where, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import schuss
from schuss import SigmoidClassifier, plot

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def figures():
    matplotlib.use("Agg")
    yield
    matplotlib.pyplot.close("all")


def parabola(x):
    return x**2 - 4 * x + 6


def bowl(x):
    return x[0] ** 2 + 4 * x[1] ** 2


def test_descent_on_a_curve():
    result = schuss.minimize(parabola, 8.0, learning_rate=0.1)
    display = plot.DescentDisplay.from_result(result, parabola)
    curve, path, start, end = display.ax_.lines
    np.testing.assert_allclose(curve.get_ydata(), parabola(curve.get_xdata()))
    np.testing.assert_array_equal(path.get_xdata(), result.path[:, 0])
    assert start.get_xdata()[0] == 8 and end.get_xdata()[0] == result.x[0]
    assert display.ax_.get_xlabel() == "x" and display.ax_.get_ylabel() == "f(x)"
    assert "74 steps" in display.ax_.get_title()


def test_descents_side_by_side_on_contours():
    results = {m: schuss.minimize(bowl, [2.0, 1.0], method=m) for m in ("gd", "nesterov", "newton")}
    results["grid"] = schuss.minimize(bowl, method="grid", bounds=[(-2, 2)] * 2, n_points=9)
    results["too large"] = schuss.minimize(bowl, [2.0, 1.0], learning_rate=0.3)
    display = plot.DescentDisplay.from_result(
        results, bowl, bounds=[(-2, 3), (-1, 2)], variables=("a", "b")
    )
    assert len(display.ax_) == 5
    for axes, (label, result) in zip(display.ax_, results.items(), strict=True):
        assert axes.get_title().startswith(label) and axes.get_xlabel() == "a"
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), result.path)
        assert axes.get_xlim() == (-2, 3) and axes.get_ylim() == (-1, 2)
    assert "81 points" in display.ax_[3].get_title() and "diverged" in display.ax_[4].get_title()
    figure, axes = matplotlib.pyplot.subplots(1, 5)
    assert display.plot(ax=axes).figure_ is figure
    with pytest.raises(ValueError, match="ax holds 1 axes, expected 5"):
        display.plot(ax=axes[0])


def test_descent_of_many_variables_over_iterations():
    result = schuss.minimize(lambda x: x @ x, np.ones(4), learning_rate=0.1)
    axes = plot.DescentDisplay.from_result({"gd": result}, None).ax_
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), result.path_fun)
    assert axes.get_xlabel() == "iteration"


def test_thinned_paths_stand_at_their_iterations(monkeypatch):
    monkeypatch.setattr("schuss.minimizer.path._MAX_BYTES", 5 * 8 * 8)
    result = schuss.minimize(lambda x: x @ x, np.ones(4), learning_rate=0.01, max_iter=30)
    assert result.path_step == 4 and len(result.path) == 9
    iterations = [0, 4, 8, 12, 16, 20, 24, 28, 30]
    axes = plot.DescentDisplay.from_result(result, None).ax_
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), iterations)
    curve = plot.LearningCurveDisplay.from_result(result).ax_.lines[0]
    np.testing.assert_array_equal(curve.get_xdata(), np.add(iterations, 1))
    np.testing.assert_array_equal(curve.get_ydata(), result.path_fun)


def test_functions_of_arrays_of_one_entry():
    result = schuss.minimize(lambda x: x[0] ** 2, [3.0])
    display = plot.DescentDisplay.from_result(result, lambda x: x[0] ** 2)
    curve = display.ax_.lines[0]
    np.testing.assert_allclose(curve.get_ydata(), curve.get_xdata() ** 2)


def test_learning_curves():
    X, y = load_iris(return_X_y=True)
    X, y = StandardScaler().fit_transform(X[:100]), y[:100]
    neurons = {
        solver: SigmoidClassifier("log_loss", solver, max_iter=30, tol=0).fit(X, y)
        for solver in ("gd", "nesterov")
    }
    display = plot.LearningCurveDisplay.from_estimator(neurons)
    for line, neuron in zip(display.ax_.lines, neurons.values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), neuron.history_["loss"])
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 31))
    assert display.ax_.get_xlabel() == "epoch" and display.ax_.get_ylabel() == "loss"
    seconds = plot.LearningCurveDisplay.from_estimator(neurons, over="seconds", log_scale=True)
    line = seconds.ax_.lines[0]
    np.testing.assert_array_equal(line.get_xdata(), neurons["gd"].history_["seconds"])
    assert seconds.ax_.get_xlabel() == "time" and seconds.ax_.get_yscale() == "log"
    early = SigmoidClassifier("log_loss", max_iter=30, early_stopping=True, random_state=0)
    validated = plot.LearningCurveDisplay.from_estimator(make_pipeline(early).fit(X, y))
    assert len(validated.ax_.lines) == 2
    result = schuss.train(X, y, epochs=20)
    trained = plot.LearningCurveDisplay.from_result(result, quantity="gradient_norm")
    np.testing.assert_array_equal(trained.ax_.lines[0].get_ydata(), result.history["gradient_norm"])
    path = schuss.minimize(parabola, 8.0)
    plot.LearningCurveDisplay.from_result({"minimize": path})
    with pytest.raises(ValueError, match="no seconds"):
        plot.LearningCurveDisplay.from_result(path, over="seconds")
    with pytest.raises(ValueError, match="over='hours'"):
        plot.LearningCurveDisplay.from_result(path, over="hours")
    with pytest.raises(ValueError, match="has no history_"):
        plot.LearningCurveDisplay.from_estimator(StandardScaler())


@pytest.mark.parametrize("classes", [2, 3])
def test_decision_boundary(classes):
    data = load_iris(as_frame=True)
    rows = data.target < classes
    X, y = data.data[rows].iloc[:, 2:], data.target[rows]
    neuron = SigmoidClassifier("log_loss", "nesterov", alpha=0.01, max_iter=200, tol=0).fit(X, y)
    display = plot.DecisionBoundaryDisplay.from_estimator(neuron, X, y, grid_resolution=30)
    assert display.ax_.get_xlabel() == "petal length (cm)"
    points = [line for line in display.ax_.lines if line.get_linestyle() == "None"]
    assert sum(len(line.get_xdata()) for line in points) == len(X) and len(points) == classes
    X = X.to_numpy()
    named = plot.DecisionBoundaryDisplay.from_estimator(
        clone(neuron).fit(X, y),
        X,
        y,
        feature_names=np.array(["a (cm)", "b (cm)"]),
        grid_resolution=30,
    )
    assert named.ax_.get_ylabel() == "b (cm)"
    assert named.plot().figure_ is not display.figure_
    with pytest.raises(ValueError, match=r"X has shape \(\d+, 3\), expected \(n, 2\)"):
        plot.DecisionBoundaryDisplay.from_estimator(neuron, np.zeros((5, 3)), np.zeros(5))


def test_many_rows_become_small_pixels():
    X = np.random.default_rng(0).standard_normal((20_000, 2))
    y = (X[:, 0] > 0).astype(int)
    neuron = SigmoidClassifier(max_iter=5, tol=0).fit(X, y)
    few, many = (
        plot.DecisionBoundaryDisplay.from_estimator(neuron, X[:n], y[:n], grid_resolution=10)
        for n in (100, len(X))
    )
    marks = [display.ax_.lines[-1] for display in (few, many)]
    assert marks[0].get_markersize() > 2 * marks[1].get_markersize()
    assert [bool(mark.get_rasterized()) for mark in marks] == [False, True]


def test_weights():
    X, y = load_digits(n_class=3, return_X_y=True)
    several = SigmoidClassifier("log_loss", "nesterov", max_iter=50, tol=0).fit(X, y)
    display = plot.WeightsDisplay.from_estimator(several)
    for axes, coef, label in zip(display.ax_, several.coef_, several.classes_, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), coef.reshape(8, 8))
        assert axes.get_title() == str(label)
        low, high = axes.images[0].get_clim()
        assert high == -low == np.abs(several.coef_).max()
    one = make_pipeline(SigmoidClassifier("log_loss", max_iter=50, tol=0)).fit(X[y < 2], y[y < 2])
    single = plot.WeightsDisplay.from_estimator(one, names=("cat", "dog"), shape=(4, 16))
    assert single.weights.shape == (1, 4, 16) and single.ends == ("cat", "dog")
    bar = single.figure_.axes[-1].get_ylabel()
    assert bar.index("cat") < bar.index("dog")
    with pytest.raises(ValueError, match="63 pixels, but there are 64 weights"):
        plot.WeightsDisplay.from_estimator(one, shape=(9, 7))
    with pytest.raises(ValueError, match="neither coef_ nor coefs_"):
        plot.WeightsDisplay.from_estimator(StandardScaler())


def test_scikit_learns_displays_take_the_estimators():
    X, y = load_iris(return_X_y=True)
    neuron = SigmoidClassifier("log_loss", max_iter=50, tol=0).fit(X[50:], y[50:])
    assert plot.RocCurveDisplay.from_estimator(neuron, X[50:], y[50:]).roc_auc > 0.9
    plot.CalibrationDisplay.from_estimator(neuron, X[50:], y[50:], n_bins=5)


def test_without_matplotlib_the_error_names_the_extra():
    code = """
import sys
sys.modules["matplotlib"] = None
import schuss
result = schuss.minimize(lambda x: x**2, 1.0)
try:
    schuss.plot.DescentDisplay.from_result(result, lambda x: x**2)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "schuss[plot]"' in done.stdout, done.stderr


def test_a_mountain_in_three_dimensions():
    def bowl(x):
        return x[0] ** 2 + 3 * x[1] ** 2

    result = schuss.minimize(bowl, [2.0, 1.0])
    display = plot.DescentDisplay.from_result({"a": result, "b": result}, bowl, kind="surface")

    assert [axes.name for axes in display.ax_] == ["3d", "3d"]
    path = display.ax_[0].lines[0].get_data_3d()
    np.testing.assert_allclose(path[:2], result.path.T)
    assert display.ax_[0].get_zlabel() == "f(x, y)"
    with pytest.raises(ValueError, match="kind='hills' is unknown; choose one of contours, surf"):
        plot.DescentDisplay.from_result(result, bowl, kind="hills")
