"""Pages to play with: the walk down a function, and the guided page."""

import copy
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.polynomial import Polynomial

import schuss
from schuss.expressions import Expression

pytest.importorskip("jinja2")

from schuss import pages

PARABOLA = Polynomial([6, -4, 1])
ROSENBROCK = Expression("(1 - x)**2 + 100*(y - x**2)**2")
FORMULAS = (
    "x**3*y - 2*x/(1 + y**2)",
    "sin(x)*cos(y) + tan(x*y/4) - atan(y)",
    "exp(-x**2)*cosh(y) + sinh(x) + tanh(x*y)",
    "log(3 + x)**2 + sqrt(4 + y) + abs(x - 5)",
    "(2 + x)**(y/3) + pi**y - +e*x",
)


@pytest.fixture
def run():
    return schuss.minimize(PARABOLA, 8.0, learning_rate=0.1)


def content(page):
    return json.loads(re.search(r'type="application/json" id="data">(.*?)</script>', page)[1])


def test_a_page_is_whole_small_and_needs_no_network(run, tmp_path):
    file = tmp_path / "walk.html"

    assert run.to_html(file) is None

    page = file.read_text(encoding="utf-8")
    assert page == run.to_html()
    assert "http" not in page and "import(" not in page and "url(" not in page
    assert len(page.encode()) < 100_000
    assert "<title>x² − 4x + 6</title>" in page
    recorded = content(page)["walks"]["walk"]["recorded"]
    np.testing.assert_allclose(recorded["points"], run.path, rtol=1e-8)
    np.testing.assert_allclose(recorded["gradients"], 2 * run.path - 4, rtol=1e-7, atol=1e-8)


def test_other_functions_are_a_grid():
    run = schuss.minimize(lambda x: (x[0] - 1) ** 2 + np.cosh(x[1]), [3.0, 1.0])

    walk = content(run.to_html())["walks"]["walk"]

    assert walk["objective"]["kind"] == "grid" and len(run.to_html().encode()) < 300_000
    (low, high, count), (y_low, _, _) = walk["objective"]["axes"]
    assert low < min(run.path[:, 0]) and high > max(run.path[:, 0])
    assert walk["objective"]["values"][0][0] == pytest.approx((low - 1) ** 2 + np.cosh(y_low))


def test_functions_of_many_variables_need_a_formula():
    with pytest.raises(ValueError, match="fun has 3 variables, expected 1 or 2"):
        schuss.minimize(lambda x: x @ x, [1.0, 2.0, 3.0]).to_html()
    formula = Expression("a**2 + b**2 + c**2")
    assert schuss.minimize(formula, [1.0, 2.0, 3.0], jac=formula.jac).to_html()


def test_copies_need_the_function(run):
    for twin in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
        assert twin.nit == run.nit and "_fun" not in twin
        with pytest.raises(ValueError, match="fun is None"):
            twin.to_html()
        assert twin.to_html(fun=PARABOLA) == run.to_html()


def test_a_function_with_arguments_is_drawn_with_them():
    run = schuss.minimize(lambda x, a: (x - a) ** 2, 1.0, args=(7.0,))

    values = content(run.to_html())["walks"]["walk"]["objective"]["values"]

    assert 0 <= min(values) < 0.01


def test_texts_cannot_end_the_program(run):
    page = run.to_html(title="</title><script>alert(1)</script>")

    assert "<script>alert(1)" not in page


def test_unknown_languages_are_refused(run):
    with pytest.raises(ValueError, match="language='de' is unknown; choose one of en, pl"):
        run.to_html(language="de")


def test_both_languages_say_the_same():
    english, polish = json.loads(pages.source("texts.json")).values()

    assert english.keys() == polish.keys()
    for name, text in english.items():
        assert re.findall(r"\{\w+\}", str(text)) == re.findall(r"\{\w+\}", str(polish[name]))


@pytest.mark.parametrize("coef", [[6, -4, 1], [0, 0, 0.1, -1e-300], [0], [-1.5], [0, -1, 0, 2]])
def test_polynomials_are_formulas(coef):
    polynomial = Polynomial(coef)

    formula = Expression(pages.formula(polynomial))

    for x in (-1.7, 0.3, 2.0):
        point = [x] if formula.variables else []
        assert formula(point) == pytest.approx(polynomial(x), rel=1e-14)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_an_animation(run, tmp_path, suffix):
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib.animation import FFMpegWriter

    file = tmp_path / f"walk{suffix}"
    if suffix == ".mp4" and not FFMpegWriter.isAvailable():
        with pytest.raises(ValueError, match="needs ffmpeg"):
            run.animate(file)
        return
    run.animate(file, dpi=40)
    assert file.stat().st_size > 1000


def test_an_animation_of_another_kind_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match=r"path='walk.avi': expected a name that ends in .gif"):
        run.animate("walk.avi")


def test_the_widget_has_the_programs_of_the_page(run):
    pytest.importorskip("anywidget")

    widget = run.widget(language="pl")

    assert widget.content["language"] == "pl" and "class Walk" in widget._esm
    assert widget.content["walk"] == content(run.to_html())["walks"]["walk"]


# ----- in a browser -------------------------------------------------------------------


@pytest.fixture
def walk(show, tmp_path):
    def walk(text, **settings):
        file = Path(tmp_path, "page.html")
        file.write_text(text, encoding="utf-8")
        return show(file, **settings)

    return walk


def text(driver, selector):
    return driver.find_element("css selector", selector).text


def click(driver, name):
    driver.find_element("css selector", f"[data-do={name}]").click()


def rate(driver, value):
    box = driver.find_element("css selector", "[name=rate]")
    box.clear()
    box.send_keys(str(value), "\n")


def test_the_textbooks_steps(walk, run):
    driver = walk(run.to_html())

    for _ in range(3):
        click(driver, "forward")

    assert text(driver, ".state") == "Step 3 of 74: x = 5.072, f(x) = 11.4372"
    assert text(driver, ".steps") == "x₃ = x₂ − η · f′(x₂) = 5.84 − 0.1 · (2 · 5.84 − 4) = 5.072"
    click(driver, "back")
    assert "x = 5.84" in text(driver, ".state")
    click(driver, "last")
    assert text(driver, ".reason").startswith("Converged")


def test_a_learning_rate_that_is_too_large_diverges(walk, run):
    driver = walk(run.to_html())

    rate(driver, 1.1)

    assert text(driver, ".reason") == (
        "It diverges. The learning rate 1.1 is above 2/L = 1, where L = 2 is the curvature at "
        "the start: each step jumps over the minimum and lands farther away."
    )
    click(driver, "clever")
    assert "of 1:" in text(driver, ".state")
    click(driver, "small")
    assert "far below 1/L = 0.5" in text(driver, ".reason")
    click(driver, "recorded")
    assert "of 74:" in text(driver, ".state")


def test_the_start_can_be_dragged_and_typed(walk, run):
    driver = walk(run.to_html())
    start = driver.find_element("css selector", "[name=start-x]")
    canvas = driver.find_element("css selector", "canvas")
    action = pytest.importorskip("selenium.webdriver").ActionChains(driver)

    action.move_to_element(canvas).click_and_hold().move_by_offset(150, 0).release().perform()
    dragged = float(start.get_attribute("value"))
    start.clear()
    start.send_keys("-3", "\n")

    assert dragged not in (8.0, -3.0) and "x = −3," in text(driver, ".state")


def test_keys_and_play(walk, run):
    driver = walk(run.to_html())
    canvas = driver.find_element("css selector", "canvas")
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

    canvas.send_keys(keys.ARROW_RIGHT, keys.ARROW_RIGHT, keys.ARROW_LEFT)
    assert text(driver, ".state").startswith("Step 1 of")
    canvas.send_keys(keys.END)
    assert text(driver, ".state").startswith("Step 74 of 74")
    canvas.send_keys(keys.ARROW_UP)
    assert driver.find_element("css selector", "[name=rate]").get_attribute("value") == "0.11"
    click(driver, "play")
    assert text(driver, "[data-do=play]") == "Pause"
    click(driver, "play")
    assert text(driver, "[data-do=play]") == "Play"


def test_methods_beside_each_other(walk):
    run = schuss.minimize(ROSENBROCK, [-1.0, 2.0], jac=ROSENBROCK.jac, learning_rate=0.001)
    driver = walk(run.to_html())

    for box in driver.find_elements("css selector", "[name=method]"):
        if not box.is_selected():
            box.click()
    click(driver, "last")

    rows = driver.find_elements("css selector", ".scroll tbody tr")
    assert [row.text.split()[0] for row in rows][-1] == "Newton" and len(rows) == 6
    assert "Converged" in rows[-1].text


METHODS = ("gd", "momentum", "nesterov", "adam", "adaptive")


@pytest.mark.parametrize("formula", ["x**4/4 - x**3/3 - 2*x**2 + 5", ROSENBROCK.text])
def test_the_page_walks_as_python_does(walk, run, formula):
    f = Expression(formula)
    start, step = ([3.2], 0.02) if len(f.variables) == 1 else ([-1.0, 2.0], 1e-4)
    driver = walk(run.to_html())
    objective = json.dumps({"tree": f.tree(), "names": f.variables})
    for method in (*METHODS, "newton"):
        ours = schuss.minimize(
            f, start, jac=f.jac, hess=f.hess, method=method, max_iter=50,
            **({} if method == "newton" else {"learning_rate": step}),
        )  # fmt: skip
        settings = json.dumps(
            {"method": method, "start": start, "rate": step, "momentum": 0.9, "maxIter": 50}
        )
        page = driver.execute_script(
            f"return descend(expressionObjective({objective}), {settings}).points"
        )
        if method == "newton":
            np.testing.assert_allclose(page[-1], ours.x, rtol=1e-5)
        else:
            np.testing.assert_allclose(page, ours.path, rtol=1e-7)


@pytest.mark.parametrize("formula", FORMULAS)
def test_derivatives_of_the_page(walk, run, formula):
    f = Expression(formula)
    driver = walk(run.to_html())
    objective = json.dumps({"tree": f.tree(), "names": f.variables})
    for x in ([0.7, -0.4], [-1.2, 1.9], [1.0, 0.0]):
        jet = driver.execute_script(
            f"return expressionObjective({objective}).evaluate({x[: len(f.variables)]}, 2)"
        )
        x = x[: len(f.variables)]
        assert jet["value"] == pytest.approx(f(x), rel=1e-12)
        np.testing.assert_allclose(jet["gradient"], f.jac(x), rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(jet["hessian"], f.hess(x), rtol=1e-9, atol=1e-13)


def test_the_neuron_of_the_page_learns_as_ours(walk):
    driver = walk(pages.learn_page())
    for loss in ("squared_error", "log_loss"):
        X, y, run = driver.execute_script(
            "const {objective, start} = walks.neuron;"
            "const o = networkObjective({...objective, loss: arguments[0]});"
            "return [o.X, o.y, descend(o, {method: 'gd', start, rate: 0.5, maxIter: 20})]",
            loss,
        )
        ours = schuss.train(
            np.array(X), np.array(y, dtype=float), loss=loss, solver="gd", learning_rate=0.5,
            epochs=20, tol=0.0, coef_init=np.array(run["points"][0][:2]),
            intercept_init=run["points"][0][2],
        )  # fmt: skip
        np.testing.assert_allclose(run["points"][-1][:2], ours.coef, rtol=1e-10)
        assert run["values"][-1] == pytest.approx(ours.loss, rel=1e-10)


def test_backpropagation_of_the_page(walk):
    driver = walk(pages.learn_page())
    gradient, differences = driver.execute_script(
        "const data = walks.network, o = networkObjective(data.objective), x = data.start;"
        "const at = (j, h) => o.evaluate(x.map((v, i) => i === j ? v + h : v), 0).value;"
        "return [o.evaluate(x).gradient, x.map((_, j) => (at(j, 1e-5) - at(j, -1e-5)) / 2e-5)]"
    )

    np.testing.assert_allclose(gradient, differences, rtol=1e-6, atol=1e-10)


def test_between_grid_points_values_are_those_of_the_function(walk, run):
    driver = walk(run.to_html())
    axis = np.linspace(-2, 2, 61)
    x, y = np.meshgrid(axis, axis)
    data = {
        "names": ["x", "y"], "axes": [[-2, 2, 61]] * 2, "values": (x**2 + np.sin(y)).tolist()
    }  # fmt: skip
    jet = driver.execute_script(
        f"return gridObjective({json.dumps(data)}).evaluate([0.333, -1.234], 1)"
    )

    assert jet["value"] == pytest.approx(0.333**2 + np.sin(-1.234), abs=1e-5)
    np.testing.assert_allclose(jet["gradient"], [0.666, np.cos(-1.234)], atol=1e-3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_guided_page(walk, tmp_path, width, scheme):
    driver = walk(pages.learn_page(language="pl"), width=width, scheme=scheme)

    assert text(driver, "h1").startswith("Prosto w dół")
    driver.find_element("css selector", "#language option[value=en]").click()
    assert text(driver, "h1").startswith("Straight downhill")
    for button in driver.find_elements("css selector", "[data-do=last]"):
        driver.execute_script("arguments[0].click()", button)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    states = driver.find_elements("css selector", ".state")
    assert len(states) == 6 and "x = 2, f(x) = 2" in states[0].text
    value = float(states[-1].text.rpartition("C = ")[2])
    assert value < 0.01
    assert driver.get_screenshot_as_file(str(tmp_path / f"learn-{width}-{scheme}.png"))
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_use_the_pages(walk, violations, scheme):
    assert violations(walk(pages.learn_page(), scheme=scheme)) == []
