"""`schuss bench`: what it measures, its report, and the report in a browser."""

import base64
import html.parser
import json
import re
from contextlib import nullcontext
from dataclasses import asdict

import numpy as np
import pytest

pytest.importorskip("rich")
pytest.importorskip("jinja2")
testing = pytest.importorskip("typer.testing")
pytest.importorskip("pyarrow")
pytest.importorskip("narwhals")

from schuss._commands import app  # noqa: E402
from schuss.bench import page, suite  # noqa: E402
from schuss.bench.report import environment  # noqa: E402
from schuss.bench.runner import Result, Row  # noqa: E402
from tests import browser  # noqa: E402


@pytest.fixture(scope="module")
def content():
    """What a run leaves: made-up timings, one peer faster than the kernel, one broken."""
    rng = np.random.default_rng(0)

    def result(task, shape, nbytes=0, n_threads=1, **seconds):
        rows = [Row(k.replace("_", "-"), list(v * rng.uniform(0.98, 1.02, 7)), 0.01, 0.1)
                for k, v in seconds.items()]  # fmt: skip
        rows.append(Row("torch", note="skipped: torch is not installed"))
        return Result(task, "squared_error", "float32", shape, nbytes, 10, n_threads, rows,
                      [1e-4] * 7, [1e-3] * 7)  # fmt: skip

    ours, mine = "schuss_cython", "numpy"
    kernels = [
        result("4x2", (4, 2), numpy=8e-6, schuss_cython=5.5e-8, train_cython=1.2e-7, jax=5e-8),
        result("20000x100", (20_000, 100), 8_000_000, numpy=3e-4, schuss_cython=2e-4, jax=5e-4),
    ]
    kernels[1].rows[-1].note = "refused: the weights differ </script><b>"
    fits = [result("digits", (1797, 64), schuss_nesterov=9e-3, sklearn_lbfgs=3e-2, glum=7e-3)]
    grow = {
        name: [
            result("made up", shape, n_threads=k, **{mine: 3e-9 * size, ours: 1e-9 * size})
            for shape, k in shapes
            for size in (shape[0] * shape[1],)
        ]
        for name, shapes in (
            ("rows", [((n, 28), 1) for n in (100, 1000, 1_000_000)]),
            ("features", [((4096, d), 1) for d in (2, 32, 512)]),
            ("threads", [((1000, 28), k) for k in (1, 2)]),
        )
    }
    sections = {"kernels": kernels, "fits": fits, **grow}
    return {
        "environment": environment(),
        "seconds": 12.0,
        **{name: [asdict(r) for r in found] for name, found in sections.items()},
    }


class Elements(html.parser.HTMLParser):
    """All elements as (tag, attributes), the text, and tags that were not closed in order."""

    VOID = {"meta", "link", "rect", "line", "circle", "polyline"}

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.wrong, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def report(content):
    return page.page(content)


def test_the_page_is_whole_and_needs_nothing_else(report):
    elements = Elements(report)

    assert elements.wrong == [] and elements.open == []
    assert "http" not in report and "@import" not in report and "url(" not in report
    links = [a["href"] for tag, a in elements.found if tag == "a" and "download" not in a]
    ids = {a["id"] for _, a in elements.found if "id" in a}
    assert links and {link.removeprefix("#") for link in links} <= ids
    assert not [a for _, a in elements.found if "src" in a]


def test_every_picture_has_words(report):
    pictures = [a for tag, a in Elements(report).found if tag == "svg"]

    assert len(pictures) > 10
    assert all(a["role"] == "img" and len(a["aria-label"]) > 10 for a in pictures)
    assert any("JAX" in a["aria-label"] or "jax" in a["aria-label"] for a in pictures)


def test_the_raw_numbers_are_in_it(report, content):
    (link,) = [a for tag, a in Elements(report).found if "download" in a]
    raw = base64.b64decode(link["href"].partition("base64,")[2])

    assert json.loads(raw) == json.loads(json.dumps(content))


def test_rows_in_which_a_peer_is_faster_are_kept_and_say_so(report):
    text = Elements(report).text

    assert text.count("faster than schuss") == 2  # JAX at 4 x 2, glum on digits
    assert "refused: the weights differ </script><b>" in text
    assert "</script>" not in report
    assert "Not timed: torch: skipped: torch is not installed" in text


def test_the_figures_are_those_of_the_timings(content):
    ratio = suite.results(content, "kernels")[0]
    low, median, high = page.interval(ratio.ratio(ratio.rows[1]))

    text = Elements(page.page(content)).text

    assert 140 < median < 150
    assert f"{median:.0f} × ({low:.0f}–{high:.0f})" in text
    assert re.search(r"20000x100 schuss-cython [^%]* (4[89]|5[012])% 100 ms", text)


def test_a_tiny_run_measures_every_section(monkeypatch):
    # Peers take long to import and to compile.
    monkeypatch.setattr(suite, "LIBRARIES", {n: suite.LIBRARIES[n] for n in ("numpy", suite.OURS)})
    monkeypatch.setattr(suite, "SOLVERS", {n: suite.SOLVERS[n] for n in ("sklearn-lbfgs",)})
    monkeypatch.setattr(suite, "fair_process", lambda: nullcontext(lambda f, *a: f(*a)))
    told = []

    found = suite.run(200, n_jobs=1, progress=lambda *piece: told.append(piece))

    assert [len(found[name]) for name in suite.SECTIONS] == [2, 0, 0, 2, 1]
    assert len(told) == told[0][1] == 5
    assert not suite.failures(found)
    for section in ("kernels", "features", "threads"):
        for result in suite.results(found, section):
            by_name = {row.library: row for row in result.rows}
            assert len(by_name["numpy"].seconds) == 7
            ours = by_name[suite.OURS]
            assert ours.seconds or ours.note.startswith("skipped")
    assert Elements(page.page(found)).wrong == []


def test_threads_double_up_to_what_is_there():
    counts = [item.n_threads for item in suite.items(suite.FULL, 6)["threads"]]

    assert counts == [1, 2, 4, 6]


def test_the_problems_of_a_run():
    full, quick = (suite.items(most, 2) for most in (suite.FULL, suite.QUICK))

    assert {name: len(found) for name, found in full.items()} == {
        "kernels": 7, "fits": 3, "rows": 5, "features": 6, "threads": 2
    }  # fmt: skip
    assert [len(quick[name]) for name in suite.SECTIONS] == [4, 2, 2, 6, 2]


def test_the_command(monkeypatch, tmp_path, content):
    monkeypatch.setattr(suite, "run", lambda most, n_jobs, seconds, progress: content)
    runner = testing.CliRunner()
    out = tmp_path / "report.html"

    shown = runner.invoke(app, ["bench", "--report", str(out)])
    for_programs = runner.invoke(app, ["bench", "--json"])

    # A library in it was refused.
    assert shown.exit_code == for_programs.exit_code == 1
    for result in (shown, for_programs):
        assert "warning: torch on 20000x100 refused: the weights differ" in result.stderr
    assert "× NumPy" in shown.stdout and "glum" in shown.stdout
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert json.loads(for_programs.stdout)["seconds"] == 12.0


def test_the_help_names_the_extra():
    shown = testing.CliRunner().invoke(app, ["bench", "--help"])

    assert 'pip install "schuss[peers]"' in " ".join(shown.stdout.split())


def test_a_report_that_cannot_be_written_is_named_before_anything_is_timed(monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "run", lambda *arguments: pytest.fail("it was timed"))

    result = testing.CliRunner().invoke(app, ["bench", "--report", str(tmp_path / "no" / "a.html")])

    assert result.exit_code == 2
    assert "does not exist" in result.stderr


# ----- the gate's history ---------------------------------------------------------------


def runs_of_the_gate(values):
    """What the gate wrote with --json, as often."""
    for k, value in enumerate(values):
        yield {
            "environment": {"date": f"2026-11-{k + 1:02}T12:00:00+00:00", "processor": "a <chip>"},
            "revision": f"{k:x}" * 40,
            "checks": [
                {"part": "compare", "work": "fit", "value": value},
                {"part": "compare", "work": "steady", "value": 1.0 + k % 2 / 1000},
                {"part": "floors", "work": "none", "value": None},
            ],
        }


def test_the_history_marks_where_a_level_changed():
    values = [1.0 + k % 3 / 100 for k in range(10)] + [1.2 + k % 3 / 100 for k in range(10)]

    text = page.history(list(runs_of_the_gate(values))[::-1])

    elements = Elements(text)
    assert elements.wrong == [] and elements.open == []
    # What changed comes first; the eleventh run is where.
    titles = re.findall(r"(fit|steady) \(a <chip>\)", elements.text)
    assert titles[0] == "fit" and set(titles) == {"fit", "steady"} and "none" not in elements.text
    assert "2026-11-11T12:00 aaaaaaaaaa: +19.8%" in elements.text
    assert [a["x1"] for tag, a in elements.found if a.get("class") == "change"] == ["50.0%"]
    assert elements.text.count("; no change") == 2  # in the text, and for those who see no picture


# ----- in a browser -------------------------------------------------------------------


@pytest.fixture
def opened(show, report, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(report, encoding="utf-8")

    return lambda width=1200, scheme="light": show(file, width, scheme)


def brightness(driver):
    colour = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour.strip("rgb()").split(",")) / 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_a_walk_through_the_page(opened, tmp_path, width, scheme):
    driver = opened(width, scheme)

    assert driver.title.startswith("schuss bench")
    assert (brightness(driver) > 128) == (scheme == "light")
    # Nothing sticks out sideways.
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    for link in driver.find_elements("css selector", "nav a:not([download])"):
        link.click()
        assert driver.current_url.endswith(link.get_attribute("href").partition("#")[2])
    hidden = driver.find_element("css selector", "details table")
    assert not hidden.is_displayed()
    for summary in driver.find_elements("css selector", "summary"):
        summary.click()
    assert hidden.is_displayed()
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    driver.find_element("css selector", "nav a[download]").click()
    picture = tmp_path / "report.png"
    assert driver.get_screenshot_as_file(str(picture))
    assert picture.stat().st_size > 10_000
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_it_prints(opened):
    assert len(browser.printed(opened())) > 10_000


def test_bars_are_as_long_as_their_numbers(opened, content):
    driver = opened()
    bars = driver.find_elements("css selector", "#kernels .bars:first-of-type rect")

    widths = [bar.rect["width"] for bar in bars[:4]]

    # NumPy 1, kernel 145, schuss.train 67, JAX 160: the same order.
    assert np.argsort(widths).tolist() == [0, 2, 1, 3]
