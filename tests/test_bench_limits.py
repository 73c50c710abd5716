"""The table of limits: what it measures, and when it says that a target is met."""

import json
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from schuss.bench import libraries, memory, runner
from schuss.bench.problems import PROBLEMS, Problem, _gaussian, _sparse

limits = pytest.importorskip("bench.limits", reason="needs rich", exc_type=ImportError)

SMALL = Problem("small", 600, 7, 4, _gaussian)
SPARSE = Problem("sparse", 50, 1000, 3, lambda n, d, seed: _sparse(n, d, seed, 6), sparse=True)
PLAN = limits.Plan(
    nbytes=20_000,
    widths=(3, 16),
    loops=(replace(PROBLEMS["4x2"], epochs=20), SMALL),
    scaling=(SMALL,),
    small=(SMALL,),
    crowded=(SMALL,),
    large=SMALL,
    sparse=SPARSE,
    rounds=3,
    min_seconds=0.0,
    n_threads=(1, 2),
    fitted=("uint8",),
)


@pytest.fixture(autouse=True)
def short_reads(monkeypatch):
    monkeypatch.setattr(memory, "_SUSTAINED_BYTES", 1 << 20)


@pytest.fixture
def two_processors(monkeypatch):
    monkeypatch.setenv(limits.threads.VARIABLE, "2")


@pytest.fixture
def compiled():
    if reason := limits.KERNEL.missing():
        pytest.skip(reason)


def lines_of(letter):
    return list(limits.measured(PLAN, [letter]))


def sound(lines):
    for line in lines:
        assert not line.failed, line.note
        assert len(line.values) == len(line.probe_seconds) == PLAN.rounds
        assert np.isfinite(line.values).all() and min(line.values) > 0
    return True


def test_the_read_share_of_every_type_order_width_and_number_of_threads(compiled, two_processors):
    lines = lines_of("a")

    assert sound(lines)
    assert len({line.work for line in lines}) == len(lines) == 2 * 2 * 2 * 2
    assert {(line.target, " F " in line.work) for line in lines} == {(0.85, False), (0.75, True)}


def test_narrow_features_and_the_peak_of_a_fit(compiled, two_processors):
    lines = lines_of("b")

    assert sound(line for line in lines if line.unit == "× float32")
    assert [line.most for line in lines] == [False, False, True]
    if sys.platform == "linux":
        # X is of a few kilobytes here, so that anything else is many times as much.
        (peak,) = lines[2].values
        assert peak >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_sees_a_copy_of_the_features(monkeypatch):
    """In a process of its own, as the numbers are those of a whole process."""
    seen = _in_a_process(_peak_with_a_copy)

    assert seen == pytest.approx(2, abs=0.1)


def _peak_with_a_copy():
    class Copying:
        def __init__(self, **parameters):
            pass

        def fit(self, X, y):
            X.copy()

    limits.SigmoidClassifier = Copying
    return limits.peak_memory("uint8", 1_000_000, 40)


def _in_a_process(function):
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        return pool.submit(function).result()


def test_loops_are_measured_once_for_the_rows_that_share_them(monkeypatch):
    calls = []

    def measure(task, libraries, **timing):
        calls.append((task.name, [library.name for library in libraries]))
        rows = [runner.Row("numpy", [8.0, 16.0, 8.0], note="")]
        rows += [runner.Row(library.name, [2.0, 4.0, 2.0]) for library in libraries]
        return runner.Result(
            task.name, "squared_error", "float32", task.X.shape, 0, 1, 1, rows,
            [1.0] * 3, [1.0] * 3,
        )  # fmt: skip

    monkeypatch.setattr(limits, "measure", measure)

    lines = list(limits.measured(PLAN, ["h", "d", "c"]))

    everything = ["schuss-cython", "train-cython", "jax", "schuss-numba"]
    assert calls == [("4x2", everything), ("small", everything)]
    assert all(line.values == [4.0] * 3 for line in lines if line.row in "ch")
    assert all(line.values == [1.0] * 3 for line in lines if line.row == "d")
    targets = {(line.row, line.work): line.target for line in lines}
    assert targets["c", "4x2 schuss-cython"] == 250
    assert targets["h", "4x2 schuss-numba"] is None
    assert targets["h", "small schuss-numba"] == 2


def test_a_loop_that_is_not_installed_is_named(monkeypatch, compiled):
    absent = libraries.Library("jax", None, lambda: "jax is not installed")
    monkeypatch.setattr(limits, "JAX", absent)

    lines = lines_of("d")

    assert {line.note for line in lines} == {"skipped: jax is not installed"}
    assert not any(line.failed for line in lines)
    assert {line.met for line in lines} == {None}


def test_two_threads_are_judged_only_where_the_read_rate_grows(monkeypatch, two_processors):
    def passes(task, plan, reference):
        seconds = {"read 1": [2.0] * 3, "pass 1": [2.0] * 3, "pass 2": [1.5] * 3}
        return runner.Rounds({**seconds, "read 2": [read] * 3}, [1.0] * 3), (1, 2)

    monkeypatch.setattr(limits, "_passes", passes)
    read = 1.0
    epoch, _ = lines_of("e")
    assert epoch.met is False

    read = 1.5
    epoch, shown = lines_of("e")
    assert epoch.met is None
    assert "read rate" in epoch.note
    assert shown.target is None


def test_two_threads_on_one_processor(monkeypatch):
    monkeypatch.setenv(limits.threads.VARIABLE, "1")

    (line,) = lines_of("e")

    assert line.note == "skipped: one processor"


@pytest.mark.parametrize(("letter", "n_lines"), [("e", 2), ("f", 2), ("g", 5), ("i", 8)])
def test_the_other_rows(letter, n_lines, compiled, two_processors):
    lines = lines_of(letter)

    assert sound(lines)
    assert len(lines) == n_lines


@pytest.mark.parametrize(("letter", "n_lines"), [("a", 16), ("b", 2), ("e", 1), ("f", 2)])
def test_a_wrong_kernel_is_refused_in_every_line(letter, n_lines, two_processors, monkeypatch):
    def one_epoch_less(task, n_threads):
        run = libraries.BASELINE.prepare(task, n_threads)

        def short(epochs):
            outcome = run(epochs - 1)
            return outcome._replace(losses=np.append(outcome.losses, 0.5))

        return short

    monkeypatch.setattr(limits, "KERNEL", libraries.Library("short", one_epoch_less))
    plan = replace(PLAN, fitted=())

    lines = list(limits.measured(plan, [letter]))

    refused = [line for line in lines if line.failed]
    assert len(refused) == n_lines
    assert all("weights differ" in line.note for line in refused)
    assert {line.met for line in refused} == {None}


def test_without_the_compiled_kernels_there_is_nothing_to_measure(monkeypatch, capsys):
    absent = libraries.Library("absent", None, lambda: "not built")
    monkeypatch.setattr(limits, "KERNEL", absent)

    assert limits.main([]) == 1
    assert "without the compiled kernels: not built" in capsys.readouterr().err


def test_wrong_probabilities_are_refused(compiled, monkeypatch):
    monkeypatch.setattr(
        limits.SigmoidRegressor, "predict", lambda self, X: np.full(len(X), 0.5, X.dtype)
    )

    lines = lines_of("g")

    (wrong,) = {line.note for line in lines if "predict" in line.work and line.failed}
    assert wrong == "refused: the probabilities differ from NumPy's"
    assert sum(line.failed for line in lines) == 2


def test_a_target_is_met_by_the_median_of_the_steady_rounds():
    line = limits.Line("a", "work", "", [0.9, 0.2, 0.9, 0.9, 0.1], [1.0, 2.0, 1.0, 1.1, 3.0], 0.85)

    np.testing.assert_array_equal(line.steady_values, [0.9, 0.9, 0.9])
    assert line.met is True
    assert replace(line, probe_seconds=[1.0] * 5, target=0.91).met is False
    assert replace(line, most=True).met is False
    assert replace(line, values=[], probe_seconds=[]).met is None
    assert replace(line, target=None).met is None
    assert replace(line, judged=False).met is None


def test_rounds_are_dropped_for_their_arithmetic_and_never_too_many():
    np.testing.assert_array_equal(runner.steady([1.0, 1.1, 1.5, 1.0]), [True, True, False, True])
    # All but one were disturbed: the best three remain.
    np.testing.assert_array_equal(
        runner.steady([1.0, 5.0, 4.0, 3.0, 2.0]), [True, False, False, True, True]
    )
    assert len(runner.steady([])) == 0


def test_interleave_takes_turns_and_counts_units():
    calls = []
    works = {
        "one": runner.Work(lambda: calls.append("one")),
        "ten": runner.Work(lambda: calls.append("ten"), units=10),
    }

    timed = runner.interleave(works, rounds=4, min_seconds=0.0)

    assert calls[2:] == ["one", "ten"] * 4
    assert len(timed.probe_seconds) == 4
    assert min(timed.probe_seconds) > 0
    np.testing.assert_allclose(
        timed.ratio("ten", to="one"),
        np.divide(timed.seconds["one"], timed.seconds["ten"]),
    )
    assert all(len(seconds) == 4 for seconds in timed.seconds.values())


def test_interleave_refuses_what_fails_its_check_and_goes_on():
    def check(outcome):
        raise runner.Refused("not so")

    works = {"bad": runner.Work(int, check=check), "good": runner.Work(int)}

    timed = runner.interleave(works, rounds=3, min_seconds=0.0)

    assert timed.refused == {"bad": "not so"}
    assert timed.seconds["bad"] == []
    assert len(timed.seconds["good"]) == 3
    assert len(timed.ratio("bad", to="good")) == 0


def test_the_command(monkeypatch, tmp_path, capsys, compiled):
    monkeypatch.setitem(limits.PLANS, "quick", PLAN)
    path = tmp_path / "limits.json"

    status = limits.main(["--rows", "quick", "--only", "g", "--rounds", "4", "--json", str(path)])

    assert status == 0
    assert capsys.readouterr().out.count("| g ") == 5
    content = json.loads(path.read_text())
    assert len(content["lines"]) == 5
    assert all(len(line["values"]) == 4 for line in content["lines"])
    assert content["environment"]["packages"]["numpy"] == np.__version__


def test_a_refused_line_fails_the_command(monkeypatch, capsys, compiled):
    line = limits.Line("a", "work", "", [], note="refused: wrong weights")
    monkeypatch.setattr(limits, "measured", lambda plan, rows: [line])

    assert limits.main([]) == 1
    assert "refused: wrong weights" in capsys.readouterr().out


def test_an_unknown_row_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        limits.main(["--only", "a,z"])

    assert "z unknown, choose from a, b, c" in capsys.readouterr().err


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_a_sustained_read_is_of_every_word_as_often_as_it_says(n_threads, monkeypatch):
    buffers = [np.zeros(1001), np.zeros(64, np.float32)]
    monkeypatch.setattr(memory, "_SUSTAINED_BYTES", 5 * sum(b.nbytes for b in buffers) + 1)
    words = []
    compiled = types.SimpleNamespace(read_once=lambda part, n_threads: words.append(len(part)))
    monkeypatch.setitem(sys.modules, "schuss.backends.cython_", compiled)

    read, times = memory.sustained_reader(buffers, n_threads)
    read()

    assert times == 5
    assert sum(words) == 5 * (1001 + 32)
