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
    assert lines[0] == "x**2 - 4*x + 6: gd, step 0.1"
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


def test_grid(minimize):
    result = minimize("x**2 + (y-1)**2", "--method", "grid", "--bounds", "-2,2", "--points", "5")
    assert result.exit_code == 0, result.output
    assert "best" in result.stdout and "25 points" in result.stdout


def test_divergence_is_told(minimize):
    result = minimize("x**2 - 4*x + 6", "--x0", "8", "--learning-rate", "1.1")
    assert result.exit_code == 2 and "│" in result.stdout
    assert "overshoot for ever" in result.stderr and "learning_rate=0.5" in result.stderr


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
