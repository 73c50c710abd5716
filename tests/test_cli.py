"""The command line: what it prints, writes, refuses, and its exit codes."""

import csv
import errno
import gzip
import io
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("narwhals")
pytest.importorskip("rich")
import pyarrow.csv  # noqa: E402
import pyarrow.parquet  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402

import schuss  # noqa: E402
from schuss.losses import LOSSES  # noqa: E402
from schuss.methods import SOLVERS  # noqa: E402


def rows_of(text):
    return list(csv.reader(text.splitlines()))


def refused(result, *words):
    """Assert that a command ended with one message, exit code 2 and no traceback."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    return True


def make_table(n=300, seed=0, n_classes=2):
    rng = np.random.default_rng(seed)
    x, name = rng.normal(size=n), rng.choice(["a", "b", "c"], n)
    score = 2 * x + (name == "a") - 0.5 + rng.normal(scale=0.5, size=n)
    label = np.searchsorted(np.linspace(-1, 1, n_classes - 1) if n_classes > 2 else [0], score)
    return pa.table(
        {
            "x": pa.array(x, mask=rng.random(n) < 0.05),
            "name": pa.array(name.tolist(), mask=rng.random(n) < 0.05),
            "label": np.array(["low", "high", "huge", "vast"])[label].tolist(),
            "share": 1 / (1 + np.exp(-score)),
        }
    )


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.csv"
    pyarrow.csv.write_csv(make_table(), path)
    return path


@pytest.fixture
def model(run, data):
    assert run("train", data, "--target", "label", "--drop", "share", "-q").exit_code == 0
    return Path("data.schuss.safetensors")


# ----- train --------------------------------------------------------------------------


def test_train_without_a_file_learns_the_shipped_data(run):
    result = run("train")
    assert result.exit_code == 0, result.output
    assert "scikit-learn ships" in result.stderr
    for words in ("455", "114 held out", "benign, malignant", "accuracy", "majority class"):
        assert words in result.stdout
    assert isinstance(schuss.load("breast_cancer.schuss.safetensors").steps, list)


def test_train_json_is_the_same_for_programs(run, data):
    result = run("train", data, "--target", "label", "--drop", "share", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["rows_trained"] == 240 and report["rows_held_out"] == 60
    assert report["classes"] == ["high", "low"]
    assert report["columns_numeric"] == 1 and report["columns_categorical"] == 1
    assert report["cost_before"] == pytest.approx(np.log(2), rel=1e-6)
    assert report["cost_after"] < 0.4 < report["cost_before"]
    assert report["metrics"]["accuracy"] > 0.85 > report["baseline"]["accuracy"]
    assert report["metrics"]["log_loss"] < 0.4 < report["baseline"]["log_loss"]
    assert report["metrics"]["roc_auc"] > 0.9 and report["baseline"]["roc_auc"] == 0.5
    assert report["backend"] == schuss.get_backend()
    assert report["alpha"] == 1 / 240
    assert report["epochs_per_second"] == pytest.approx(
        report["epochs"] / report["seconds_training"]
    )
    assert report["model"] == "data.schuss.safetensors"


def test_same_model_as_scikit_learn(run, data):
    """Same split, features and penalty: the same optimum."""
    arguments = ("train", data, "--target", "label", "--drop", "share")
    result = run(*arguments, "--tol", "1e-6", "--max-iter", "20000", "-q")
    assert result.exit_code == 0, result.output
    preprocessor, neuron = (step for _, step in schuss.load("data.schuss.safetensors").steps)
    from sklearn.model_selection import train_test_split

    from schuss.tables import read_table

    table = read_table(data)
    labels = np.array(table.column("label").to_pylist())
    rows, _ = train_test_split(np.arange(300), test_size=0.2, stratify=labels, random_state=0)
    X, y = preprocessor.transform(table.take(np.sort(rows))), labels[np.sort(rows)]
    peer = LogisticRegression(tol=1e-8, max_iter=10_000).fit(X, y)
    np.testing.assert_allclose(neuron.coef_, peer.coef_, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("solver", ["gd", "momentum", "nesterov", "adaptive", "sgd", "adam"])
def test_solvers(run, data, solver):
    result = run(
        "train", data, "--target", "label", "--drop", "share", "--solver", solver, "--max-iter",
        "200", "--no-save", "--json", "--loss", "squared_error",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["solver"] == solver and report["model"] is None
    assert report["cost_after"] < report["cost_before"] == pytest.approx(0.125, rel=1e-6)
    assert report["metrics"]["accuracy"] > 0.85
    assert not list(Path().glob("*.safetensors"))


def test_several_classes(run, tmp_path):
    path = tmp_path / "many.parquet"
    pyarrow.parquet.write_table(make_table(n_classes=4).drop_columns(["share"]), path)
    report = json.loads(run("train", path, "--target", "label", "--json").stdout)
    assert report["classes"] == ["high", "huge", "low", "vast"]
    assert report["cost_before"] == pytest.approx(4 * np.log(2), rel=1e-6)
    assert report["metrics"]["accuracy"] > report["baseline"]["accuracy"] + 0.1


def test_fractions(run, data):
    result = run("train", data, "--target", "share", "--drop", "label", "--json")
    report = json.loads(result.stdout)
    assert report["estimator"] == "SigmoidRegressor" and report["classes"] is None
    assert report["metrics"]["r2"] > 0.7 and report["baseline"]["r2"] == pytest.approx(0)
    result = run("evaluate", "data.schuss.safetensors", data, "--json")
    assert json.loads(result.stdout)["metrics"]["r2"] > 0.7
    result = run("predict", "data.schuss.safetensors", data)
    assert result.stdout.splitlines()[0] == '"prediction"'


def test_options_reach_the_estimator(run, data):
    result = run(
        "train", data, "--target", "label", "--features", "x", "--features", "name",
        "--solver", "adam", "--learning-rate", "0.02", "--max-iter", "3", "--tol", "0",
        "--alpha", "0.01", "--l1-ratio", "0.5", "--batch-size", "16", "--test-size", "0.5",
        "--seed", "7", "--early-stopping", "--n-jobs", "1", "--out", "here.safetensors", "-q",
    )  # fmt: skip
    assert result.exit_code == 0 and result.output == "", result.output
    neuron = schuss.load("here.safetensors")[-1]
    wanted = {
        "solver": "adam", "learning_rate": 0.02, "max_iter": 3, "tol": 0.0, "alpha": 0.01,
        "l1_ratio": 0.5, "batch_size": 16, "random_state": 7, "early_stopping": True, "n_jobs": 1,
    }  # fmt: skip
    assert {key: neuron.get_params()[key] for key in wanted} == wanted


def test_names_that_look_like_markup_are_printed_as_they_are(run, tmp_path):
    path = tmp_path / "a[red].csv"
    rows = "".join(f"{('[b]', ':cat:', '[/i]')[i % 3]},{i % 3}\n" for i in range(60))
    path.write_text(f"[bold]y,x\n{rows}", encoding="utf-8")
    result = run("train", path, "--target", "[bold]y", "--no-save")
    assert result.exit_code == 0, result.output
    for name in ("a[red].csv", "[bold]y", "[/i], [b]", ":cat:"):
        assert name in result.stdout, name


def test_nothing_held_out(run, data):
    result = run("train", data, "--target", "label", "--drop", "share", "--test-size", "0")
    assert "training rows" in result.stdout and "held out" not in result.stdout
    # The same rows, read again from the file, give the same figures.
    train = run("train", data, "--target", "label", "--drop", "share", "--test-size", "0", "--json")
    again = run("evaluate", "data.schuss.safetensors", data, "--json")
    assert json.loads(train.stdout)["metrics"] == json.loads(again.stdout)["metrics"]


def test_rows_without_a_target_are_left_out_and_counted(run, tmp_path):
    table = make_table()
    labels = table.column("label").to_pylist()
    labels[3] = labels[8] = None
    path = tmp_path / "gaps.csv"
    pyarrow.csv.write_csv(table.set_column(2, "label", [labels]).drop_columns(["share"]), path)
    result = run("train", path, "--target", "label")
    assert "2 without a target left out" in result.stdout
    result = run("evaluate", "gaps.schuss.safetensors", path, "--json")
    assert json.loads(result.stdout)["rows_without_target"] == 2


def test_preprocessing_knows_the_training_rows_only(run, data):
    run("train", data, "--target", "label", "--drop", "share", "--test-size", "0.5", "-q")
    preprocessor = schuss.load("data.schuss.safetensors")[0]
    from schuss.tables import TablePreprocessor, read_table

    of_all = TablePreprocessor("label", drop=["share"]).fit(read_table(data))
    assert preprocessor.mean_[0] != of_all.mean_[0]


def test_notes_go_to_stderr(run, data):
    result = run("train", data, "--target", "label", "--drop", "share", "--max-iter", "2", "--json")
    json.loads(result.stdout)
    assert "warning: Not converged after max_iter=2" in result.stderr
    assert "ConvergenceWarning" not in result.stderr


def test_delimiter_by_name(run):
    rows = "".join(f"{i}\t{'ab'[i > 20]}\n" for i in range(40))
    Path("tabs.csv").write_text("x\ty\n" + rows)
    for name in ("tab", r"\t", "\t"):
        result = run("train", "tabs.csv", "--target", "y", "--delimiter", name, "-q", "--no-save")
        assert result.exit_code == 0, result.output


def test_real_data_beside_scikit_learn(run, data_dir):
    """Same split and features as a peer: the same quality."""
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split

    from schuss.tables import read_table

    path = data_dir / "magic.csv.gz"
    report = json.loads(run("train", path, "--target", "class", "--json").stdout)
    table = read_table(path)
    y = np.array(table.column("class").to_pylist())
    rows, held_out = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=0)
    preprocessor = schuss.load("magic.schuss.safetensors")[0]
    X, X_held_out = (
        preprocessor.transform(table.take(part)).astype(float) for part in (rows, held_out)
    )
    peer = LogisticRegression().fit(X, y[rows])
    assert report["metrics"]["log_loss"] == pytest.approx(
        log_loss(y[held_out], peer.predict_proba(X_held_out)), abs=5e-4
    )
    assert report["metrics"]["accuracy"] == pytest.approx(
        peer.score(X_held_out, y[held_out]), abs=2e-3
    )


# ----- predict and evaluate -----------------------------------------------------------


def test_predict_writes_what_the_model_says(run, data, model):
    from schuss.tables import read_table

    table = read_table(data)
    pipeline = schuss.load(model)
    labels, p = pipeline.predict(table), pipeline.predict_proba(table)

    result = run("predict", model, data)
    assert result.exit_code == 0 and result.stderr == ""
    header, *rows = rows_of(result.stdout)
    assert header == ["prediction", "probability_high", "probability_low"]
    assert [row[0] for row in rows] == labels.tolist()
    np.testing.assert_allclose([float(row[1]) for row in rows], p[:, 0], rtol=1e-6)

    assert run("predict", model, data, "--out", "p.parquet").stdout == ""
    written = pyarrow.parquet.read_table("p.parquet")
    assert written.column("prediction").to_pylist() == labels.tolist()
    np.testing.assert_array_equal(written.column("probability_low").to_numpy(), p[:, 1])

    run("predict", model, data, "--out", "p.csv", "--no-proba")
    assert rows_of(Path("p.csv").read_text())[:2] == [["prediction"], [labels[0]]]

    document = json.loads(run("predict", model, data, "--json").stdout)
    assert document["rows"] == 300 and document["prediction"] == labels.tolist()


def test_columns_are_found_by_name(run, tmp_path, data, model):
    table = make_table()
    other = table.select(["share", "name", "x"]).add_column(0, "more", [["?"] * 300])
    pyarrow.csv.write_csv(other, tmp_path / "other.csv")
    assert run("predict", model, "other.csv").stdout == run("predict", model, data).stdout
    pyarrow.csv.write_csv(table.select(["name"]), tmp_path / "less.csv")
    assert refused(
        run("predict", model, "less.csv"), "less.csv: no column 'x' (the model needs it)"
    )


def test_predict_leaves_its_input_alone(run, data, model):
    before = data.read_bytes()
    for out in (data, Path(data.name)):
        result = run("predict", model, data, "--out", out)
        assert refused(result, "--out", "the same file", "choose another")
    assert data.read_bytes() == before


def test_bench_report_is_a_page(run):
    assert refused(run("bench", "--quick", "--report", "rep.txt"), "--report rep.txt", ".html")
    assert not Path("rep.txt").exists()


def test_evaluate_scores_what_predict_says(run, data, model):
    result = run("evaluate", model, data, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    predicted = rows_of(run("predict", model, data, "--no-proba").stdout)[1:]
    truth = make_table().column("label").to_pylist()
    assert report["metrics"]["accuracy"] == np.mean(np.ravel(predicted) == truth)
    shown = run("evaluate", model, data).stdout
    assert "majority class" in shown and f"{report['metrics']['roc_auc']:.4f}" in shown


def test_evaluate_names_an_unknown_class(run, tmp_path, model):
    path = tmp_path / "new.csv"
    path.write_text("x,name,label\n1,a,high\n\n2,b,medium\n3,c,medium\n")
    result = run("evaluate", model, path)
    assert refused(result, "new.csv, line 4: class 'medium'", "'high', 'low'", "2 of 3 rows")
    assert refused(run("evaluate", model, path, "--target", "lable"), "Did you mean 'label'?")


def test_doubtful_columns_are_noted(run):
    rows = "".join(f"{i},5;{i % 3};{'yn'[i > 29]}\n" for i in range(60))
    Path("f.csv").write_text("bmi;code;y\n" + rows)
    arguments = ("train", "f.csv", "--target", "y", "--delimiter", ";", "--categorical", "code")
    result = run(*arguments, "--json", "--out", "m")
    warning, note = result.stderr.splitlines()
    assert warning.startswith(
        "schuss: warning: column 'bmi' is read as numbers with a decimal comma"
    )
    assert note.startswith("schuss: note: column 'bmi' alone tells the target")
    assert run(*arguments, "-q").stderr == ""
    Path("new.csv").write_text("bmi;code\n9,5;1.0\n99,5;7\n")
    result = run("predict", "m", "new.csv", "--delimiter", ";")
    assert "bmi" not in result.stderr
    assert "'code': 1 of 2 values are unknown to the model, such as '7'" in result.stderr


def test_labels_beyond_int64_stay_distinct(run):
    labels = [2**63 + 1, 2**63 + 2, 3 * 2**70]
    rows = "".join(f"{i % 3},{labels[i % 3]}\n" for i in range(60))
    Path("ids.csv").write_text("a,y\n" + rows)
    report = json.loads(run("train", "ids.csv", "--target", "y", "--json").stdout)
    assert report["classes"] == sorted(map(str, labels))
    predicted = rows_of(run("predict", "ids.schuss.safetensors", "ids.csv", "--no-proba").stdout)
    assert [int(row[0]) for row in predicted[1:4]] == labels
    result = run("evaluate", "ids.schuss.safetensors", "ids.csv", "--json")
    assert json.loads(result.stdout)["metrics"]["accuracy"] > 0.6


def test_classes_of_text_that_look_like_numbers(run, tmp_path):
    rows = "".join(f"{i},{'1' if i % 2 else 'x'}\n" for i in range(40))
    Path("mixed.csv").write_text("a,y\n" + rows)
    assert run("train", "mixed.csv", "--target", "y", "-q", "--categorical", "y").exit_code == 0
    Path("ones.csv").write_text("a,y\n1,1\n3,1\n")
    result = run("evaluate", "mixed.schuss.safetensors", "ones.csv", "--json")
    assert json.loads(result.stdout)["metrics"]["roc_auc"] is None


# ----- bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["bad.csv: the file is empty"]),
        ("x,y\n", ["a header but no rows"]),
        ("x,y\n1,a\n2,b,3\n", ["bad.csv, line 3: 3 fields, expected 2"]),
        (b"x,y\n1,a\n2,\xe9\n", ["bad.csv, line 3: byte 3 is 0xe9, which is not UTF-8"]),
        (gzip.compress(b"x,y\n1,a\n2,b,3\n", mtime=0), ["bad.csv, line 3: 3 fields"]),
        ("x,Y\n1,a\n", ["no column 'y' (the target)", "Did you mean 'Y'?", "Columns: x, Y"]),
        ("x;z\n1;2\n", ["no column 'y' (the target)", "Columns: x, z"]),
        ("x,x,y\n1,2,a\n", ["line 1: 2 columns are called 'x'"]),
        ("x,y\n1,a\n2,a\n", ["one class only, 'a' in 2 rows; expected at least two"]),
        ("x,y\n1,a\n2,a\n3,b\n", ["class 'b' of the target 'y' is in one row only"]),
        ("x,y\n1,a\n2,a\n3,b\n4,b\n", ["4 rows cannot be split with --test-size 0.2"]),
        ("x,y\n1,\n2,\n", ["the target 'y' has no values"]),
        ("x,y\n1,0.5\n2,7.25\n", ["fractions from 0.5 to 7.25", "expected classes"]),
        ("x,y\n1,a\n2,b\ntwo,a\n3,b\n", ["line 4: column 'x' holds 'two', expected a number"]),
        ("x,y\n1,a\n2,b\ninf,a\n3,b\n", ["line 4: column 'x' holds inf"]),
        ("y\na\nb\n" * 10, ["no column is left to learn from"]),
        ("x,y\n" + "7,a\n7,b\n" * 10, ["no column is left to learn from", "x (one value only)"]),
        ("x,y\n" + ",a\n,b\n" * 10, ["no column is left to learn from", "x (no values)"]),
        (
            "x,y\n" + "".join(f"n{i},{i % 2}\n" for i in range(2000)),
            [
                "bad.csv: column 'x' has 1,600 different texts, more than 1,000",
                "--drop x",
                "--max-levels",
            ],
        ),
    ],
)
def test_bad_data_is_named_and_nothing_is_written(run, content, words):
    Path("bad.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused(run("train", "bad.csv", "--target", "y"), *words)
    assert os.listdir() == ["bad.csv"]


def test_absent_files_and_targets(run, data):
    assert refused(run("train", "dada.csv", "--target", "y"), "did you mean data.csv?")
    assert refused(run("train", ".", "--target", "y"), "--target is for tables; . is a folder")
    assert refused(run("train", "."), "pictures of 0 classes; expected at least 2 sub-folders")
    assert refused(run("train", data), "Name it with --target", "x, name, label, share")
    assert refused(run("train", "--target", "diagnoses"), "Did you mean 'diagnosis'?")
    assert refused(run("predict", "no.safetensors", data), "no.safetensors: cannot be read")
    assert refused(run("predict", data, data), "not a whole safetensors file")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--learning-rate", "fast"], ["'fast'", "number, or auto"]),
        (["--learning-rate", "-1"], ["learning_rate", "-1"]),
        (["--learning-rate", "1e9", "--solver", "gd", "--loss", "squared_error"], ["1e+09"]),
        (["--solver", "newtom"], ["newtom", "nesterov"]),
        (["--loss", "hinge"], ["hinge", "log_loss"]),
        (["--test-size", "2"], ["--test-size"]),
        (["--l1-ratio", "2"], ["--l1-ratio"]),
        (["--delimiter", "::"], ["'::'", "expected one character, or tab"]),
        (["--n-jobs", "0"], ["n_jobs=0"]),
        (["--drop", "nam"], ["no column 'nam' (to drop)", "Did you mean 'name'?"]),
        (["--features", "nam"], ["no column 'nam' (a feature)"]),
        (["--categorical", "nam"], ["no column 'nam' (categorical)"]),
        (["--out", "no/where"], ["the folder", "does not exist"]),
        (["--out", "."], ["a folder; expected the name of a file"]),
    ],
)
def test_bad_options(run, data, option, words):
    result = run("train", data, "--target", "label", *option)
    assert refused(result, *words)
    assert os.listdir() == ["data.csv"]


def test_other_files_are_not_overwritten_unless_forced(run, data):
    Path("old").write_text("old")
    arguments = ("train", data, "--target", "label", "-q", "--out", "old")
    assert refused(run(*arguments), "exists and is not a schuss model", "--force")
    assert Path("old").read_text() == "old"
    assert run(*arguments, "--force").exit_code == 0
    assert run(*arguments).exit_code == 0  # a model may be replaced by one
    schuss.load("old")


def test_the_data_are_not_replaced_by_their_model(run, data):
    before = data.read_bytes()
    Path("link").symlink_to(data)
    for out in (data, "link"):
        result = run("train", data, "--target", "label", "--out", out, "--force")
        assert refused(result, f"--out {out}: the same file as {data}")
    assert data.read_bytes() == before


def test_read_only_files_are_kept(run, data, model):
    for name in ("p.csv", "m"):
        Path(name).write_text("kept")
        Path(name).chmod(0o444)
    assert refused(run("predict", model, data, "--out", "p.csv"), "p.csv: the file is read-only")
    result = run("train", data, "--target", "label", "--out", "m", "--force")
    assert refused(result, "m: the file is read-only")
    assert Path("p.csv").read_text() == Path("m").read_text() == "kept"


def test_models_without_preprocessing_and_other_outputs(run, data, model):
    neuron = schuss.load(model)[-1]
    schuss.save(neuron, "bare")
    assert refused(run("predict", "bare", data), "bare: a SigmoidClassifier without")
    assert refused(run("predict", model, data, "--out", "p.xls"), "ends in .csv or .parquet")
    assert refused(run("predict", model, data, "--out", "no/p.csv"), "does not exist")
    Path("damaged").write_bytes(Path(model).read_bytes()[:-9])
    assert refused(run("evaluate", "damaged", data), "damaged: not a whole safetensors file")


# ----- the rest -----------------------------------------------------------------------


def test_info_version_and_help(run):
    shown = run("info").stdout
    assert schuss.__version__ in shown and schuss.get_backend() in shown
    assert json.loads(run("info", "--json").stdout)["version"] == schuss.__version__
    assert run("--version").stdout == f"schuss {schuss.__version__}\n"
    shown = run("--help").stdout
    for command in ("train", "predict", "evaluate", "info"):
        assert command in shown
    shown = run("train", "--help").stdout
    for word in ("--target", *SOLVERS, *LOSSES):
        assert word in shown


def test_help_is_quick_to_import():
    program = (
        "import sys\n"
        "from schuss.cli import main\n"
        "assert main(['--help']) == 0\n"
        "print(sorted({'sklearn', 'pyarrow', 'numpy', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_missing_extra_is_one_line():
    program = (
        "import sys\n"
        "sys.modules['typer'] = None\n"
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "import schuss.cli as cli\n"
        "cli.find_spec = lambda name: None if name == 'typer' else found(name)\n"
        "sys.exit(cli.main(['train']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == ('schuss: the command line needs typer: pip install "schuss[cli]"\n')


def test_as_a_process(data):
    command = [sys.executable, "-m", "schuss"]
    done = subprocess.run(
        [*command, "train", str(data), "--target", "label", "--no-save", "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    done = subprocess.run(
        [*command, "train", str(data), "--target", "lable"], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("schuss: error: ") and done.stderr.count("\n") == 1


# ----- standard streams, pipes and devices --------------------------------------------

posix = pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")


def shell(script, **environment):
    """Run a line of the shell, in which `$schuss` is the command line."""
    environment = os.environ | {"schuss": f"{sys.executable} -m schuss"} | environment
    command = ["bash", "-c", f"set -o pipefail; {script}"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture
def large(run, data, model):
    """Rows whose predictions are more than one write to a pipe takes."""
    pyarrow.csv.write_csv(make_table(3000), "large.csv")
    return f"$schuss predict {model} large.csv"


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["predict", "json", "info", "--help", "--version"])
def test_a_full_disk_is_an_error(large, command, unbuffered):
    command = {"predict": large, "json": f"{large} --json"}.get(command, f"$schuss {command}")
    done = shell(f"{command} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert done.stderr == "schuss: error: stdout: No space left on device\n"


class Short(io.RawIOBase):
    """Takes a part of what it is given, as a disk that is nearly full and a slow pipe do."""

    def __init__(self, room):
        self.taken, self.room = bytearray(), room

    def writable(self):
        return True

    def write(self, data):
        part = bytes(data[: min(1000, self.room - len(self.taken))])
        if not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.taken += part
        return len(part)


def test_short_writes_are_continued(large, model, monkeypatch):
    from schuss.cli import main

    expected = shell(large).stdout.encode()
    assert len(expected) > 66_000
    arguments = ["predict", str(model), "large.csv"]
    for room, code in ((10**9, 0), (66_000, 2)):
        raw = Short(room)
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=True))
        assert main(arguments) == code
        assert raw.taken == expected[:room]


@posix
def test_a_pipe_that_does_not_block_gets_everything(large, model, monkeypatch):
    from schuss.cli import main

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # More than a pipe holds waits for its reader.
    with ThreadPoolExecutor(1) as pool, open(reading, "rb") as pipe:
        received = pool.submit(pipe.read)
        with open(writing, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            assert main(["predict", str(model), "large.csv", "--json"]) == 0
        assert len(json.loads(received.result())["prediction"]) == 3000


@posix
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("option", ["", "--json"])
def test_a_reader_that_has_had_enough_ends_it_quietly(large, option, unbuffered):
    done = shell(f"{large} {option} | head -n 1", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 141 and done.stderr == "" and done.stdout.count("\n") == 1


@posix
def test_closed_streams(large, data):
    done = shell(f"{large} >&-")
    assert done.returncode == 2
    assert done.stderr == "schuss: error: stdout: Bad file descriptor\n"
    # What is written is no place for messages, nor is it needed that somebody hears them.
    train = f"$schuss train {data} --target label --max-iter 2"
    assert shell(f"{train} -q --out a >&- 2>&- <&-").returncode == 0
    assert len(schuss.load("a").steps) == 2
    for where in ("2>&-", "2>/dev/full"):
        assert shell(f"{train} --no-save --json {where}").returncode == 0


@posix
def test_pipes_and_devices_are_read_and_written(run, data, model, tmp_path):
    expected = run("predict", model, data).stdout
    for command in (
        f"cat {data} | $schuss predict {model} - --out -",
        f"gzip -c {data} | $schuss predict {model} /dev/stdin --out /dev/stdout",
        f"$schuss predict - <(cat {data}) --out /dev/fd/7 < {model} 7> seven; cat seven",
        f"mkfifo in out; (cat {data} > in &); ($schuss predict {model} in --out out &); cat out",
    ):
        done = shell(command)
        assert (done.stdout, done.stderr) == (expected, ""), command
    # What stdout is redirected to is added to, not replaced.
    shell(f"echo before > log; $schuss predict {model} {data} --out /dev/stdout >> log")
    assert Path("log").read_text() == "before\n" + expected
    shell(f"$schuss train - --target label --drop share -q --out - < {data} > piped")
    assert run("predict", "piped", data).stdout == expected
    table = "mkfifo t; (cat t.parquet > t &); $schuss evaluate"
    pyarrow.parquet.write_table(make_table(), "t.parquet")
    assert "accuracy" in shell(f"{table} {model} t").stdout
    assert {"in", "out", "t"} == {path.name for path in tmp_path.iterdir() if path.is_fifo()}


def test_results_that_would_be_mixed_are_refused(run, data, model):
    result = run("train", data, "--target", "label", "--out", "-")
    assert refused(result, "--out /dev/stdout: the report is printed there, too; add --quiet")
    assert run("predict", model, data, "--json", "--out", "-").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "absent", "data.csv"), "absent: cannot be read"),
        (("train", "data.csv", "--target", "nolabel"), "no column 'nolabel'"),
        (("train", "data.csv", "--learning-rate", "fast"), "'fast'; expected a number"),
        (("train", "data.csv", "--no-such-option"), "--no-such-option"),
        (("evaluate",), "Missing argument"),
        (("tarin",), "tarin"),
    ],
)
def test_errors_as_json(run, data, arguments, words):
    result = run(*arguments, "--json")
    assert result.exit_code == 2
    assert list(json.loads(result.stdout)) == ["error"]
    assert words in json.loads(result.stdout)["error"]
    assert result.stderr and "Traceback" not in result.stderr


def test_json_knows_no_infinity(capsys):
    from schuss._commands.output import print_json

    values = {"a": [1.5, float("inf")], "b": np.array([np.nan, 2]), "c": (np.float32("-inf"), "é")}
    print_json(values)
    shown = capsys.readouterr().out
    assert json.loads(shown, parse_constant=pytest.fail) == {
        "a": [1.5, None],
        "b": [None, 2.0],
        "c": [None, "é"],
    }


def test_a_console_that_does_not_know_the_letters(run, tmp_path):
    rows = "".join(f"{i % 10},{'дом' if i % 10 > 4 else '😀'}\n" for i in range(60))
    Path("f.csv").write_text("a,место\n" + rows, encoding="utf-8")

    def run_cp1252(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "schuss", *arguments],
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": "cp1252"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert b"\\u0434" in run_cp1252("train", "f.csv", "--target", "место", "--out", "m")
    report = json.loads(run_cp1252("evaluate", "m", "f.csv", "--json").decode("cp1252"))
    assert report["classes"] == ["дом", "😀"] and report["target"] == "место"
    assert "дом" in run_cp1252("predict", "m", "f.csv").decode("utf-8")


@posix
def test_ctrl_c_keeps_what_was_reached(data, tmp_path):
    pyarrow.csv.write_csv(make_table(20_000), data)
    # Says when training has begun, which is when Ctrl-C is to come.
    program = (
        "import sys\n"
        "from schuss import cli\n"
        "from schuss._commands import train\n"
        "def progress(quiet):\n"
        "    return [lambda info: print('epoch', info.n_iter, file=sys.stderr, flush=True)]\n"
        "train._progress = progress\n"
        "sys.exit(cli.main())\n"
    )
    arguments = [
        "train", data, "--target", "label", "--drop", "share", "--tol", "0", "--max-iter",
        "100000000", "--json", "--out", tmp_path / "model",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    report = json.loads(stdout)
    assert report["stop_reason"] == "interrupted" and not report["converged"]
    assert 0 < report["epochs"] < 100_000_000
    assert report["cost_after"] < report["cost_before"]
    assert "Training interrupted" in stderr and "Traceback" not in stderr
    assert schuss.load(tmp_path / "model")[-1].n_iter_ == report["epochs"]


def test_the_report_of_a_training(run, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "report.html"

    result = run("train", "--no-save", "--alpha", "0.01", "--report", str(file), "--json")

    assert result.exit_code == 0, result.output
    text = file.read_text(encoding="utf-8")
    accuracy = json.loads(result.stdout)["metrics"]["accuracy"]
    assert f"its accuracy is {accuracy:.4f}" in text and '<th scope="row">worst radius' in text
    assert f"schuss train --no-save --alpha 0.01 --report {file}" in text
    refused = run("train", "--no-save", "--report", str(tmp_path / "report.pdf"))
    assert refused.exit_code == 2 and "--report" in refused.output


def test_train_reads_what_is_larger_than_memory_a_batch_at_a_time(run, tmp_path, monkeypatch):
    generator = np.random.default_rng(1)
    n = 3000
    x, colour = generator.normal(size=n), generator.choice(["red", "blue"], n)
    late = x + (colour == "red") > generator.logistic(size=n) / 3
    rows = zip(x, colour, np.where(late, "late", "early"), strict=True)
    lines = [f"{number:.3f},{name},{label}" for number, name, label in rows]
    path = tmp_path / "big.csv"
    path.write_text("\n".join(["x,colour,when", *lines]) + "\n")
    monkeypatch.setattr("schuss._commands.large.free_memory", lambda: 10_000)
    monkeypatch.setattr("schuss._commands.large._ROWS", 500)
    monkeypatch.setattr("schuss._commands.large._SAMPLE_ROWS", 1000)
    out = tmp_path / "model.safetensors"
    result = run("train", path, "--target", "when", "--out", out, "--solver", "lbfgs", "--json")
    report = json.loads(result.stdout)
    assert "each epoch reads the file anew" in result.stderr
    # A fifth of the sample, every fourth row, scores the model.
    assert report["rows_held_out"] == 150 and report["rows_trained"] == n - 150
    assert report["metrics"]["accuracy"] > 0.8
    monkeypatch.undo()
    there = run("train", path, "--target", "when", "--no-save", "--solver", "lbfgs", "--json")
    assert abs(json.loads(there.stdout)["cost_after"] - report["cost_after"]) < 0.02
    assert schuss.load(out).named_steps
