"""The benchmarks themselves: their data, their baseline, and what they refuse to time."""

import itertools
import os
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from sklearn.metrics import log_loss

from schuss.backends import numpy_
from schuss.bench import floors, libraries, memory, report, runner
from schuss.bench.problems import PROBLEMS, Problem, gaussian, random_sparse
from schuss.bench.race import Build
from schuss.constants import REAL_TYPE
from schuss.losses import LOSSES
from schuss.threads import available

SMALL = Problem("small", 37, 5, 20, gaussian)


def test_the_table_holds_the_shapes_it_names():
    shapes = {(problem.n, problem.d) for problem in PROBLEMS.values() if not problem.sparse}

    assert shapes == {
        (4, 2), (100, 2), (569, 30), (1797, 64),
        (20_000, 100), (100_000, 100), (1_000_000, 28), (1_000_000, 100),
    }  # fmt: skip


@pytest.mark.parametrize("name", [k for k, p in PROBLEMS.items() if not p.sparse and p.n <= 20_000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_problems(name, dtype):
    problem = PROBLEMS[name]

    task = problem.load(dtype)

    assert task.X.shape == (problem.n, problem.d)
    assert task.X.dtype == task.real == dtype
    assert task.X.flags.c_contiguous
    assert set(np.unique(task.codes)) == {0, 1}
    assert task.nbytes == problem.n * problem.d * task.X.itemsize


def test_problems_are_seeded():
    same, again, other = SMALL.load(seed=1), SMALL.load(seed=1), SMALL.load(seed=2)

    np.testing.assert_array_equal(same.X, again.X)
    np.testing.assert_array_equal(same.codes, again.codes)
    assert not np.array_equal(same.X, other.X)


@pytest.mark.parametrize("dtype", [dtype.name for dtype in REAL_TYPE])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_feature_type_and_order(dtype, order):
    task = SMALL.load(dtype, order)

    assert task.X.dtype == dtype
    assert task.X.flags[f"{order}_CONTIGUOUS"]
    assert task.X.std() > 0
    assert task.real == REAL_TYPE[np.dtype(dtype)]


def test_sparse_problem():
    problem = Problem("sparse", 50, 1000, 3, lambda n, d, seed: random_sparse(n, d, seed, 6), True)

    task = problem.load("float64")

    assert task.X.shape == (50, 1000)
    assert task.X.has_canonical_format
    assert 5 * 50 < task.X.nnz <= 6 * 50
    assert task.nbytes == task.X.nnz * (8 + 4)
    with pytest.raises(ValueError, match="dtype='uint8'"):
        problem.load("uint8")


@pytest.mark.parametrize("loss", LOSSES)
def test_the_step_is_safe(loss):
    task = SMALL.load("float64", loss=loss)
    wide = np.c_[task.X, np.ones(len(task.X))]
    curvature = LOSSES[loss].curvature_bound * np.linalg.norm(wide, 2) ** 2 / len(wide)

    assert task.learning_rate <= 1 / curvature * (1 + 1e-12)
    assert task.learning_rate > 0.1 / curvature


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_baseline_agrees_with_the_reference_backend(dtype, loss, order):
    task = SMALL.load(dtype, order, loss)
    reference = runner.reference_of(task)

    runner.verify(libraries.BASELINE.prepare(task, 1), reference)


def test_the_baseline_agrees_with_the_reference_backend_on_sparse_rows():
    problem = Problem("sparse", 50, 1000, 3, lambda n, d, seed: random_sparse(n, d, seed, 6), True)
    task = problem.load("float64")

    runner.verify(libraries.BASELINE.prepare(task, 1), runner.reference_of(task))


def test_the_reference_is_float64_for_float32_features():
    narrow = SMALL.load("float32")
    wide = replace(narrow, X=narrow.X.astype(np.float64))

    one, other = (
        libraries.kernel_run(numpy_, task, np.float64, 1)(narrow.epochs) for task in (narrow, wide)
    )

    assert one.coef.dtype == np.float64
    np.testing.assert_allclose(one.coef, other.coef, rtol=1e-13)


def honest(task, n_threads):
    return libraries.BASELINE.prepare(task, n_threads)


def one_epoch_less(task, n_threads):
    run = honest(task, n_threads)

    def short(epochs):
        outcome = run(epochs - 1)
        return outcome._replace(losses=np.append(outcome.losses, outcome.losses[-1]))

    return short


def fewer_losses(task, n_threads):
    run = honest(task, n_threads)
    return lambda epochs: run(epochs - 1)


def another_step(task, n_threads):
    return honest(replace(task, learning_rate=task.learning_rate * 1.001), n_threads)


def another_loss(task, n_threads):
    return honest(replace(task, loss="log_loss"), n_threads)


def half_the_rows(task, n_threads):
    return honest(replace(task, X=task.X[::2], codes=task.codes[::2]), n_threads)


def no_number(task, n_threads):
    run = honest(task, n_threads)
    return lambda epochs: run(epochs)._replace(intercept=np.nan)


def wrong_after_the_check(task, n_threads):
    """Right in the two runs that are verified, wrong when it is timed."""
    run = honest(task, n_threads)
    calls = itertools.count()
    return lambda epochs: run(epochs if next(calls) < 2 else epochs // 2)


@pytest.mark.parametrize(
    ("prepare", "word"),
    [
        (one_epoch_less, "weights differ"),
        (fewer_losses, "asked for 3 epochs, did 2"),
        (another_step, "weights differ"),
        (another_loss, "weights differ"),
        (half_the_rows, "weights differ"),
        (no_number, "weights differ"),
        (wrong_after_the_check, "asked for 20 epochs, did 10"),
    ],
)
def test_unequal_work_is_refused_rather_than_timed(prepare, word):
    result = runner.measure(
        SMALL.load(),
        [libraries.BASELINE, libraries.Library("bad", prepare)],
        rounds=3,
        min_seconds=0.0,
    )
    baseline, bad = result.rows

    assert word in bad.note
    assert bad.failed
    assert bad.seconds == []
    assert len(result.ratio(bad)) == 0
    assert len(baseline.seconds) == 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["4x2", "100x2", "breast-cancer", "digits"])
def test_one_epoch_less_is_seen_on_the_real_problems(name, dtype):
    task = PROBLEMS[name].load(dtype)
    reference = runner.reference_of(task)

    with pytest.raises(runner.Refused, match="weights differ"):
        runner.verify(one_epoch_less(task, 1), reference)


def test_a_library_that_is_missing_or_broken_is_named_and_the_others_are_timed():
    def broken(task, n_threads):
        raise RuntimeError("no such instruction\nand more")

    result = runner.measure(
        SMALL.load(),
        [
            libraries.BASELINE,
            libraries.Library("absent", honest, lambda: "absent is not installed"),
            libraries.Library("broken", broken),
            libraries.Library("twin", honest),
        ],
        rounds=3,
        min_seconds=0.0,
    )
    rows = {row.library: row for row in result.rows}

    assert rows["absent"].note == "skipped: absent is not installed"
    assert not rows["absent"].failed
    assert rows["broken"].note == "failed: RuntimeError: no such instruction"
    assert rows["broken"].failed
    assert rows["twin"].note == ""
    assert len(rows["twin"].seconds) == len(rows["numpy"].seconds) == 3


def result_of(**seconds):
    rows = [runner.Row(name, list(values)) for name, values in seconds.items()]
    return runner.Result(
        "made up", "squared_error", "float32", (10_000, 100), 4_000_000, 1, 1, rows, [1.0, 2.0, 1.0]
    )


def test_ratios_are_taken_within_a_round():
    # The second round ran on a machine twice as slow: no ratio shows it.
    result = result_of(numpy=[8.0, 16.0, 12.0], quick=[2.0, 4.0, 4.0])

    np.testing.assert_array_equal(result.ratio(result.rows[1]), [4.0, 4.0, 3.0])
    np.testing.assert_array_equal(result.ratio(result.rows[0]), [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(result.share(result.rows[1]), [0.5, 0.5, 0.25])


def test_no_share_of_the_read_rate_for_data_in_the_innermost_caches():
    large = Problem("large", 10_000, 30, 3, gaussian).load()

    assert runner.limit_of(SMALL.load(), 1) is None
    assert runner.limit_of(SMALL.load_fit(), 1) is None
    assert runner.limit_of(large, 1) is not None


def test_quartiles():
    assert runner.quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == (2.0, 3.0, 4.0)
    assert np.isnan(runner.quartiles([])).all()


def test_the_compiled_read_is_used_where_there_is_one(monkeypatch):
    calls = []
    compiled = types.SimpleNamespace(read_once=lambda *arguments: calls.append(arguments))
    monkeypatch.setitem(sys.modules, "schuss.backends.cython_", compiled)

    memory.reader([np.zeros(10)], 2)()

    ((buffer, n_threads),) = calls
    assert buffer.nbytes == 80
    assert n_threads == 2


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_compiled_kernels_read_at_any_alignment(n_threads):
    pytest.importorskip("schuss.backends.cython_", exc_type=ImportError)
    whole = np.ones(10_000, np.float32)

    assert memory.reader([whole, whole[1:5], whole[3:]], n_threads)() == [None] * 3


def test_no_read_rate_without_the_compiled_kernels(monkeypatch):
    monkeypatch.setitem(sys.modules, "schuss.backends.cython_", None)

    assert memory.reader([np.zeros(10)], 2) is None


def test_the_threads_are_given_back():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this platform has no processor affinity")
    before = os.sched_getaffinity(0)

    with runner.limit_threads(1):
        inside = os.sched_getaffinity(0)

    assert len(inside) == 1
    assert os.sched_getaffinity(0) == before


def test_the_objective_of_a_fit_and_its_gradient():
    task = SMALL.load_fit()
    parameters = np.random.default_rng(0).standard_normal(SMALL.d + 1)
    coef, intercept = parameters[:-1], parameters[-1]
    value, _ = task.objective(parameters)
    p = 1 / (1 + np.exp(-(task.X @ coef + intercept)))
    expected = log_loss(task.codes, p) + coef @ coef / (2 * SMALL.n)

    assert value == pytest.approx(expected, rel=1e-12)


def three_classes(n, d, seed):
    X, _ = gaussian(n, d, seed)
    return X, np.argsort(np.argsort(X[:, 0])) * 3 // n


@pytest.mark.parametrize(
    ("task", "size"),
    [
        (SMALL.load_fit(), 6),
        (Problem("three", 37, 5, 1, three_classes).load_fit(), 18),
        (SMALL.load_fit(l1=0.1), 11),
    ],
    ids=["l2", "classes", "l1"],
)
def test_gradients_of_objectives(task, size):
    # Positive and negative parts where there is an L1 penalty; no intercept then.
    parameters = np.abs(np.random.default_rng(0).standard_normal(size)) + 0.1
    _, gradient = task.objective(parameters)
    steps = 1e-6 * np.eye(size)[: size - (task.l1 > 0)]
    slopes = [task.objective(parameters + s)[0] - task.objective(parameters - s)[0] for s in steps]

    np.testing.assert_allclose(
        gradient[: len(steps)], np.array(slopes) / 2e-6, rtol=1e-5, atol=1e-8
    )


def test_the_optimum_with_an_l1_penalty():
    task = SMALL.load_fit(l1=0.1)

    (row,) = runner.measure(task, [libraries.L1_SOLVERS["schuss"]], rounds=3, min_seconds=0.0).rows

    assert row.note == ""
    # Nothing but zeros where the share is 1.
    assert runner.Optimum(SMALL.load_fit(l1=1.0)).value == pytest.approx(np.log(2))


def test_fits_of_several_classes():
    task = Problem("three", 37, 5, 1, three_classes).load_fit()
    names = ("sklearn-lbfgs", "schuss")

    result = runner.measure(
        task, [libraries.SOLVERS[name] for name in names], rounds=3, min_seconds=0.0
    )

    assert [row.note for row in result.rows] == ["", ""]


@pytest.mark.parametrize("name", ["sklearn-lbfgs", "sklearn-newton-cholesky", "schuss-nesterov"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fits_reach_the_optimum(name, dtype):
    task = SMALL.load_fit(dtype)

    (row,) = runner.measure(task, [libraries.SOLVERS[name]], rounds=3, min_seconds=0.0).rows

    assert row.note == ""
    assert len(row.seconds) == 3


def solved(gap):
    """A library whose weights are so far above the optimum, whatever its tolerance."""

    def prepare(task, n_threads, tol):
        best = runner.Optimum(task)
        found = minimize(task.objective, np.zeros(SMALL.d + 1), jac=True, tol=1e-12).x
        far = gap * best.value
        # Along any direction the objective grows; find how far to go.
        step = brentq(lambda s: task.objective(found + s)[0] - best.value - far, 0, 10)
        *coef, intercept = found + step
        return lambda epochs: libraries.Outcome(np.array(coef), intercept, np.empty(0))

    return libraries.Library("made up", prepare, tolerances=(1e-2, 1e-4))


def test_a_fit_that_ends_too_early_is_refused_rather_than_timed():
    good, bad = (
        runner.measure(SMALL.load_fit(), [solved(gap)], rounds=3, min_seconds=0.0).rows[0]
        for gap in (5e-7, 2e-6)
    )

    assert len(good.seconds) == 3
    assert bad.seconds == []
    assert "2.0e-06 above the optimum, more than 1e-06" in bad.note


def test_the_loosest_tolerance_that_suffices_is_timed():
    tried = []

    def prepare(task, n_threads, tol):
        tried.append(tol)
        return solved(tol).prepare(task, n_threads, tol)

    library = libraries.Library("made up", prepare, tolerances=(1e-4, 1e-5, 5e-7, 1e-8))

    runner.measure(SMALL.load_fit(), [library], rounds=3, min_seconds=0.0)

    assert tried == [1e-4, 1e-5, 5e-7]


@pytest.mark.parametrize(
    "name", ["sklearn-liblinear", "glum", "skglm", "adelie", "snapml", "liblinear-multicore"]
)
def test_other_solvers_where_they_are_installed(name):
    if reason := libraries.SOLVERS[name].missing():
        pytest.skip(reason)

    # In a process of its own: Snap ML's makes subnormal numbers zero.
    with runner.fair_process() as call:
        note = call(_note_of, name)

    assert not note.startswith("failed")


def _note_of(name):
    solver = libraries.SOLVERS[name]
    (row,) = runner.measure(SMALL.load_fit(), [solver], rounds=3, min_seconds=0.0).rows
    return row.note


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_small_data_begin_with_a_cache_line(order, dtype):
    made = PROBLEMS["100x2"].make(100, 2, 0)[0]

    for _ in range(5):
        task = PROBLEMS["100x2"].load(dtype, order)
        X = task.X
        assert X.ctypes.data % 64 == task.real_features().ctypes.data % 64 == 0
        assert X.flags.c_contiguous == (order == "C") and X.flags.f_contiguous == (order == "F")
    if dtype == "float32":
        np.testing.assert_array_equal(X, made)


# ----- rounds ---------------------------------------------------------------------------


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

    seconds, probe, _ = runner.interleave(works, rounds=4, min_seconds=0.0)

    assert calls[2:] == ["one", "ten"] * 4
    assert len(probe) == 4
    assert min(probe) > 0
    assert all(len(found) == 4 for found in seconds.values())


def test_interleave_refuses_what_fails_its_check_and_goes_on():
    def check(outcome):
        raise runner.Refused("not so")

    works = {
        "bad": runner.Work(int, check=check),
        "worse": runner.Work(lambda: check(None)),
        "good": runner.Work(int),
    }

    seconds, _, refused = runner.interleave(works, rounds=3, min_seconds=0.0)

    assert refused == {"bad": "not so", "worse": "not so"}
    assert seconds["bad"] == seconds["worse"] == []
    assert len(seconds["good"]) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_sees_a_copy_of_the_features():
    """In a process of its own, as the numbers are those of a whole process."""
    with runner.fair_process() as call:
        kept, copied = call(_peaks)

    assert kept < 1e6
    assert copied == pytest.approx(4e7, rel=0.1)


def _peaks():
    X, found = np.ones(5_000_000), []
    for work in (lambda: X.sum(), lambda: X.copy().sum()):
        with memory.peak() as peak:
            work()
        found.append(peak.bytes)
    return found


def test_worker_processes_let_blas_choose_its_kernels(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")

    with runner.fair_process() as call:
        found = call(os.getenv, "OPENBLAS_CORETYPE")

    assert found is None
    assert "OPENBLAS_CORETYPE" not in runner.fair_environment()
    assert "OPENBLAS_CORETYPE" not in Build("here").environment()
    code = "import os; print(os.getenv('OPENBLAS_CORETYPE'))"
    assert floors._run(["-c", code], "baseline").stdout == "None\n"
    assert os.environ["OPENBLAS_CORETYPE"] == "Haswell"


def test_a_library_with_a_number_of_threads_of_its_own(monkeypatch):
    monkeypatch.setenv("SCHUSS_NUM_THREADS", "1")
    library = libraries.Library("one", lambda task, n_threads: lambda n: (n_threads, available()))

    two = libraries.with_threads(library, 2)

    assert two.name == "one, 2 threads" and two.prepare(None, 1)(5) == (2, 2)


def test_tables_in_markdown():
    text = report.markdown(("name", "n"), [("a|b", "1.5 ms"), ("c", "")])

    assert text.splitlines() == [
        "| name |      n |",
        "| ---- | -----: |",
        "| a\\|b | 1.5 ms |",
        "| c    |        |",
    ]
    assert report.duration(9.996e-7) == "1 µs"
    assert [report.duration(s) for s in (2e-9, 1.5e-3, 12.0)] == ["2 ns", "1.5 ms", "12 s"]
