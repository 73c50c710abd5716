"""`schuss minimize`: the table, JSON, pictures, refusals."""

import json

import numpy as np
import pytest


@pytest.fixture
def minimize(run):
    return lambda *arguments: run("minimize", *arguments)


TEXTBOOK = ("x**2 - 4*x + 6", "--x0", "8", "--learning-rate", "0.1")


def test_the_textbooks_table(minimize):
    result = minimize(*TEXTBOOK, "--max-iter", "40")
    assert result.exit_code == 0, result.output
    rows = [line.split("│")[1:4] for line in result.stdout.splitlines() if line.startswith("│")]
    table = {cells[0].strip(): float(cells[1]) for cells in rows if cells[0].strip().isdigit()}
    assert len(table) == 41
    for k, x in table.items():
        assert x == pytest.approx(2 + 6 * 0.8 ** int(k), rel=1e-5)
    assert "Not converged after max_iter=40" in result.stdout


def test_long_tables_are_cut(minimize):
    result = minimize(*TEXTBOOK, "--rows", "4")
    lines = result.stdout.splitlines()
    assert lines[0] == "x**2 - 4*x + 6: gd, learning rate 0.1"
    assert result.stdout.count("\n│") == 6 and "..." in result.stdout and " 74 │" in result.stdout
    assert minimize(*TEXTBOOK, "--rows", "0").stdout.count("\n│") == 76


def test_json(minimize):
    result = minimize("(1-x)**2 + 100*(y-x**2)**2", "--x0", "-1,2", "--method", "newton", "--json")
    report = json.loads(result.stdout)
    assert report["variables"] == ["x", "y"] and report["success"]
    np.testing.assert_allclose(report["x"], 1, atol=1e-6)
    assert len(report["path"]) == report["nit"] + 1 and report["derivatives"] == "exact"
    grid = minimize("log(x)", "--method", "grid", "--bounds", "-1,1", "--points", "5", "--json")
    assert json.loads(grid.stdout)["path_fun"][0] is None


def test_json_of_infinities(minimize):
    def refuse(text):
        raise AssertionError(text)

    result = minimize("sqrt(x)", "--method", "grid", "--bounds", "0,1", "--points", "3", "--json")
    report = json.loads(result.stdout, parse_constant=refuse)
    assert report["jac"] == [None] and report["x"] == [0.0] and report["learning_rate"] is None


def test_long_paths_are_thinned_in_json(minimize, monkeypatch):
    monkeypatch.setattr("schuss.report._JSON_POINTS", 10)
    report = json.loads(minimize(*TEXTBOOK, "--json").stdout)
    assert report["nit"] == 74 and report["path_step"] == 8 and len(report["path"]) == 11
    kept = np.minimum(np.arange(11) * 8, 74)
    np.testing.assert_allclose(np.ravel(report["path"]), 2 + 6 * 0.8**kept)
    np.testing.assert_allclose(report["path_fun"], 2 + 36 * 0.64**kept)


@pytest.mark.parametrize("rows", ["50", "4"])
def test_thinned_paths_show_their_iterations(minimize, monkeypatch, rows):
    monkeypatch.setattr("schuss.minimizer.path._MAX_BYTES", 16 * 16)
    result = minimize(*TEXTBOOK, "--rows", rows)
    lines = [line.split("│")[1:3] for line in result.stdout.splitlines() if line.startswith("│")]
    table = {int(k): float(x) for k, x in lines if k.strip().isdigit()}
    assert list(table)[:2] == [0, 8] and list(table)[-2:] == [72, 74]
    for k, x in table.items():
        assert x == pytest.approx(2 + 6 * 0.8**k, rel=1e-5)


@pytest.mark.parametrize("n", [3, 20, 60])
@pytest.mark.parametrize("width", [30, 60, 200])
def test_many_variables_in_a_narrow_terminal(minimize, monkeypatch, n, width):
    monkeypatch.setenv("COLUMNS", str(width))
    names = [f"x{i:02}" for i in range(n)]
    text = " + ".join(f"({name} + 1.23456e-05*{i})**2" for i, name in enumerate(names))
    result = minimize(text, "--x0", ",".join(["1"] * n), "--rows", "6")
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if line[:1] in "╭│├╰"]
    assert len({len(line) for line in lines}) <= 2 and max(map(len, lines)) <= width
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line[0] == "│"]
    # Of each iteration that is shown, its number, the first variable and the value.
    first = next(row for row in rows if row[0] == "0")
    assert first[1] == "1" and float(first[-1]) == pytest.approx(n, rel=0.1)
    if len(first) < n + 2:
        ends = {row[0]: row[1] for row in rows if row[0] in names}
        assert list(ends) == names
        assert float(ends[names[-1]]) == pytest.approx(-1.23456e-05 * (n - 1), abs=1e-6)


def test_grid(minimize):
    result = minimize("x**2 + (y-1)**2", "--method", "grid", "--bounds", "-2,2", "--points", "5")
    assert result.exit_code == 0, result.output
    assert "best" in result.stdout and "25 points" in result.stdout


def test_divergence_is_told(minimize):
    result = minimize("x**2 - 4*x + 6", "--x0", "8", "--learning-rate", "1.1")
    assert result.exit_code == 2 and "│" in result.stdout
    assert "The iterates oscillate" in result.stderr and "learning_rate=0.5" in result.stderr


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot(minimize, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    result = minimize(*TEXTBOOK, "--plot", f"out.{suffix}")
    assert result.exit_code == 0, result.output
    head = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix]
    assert (tmp_path / f"out.{suffix}").read_bytes().startswith(head)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x^2", "--x0", "8"), "column 2"),
        (("open('f')", "--x0", "8"), "column 1"),
        (("3", "--x0", "8"), "no variable"),
        (("2x", "--x0", "8"), "a product is written with *: 2*x"),
        (("(x-1)(x-3)", "--x0", "8"), "column 6"),
        (("x**2",), "missing; expected 1 number for x"),
        (("x**2", "--x0", "8,1"), "expected 1 number for x"),
        (("x**2", "--x0", "eight"), "'eight'"),
        (("x**2", "--x0", "inf"), "NaN or infinity"),
        (("x**2", "--x0", "8", "--method", "bfgs"), "method='bfgs'"),
        (("x**2", "--x0", "8", "--learning-rate", "fast"), "'fast'"),
        (("x**2", "--method", "grid"), "needs bounds"),
        (("x**2", "--method", "grid", "--bounds", "3"), "low, high"),
        (("x**2", "--x0", "8", "--plot", "out.bmp"), ".png"),
        (("x**2", "--x0", "8", "--plot", "none/out.png"), "does not exist"),
    ],
)
def test_refusals(minimize, arguments, words):
    result = minimize(*arguments)
    assert result.exit_code == 2 and result.stdout == "", result.output
    assert words in " ".join(result.stderr.replace("│", " ").split()), result.stderr
    assert "Traceback" not in result.stderr


def test_the_page_of_a_run(minimize, tmp_path):
    pytest.importorskip("jinja2")
    file = tmp_path / "walk.html"

    result = minimize("t**2 - 4*t + 6", "--x0", "8", "--html", str(file))

    assert result.exit_code == 0, result.output
    assert "<title>t² − 4t + 6</title>" in file.read_text(encoding="utf-8")
    refused = minimize(*TEXTBOOK, "--html", str(tmp_path / "walk.pdf"))
    assert refused.exit_code == 2 and "--html" in refused.output


def test_the_guided_page(run, tmp_path, monkeypatch):
    pytest.importorskip("jinja2")
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    file = tmp_path / "learn.html"

    assert run("learn", str(file), "--language", "pl").exit_code == 0
    assert opened == [file.as_uri()] and '<html lang="pl">' in file.read_text(encoding="utf-8")
    assert run("learn", str(file), "--no-open").exit_code == 0 and len(opened) == 1
    assert "language='de' is unknown" in run("learn", str(file), "--language", "de").output
