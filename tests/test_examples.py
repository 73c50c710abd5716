"""The gallery's examples run as they stand, and draw."""

import runpy
from pathlib import Path

import pytest

matplotlib = pytest.importorskip("matplotlib")

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("plot_*.py"))


@pytest.mark.skipif(not EXAMPLES, reason="no examples beside the tests")
def test_there_are_examples():
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("data", ["without data", "with data"])
def test_example(path, data, request, monkeypatch, tmp_path):
    if data == "with data":
        if "SCHUSS_DATA" not in path.read_text():
            pytest.skip("it needs no data")
        monkeypatch.setenv("SCHUSS_DATA", str(request.getfixturevalue("data_dir")))
    else:
        monkeypatch.setenv("SCHUSS_DATA", str(tmp_path))
    matplotlib.use("Agg")
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    try:
        runpy.run_path(str(path), run_name="__main__")
        assert matplotlib.pyplot.get_fignums()
        for number in matplotlib.pyplot.get_fignums():
            matplotlib.pyplot.figure(number).savefig(tmp_path / "picture.png")
    finally:
        matplotlib.pyplot.close("all")
