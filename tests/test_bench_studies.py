"""The studies: every problem can be loaded and refuses other work; documents show the record."""

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

studies = pytest.importorskip("bench.studies", reason="no benchmarks beside the tests")

from bench import __main__ as command  # noqa: E402
from bench import gate_trial, many, networks, tables, tasks  # noqa: E402
from bench.chart import chart  # noqa: E402
from schuss.bench.comparison import Pairs  # noqa: E402
from schuss.bench.libraries import Library, Outcome  # noqa: E402
from schuss.bench.race import Race  # noqa: E402
from schuss.bench.runner import Result, Row, measure  # noqa: E402

MANY = (many.TOGETHER, many.LOOP, many.SKLEARN)
QUICK = {"rounds": 3, "min_seconds": 0.0}


@pytest.fixture(autouse=True)
def compiled():
    pytest.importorskip("schuss.backends.cython_", exc_type=ImportError)


@pytest.mark.parametrize(
    ("task", "libraries"),
    [
        (lambda: tasks.sgd(200, 5, "float64"), tasks.SGD),
        (lambda: tasks.parabola(1000), tasks.PARABOLA),
        *(
            (partial(tasks.inference, kind, 300, 3), libraries)
            for kind, libraries in tasks.INFERENCE.items()
        ),
        (
            lambda: tasks.prediction("LogisticRegression", "predict_proba", 50, 4),
            tasks.LINEAR_PREDICTION,
        ),
        (lambda: tasks.prediction("MLPRegressor", "predict", 50, 4), tasks.PREDICTION),
        (
            lambda: tasks.prediction("LogisticRegression", "predict", 50, 4, "float32", 3),
            tasks.LINEAR_PREDICTION,
        ),
        (
            lambda: tasks.prediction("SGDClassifier", "predict_log_proba", 50, 4),
            tasks.LINEAR_PREDICTION,
        ),
        (
            lambda: tasks.prediction("LogisticRegression", "predict_proba", 50, 4, "CSR"),
            tasks.PREDICTION,
        ),
        (lambda: networks.Network((7, 5, 3), 40, 8, 3), networks.LIBRARIES),
        (lambda: many.groups(3, 60, 2), MANY),
        (lambda: many.scan(200, 3, 4), MANY),
        (lambda: many.folds(300, 3, 2, 2), MANY),
        (lambda: many.targets(3, 200, 3), MANY),
        (lambda: many.replicates(2, 200, 3), MANY),
    ],
    ids=[
        "sgd",
        "parabola",
        *tasks.INFERENCE,
        "probabilities",
        "prediction",
        "classes",
        "log",
        "CSR",
        "network",
        "groups",
        "scan",
        "folds",
        "targets",
        "replicates",
    ],
)
def test_every_kind_of_task_runs_and_refuses_other_work(task, libraries):
    task = task()
    wrong = Library("wrong", lambda task, n_threads: lambda epochs: Outcome(np.ones(3), 0, [7.0]))

    result = measure(task, [*libraries, wrong], **QUICK)

    for row in result.rows:
        assert row.note.startswith(
            ("refused", "failed") if row.library == "wrong" else ("skip", "")
        )
        assert len(row.seconds) == (0 if row.note else 3), row.note
    assert not any(row.failed for row in result.rows if row.library != "wrong")


def test_a_network_is_held_to_its_losses_in_every_round():
    task = networks.Network((7, 5, 3), 40, 8, 3)
    run = networks.ESTIMATORS[1].prepare(task, 1)

    def doubled(epochs):
        outcome = run(epochs)
        return outcome._replace(losses=2 * np.array(outcome.losses))

    (row,) = measure(task, [Library("doubled", lambda task, n: doubled)], **QUICK).rows

    assert row.note.startswith("refused: after 2 epochs the losses differ")


def test_keys_and_names_of_the_studies():
    for study, items in studies.STUDIES.items():
        for key, item in items.items():
            assert item.libraries and item.rounds >= 3, (study, key)
    assert len(studies.STUDIES["limits"]) == 48


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: path.name)
def test_documents_show_what_is_recorded(path):
    text = path.read_text(encoding="utf-8")

    assert tables.rendered(text) == text, "make docs-tables"


def test_the_chart_shows_what_is_recorded():
    assert tables.CHART.read_text(encoding="utf-8") == chart(tables.record), "make docs-tables"


def test_the_record_names_only_what_is_measured():
    for path in tables.RESULTS.glob("*.json"):
        study = path.stem
        assert set(tables.record(study)) <= set(studies.STUDIES[study])
        for entry in tables.record(study).values():
            assert entry["environment"]["blas"] and entry["environment"]["date"]
            assert len(Result.of(entry["result"]).rows) > 0


def test_losses_are_listed():
    rows = [Row("schuss", [2.0, 2.0]), Row("peer", [1.0, 1.0]), Row("slow", [9.0, 9.0])]
    result = Result("made up", "log_loss", "float64", (4, 2), 64, 1, 2, rows, [])

    line = tables.summary([result]).splitlines()[-1]

    assert line == "| made up float64, 2 threads | 2 s | 1 s | peer | 0.5 | peer (2.00 × as fast) |"


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """A place for the record, and one study."""
    item = replace(studies.STUDIES["epochs"]["4x2"], libraries=studies.BASE)
    monkeypatch.setitem(studies.STUDIES, "epochs", {"4x2": item})
    monkeypatch.setattr(command, "STUDIES", {"epochs": studies.STUDIES["epochs"]})
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    # In this process: another one would find the study as it is.
    monkeypatch.setattr(command, "fair_process", lambda: nullcontext(lambda f, *a: f(*a)))
    tables.record.cache_clear()
    yield
    tables.record.cache_clear()


def test_the_command_measures_and_records(recorded, capsys):
    assert command.main(["epochs", "--rounds", "3", "--min-seconds", "0.001"]) == 0

    (entry,) = tables.record("epochs").values()
    assert len(entry["result"]["rows"][0]["seconds"]) == 3
    assert "; BLAS " in tables.section("full", "epochs")


def test_other_data_are_printed_and_not_recorded(recorded, capsys):
    quick = ["--seconds", "1", "--min-seconds", "0.001"]

    assert command.main(["epochs", *quick, "--dtype", "float64", "--loss", "log_loss"]) == 0

    assert "| 4x2 " in "".join(capsys.readouterr().out.replace("|     4x2", "| 4x2 "))
    assert tables.record("epochs") == {}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["epochs", "--only", "5x5"], "--only: 5x5 unknown: 4x2"),
        (["speed"], "speed unknown, choose from"),
        (["epochs", "--rounds", "0"], "at least 1 expected"),
    ],
)
def test_the_command_names_what_is_wrong(recorded, capsys, arguments, word):
    try:
        status = command.main(arguments)
    except SystemExit as end:
        status = end.code

    assert status == 2
    assert word in capsys.readouterr().err


def test_the_trial_of_the_gate(monkeypatch, tmp_path, capsys):
    """Its counting, with races that are made up: a slower benchmark is what the head says."""

    def raced(base, head, **options):
        found = Race({name: Pairs() for name in ("one", "two", "three", "four")})
        for name, pairs in found.pairs.items():
            slower = 1 + head.slower.get(name, 0)
            pairs.base, pairs.head, pairs.again = [1e-3] * 30, [slower * 1e-3] * 30, [1e-3] * 30
            pairs.again = pairs.head
        return found

    monkeypatch.setattr(gate_trial, "race", raced)
    file = tmp_path / "pairs.json"

    assert gate_trial.main(["--runs", "3", "--json", str(file)]) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[1::2][:5] for line in lines[2:]] == [
        ["0%", "6", "0", "0", "6"], ["5%", "3", "3", "0", "0"], ["10%", "3", "3", "0", "0"]
    ]  # fmt: skip
    assert len(json.loads(file.read_text())) == 3
