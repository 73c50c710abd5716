"""The studies: every problem can be loaded and refuses other work; documents show the record."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize

studies = pytest.importorskip("bench.studies", reason="no benchmarks beside the tests")

from bench import __main__ as command  # noqa: E402
from bench import networks, tables, tasks  # noqa: E402
from schuss.bench.libraries import Library  # noqa: E402
from schuss.bench.runner import Result, Row, measure  # noqa: E402

QUICK = {"rounds": 3, "min_seconds": 0.0}


@pytest.fixture(autouse=True)
def compiled():
    pytest.importorskip("schuss.backends.cython_", exc_type=ImportError)


@pytest.mark.parametrize("name", tasks.FUNCTIONS)
def test_gradients_and_minima(name):
    fun, jac, hess, x0, distance = tasks.FUNCTIONS[name]
    x = x0 + 0.1
    steps = 1e-6 * np.eye(len(x))
    differences = [(fun(x + h) - fun(x - h)) / 2e-6 for h in steps]
    np.testing.assert_allclose(jac(x), differences, rtol=1e-6, atol=1e-5)
    if callable(hess):
        second = [(jac(x + h) - jac(x - h)) / 2e-6 for h in steps]
        np.testing.assert_allclose(hess(x), second, rtol=1e-5, atol=1e-4)
    best = scipy.optimize.minimize(fun, x0, jac=jac)
    assert distance(best.x) < 1e-4 < distance(best.x + 0.1)


@pytest.mark.parametrize(
    ("task", "libraries"),
    [
        (lambda: tasks.sgd(200, 5, "float64"), tasks.SGD),
        (lambda: tasks.parabola(1000), tasks.PARABOLA),
        (
            lambda: tasks.prediction("LogisticRegression", "predict_proba", 50, 4),
            tasks.PROBABILITIES,
        ),
        (lambda: tasks.prediction("MLPRegressor", "predict", 50, 4), tasks.PREDICTION),
        (
            lambda: tasks.coefficients(studies.FITTED["100x5"][0], "float64", "newton-cholesky"),
            tasks.COEFFICIENTS,
        ),
        (lambda: networks.Network((7, 5, 3), 40, 8, 3), networks.LIBRARIES),
        (lambda: tasks.function("Beale"), tasks.methods("Beale")[:1]),
    ],
    ids=["sgd", "parabola", "probabilities", "prediction", "coefficients", "network", "function"],
)
def test_every_kind_of_task_runs_and_refuses_other_work(task, libraries):
    task = task()
    wrong = Library("wrong", lambda task, n_threads: lambda epochs: ([7.0] * epochs, [np.ones(3)]))

    result = measure(task, [*libraries, *([wrong] if task.name != "Beale" else [])], **QUICK)

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
        losses, coefs = run(epochs)
        return [2 * loss for loss in losses], coefs

    (row,) = measure(task, [Library("doubled", lambda task, n: doubled)], **QUICK).rows

    assert row.note.startswith("refused: losses differ")


def test_keys_and_names_of_the_studies():
    for study, items in studies.STUDIES.items():
        for key, item in items.items():
            assert item.libraries and item.rounds >= 3, (study, key)
    assert len(studies.STUDIES["limits"]) == 48


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: path.name)
def test_documents_show_what_is_recorded(path):
    text = path.read_text(encoding="utf-8")

    assert tables.rendered(text) == text, "make docs-tables"


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


def test_the_command_measures_and_records(monkeypatch, tmp_path, capsys):
    item = replace(studies.STUDIES["epochs"]["4x2"], libraries=studies.BASE)
    monkeypatch.setattr(command, "STUDIES", {"epochs": {"4x2": item}})
    monkeypatch.setitem(studies.STUDIES, "epochs", {"4x2": item})
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    tables.record.cache_clear()

    assert command.main(["epochs", "--rounds", "3", "--min-seconds", "0.001"]) == 0
    assert command.main(["epochs", "--only", "5x5"]) == 2

    assert "--only: 5x5 unknown in epochs: 4x2" in capsys.readouterr().err
    assert command.main(["table"]) == 2
    assert "--data: table expects FILE:TARGET" in capsys.readouterr().err
    (entry,) = tables.record("epochs").values()
    assert len(entry["result"]["rows"][0]["seconds"]) == 3
    assert "; BLAS " in tables.section("full", "epochs")
    tables.record.cache_clear()


def test_a_table_of_ones_own(tmp_path):
    pytest.importorskip("pyarrow")
    pytest.importorskip("narwhals")
    rng = np.random.default_rng(0)
    rows = [f"{x},{'yes' if x + e > 0 else 'no'}" for x, e in rng.standard_normal((200, 2))]
    file = tmp_path / "own.csv"
    file.write_text("\n".join(["x,y", *rows]))

    result = measure(tasks.table(f"{file}:y"), tasks.TABLE, **QUICK)

    assert [row.note for row in result.rows] == ["", "", ""]
    assert all(row.details["accuracy"] > 0.5 for row in result.rows)
