"""The report of a training as a page."""

import base64
import io
import json
import re

import numpy as np
import pytest

import schuss
from schuss.report import TrainingReport, score

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

Image = pytest.importorskip("PIL.Image")

from schuss.pages.training import training_page  # noqa: E402

EVIL = "<script>alert(1)</script>"
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(90, 3))


def page(estimator, y, held_out=30, X=ROWS, **others):
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


def picture_page(estimator, channels=1, **others):
    """The page of a training on pictures of 4 x 4 pixels: those of "a" are bright on the left."""
    pixels = RNG.integers(0, 120, (90, 4, 4, channels)).astype(np.uint8)
    y = np.where(np.arange(90) % 2, EVIL, "a")
    pixels[::2, :, :2] += 80
    pixels[:3] = pixels[3:6]  # of the other class
    pixels = pixels.reshape(90, -1)
    text = page(estimator, y, X=pixels, side=4, files=[f"{i}.png" for i in range(90)], **others)
    return text, pixels, y


@pytest.fixture
def neuron():
    return schuss.SigmoidClassifier(loss="log_loss", alpha=0.01)


LABELS = np.where(ROWS @ [1.0, -2.0, 0.0] > 0.3 * RNG.normal(size=90), "yes", "no")


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

    accuracy = neuron.score(ROWS, LABELS)
    baseline = np.mean(LABELS == max(set(LABELS), key=list(LABELS).count))
    assert (
        f"Training converged, after 12 epochs. On the 90 held-out rows its accuracy is "
        f"{accuracy:.4f}; that of the majority class is {baseline:.4f}."
    ) in text
    right = int(np.sum((neuron.predict(ROWS) == "yes") & (LABELS == "yes")))
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
    several = page(neuron, np.array(["a", "b", "c"])[ROWS[:, :3].argmax(axis=1)])
    assert several.count("<svg") == 2 and "three → c" in several
    fractions = page(
        schuss.SigmoidRegressor(loss="log_loss", alpha=0.01), 1 / (1 + np.exp(ROWS[:, 0]))
    )
    assert "mean absolute error" in fractions and fractions.count("<svg") == 3
    network = schuss.MLPClassifier((2,), random_state=0, max_iter=400, tol=1e-2)
    assert "The largest weights" not in page(network, LABELS)


@pytest.fixture
def pixel_neuron():
    return schuss.SigmoidClassifier(loss="log_loss", solver="lbfgs", alpha=100.0, tol=1e-2)


def test_pictures_by_certainty_and_weights_as_pictures(pixel_neuron):
    neuron = pixel_neuron
    text, pixels, y = picture_page(neuron)
    certain, wrong, weights = (
        re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]*)"', row)
        for row in re.split("<h3>The most|<h3>What the neuron", text)[1:]
    )

    assert "The largest weights" not in text and len(weights) == 1
    probability = neuron.predict_proba(pixels).max(axis=1)
    is_right = neuron.predict(pixels) == y
    first = np.where(is_right & (y == "a"), probability, 0).argmax()
    of_a = [picture for picture in certain if picture[1].startswith("a picture of a, ")]
    assert len(of_a) == 6 and of_a[0][1].endswith(f", {first}.png")
    assert len(wrong) == min(12, np.sum(~is_right)) >= 1
    worst = np.where(is_right, 0, probability).argmax()
    assert wrong[0][1].endswith(f", {worst}.png")
    decoded = Image.open(io.BytesIO(base64.b64decode(of_a[0][0])))
    np.testing.assert_array_equal(np.asarray(decoded).ravel(), pixels[first])
    # Pixels that speak for the second class are orange, the larger their weights the less clear.
    tint = np.asarray(Image.open(io.BytesIO(base64.b64decode(weights[0][0])))).reshape(-1, 4)
    coef = neuron.coef_[0]
    assert np.array_equal(tint[:, 0] > tint[:, 2], coef > 0)
    assert tint[np.abs(coef).argmax(), 3] == 255 > tint[np.abs(coef).argmin(), 3]
    assert "<script" not in text


def test_hidden_neurons_and_colours_as_pictures():
    network = schuss.MLPClassifier((30,), random_state=0, max_iter=5)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        text, _, _ = picture_page(network, channels=3)
    assert text.count('alt="weights of') == 24 * 3 and "What the hidden neurons look for" in text
    three = schuss.SigmoidClassifier(loss="log_loss", solver="lbfgs", alpha=100.0, tol=1e-2)
    pixels = np.tile(np.arange(0, 240, 15, dtype=np.uint8), (90, 1)) + np.arange(90)[:, None] % 9
    text = page(three, np.arange(90) % 3, X=pixels.astype(np.uint8), side=4)
    assert text.count('alt="weights of') == 3 and "against it" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_pictures_in_a_browser(pixel_neuron, show, violations, tmp_path, width, scheme):
    file = tmp_path / "report.html"
    file.write_text(picture_page(pixel_neuron)[0], encoding="utf-8")

    driver = show(file, width=width, scheme=scheme)

    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    shown = "return [...document.images].every((i) => i.complete && i.width > 60)"
    assert driver.execute_script(shown)
    assert violations(driver) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_in_a_browser(neuron, show, violations, tmp_path, width, scheme):
    file = tmp_path / "report.html"
    neuron.set_params(alpha=1 / 455)  # of many digits
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
