"""``schuss train``."""

import shlex
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NamedTuple

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
    check_page,
    console,
    note,
    print_report,
    warnings_as_notes,
)
from schuss.files import descriptor, write_text
from schuss.losses import LOSSES
from schuss.methods import SOLVERS

MODEL = "Model and training"

MODEL_SUFFIX = ".schuss.safetensors"
DATA_SUFFIXES = (
    ".gz", ".bz2", ".xz", ".zst", ".zip", ".csv", ".tsv", ".txt", ".parquet", ".pq",
)  # fmt: skip

NETWORK_SOLVERS = ("adam", "sgd", "lbfgs")

SAMPLE = "breast_cancer"
SAMPLE_TARGET = "diagnosis"

_BATCH_SIZES = ", ".join(
    f"{method.batch_size} for {name}" for name, method in SOLVERS.items() if method.batch_size
)


def train(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(
        metavar="FILE", help=TABLE_HELP + " Or a folder with a sub-folder of pictures for each "
        "class.", parser=input_file,
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
    image_size: Annotated[int | None, option(
        DATA, "Side of the pictures in pixels.", "N", min=1, max=1024,
        default="32, or that of the smallest",
    )] = None,
    colour: Annotated[bool, option(
        DATA, "Colour of the pictures; without it their grey.", None, "--colour",
    )] = False,
    mirror: Annotated[bool, option(
        DATA, "Mirrored copies of the training pictures to learn from, too.", None, "--mirror",
    )] = False,
    test_size: Annotated[float, option(
        DATA, "Fraction of the rows held out to score the model; 0: none.", "FRACTION", min=0,
        max=0.99,
    )] = 0.2,
    seed: Annotated[int, option(
        DATA, "Random seed for the split and for shuffling.", "N", min=0, max=2**32 - 1,
    )] = 0,
    hidden: Annotated[str | None, option(
        MODEL, "Hidden layers of a network: their numbers of neurons, such as 64,32.", "N,N",
        default="one neuron, or one for each class",
    )] = None,
    loss: Annotated[str, option(
        MODEL, f"Loss. {listed(LOSSES)}", "LOSS", callback=one_of(LOSSES),
    )] = "log_loss",
    solver: Annotated[str | None, option(
        MODEL, f"Solver. {listed(SOLVERS)} A network has {', '.join(NETWORK_SOLVERS)}.", "NAME",
        default="nesterov; lbfgs for pictures, adam for a network", callback=one_of(SOLVERS),
    )] = None,
    learning_rate: Annotated[str, option(
        MODEL, "Learning rate; auto: computed from the data, 0.001 for a network.", "NUMBER",
    )] = "auto",
    max_iter: Annotated[int, option(MODEL, "Maximum number of epochs.", "N", min=1)] = 1000,
    tol: Annotated[float | None, option(
        MODEL, "Tolerance. Full batches: stop when no gradient entry is larger in magnitude. "
        "Mini-batches: stop when the loss improves by less.", "NUMBER",
        default="the estimator's", min=0,
    )] = None,
    alpha: Annotated[float | None, option(
        MODEL, "Strength of the penalty on the weights.", "NUMBER",
        default="1 / rows, like C=1 of scikit-learn; 0.0001 for a network", min=0,
    )] = None,
    l1_ratio: Annotated[float, option(
        MODEL, "Fraction of the penalty that is L1; the rest is L2.", "FRACTION", min=0, max=1,
    )] = 0,
    batch_size: Annotated[int | None, option(
        MODEL, "Batch size.", "N", min=1,
        default=f"all rows; {_BATCH_SIZES}; 200 in a network, 64 of pictures",
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
        OUTPUT, "Overwriting of a file that is not a schuss model.", None, "--force",
    )] = False,
    as_json: AsJSON = False,
    quiet: Annotated[bool, option(
        OUTPUT, "No progress, notes or table.", None, "--quiet", "-q",
    )] = False,
) -> None:  # fmt: skip
    """Train a neuron or a network on a table or on pictures, score it, and save it.

    Numbers are standardised; missing numbers become the column's median. Text
    is one-hot encoded; missing text is a category of its own. Two classes take
    one neuron, several classes one neuron each.

    Ctrl-C ends the training early and keeps the weights reached.

    [bold]Examples[/]

    schuss train

    schuss train flights.csv --target late --out late.schuss.safetensors --report late.html

    schuss train pictures --hidden 100
    """
    from schuss import persistence
    from schuss.report import TrainingReport, score

    rate = parse_learning_rate(learning_rate)
    layers = _parse_hidden(hidden)
    name = file or Path(SAMPLE)
    out = None if no_save else _model_path(out, name, force)
    if out and descriptor(out) == 1 and (as_json or not quiet):
        raise ValueError(
            f"--out {out}: the report is printed there, too; add --quiet without --json"
        )

    if report is not None:
        check_page("--report", report)
        if find_spec("matplotlib") is None:
            raise ImportError('--report needs matplotlib: pip install "schuss[plot]"')
        from schuss.pages.training import training_page

    started = time.perf_counter()
    large = None
    if file is not None and file.is_dir():
        options: dict[str, Any] = {
            "--target": target, "--features": features, "--drop": drop,
            "--categorical": categorical, "--delimiter": delimiter, "--encoding": encoding,
            "--decimal": decimal, "--skip-bad-rows": skip_bad_rows,
        }  # fmt: skip
        _refuse(options, f"is for tables; {file} is a folder, of pictures by class")
        prepared = _pictures(file, image_size, colour, mirror, test_size, seed)
    else:
        options = {"--image-size": image_size, "--colour": colour, "--mirror": mirror}
        _refuse(options, "is for a folder of pictures")
        reading = delimiter, encoding, decimal, skip_bad_rows
        in_memory = "--early-stopping" if early_stopping else "--hidden" if layers else None
        large = _large_table(file, target, parse_names(categorical), reading, in_memory, quiet)
        table = None if large is None else large.sample
        if target is None or table is None:
            table, target = _read_table(file, target, parse_names(categorical), reading, quiet)
        prepared = _table(
            table,
            name,
            test_size,
            seed,
            quiet,
            target=target,
            features=parse_names(features),
            drop=parse_names(drop),
            categorical=parse_names(categorical),
            max_levels=max_levels,
        )
    if not quiet:
        for text in prepared.notes:
            note("note", text)
    seconds_reading = time.perf_counter() - started

    X, y = prepared.X, prepared.y
    settings: dict[str, Any] = {"max_iter": max_iter, "early_stopping": early_stopping}
    if tol is not None:
        settings["tol"] = tol
    is_pictures = "pictures" in prepared.facts
    if layers:
        _refuse({"--l1-ratio": l1_ratio, "--n-jobs": n_jobs}, "is not for networks")
        estimator = _network(
            layers, is_pictures, y, solver or "adam", rate, alpha, batch_size, seed, settings
        )
        given: dict[str, Any] = {"loss": loss}
    else:
        estimator = _neuron(
            is_pictures, y, len(y) if large is None else large.n_rows, solver, rate, alpha,
            batch_size, seed, settings | {"loss": loss, "l1_ratio": l1_ratio, "n_jobs": n_jobs},
        )  # fmt: skip
        given = {}
    started = time.perf_counter()
    callbacks = _progress(quiet)
    with warnings_as_notes(quiet):
        if large is None:
            n_trained = len(y)
            estimator.fit(X, y, callbacks=callbacks, **given)
        else:
            stream = large.stream(
                prepared.preprocessor, prepared.rows_held_out, y.dtype.kind != "f"
            )
            estimator.fit(stream, callbacks=callbacks)
            n_trained = stream.n_rows
            left_out = large.n_rows - n_trained - len(prepared.y_held_out)
            prepared.facts["rows_without_target"] = left_out
    seconds_training = time.perf_counter() - started

    if out:
        from sklearn.pipeline import make_pipeline

        persistence.save(make_pipeline(prepared.preprocessor, estimator), out)

    scored = (prepared.X_held_out, prepared.y_held_out) if len(prepared.y_held_out) else (X, y)
    results = TrainingReport(
        file=str(name),
        classes=estimator.classes_.tolist() if hasattr(estimator, "classes_") else None,
        rows_trained=n_trained,
        rows_held_out=len(prepared.y_held_out),
        features=X.shape[1],
        estimator=type(estimator).__name__,
        hidden=layers,
        loss=loss,
        solver=estimator.solver,
        alpha=float(estimator.alpha),
        l1_ratio=l1_ratio,
        epochs=int(estimator.n_iter_),
        stop_reason=estimator.stop_reason_,
        converged=bool(estimator.converged_),
        cost_after=float(estimator.loss_),
        seconds_reading=seconds_reading,
        seconds_training=seconds_training,
        epochs_per_second=estimator.n_iter_ / seconds_training,
        **prepared.facts,
        **_circumstances(estimator, X, y),
        model=str(out) if out else None,
        scores=score(estimator, *scored),
    )
    if report is not None:
        page = training_page(
            results,
            estimator,
            *scored,
            names=prepared.preprocessor.get_feature_names_out(),
            notes=prepared.notes,
            command=shlex.join(["schuss", *context.find_root().obj]),
            side=prepared.preprocessor.size_ if is_pictures else None,
            files=prepared.files_held_out,
        )
        write_text(report, page)
    print_report(results, as_json, quiet)


# ----- data ---------------------------------------------------------------------------


class Prepared(NamedTuple):
    """What a model learns from, whatever it was."""

    preprocessor: Any
    X: Any
    y: Any
    X_held_out: Any
    y_held_out: Any
    rows_held_out: Any  # their places in the table
    notes: list[str]
    facts: dict[str, Any]  # for the report
    files_held_out: list[str] = []  # of pictures


def _refuse(given, why):
    for name, value in given.items():
        if value:
            raise ValueError(f"{name} {why}")


def _pictures(folder, size, colour, mirror, test_size, seed):
    """Rows of pixels of a folder of pictures."""
    import numpy as np

    from schuss.images import Images, labelled_pictures

    paths, labels, n_others = labelled_pictures(folder)
    images = Images(size, colour)
    X = images.fit_transform(paths)
    held_out = _held_out(labels, True, "the folders' names", folder, test_size, seed)
    parts = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    learnt, y = X[parts[0]], labels[parts[0]]
    if mirror:
        shape = len(learnt), images.size_, images.size_, -1
        learnt = np.vstack([learnt, learnt.reshape(shape)[:, :, ::-1].reshape(learnt.shape)])
        y = np.tile(y, 2)
    notes = [f"{n_others:,} files that are no pictures are passed over"] if n_others else []
    facts = {
        "target": "folder",
        "rows_without_target": 0,
        "columns_numeric": 0,
        "columns_categorical": 0,
        "columns_left_out": {},
        "pictures": f"{images.size_} × {images.size_} pixels, {'colour' if colour else 'grey'}",
    }
    files = [str(paths[i].relative_to(folder)) for i in parts[1]]
    return Prepared(
        images, learnt, y, X[parts[1]], labels[parts[1]], parts[1], notes, facts, files
    )  # fmt: skip


def _table(table, name, test_size, seed, quiet, *, target, **parameters):
    """Features of a table."""
    from schuss.advice import column_notes
    from schuss.tables import target_values

    labels, rows = target_values(table, target, name)
    is_classes = labels.dtype.kind != "f"
    held_out = _held_out(labels, is_classes, f"the target {target!r}", name, test_size, seed)
    learnt = table.take(rows)
    preprocessor, X, X_held_out = _preprocess(
        learnt, held_out, name, quiet, target=target, **parameters
    )
    names = [*preprocessor.numeric_columns_, *preprocessor.categorical_columns_]
    facts = {
        "target": target,
        "rows_without_target": table.num_rows - len(labels),
        "columns_numeric": len(preprocessor.numeric_columns_),
        "columns_categorical": len(preprocessor.categorical_columns_),
        "columns_left_out": preprocessor.left_out_,
    }
    return Prepared(
        preprocessor, X, labels[~held_out], X_held_out, labels[held_out],
        rows[held_out], column_notes(learnt, names, labels), facts,
    )  # fmt: skip


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


def _large_table(file, target, categorical, reading, in_memory, quiet):
    """The table, where it is too large for memory; else None."""
    from schuss._commands import large

    if target is None or not large.is_large(file):
        return None
    from schuss.tables import Reading

    if in_memory:
        raise ValueError(
            f"{in_memory}: {file} is larger than the free memory allows, and this needs all rows "
            "there. Leave the option out, or train on a part of the rows"
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


def _held_out(values, is_classes, what, source, test_size, seed):
    """A mask of the rows that are held out."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    from schuss.columns import TableError

    if is_classes:
        classes, counts = np.unique(values, return_counts=True)
        if len(classes) < 2:
            raise TableError(
                f"{source}: {what} has one class only, {classes[0].item()!r} in "
                f"{len(values):,} rows; expected at least two"
            )
        if test_size and counts.min() < 2:
            raise TableError(
                f"{source}: class {classes[counts.argmin()].item()!r} of {what} is "
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
    return held_out


def _preprocess(table, held_out, name, quiet, **parameters):
    """The preprocessor, and the features of the training rows and of those held out."""
    import numpy as np

    from schuss.tables import TablePreprocessor, prefix_errors

    preprocessor = TablePreprocessor(**parameters)
    with prefix_errors(name), warnings_as_notes(quiet):
        X = preprocessor.fit_transform(table.take(np.flatnonzero(~held_out)))
        if not held_out.any():
            return preprocessor, X, X[:0]
        with warnings.catch_warnings():
            # Rare categories may occur in held-out rows only.
            warnings.simplefilter("ignore", UserWarning)
            return preprocessor, X, preprocessor.transform(table.take(np.flatnonzero(held_out)))


# ----- training -----------------------------------------------------------------------


def _parse_hidden(text):
    """The numbers of neurons in ``64,32``."""
    if text is None:
        return None
    try:
        layers = [int(part) for part in text.split(",")]
    except ValueError:
        layers = []
    if not layers or min(layers) < 1:
        raise typer.BadParameter(
            f"{text!r}; expected whole numbers of neurons, such as 100 or 64,32",
            param_hint="'--hidden'",
        )
    return layers


def _neuron(is_pictures, y, n_rows, solver, rate, alpha, batch_size, seed, settings):
    from schuss import SigmoidClassifier, SigmoidRegressor

    if alpha is None:
        # Of pictures as much as C=0.1 is for pixels between 0 and 1.
        alpha = (10 * 255**2 if is_pictures else 1) / n_rows
    if is_pictures:
        # As the default for pixels between 0 and 1.
        settings.setdefault("tol", 0.0255)
    return (SigmoidRegressor if y.dtype.kind == "f" else SigmoidClassifier)(
        solver=solver or ("lbfgs" if is_pictures else "nesterov"), learning_rate=rate, alpha=alpha,
        batch_size=batch_size, random_state=seed, **settings,
    )  # fmt: skip


def _network(layers, is_pictures, y, solver, rate, alpha, batch_size, seed, settings):
    from schuss import MLPClassifier
    from schuss.columns import TableError

    if y.dtype.kind == "f":
        raise TableError(
            "--hidden needs a target of classes, not of fractions; leave --hidden out, or divide "
            "the target into classes"
        )
    # The others suit features of unit scale.
    solvers = NETWORK_SOLVERS[:1] if is_pictures else NETWORK_SOLVERS
    if solver not in solvers:
        raise typer.BadParameter(
            f"{solver!r}; expected {' or '.join(solvers)} for a network"
            + " of pixels" * is_pictures, param_hint="'--solver'",
        )  # fmt: skip
    network = MLPClassifier
    if is_pictures:
        from schuss.images import PixelNetwork as network

        # Small folders need more steps an epoch than scikit-learn's 200 rows a step would give.
        batch_size = batch_size or min(64, max(8, len(y) // 8))
    if rate == "auto":
        rate = 3e-5 if is_pictures else 1e-3
    return network(
        layers, solver=solver, learning_rate_init=rate, alpha=1e-4 if alpha is None else alpha,
        batch_size=batch_size or "auto", random_state=seed, **settings,
    )  # fmt: skip


def _progress(quiet: bool) -> list[Callable]:
    """The callbacks that draw a progress bar on a terminal."""
    from schuss.callbacks import ProgressBar

    terminal = console(stderr=True)
    if quiet or not terminal.is_terminal:
        return []
    return [ProgressBar(console=terminal, transient=True)]


def _circumstances(estimator: Any, X: Any, y: Any) -> dict[str, Any]:
    """What the estimator does not store: the initial loss, threads, backend and version.

    The history of mini-batches does not have that loss; of a network it is the first epoch's.
    """
    import numpy as np

    from schuss import backends, data, show_config, threads, validation
    from schuss.objective import Objective

    config = show_config()
    facts = {name: config[name] for name in ("backend", "isa", "version")}
    if hasattr(estimator, "coefs_"):
        return facts | {
            "learning_rate": float(estimator.learning_rate_init),
            "cost_before": float(estimator.history_["loss"][0]),
            "threads": estimator.fit_info_["threads"],
        }
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
    batch_size = estimator.batch_size or SOLVERS[estimator.solver].batch_size
    return facts | {
        "learning_rate": float(estimator.learning_rate_),
        "cost_before": float(objective.value(coef, coef[:, 0].copy())),
        "threads": objective.n_threads(batch_size),
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
