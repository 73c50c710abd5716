"""``schuss train``."""

import contextlib
import shlex
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from schuss._commands.options import (
    DATA,
    OUTPUT,
    TABLE_HELP,
    AsJSON,
    Decimal,
    Delimiter,
    Encoding,
    SkipBadRows,
    input_file,
    listed,
    one_of,
    option,
    output_file,
    parse_learning_rate,
    parse_names,
)
from schuss._commands.output import (
    check_output,
    check_suffix,
    console,
    note,
    print_report,
    warnings_as_notes,
)
from schuss.files import check_writable, descriptor, write_whole
from schuss.losses import LOSSES
from schuss.methods import SOLVERS

MODEL = "Model and training"

MODEL_SUFFIX = ".schuss.safetensors"
DATA_SUFFIXES = (
    ".gz", ".bz2", ".xz", ".zst", ".zip", ".csv", ".tsv", ".txt", ".parquet", ".pq",
)  # fmt: skip

SAMPLE = "breast_cancer"
SAMPLE_TARGET = "diagnosis"

_BATCH_SIZES = ", ".join(
    f"{method.batch_size} for {name}" for name, method in SOLVERS.items() if method.batch_size
)


def train(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(
        metavar="FILE", help=TABLE_HELP, parser=input_file,
        show_default="the breast cancer data that scikit-learn ships",
    )] = None,
    target: Annotated[str | None, option(
        DATA, "Target column: classes (text or whole numbers), or fractions in [0, 1]. Rows "
        "without a value in it are left out.", "COLUMN",
    )] = None,
    features: Annotated[list[str] | None, option(
        DATA, "Feature columns, a,b,c.", "COLUMNS", default="all but the target",
    )] = None,
    drop: Annotated[list[str] | None, option(
        DATA, "Columns that are not features, a,b,c.", "COLUMNS",
    )] = None,
    categorical: Annotated[list[str] | None, option(
        DATA, "Numeric columns to treat as categorical, a,b,c.", "COLUMNS",
    )] = None,
    max_levels: Annotated[int, option(
        DATA, "Maximum number of different values of a text column.", "N", min=2,
    )] = 1000,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    decimal: Decimal = None,
    skip_bad_rows: SkipBadRows = False,
    test_size: Annotated[float, option(
        DATA, "Fraction of the rows held out to score the model; 0: none.", "FRACTION", min=0,
        max=0.99,
    )] = 0.2,
    seed: Annotated[int, option(
        DATA, "Random seed for the split and for shuffling.", "N", min=0, max=2**32 - 1,
    )] = 0,
    loss: Annotated[str, option(
        MODEL, f"Loss. {listed(LOSSES)}", "LOSS", callback=one_of(LOSSES),
    )] = "log_loss",
    solver: Annotated[str, option(
        MODEL, f"Solver. {listed(SOLVERS)}", "NAME", callback=one_of(SOLVERS),
    )] = "nesterov",
    learning_rate: Annotated[str, option(
        MODEL, "Learning rate; auto: computed from the data.", "NUMBER",
    )] = "auto",
    max_iter: Annotated[int, option(MODEL, "Maximum number of epochs.", "N", min=1)] = 1000,
    tol: Annotated[float | None, option(
        MODEL, "Tolerance. Full batches: stop when no gradient entry is larger in magnitude. "
        "Mini-batches: stop when the loss improves by less.", "NUMBER",
        default="the estimator's", min=0,
    )] = None,
    alpha: Annotated[float | None, option(
        MODEL, "Strength of the penalty on the weights.", "NUMBER",
        default="1 / rows, like C=1 of scikit-learn", min=0,
    )] = None,
    l1_ratio: Annotated[float, option(
        MODEL, "Fraction of the penalty that is L1; the rest is L2.", "FRACTION", min=0, max=1,
    )] = 0,
    batch_size: Annotated[int | None, option(
        MODEL, "Batch size.", "N", default=f"all rows; {_BATCH_SIZES}", min=1,
    )] = None,
    early_stopping: Annotated[bool, option(
        MODEL, "Early stopping: a tenth of the training rows is held out, and training stops when "
        "the loss on them no longer improves.", None, "--early-stopping",
    )] = False,
    n_jobs: Annotated[int | None, option(
        MODEL, "Number of threads; -1: all.", "N", default="as many as make it faster",
    )] = None,
    out: Annotated[Path | None, option(
        OUTPUT, "Model file to write; -: stdout.", "MODEL",
        default=f"the data's name with {MODEL_SUFFIX}, in this folder", parser=output_file,
    )] = None,
    report: Annotated[Path | None, option(
        OUTPUT, "Report to write: one HTML page with scores, curves and weights.", "FILE",
    )] = None,
    no_save: Annotated[bool, option(OUTPUT, "No model file.", None, "--no-save")] = False,
    force: Annotated[bool, option(
        OUTPUT, "Overwrite a file that is not a schuss model.", None, "--force",
    )] = False,
    as_json: AsJSON = False,
    quiet: Annotated[bool, option(
        OUTPUT, "No progress, notes or table.", None, "--quiet", "-q",
    )] = False,
) -> None:  # fmt: skip
    """Train a neuron on a table, score it on held-out rows, and save it.

    Numbers are standardised; missing numbers become the column's median. Text
    is one-hot encoded; missing text is a category of its own. Two classes take
    one neuron, several classes one neuron each.

    Ctrl-C ends the training early and keeps the weights reached.

    [bold]Examples[/]

    schuss train

    schuss train flights.csv --target late --out late.schuss.safetensors --report late.html
    """
    from schuss import SigmoidClassifier, SigmoidRegressor, persistence
    from schuss.report import TrainingReport, score

    rate = parse_learning_rate(learning_rate)
    name = file or Path(SAMPLE)
    out = None if no_save else _model_path(out, name, force)
    if out and descriptor(out) == 1 and (as_json or not quiet):
        raise ValueError(
            f"--out {out}: the report is printed there, too; add --quiet without --json"
        )

    if report is not None:
        check_suffix("--report", report, (".html", ".htm"))
        check_writable(report)
        if find_spec("matplotlib") is None:
            raise ImportError('--report needs matplotlib: pip install "schuss[plot]"')
        from schuss.pages.training import training_page

    started = time.perf_counter()
    reading = delimiter, encoding, decimal, skip_bad_rows
    large = _large_table(file, target, parse_names(categorical), reading, early_stopping, quiet)
    table = None if large is None else large.sample
    if target is None or table is None:
        table, target = _read_table(file, target, parse_names(categorical), reading, quiet)
    labels, rows, held_out = _split(table, target, name, test_size, seed)
    is_classes = labels.dtype.kind != "f"
    preprocessor, X, X_held_out = _preprocess(
        table.take(rows),
        held_out,
        name,
        quiet,
        target=target,
        features=parse_names(features),
        drop=parse_names(drop),
        categorical=parse_names(categorical),
        max_levels=max_levels,
    )
    notes = []
    if not quiet or report is not None:
        from schuss.advice import column_notes

        names = [*preprocessor.numeric_columns_, *preprocessor.categorical_columns_]
        notes = [*column_notes(table.take(rows), names, labels)]
    if not quiet:
        for text in notes:
            note("note", text)
    seconds_reading = time.perf_counter() - started

    given: dict[str, Any] = {} if tol is None else {"tol": tol}
    estimator = (SigmoidClassifier if is_classes else SigmoidRegressor)(
        loss=loss,
        solver=solver,
        learning_rate=rate,
        max_iter=max_iter,
        alpha=1 / (X.shape[0] if large is None else large.n_rows) if alpha is None else alpha,
        l1_ratio=l1_ratio,
        batch_size=batch_size,
        early_stopping=early_stopping,
        random_state=seed,
        n_jobs=n_jobs,
        **given,
    )
    y = labels[~held_out]
    started = time.perf_counter()
    with warnings_as_notes(quiet), _progress(max_iter, quiet) as callbacks:
        if large is None:
            n_trained = len(y)
            estimator.fit(X, y, callbacks=callbacks)
        else:
            stream = large.stream(preprocessor, rows[held_out], is_classes)
            estimator.fit(stream, callbacks=callbacks)
            n_trained = stream.n_rows
    seconds_training = time.perf_counter() - started

    if out:
        from sklearn.pipeline import make_pipeline

        persistence.save(make_pipeline(preprocessor, estimator), out)

    scored = (X_held_out, labels[held_out]) if held_out.any() else (X, y)
    results = TrainingReport(
        file=str(name),
        target=target,
        classes=estimator.classes_.tolist() if is_classes else None,
        rows_trained=n_trained,
        rows_held_out=int(held_out.sum()),
        rows_without_target=(table.num_rows - len(labels))
        if large is None
        else large.n_rows - n_trained - int(held_out.sum()),
        columns_numeric=len(preprocessor.numeric_columns_),
        columns_categorical=len(preprocessor.categorical_columns_),
        columns_left_out=preprocessor.left_out_,
        features=preprocessor.n_features_out_,
        estimator=type(estimator).__name__,
        loss=loss,
        solver=solver,
        learning_rate=float(estimator.learning_rate_),
        alpha=float(estimator.alpha),
        l1_ratio=l1_ratio,
        epochs=int(estimator.n_iter_),
        stop_reason=estimator.stop_reason_,
        converged=bool(estimator.converged_),
        cost_after=float(estimator.loss_),
        seconds_reading=seconds_reading,
        seconds_training=seconds_training,
        epochs_per_second=estimator.n_iter_ / seconds_training,
        **_circumstances(estimator, X, y),
        model=str(out) if out else None,
        scores=score(estimator, *scored),
    )
    if report is not None:
        page = training_page(
            results,
            estimator,
            *scored,
            names=preprocessor.get_feature_names_out(),
            notes=notes,
            command=shlex.join(["schuss", *context.find_root().obj]),
        )
        with write_whole(report) as stream:
            stream.write(page.encode())
    print_report(results, as_json, quiet)


# ----- data ---------------------------------------------------------------------------


def _read_table(file, target, categorical, reading, quiet):
    """The table to train on and the name of its target."""
    from schuss.tables import Reading, TableError, read_table

    if file is None:
        if not quiet:
            note(
                "note",
                "no FILE given: training on the breast cancer data that scikit-learn ships, "
                f"target {SAMPLE_TARGET}",
            )
        return _sample_table(), target or SAMPLE_TARGET
    labels = () if target is None else (target,)
    with warnings_as_notes(quiet):
        table = read_table(file, text=categorical or (), labels=labels, reading=Reading(*reading))
    if target is None:
        raise TableError(
            f"{file}: which column is the target? Name it with --target. "
            f"Columns: {', '.join(table.column_names)}"
        )
    return table, target


def _large_table(file, target, categorical, reading, early_stopping, quiet):
    """The table, where it is too large for memory; else None."""
    from schuss._commands import large

    if target is None or not large.is_large(file):
        return None
    from schuss.tables import Reading

    if early_stopping:
        raise ValueError(
            f"--early-stopping: {file} is larger than the free memory allows, and rows to stop by "
            "cannot be held out of it. Leave the option out, or train on a part of the rows"
        )
    with warnings_as_notes(quiet):
        table = large.LargeTable(file, categorical or [], target, Reading(*reading))
    if not quiet:
        sampled = f"every {table.step}th row" if table.step > 1 else "all rows"
        note(
            "note",
            f"{file}: {file.stat().st_size / 2**20:,.0f} MiB are more than fits into memory well, "
            f"so each epoch reads the file anew. Types, medians, scales and categories are those "
            f"of {sampled} of {table.n_rows:,}, and so are the rows that score the model.",
        )
    return table


def _sample_table():
    import pyarrow as pa
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    columns = dict(zip(data.feature_names.tolist(), data.data.T, strict=True))
    return pa.table(columns | {SAMPLE_TARGET: data.target_names[data.target].tolist()})


def _split(table, target, source, test_size, seed):
    """The targets, the rows that have one, and a mask of those held out."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    from schuss.tables import TableError, target_values

    values, rows = target_values(table, target, source)
    is_classes = values.dtype.kind != "f"
    if is_classes:
        classes, counts = np.unique(values, return_counts=True)
        if len(classes) < 2:
            raise TableError(
                f"{source}: the target {target!r} has one class only, {classes[0].item()!r} in "
                f"{len(values):,} rows; expected at least two"
            )
        if test_size and counts.min() < 2:
            raise TableError(
                f"{source}: class {classes[counts.argmin()].item()!r} of the target {target!r} is "
                "in one row only; expected at least two, one to train on and one to hold out. "
                "Add rows, leave that one out, or hold nothing out (--test-size 0)"
            )
    held_out = np.zeros(len(values), dtype=bool)
    if test_size:
        try:
            _, places = train_test_split(
                np.arange(len(values)),
                test_size=test_size,
                random_state=seed,
                stratify=values if is_classes else None,
            )
        except ValueError as error:
            raise TableError(
                f"{source}: {len(values)} rows cannot be split with --test-size {test_size:g} so "
                f"that both parts have every class ({error})"
            ) from None
        held_out[places] = True
    return values, rows, held_out


def _preprocess(table, held_out, name, quiet, **parameters):
    """The preprocessor, and the features of the training rows and of those held out."""
    import numpy as np

    from schuss.tables import TablePreprocessor, prefix_errors

    preprocessor = TablePreprocessor(**parameters)
    with prefix_errors(name), warnings_as_notes(quiet):
        X = preprocessor.fit_transform(table.take(np.flatnonzero(~held_out)))
        with warnings.catch_warnings():
            # Rare categories may occur in held-out rows only.
            warnings.simplefilter("ignore", UserWarning)
            return preprocessor, X, preprocessor.transform(table.take(np.flatnonzero(held_out)))


# ----- training -----------------------------------------------------------------------


@contextlib.contextmanager
def _progress(max_iter: int, quiet: bool) -> Iterator[list[Callable] | None]:
    """Yield the callbacks that draw a progress bar on a terminal."""
    terminal = console(stderr=True)
    if quiet or not terminal.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("training"),
        BarColumn(),
        TextColumn("epoch {task.completed:,.0f} of at most {task.total:,.0f}"),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        console=terminal,
        transient=True,
    ) as progress:
        task = progress.add_task("training", total=max_iter, loss="")

        def show(info):
            progress.update(task, completed=info.n_iter, loss=f"{info.loss:.6f}")

        yield [show]


def _circumstances(estimator: Any, X: Any, y: Any) -> dict[str, Any]:
    """What the estimator does not store: the initial loss, threads, backend and version.

    The history of mini-batches does not have that loss.
    """
    import numpy as np

    from schuss import backends, data, show_config, threads, validation
    from schuss.objective import Objective

    y = validation.check_labels(y, len(y))[1] if hasattr(estimator, "classes_") else y
    coef = np.zeros_like(np.atleast_2d(estimator.coef_))
    objective = Objective(
        backends.current(),
        X,
        y if y.dtype.kind != "f" else y.astype(data.real_type(X)),
        None,
        LOSSES[estimator.loss],
        n_outputs=len(coef),
        n_threads=threads.available(estimator.n_jobs),
    )
    config = show_config()
    batch_size = estimator.batch_size or SOLVERS[estimator.solver].batch_size
    return {
        "cost_before": float(objective.value(coef, coef[:, 0].copy())),
        "threads": objective.n_threads(batch_size),
        "backend": config["backend"],
        "isa": config["isa"],
        "version": config["version"],
    }


def _model_path(out: Path | None, data: Path, force: bool) -> Path:
    """Model file to write, after checks that it can be written."""
    from schuss.persistence import is_model_file

    if out is None:
        stem = data.name
        while Path(stem).suffix in DATA_SUFFIXES:
            stem = Path(stem).stem
        out = Path(stem + MODEL_SUFFIX)
    check_output(out, data)
    is_replaced = descriptor(out) is None and out.is_file() and out.stat().st_size
    if is_replaced and not force and not is_model_file(out):
        raise FileExistsError(
            f"{out}: exists and is not a schuss model; choose another --out, or --force"
        )
    return out
