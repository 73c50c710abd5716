"""The gate: what it catches, what it lets pass, and what it refuses to judge."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schuss.bench import builds, comparison, floors, gate, instructions, libraries, race
from schuss.bench.comparison import Pairs, Verdict, interval, judge

TIMINGS = Path(__file__).with_name("gate_timings.json")


def pairs(ratio, noise=0.02, n=20, seed=0, base=1e-3, same=1.0):
    """Made-up timings: a common drift of the machine, and noise of each process."""
    rng = np.random.default_rng(seed)
    drift = base * np.exp(rng.normal(scale=0.3, size=n))
    each = drift * np.exp(rng.normal(scale=noise, size=(3, n)))
    return Pairs(list(each[0]), list(ratio * each[1]), list(ratio * same * each[2]))


# ----- statistics ---------------------------------------------------------------------


def test_the_interval_holds_the_median_and_narrows_with_the_noise():
    wide, narrow = pairs(1.2, 0.05).ratio, pairs(1.2, 0.005).ratio

    for low, median, high in (wide, narrow):
        assert low <= median <= high
    assert narrow.high - narrow.low < (wide.high - wide.low) / 4
    assert 1.19 < narrow.low <= narrow.high < 1.21


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        low, _, high = interval(np.exp(rng.normal(scale=0.1, size=15)))
        covered += low <= 1 <= high
    assert covered >= 0.94 * 1000


def test_fair_coins_are_called_unfair_as_rarely_as_is_stated():
    """At any time in 200 throws: what a look after each pair would cost otherwise."""
    throws = np.random.default_rng(0).random((4000, 200)) < 0.5
    most = {(k, n): comparison.evidence(k, n) for n in range(1, 201) for k in range(n + 1)}
    counts = throws.cumsum(axis=1)
    crossed = sum(
        any(most[int(k), n] >= 20 for n, k in enumerate(row, 1)) for row in counts
    )  # fmt: skip

    assert crossed <= 0.05 * 4000
    assert comparison.evidence(20, 20) > 1e4
    assert comparison.evidence(0, 20) < 0.1


def test_the_drift_of_the_machine_is_in_no_ratio():
    assert np.std(pairs(1.0).base) > 0.2 * np.mean(pairs(1.0).base)
    assert np.std(pairs(1.0).logs) < 0.05


@pytest.mark.parametrize(
    ("found", "expected", "word"),
    [
        (pairs(1.0), Verdict.passed, ""),
        (pairs(0.8), Verdict.passed, ""),
        (pairs(1.1), Verdict.failed, "slower by more than 2.0% in 20 pairs"),
        (pairs(1.1, n=5), Verdict.inconclusive, "no verdict after 5 pairs"),
        (pairs(1.035, 0.001), Verdict.passed, ""),
        (pairs(1.1, same=1.1), Verdict.inconclusive, "head against itself +10"),
        (pairs(1.1, 0.5), Verdict.inconclusive, "no verdict"),
        (pairs(1.2, base=1e-6), Verdict.passed, "slower, but by 0."),
        (Pairs(), Verdict.inconclusive, "not timed"),
    ],
)
def test_the_verdict(found, expected, word):
    verdict, note = judge(found, n_benchmarks=8)

    assert verdict == expected
    assert word in note


def test_a_noisy_machine_raises_no_alarm():
    found = [judge(pairs(1.0, 0.3, seed=seed), n_benchmarks=8)[0] for seed in range(200)]

    assert Verdict.failed not in found


def sequential(series, n_benchmarks=8):
    """The first verdict, looked for after each pair, and the pairs that it took."""
    for n in range(1, len(series.base) + 1):
        part = Pairs(series.base[:n], series.head[:n], series.again[:n])
        verdict, _ = judge(part, n_benchmarks=n_benchmarks)
        if verdict != Verdict.inconclusive:
            return verdict, n
    return Verdict.inconclusive, n


def test_five_per_cent_are_found_soon_in_moderate_noise():
    found = [sequential(pairs(1.06, 0.01, 60, seed)) for seed in range(40)]

    assert [verdict for verdict, _ in found].count(Verdict.failed) >= 38
    assert np.median([n for _, n in found]) < 25


# ----- real timings, of `compare` without a change --------------------------------------


def real():
    """The pairs of each benchmark in each recorded run."""
    return [Pairs(**pairs) for run in json.loads(TIMINGS.read_text()) for pairs in run.values()]


def test_real_runs_without_a_change_raise_no_alarm():
    found = [sequential(series)[0] for series in real()]

    assert len(found) >= 100
    assert found.count(Verdict.failed) == 0
    assert found.count(Verdict.passed) > 0.4 * len(found)


def test_samples_of_real_runs_keep_the_error_rate():
    rng = np.random.default_rng(0)
    runs = real()
    found = {1.0: [], 1.2: []}
    for slowdown, verdicts in found.items():
        for k in range(300):
            series = runs[k % len(runs)]
            base, head, again = np.array([series.base, series.head, series.again])[
                :, rng.integers(0, len(series.base), 40)
            ]
            verdicts.append(
                sequential(Pairs(list(base), list(slowdown * head), list(slowdown * again)))[0]
            )

    assert found[1.0].count(Verdict.failed) <= 0.01 * 300
    judged = [v for v in found[1.2] if v != Verdict.inconclusive]
    assert judged.count(Verdict.failed) > 0.95 * len(judged) > 100


# ----- floors -------------------------------------------------------------------------

WORK = "digits float32"
RECORDED = {"baseline": {WORK: 3.0}}


def test_all_parts_without_a_name(monkeypatch, capsys):
    for part in gate.PARTS:
        name = "check_builds" if part == "compare" else f"check_{part}"
        check = gate.Check(part, "", Verdict.passed)
        monkeypatch.setattr(gate, name, lambda *a, check=check, **b: [check])
    monkeypatch.setattr(builds, "find", lambda *arguments: race.Build("base"))

    assert gate.main([]) == 0

    assert "gate: 3 passed" in capsys.readouterr().out


def checked(*attempts, recorded=RECORDED, **options):
    """The check of one work whose attempts measure these, and how often it was measured."""
    left = list(attempts)
    found = floors.check(recorded, ["baseline"], lambda *a: {WORK: left.pop(0)}, **options)
    check = next(check for check in found if check.work == f"baseline, {WORK}")
    return check, len(attempts) - len(left)


def test_a_floor_is_kept_by_one_attempt_in_three():
    for attempts in ([3.0], [1.51], [1.4, 1.51], [1.2, 1.1, 3.0]):
        check, times = checked(*attempts)
        assert (check.verdict, times) == (Verdict.passed, len(attempts))
        assert check.value == max(attempts)


def test_half_of_what_is_recorded_is_below_the_floor():
    check, times = checked(1.49, 1.2, 1.3)

    assert (check.verdict, times) == (Verdict.failed, 3)
    assert (check.measured, check.allowed) == ("1.49 × NumPy", "≥ 1.5")


def test_a_floor_is_not_measured_again_after_the_deadline():
    check, times = checked(1.2, deadline=0.0)

    assert (check.verdict, times) == (Verdict.inconclusive, 1)
    assert check.note == "1.2 × NumPy, too little time"


def test_floors_that_were_not_measured_in_time_say_so():
    found = list(floors.check(RECORDED, ["baseline"], lambda *a: {}, deadline=0.0))

    assert {check.work for check in found} == {f"baseline, {work}" for work in floors.ALL}
    assert {check.verdict for check in found} == {Verdict.inconclusive}
    assert floors.measured("baseline", ["4x2 float32"], timeout=0.01) == {}


def test_a_floor_that_is_not_recorded_is_skipped():
    assert checked(1.0, recorded={})[0].verdict == Verdict.skipped


def test_a_wrong_kernel_is_refused_and_not_measured_again():
    check, times = checked("weights differ")

    assert (check.verdict, times, check.note) == (Verdict.refused, 1, "weights differ")


def test_a_kernel_that_does_less_is_refused_rather_than_timed(monkeypatch):
    def one_epoch_less(task, n_threads):
        run = libraries.BASELINE.prepare(task, n_threads)

        def short(epochs):
            outcome = run(epochs - 1)
            return outcome._replace(losses=np.append(outcome.losses, 0.5))

        return short

    monkeypatch.setitem(
        libraries.LIBRARIES, floors.KERNEL, libraries.Library("short", one_epoch_less)
    )

    assert "weights differ" in floors.measured_here("4x2 float32")


@pytest.fixture
def compiled():
    return pytest.importorskip("schuss.backends.cython_", exc_type=ImportError)


def test_a_real_reading_in_a_process_of_its_own(compiled):
    found = floors.measured(compiled.ISA, ["4x2 float32"])

    assert found["4x2 float32"] > 1
    assert compiled.ISA in floors.isas()


def test_floors_are_recorded_for_every_work():
    recorded = json.loads(floors.FILE.read_text())["floors"]

    for works in recorded.values():
        assert set(works) == set(floors.ALL)


# ----- counts -------------------------------------------------------------------------


def counted(monkeypatch, before, after):
    """The check of one benchmark whose instructions are given."""
    both = [instructions.Counted(n, (0, 0), Counter(f=n)) for n in (before, after)]
    monkeypatch.setattr(instructions, "missing", lambda: None)
    monkeypatch.setattr(instructions, "of_both", lambda *a: {"fit": both})
    (check,) = gate.check_counts(race.Build("base"), race.Build("head"), race.WORKLOADS, None)
    return check


def test_a_fiftieth_more_instructions_fail(monkeypatch):
    assert counted(monkeypatch, 1000, 1000).verdict == Verdict.passed
    assert counted(monkeypatch, 1000, 1019).verdict == Verdict.passed
    assert counted(monkeypatch, 1000, 500).verdict == Verdict.passed
    check = counted(monkeypatch, 1000, 1021)
    assert check.verdict == Verdict.failed
    assert check.note == "instructions +2.1%; f: 1,000 to 1,021"


def test_counts_that_are_not_done_in_time_say_so(monkeypatch):
    def late(*arguments):
        raise instructions.Late("not done")

    monkeypatch.setattr(instructions, "missing", lambda: None)
    monkeypatch.setattr(instructions, "of_both", late)
    (check,) = gate.check_counts(race.Build("base"), race.Build("head"), race.WORKLOADS, None)

    assert (check.verdict, check.note) == (Verdict.inconclusive, "not done")


def test_without_valgrind_it_says_so(monkeypatch):
    monkeypatch.setattr(instructions.shutil, "which", lambda program: None)

    (check,) = gate.check_counts(race.Build("base"), race.Build("head"), race.WORKLOADS, None)

    assert check.verdict == Verdict.skipped
    assert "valgrind, which counts, is not installed" in check.note


def test_what_is_meant_to_be_slower_is_accepted(repository):
    repository("commit", "--quiet", "--allow-empty", "-m", "Sum in float64\n\nSlower: fit: exact")
    checks = [gate.Check("counts", work, Verdict.failed, note="+3%") for work in ("fit", "other")]

    reasons = builds.accepted(race.Build("base", commit="HEAD~1"))
    gate.accept(checks, reasons)

    assert reasons == {"fit": "exact"}
    assert [check.verdict for check in checks] == [Verdict.passed, Verdict.failed]
    assert checks[0].note == "accepted: exact; +3%"


# ----- base against head --------------------------------------------------------------

WORKLOADS = """
import toy
def bench_adding():
    return toy.work()
"""
TOY = """
def work():
    for _ in range({times}):
        total = sum(range({terms}))
    return total
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A file of workloads, and a function that makes builds of the package it needs."""
    monkeypatch.setattr(race, "SECONDS", 0.001)
    workloads = tmp_path / "workloads.py"
    workloads.write_text(WORKLOADS)

    def build(name, times=3, terms=4000, text=TOY):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "toy.py").write_text(text.format(times=times, terms=terms))
        return race.Build(name, folder=folder)

    return workloads, build


def compared(base, head, workloads, max_pairs=30, **options):
    found = gate.check_builds(
        base, head, workloads, min_seconds=0.0, max_pairs=max_pairs, **options
    )
    return {check.work: check for check in found}


def test_a_slower_build_is_caught_in_real_processes(toy, monkeypatch):
    workloads, build = toy
    timings, asked = {}, []
    monkeypatch.setattr(
        gate, "_explained", lambda *arguments: asked.append(arguments) or "instructions +9%"
    )

    found = compared(build("base"), build("head", times=12), workloads, timings=timings)

    check = found["adding"]
    if check.verdict == Verdict.inconclusive:
        pytest.skip(f"the machine is too noisy: {check.note}")
    assert check.verdict == Verdict.failed
    assert check.note.endswith("; instructions +9%")
    assert [arguments[3] for arguments in asked] == ["adding"]
    # A verdict as early as the data allow it.
    assert len(timings["adding"]["base"]) < 30


def test_the_same_build_is_not(toy):
    workloads, build = toy

    found = compared(build("base"), build("head"), workloads, max_pairs=10)

    assert found["adding"].verdict in (Verdict.passed, Verdict.inconclusive)


def test_a_race_that_is_not_done_in_time_says_so(toy):
    workloads, build = toy

    (check,) = compared(build("base"), build("head"), workloads, deadline=0.0).values()

    assert check.verdict == Verdict.inconclusive
    assert "no time" in check.note


def test_a_slower_benchmark_in_the_worker_is_caught(toy, monkeypatch):
    workloads, build = toy
    monkeypatch.setattr(gate, "_explained", lambda *arguments: "")
    base = build("base", times=20)

    check = compared(base, replace(base, name="head", slower={"adding": 0.5}), workloads)["adding"]

    if check.verdict == Verdict.inconclusive:
        pytest.skip(f"the machine is too noisy: {check.note}")
    assert check.verdict == Verdict.failed
    assert 1.3 < float(check.measured.split()[0]) < 1.8


def test_the_function_with_more_instructions_is_named(toy):
    if instructions.missing():
        pytest.skip(instructions.missing())
    workloads, build = toy

    told = gate._explained(build("base"), build("head", times=12), workloads, "adding", math.inf)

    # Nothing but the interpreter's loop and its sum is compiled here.
    assert re.match(
        r"instructions \+\d{3}\.\d%, misses of the first cache .*; \S+: [\d,]+ to [\d,]+", told
    ), told


def test_a_file_without_benchmarks_is_refused(toy):
    workloads, build = toy
    workloads.write_text("def test_nothing(): pass")

    (check,) = compared(build("base"), build("head"), workloads).values()

    assert check.verdict == Verdict.refused
    assert "no function whose name begins with 'bench_'" in check.note


def test_a_build_that_does_less_is_refused(toy):
    workloads, build = toy

    result = race.race(build("base"), build("head", terms=10), workloads=workloads, max_pairs=2)

    assert result.pairs["adding"].base == []
    assert "unequal work: the results differ" in result.refused["adding"]


def test_a_benchmark_that_the_head_lacks_or_nobody_has_is_refused(toy):
    workloads, build = toy
    new = "\nif hasattr(toy, 'more'):\n    bench_more = toy.more\n"
    workloads.write_text(WORKLOADS + new)
    base = build("base", text=TOY + "\nmore = work\n")

    result = race.race(base, build("head"), workloads=workloads, only=["fast"], max_pairs=1)

    assert result.refused == {
        "more": "the base has it, the head does not",
        "fast": "there is no such benchmark",
    }


def test_a_workload_that_the_base_lacks_is_named(toy):
    workloads, build = toy
    new = "\nif hasattr(toy, 'more'):\n    bench_more = toy.more\n"
    workloads.write_text(WORKLOADS + new)
    head = build("head", text=TOY + "\nmore = work\n")

    result = race.race(build("base"), head, workloads=workloads, max_pairs=2)

    assert result.absent == ["more"]
    assert list(result.pairs) == ["adding"]
    assert len(result.pairs["adding"].head) == 2


@pytest.mark.parametrize(
    ("text", "word"),
    [("raise ValueError('no such thing')", "ValueError: no such thing"), ("", "has no attribute")],
)
def test_a_build_that_does_not_run_is_skipped_with_its_message(toy, text, word):
    workloads, build = toy

    (check,) = compared(build("base", text=text), build("head"), workloads).values()

    assert check.verdict == Verdict.skipped
    assert check.note.startswith("base: ")
    assert word in check.note


def test_a_head_that_does_not_run_is_refused(toy):
    workloads, build = toy

    (check,) = compared(build("base"), build("head", text="1 / 0"), workloads).values()

    assert check.verdict == Verdict.refused
    assert "ZeroDivisionError" in check.note


def test_what_a_workload_prints_is_no_answer(toy):
    workloads, build = toy
    workloads.write_text("def bench_one():\n    print('hello')\n    return 1.5\n")

    result = race.race(build("base"), build("head"), workloads=workloads, max_pairs=2)

    assert len(result.pairs["one"].base) == 2


@pytest.mark.parametrize(
    ("base", "head", "word"),
    [
        (None, None, ""),
        ([[3], False, 1.0, 0.5], [[3], False, 1.0, 0.5 + 1e-12], ""),
        ([[3], True, 1.0, 0.5], [[3], True, 1.0, 0.5 + 1e-5], ""),
        ([[3], False, 1.0, 0.5], [[3], False, 1.0, 0.5 + 1e-5], "differ by 1.0e-05"),
        ([[3], False, 1.0, 0.5], [[3], False, float("nan"), 0.5], "differ by nan"),
        ([[3], False, 1.0, 0.5], [[2], False, 1.0, 0.5], "shape (3,) and shape (2,)"),
        (None, [[2], False, 1.0, 0.5], "nothing and shape (2,)"),
    ],
)
def test_equal_work(base, head, word):
    reason = race._unequal(base, head)

    assert word in reason
    assert bool(reason) == bool(word)


# ----- bases --------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with two commits; returns how to run git in it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)

    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        return result.stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    Path("src").mkdir()
    for text in ("one", "two"):
        Path("src", "file.py").write_text(text)
        git("add", ".")
        git("commit", "--quiet", "-m", text)
    return git


def test_a_head_that_is_the_base_is_named(repository, tmp_path):
    with pytest.raises(builds.NoBase, match="differs from the base"):
        builds.find("HEAD", tmp_path)


def test_on_the_main_branch_the_last_change_of_the_sources_is_compared(
    repository, tmp_path, monkeypatch
):
    built = []
    monkeypatch.setattr(builds, "of_revision", lambda commit, *rest: built.append(commit))
    first = repository("rev-parse", "HEAD~1")

    builds.find(None, cache=tmp_path)
    # Neither is built, or built differently.
    Path("src", "schuss", "bench").mkdir(parents=True)
    for file in ("README.md", "src/schuss/bench/floors.json"):
        Path(file).write_text("new")
        repository("add", ".")
        repository("commit", "--quiet", "-m", file)
    builds.find(None, cache=tmp_path)

    assert built == [first, first]


def test_a_branch_is_compared_with_where_it_left_the_main_one(repository, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(builds, "of_revision", lambda commit, *rest: built.append(commit))
    left = repository("rev-parse", "HEAD")
    repository("switch", "--quiet", "--create", "topic")
    for text in ("three", "four"):
        Path("src", "file.py").write_text(text)
        repository("commit", "--quiet", "--all", "-m", text)

    builds.find(None, cache=tmp_path)
    # As in a fresh clone of a main branch with both, checked out or not.
    repository("update-ref", "refs/remotes/origin/main", "main")
    repository("branch", "--force", "main", "HEAD")
    builds.find(None, cache=tmp_path)

    assert built == [left, left]


def test_a_clone_without_history_passes_with_a_word(repository, tmp_path, monkeypatch):
    repository("clone", "--quiet", "--depth=1", f"file://{tmp_path}", "shallow")
    monkeypatch.chdir("shallow")

    with pytest.raises(builds.NoBase, match="differs from the base"):
        builds.find(None, tmp_path / "cache")


def test_a_base_that_is_missing_passes_with_a_word(repository, tmp_path):
    with pytest.raises(builds.NoBase, match=r"the revision v9\.9 is not in this repository"):
        builds.find("v9.9", tmp_path)

    repository("branch", "--move", "main", "other")
    with pytest.raises(builds.NoBase, match="neither origin/main nor main"):
        builds.find(None, tmp_path)


def test_the_gate_passes_without_a_base(repository, capsys):
    assert gate.main(["compare", "--base", "v9.9"]) == 0

    assert "gate: 1 skipped" in capsys.readouterr().out


def test_no_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    with pytest.raises(builds.NoBase, match="not a git repository"):
        builds.find(None, cache=tmp_path)


def test_changes_that_are_not_committed_are_compared(repository, tmp_path, monkeypatch):
    built = []
    monkeypatch.setattr(builds, "of_revision", lambda commit, *rest: built.append(commit))
    Path("src", "file.py").write_text("three")

    builds.find(None, cache=tmp_path)
    builds.find("HEAD~1", cache=tmp_path)

    assert built == [repository("rev-parse", "HEAD"), repository("rev-parse", "HEAD~1")]


def test_a_base_that_does_not_build_passes_with_a_word(repository, tmp_path):
    with pytest.raises(builds.NoBase, match="cannot be built"):
        builds.find("HEAD~1", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_base_that_takes_too_long_to_build_passes_with_a_word(repository, tmp_path):
    with pytest.raises(builds.NoBase, match="could not be built in 0 seconds"):
        builds.find("HEAD~1", cache=tmp_path / "cache", timeout=0.01)


def test_a_build_is_made_once(repository, tmp_path, monkeypatch):
    sources = []

    def install(source, target, timeout):
        sources.append((source / "src" / "file.py").read_text())
        target.mkdir()

    monkeypatch.setattr(builds, "install", install)

    first, again = (builds.find("HEAD~1", cache=tmp_path / "cache") for _ in range(2))

    assert first == again
    assert first.folder.is_dir()
    assert sources == ["one"]


def test_the_commit_that_is_to_blame_is_named(repository, tmp_path, monkeypatch):
    for text in ("three", "four", "five", "six"):
        Path("src", "file.py").write_text(text)
        repository("commit", "--quiet", "--all", "-m", text)
    monkeypatch.setattr(builds, "install", lambda source, target, timeout: target.mkdir())
    commits = repository("rev-list", "--reverse", "HEAD").split()
    tried = []

    def judged(slower_from):
        def judge(build):
            tried.append(commits.index(build.commit))
            slow = commits.index(build.commit) >= slower_from
            return Verdict.failed if slow else Verdict.passed

        return judge

    base, head = (race.Build("build", commit=commit) for commit in (commits[0], ""))
    for place, text in ((1, "two"), (3, "four"), (5, "six")):
        told = builds.culprit(base, head, judged(place), tmp_path)
        assert told == f"since {commits[place][:7]} {text}"
    assert len(tried) <= 9
    assert "not committed" in builds.culprit(base, head, judged(9), tmp_path)
    told = builds.culprit(base, head, lambda build: Verdict.inconclusive, tmp_path)
    assert told.startswith("bisected to") and told.endswith("where it is inconclusive")
    assert "no revision" in builds.culprit(race.Build("a folder"), head, judged(1), tmp_path)


# ----- the command --------------------------------------------------------------------


def test_red_only_for_what_failed_or_was_refused(monkeypatch, tmp_path, capsys):
    def run(*verdicts):
        checks = [gate.Check("floors", str(v), v) for v in verdicts]
        monkeypatch.setattr(gate, "check_floors", lambda *arguments: checks)
        files = ["--json", str(tmp_path / "gate.json"), "--markdown", str(tmp_path / "gate.md")]
        return gate.main(["floors", *files])

    assert run(Verdict.passed, Verdict.inconclusive, Verdict.skipped) == 0
    assert run(Verdict.passed, Verdict.failed) == 1
    assert run(Verdict.refused) == 1
    assert "gate: 1 passed, 1 FAILED" in capsys.readouterr().out
    told = (tmp_path / "gate.md").read_text()
    assert told.startswith("### Something became slower, or is wrong\n\n| part |")
    assert "<details>" in told and "at most 1%" in told
    content = json.loads((tmp_path / "gate.json").read_text())
    assert content["checks"][0]["verdict"] == "REFUSED"
    assert "processor" in content["environment"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--pairs", "0"], "at least 1 expected"),
        (["--limit", "-1"], "-1 given, a positive share"),
        (["--workloads", "no-such-file.py"], "there is no such file"),
        (["speed"], "speed unknown, choose from floors, counts, compare"),
        (["floors", "--renew", ""], "expected the part floors and a reason"),
        (["counts", "--renew", "because"], "expected the part floors and a reason"),
    ],
)
def test_the_command_names_what_is_wrong(arguments, word, capsys):
    try:
        status = gate.main(arguments)
    except SystemExit as end:
        status = end.code

    assert status == 2
    assert word in capsys.readouterr().err


def test_floors_are_renewed_with_a_reason(tmp_path, monkeypatch, capsys):
    readings = iter([100.04, 90.0, 110.0, "wrong", 1.0, 1.0])
    monkeypatch.setattr(gate, "_no_kernels", lambda: None)
    monkeypatch.setattr(floors, "isas", lambda: ["baseline"])
    monkeypatch.setattr(floors, "measured", lambda isa: {"4x2 float32": next(readings)})
    file = tmp_path / "floors.json"

    assert gate.main(["floors", "--floors", str(file), "--renew", "Quicker dots."]) == 0
    content = json.loads(file.read_text())
    assert content["floors"] == {"baseline": {"4x2 float32": 100.0}}
    assert content["reason"] == "Quicker dots."

    assert gate.main(["floors", "--floors", str(file), "--renew", "Quicker dots."]) == 1
    assert "4x2 float32: wrong" in capsys.readouterr().err
    assert json.loads(file.read_text()) == content


def test_the_workloads_run_and_agree_with_themselves(compiled, monkeypatch):
    monkeypatch.setattr(race, "SECONDS", 1e-4)
    monkeypatch.setattr(race, "TURNS", 1)
    here = race.Build("here", python=sys.executable)

    result = race.race(here, replace(here, name="again"), max_pairs=1)

    assert not result.refused
    assert len(result.pairs) == 12
