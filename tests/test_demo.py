"""``schuss demo``, and the shells' completion."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rich")


@pytest.fixture
def demo(monkeypatch):
    from schuss._commands import demo

    monkeypatch.setattr(demo, "_ROUNDS", 1)
    return demo


def test_demo(run, demo, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("COLUMNS", "40")
    result = run("demo", "--report", "walk.html")
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 40
    shown = " ".join(result.stdout.replace("│", " ").split())
    for words in ("8, 6.8, 5.84, 5.072", "2.00", "benign or malignant", "handwritten", "walk.html"):
        assert words in shown
    assert "<svg" in Path("walk.html").read_text(encoding="utf-8")


def test_demo_as_json(run, demo, monkeypatch):
    monkeypatch.setattr(demo, "_write_report", lambda path: False)
    document = json.loads(run("demo", "--json").stdout)
    function, neuron, network = document["steps"]
    assert function["x"] == pytest.approx(2) and document["report"] is None
    assert neuron["cost"] < 0.01 and network["accuracy"] > 0.8
    assert all(step["schuss"] > 0 and step["numpy"] > 0 for step in document["steps"])


def test_demo_refuses_another_name(run):
    result = run("demo", "--report", "walk.txt")
    assert result.exit_code == 2 and "ends in .html or .htm" in result.stderr


def test_a_loop_that_differs_is_an_error(demo, run, monkeypatch):
    from schuss.bench import baseline

    loop = baseline.gradient_descent
    monkeypatch.setattr(
        baseline, "gradient_descent",
        lambda *args: (loop(*args)[0] * 1.1, *loop(*args)[1:]),
    )  # fmt: skip
    result = run("demo", "--report", "walk.html")
    assert result.exit_code == 2 and "weights: schuss and the NumPy loop differ" in result.stderr
    assert not Path("walk.html").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell):
    program = "import sys; from schuss.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "--show-completion", shell], capture_output=True, text=True,
        # Typer's own switch: the shell that is named, not the one that runs the tests.
        env=os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )  # fmt: skip
    assert done.returncode == 0 and "_SCHUSS_COMPLETE" in done.stdout
    environment = {
        "_SCHUSS_COMPLETE": "complete_bash",
        "COMP_WORDS": "schuss tr",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.stdout.split() == ["train"]
