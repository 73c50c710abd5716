"""The report of a training as a page."""

import json
import re

import numpy as np
import pytest

import schuss
from schuss.report import TrainingReport, score

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from schuss.pages.training import training_page

EVIL = "<script>alert(1)</script>"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3))


def page(estimator, y, held_out=30, **others):
    estimator.fit(X, y)
    is_classifier = hasattr(estimator, "classes_")
    report = TrainingReport(
        file="a.csv", target=EVIL, classes=estimator.classes_.tolist() if is_classifier else None,
        rows_trained=90, rows_held_out=held_out, rows_without_target=2, columns_numeric=3,
        columns_categorical=0, columns_left_out={EVIL: "constant"}, features=3,
        estimator=type(estimator).__name__, loss="log_loss", solver="nesterov", learning_rate=0.5,
        alpha=0.0, l1_ratio=0.0, epochs=12, stop_reason=estimator.stop_reason_, converged=True,
        cost_before=0.7, cost_after=0.2, seconds_reading=0.1, seconds_training=0.1,
        epochs_per_second=120.0, backend="cython", isa=None, threads=1, version="0", model=None,
        scores=score(estimator, X, y),
    )  # fmt: skip
    return training_page(report, estimator, X, y, names=["one", EVIL, "three"], **others)


@pytest.fixture
def neuron():
    return schuss.SigmoidClassifier(loss="log_loss", alpha=0.01)


LABELS = np.where(X @ [1.0, -2.0, 0.0] > 0.3 * RNG.normal(size=90), "yes", "no")


def test_the_page_is_whole_and_nothing_in_it_runs(neuron):
    text = page(neuron, LABELS, notes=[EVIL], command=f"schuss train --drop '{EVIL}'")

    assert "<script" not in text and text.count("&lt;script&gt;") >= 6
    assert "url(h" not in text and "@import" not in text and " src=" not in text
    numbers = json.loads(
        re.search('<pre id="numbers">(.*?)</pre>', text, re.S)[1]
        .replace("&#34;", '"')
        .replace("&lt;", "<")
        .replace("&gt;", ">")
    )
    assert numbers["epochs"] == 12 and numbers["target"] == EVIL
    assert len(text) < 200_000


def test_the_verdict_and_the_figures(neuron):
    text = page(neuron, LABELS)

    accuracy = neuron.score(X, LABELS)
    baseline = np.mean(LABELS == max(set(LABELS), key=list(LABELS).count))
    assert (
        f"Training converged, after 12 epochs. On the 90 held-out rows its accuracy is "
        f"{accuracy:.4f}; that of the majority class is {baseline:.4f}."
    ) in text
    right = int(np.sum((neuron.predict(X) == "yes") & (LABELS == "yes")))
    assert f">{right}</td>" in text
    weights = re.findall(r'<td class="number">(-?[\d.]+)</td>\s*<td><span class="bar"', text)
    np.testing.assert_allclose(
        np.abs(np.array(weights, float)), -np.sort(-np.abs(neuron.coef_[0])), rtol=1e-3
    )
    # The default is dimmed, what was chosen is not.
    assert re.search(r"<tr class=default><th scope=\"row\">solver", text)
    assert re.search(r"<tr><th scope=\"row\">alpha</th><td>0.01", text)
    assert text.count("<svg") == 4


def test_scores_of_training_rows_are_called_so(neuron):
    assert "No rows were held out" in page(neuron, LABELS, held_out=0)


def test_several_classes_and_fractions(neuron):
    several = page(neuron, np.array(["a", "b", "c"])[X[:, :3].argmax(axis=1)])
    assert several.count("<svg") == 2 and "three → c" in several
    fractions = page(
        schuss.SigmoidRegressor(loss="log_loss", alpha=0.01), 1 / (1 + np.exp(X[:, 0]))
    )
    assert "mean absolute error" in fractions and fractions.count("<svg") == 3
    network = schuss.MLPClassifier((2,), random_state=0, max_iter=400, tol=1e-2)
    assert "The largest weights" not in page(network, LABELS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_in_a_browser(neuron, show, violations, tmp_path, width, scheme):
    file = tmp_path / "report.html"
    file.write_text(page(neuron, LABELS), encoding="utf-8")

    driver = show(file, width=width, scheme=scheme)

    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert driver.find_element("css selector", "h1").text == "schuss train: a.csv"
    axis = driver.find_element("css selector", "svg text")
    colour = driver.execute_script("return getComputedStyle(arguments[0]).fill", axis)
    bright = sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 3
    assert (bright > 128) == (scheme == "dark")
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert violations(driver) == []
