"""The commands of the console script ``schuss``.

Results go to stdout; notes, progress and errors to stderr. With ``--json`` stdout always holds one
JSON document: the results or ``{"error": ...}``, which stderr tells in words, too. What takes long
to import is imported by the commands that need it, so that ``schuss --help`` is quick.
"""

import contextlib
import json
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated

import typer

from schuss.cli import OUTPUT_CLOSED
from schuss.files import STDIN, STDOUT, descriptor
from schuss.losses import LOSSES
from schuss.methods import SOLVERS

INTERRUPTED = 130  # what shells report for Ctrl-C
BAD_INPUT = 2

MODEL_SUFFIX = ".schuss.safetensors"
DATA_SUFFIXES = (".gz", ".csv", ".tsv", ".txt", ".parquet", ".pq")

PLOT_SUFFIXES = (".png", ".svg", ".pdf")

SAMPLE = "breast_cancer"
SAMPLE_TARGET = "diagnosis"


# Of click, or of typer's own copy of it.
_UsageError = typer.BadParameter.__base__


def refuse(error, as_json):
    """Tell of an error that ends a command, and return the exit code."""
    interrupted = isinstance(error, KeyboardInterrupt)
    text = "interrupted" if interrupted else _message(error)
    _note("error", text, "bold red")
    if as_json:
        _print_error(text)
    return INTERRUPTED if interrupted else BAD_INPUT


def _print_error(text):
    # Where stdout takes nothing, the error may be just that.
    with contextlib.suppress(OSError):
        _print_json({"error": text})
        sys.stdout.flush()


class _Commands(typer.core.TyperGroup):
    """Turns errors of use into one message and an exit code, without a traceback."""

    def make_context(self, info_name, args, *rest, **extra):
        self._as_json = "--json" in args
        with self._refusals():
            return super().make_context(info_name, args, *rest, **extra)

    def invoke(self, ctx):
        with self._refusals():
            return super().invoke(ctx)

    @contextlib.contextmanager
    def _refusals(self):
        try:
            yield
        except BrokenPipeError:
            # Who reads has had enough, as `head` does.
            raise typer.Exit(OUTPUT_CLOSED) from None
        except _UsageError as error:
            if self._as_json:
                _print_error(error.format_message())
            raise
        except (ValueError, OSError, ImportError, ArithmeticError, KeyboardInterrupt) as error:
            raise typer.Exit(refuse(error, self._as_json)) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train sigmoid neurons by gradient descent, and use them.",
)

# ----- options that several commands have ----------------------------------------------


def _input(name):
    return STDIN if name == "-" else Path(name)


def _output(name):
    return STDOUT if name == "-" else Path(name)


ModelFile = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help="A model that [bold]schuss train[/] saved; -: stdin.",
        parser=_input,
    ),
]
DataFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="CSV (also .csv.gz) or Parquet, with a header line; -: stdin.",
        parser=_input,
    ),
]


def _check_delimiter(text):
    if text in ("tab", r"\t"):
        return "\t"
    if text is not None and (len(text) != 1 or not text.isascii() or text in '"\r\n'):
        raise typer.BadParameter(f"{text!r}; expected one character, or tab")
    return text


_DELIMITER_HELP = "Between the fields of a CSV file. [dim]\\[default: comma; tab for .tsv][/]"
Delimiter = Annotated[
    str | None,
    typer.Option(
        metavar="CHAR", help=_DELIMITER_HELP, show_default=False, callback=_check_delimiter
    ),
]
_JSON_HELP = 'Print JSON for programs; an error as {"error": ...}.'
AsJSON = Annotated[bool, typer.Option("--json", help=_JSON_HELP)]

_DATA = "Data"
_NEURON = "The neuron and its training"
_DESCENT = "Method"
_OUTPUT = "Output"

# Where none is given.
_BATCH_SIZES = ", ".join(
    f"{method.batch_size} for {name}" for name, method in SOLVERS.items() if method.batch_size
)


def _option(panel, help, *names, **settings):
    return typer.Option(*names, help=help, rich_help_panel=panel, **settings)


def _listed(entries):
    """What a help text says of the choices of an option."""
    return "; ".join(f"[bold]{name}[/]: {entry.summary}" for name, entry in entries.items()) + "."


def _one_of(choices):
    def check(name):
        if name not in choices:
            raise typer.BadParameter(f"{name!r}; expected one of {', '.join(choices)}")
        return name

    return check


def _print_version(value):
    if value:
        from schuss import __version__

        typer.echo(f"schuss {__version__}")
        raise typer.Exit()


@app.callback()
def _start(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
):
    pass


# ----- commands -----------------------------------------------------------------------


@app.command()
def train(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="CSV (also .csv.gz) or Parquet, with a header line; -: stdin. Without one: the "
            "breast cancer data that scikit-learn ships.",
            show_default=False,
            parser=_input,
        ),
    ] = None,
    target: Annotated[
        str | None,
        _option(
            _DATA,
            "Column to learn: classes (text or whole numbers), or fractions within 0 and 1. Rows "
            "without a value in it are left out.",
            metavar="COLUMN",
        ),
    ] = None,
    features: Annotated[
        list[str] | None,
        _option(
            _DATA,
            "Columns to learn from, a,b,c. [dim]\\[default: all others][/]",
            metavar="COLUMNS",
            show_default=False,
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        _option(_DATA, "Columns not to learn from, a,b,c.", metavar="COLUMNS"),
    ] = None,
    categorical: Annotated[
        list[str] | None,
        _option(_DATA, "Columns of numbers that are really names, a,b,c.", metavar="COLUMNS"),
    ] = None,
    max_levels: Annotated[
        int,
        _option(_DATA, "Refuse text with more different values.", metavar="N", min=2),
    ] = 1000,
    delimiter: Annotated[
        str | None,
        _option(
            _DATA,
            _DELIMITER_HELP,
            metavar="CHAR",
            show_default=False,
            callback=_check_delimiter,
        ),
    ] = None,
    test_size: Annotated[
        float,
        _option(
            _DATA,
            "Share of the rows held out to measure the model; 0: none.",
            metavar="SHARE",
            min=0,
            max=0.99,
        ),
    ] = 0.2,
    seed: Annotated[
        int,
        _option(_DATA, "Of the random split, and of shuffling.", metavar="N", min=0, max=2**32 - 1),
    ] = 0,
    loss: Annotated[
        str,
        _option(_NEURON, _listed(LOSSES), metavar="LOSS", callback=_one_of(LOSSES)),
    ] = "log_loss",
    solver: Annotated[
        str,
        _option(
            _NEURON,
            _listed(SOLVERS),
            metavar="NAME",
            callback=_one_of(SOLVERS),
        ),
    ] = "nesterov",
    learning_rate: Annotated[
        str,
        _option(_NEURON, "Step size, or auto: from the data.", metavar="NUMBER"),
    ] = "auto",
    max_iter: Annotated[int, _option(_NEURON, "Epochs at the most.", metavar="N", min=1)] = 1000,
    tol: Annotated[
        float | None,
        _option(
            _NEURON,
            "All rows a step: stop where no gradient entry is larger. Batches: stop where the "
            "cost falls by less. [dim]\\[default: the estimator's][/]",
            metavar="NUMBER",
            show_default=False,
            min=0,
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        _option(
            _NEURON,
            "Strength of the penalty on the weights. [dim]\\[default: 1 / rows, like C=1 of "
            "scikit-learn][/]",
            metavar="NUMBER",
            show_default=False,
            min=0,
        ),
    ] = None,
    l1_ratio: Annotated[
        float,
        _option(_NEURON, "Share of the penalty that is L1, not L2.", metavar="SHARE", min=0, max=1),
    ] = 0,
    batch_size: Annotated[
        int | None,
        _option(
            _NEURON,
            f"Batch size. [dim]\\[default: all rows; {_BATCH_SIZES}][/]",
            metavar="N",
            show_default=False,
            min=1,
        ),
    ] = None,
    early_stopping: Annotated[
        bool,
        _option(
            _NEURON,
            "Stop when the cost of a tenth of the training rows, kept apart, falls no more.",
            "--early-stopping",
        ),
    ] = False,
    n_jobs: Annotated[
        int | None,
        _option(
            _NEURON,
            "Threads; -1: all. [dim]\\[default: as many as help][/]",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        _option(
            _OUTPUT,
            f"Where to save the model; -: stdout. [dim]\\[default: the data's name with "
            f"{MODEL_SUFFIX}, in this folder][/]",
            metavar="MODEL",
            show_default=False,
            parser=_output,
        ),
    ] = None,
    no_save: Annotated[bool, _option(_OUTPUT, "Save no model.", "--no-save")] = False,
    force: Annotated[
        bool,
        _option(_OUTPUT, "Overwrite a file that is not a model of schuss.", "--force"),
    ] = False,
    as_json: Annotated[bool, _option(_OUTPUT, _JSON_HELP, "--json")] = False,
    quiet: Annotated[
        bool, _option(_OUTPUT, "No progress, no notes and no table.", "--quiet", "-q")
    ] = False,
):
    """Train a neuron on a table, measure it on rows held out, and save it.

    Numbers are standardised, and a missing one becomes the column's median;
    text is one-hot encoded, and a missing one is a value of its own.
    One neuron learns two classes; for several, each has a neuron.

    Ctrl-C ends the training early, with what was reached by then.

    [bold]Examples[/]

    schuss train

    schuss train flights.csv --target late --out late.schuss.safetensors
    """
    from schuss import persistence
    from schuss.report import TrainingReport

    step = _learning_rate(learning_rate)
    name = file or Path(SAMPLE)
    out = None if no_save else _model_path(out, name, force)
    if out and descriptor(out) == 1 and (as_json or not quiet):
        raise ValueError(
            f"--out {out}: the report is printed there, too; add --quiet without --json"
        )

    started = time.perf_counter()
    table, target = _training_table(file, target, _names(categorical), delimiter, quiet)
    labels, rows, held_out = _split(table, target, name, test_size, seed)
    is_classes = labels.dtype.kind != "f"
    n_missing = table.num_rows - len(labels)
    table = table.take(rows)
    with _naming(name), _warnings_as_notes(quiet):
        preprocessor, X, X_held_out = _features(
            table, held_out, target, _names(features), _names(drop), _names(categorical), max_levels
        )
    seconds_reading = time.perf_counter() - started

    estimator = _estimator(
        is_classes,
        loss=loss,
        solver=solver,
        learning_rate=step,
        max_iter=max_iter,
        tol=tol,
        alpha=1 / X.shape[0] if alpha is None else alpha,
        l1_ratio=l1_ratio,
        batch_size=batch_size,
        early_stopping=early_stopping,
        random_state=seed,
        n_jobs=n_jobs,
    )
    started = time.perf_counter()
    with _warnings_as_notes(quiet), _progress(max_iter, quiet) as callbacks:
        estimator.fit(X, labels[~held_out], callbacks=callbacks)
    seconds_training = time.perf_counter() - started

    if out:
        from sklearn.pipeline import make_pipeline

        persistence.save(make_pipeline(preprocessor, estimator), out)

    measured = held_out if held_out.any() else ~held_out
    scores = _scores(estimator, X_held_out if held_out.any() else X, labels[measured])
    report = TrainingReport(
        file=str(name),
        target=target,
        classes=estimator.classes_.tolist() if is_classes else None,
        rows_trained=int((~held_out).sum()),
        rows_held_out=int(held_out.sum()),
        rows_without_target=n_missing,
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
        **_circumstances(estimator, X, labels[~held_out]),
        model=str(out) if out else None,
        scores=scores,
    )
    _print_report(report, as_json, quiet)


@app.command()
def predict(
    model: ModelFile,
    file: DataFile,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write, .csv or .parquet; -: stdout. [dim]\\[default: CSV to stdout][/]",
            show_default=False,
            parser=_output,
        ),
    ] = None,
    proba: Annotated[
        bool, typer.Option("--proba/--no-proba", help="Write each class's probability, too.")
    ] = True,
    delimiter: Delimiter = None,
    as_json: AsJSON = False,
):
    """Apply a model to the rows of a table.

    Columns are found by name, in any order; others are passed over.

    [bold]Example[/]

    schuss predict late.schuss.safetensors tomorrow.csv --out predictions.csv
    """
    from schuss.files import check_writable

    if out and descriptor(out) == 1:
        if as_json:
            raise ValueError(f"--out {out}: JSON is printed there, too; choose another")
        out = None
    if out:
        _check_output_suffix(out)
        check_writable(out)
        _refuse_same(out, file, model)
    preprocessor, estimator = _load_pipeline(model)
    table = _read_for(preprocessor, file, delimiter)
    with _naming(file), _warnings_as_notes():
        X = preprocessor.transform(table)
    columns = {"prediction": estimator.predict(X)}
    classes = getattr(estimator, "classes_", None)
    if proba and classes is not None:
        for label, column in zip(classes, estimator.predict_proba(X).T, strict=True):
            columns[f"probability_{label}"] = column
    if out or not as_json:
        _write_table(columns, out)
    if as_json:
        document = {"model": str(model), "file": str(file), "rows": X.shape[0]}
        _print_json(document | {key: column.tolist() for key, column in columns.items()})


@app.command()
def evaluate(
    model: ModelFile,
    file: DataFile,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column to compare with. [dim]\\[default: the one that was learnt][/]",
            show_default=False,
        ),
    ] = None,
    delimiter: Delimiter = None,
    as_json: AsJSON = False,
):
    """Score a model on the rows of a table that has the target.

    [bold]Example[/]

    schuss evaluate late.schuss.safetensors january.csv
    """
    from schuss.report import EvaluationReport

    preprocessor, estimator = _load_pipeline(model)
    target = target or preprocessor.target
    classes = getattr(estimator, "classes_", None)
    text = [target] if classes is not None and classes.dtype.kind in "UO" else []
    table = _read_for(preprocessor, file, delimiter, text)
    values, rows = _known_targets(table, target, classes, file, delimiter)
    with _naming(file), _warnings_as_notes():
        X = preprocessor.transform(table.take(rows))
    report = EvaluationReport(
        model=str(model),
        file=str(file),
        target=target,
        classes=None if classes is None else classes.tolist(),
        rows_without_target=table.num_rows - len(rows),
        scores=_scores(estimator, X, values),
    )
    _print_report(report, as_json)


@app.command()
def minimize(
    expression: Annotated[
        str,
        typer.Argument(
            metavar="EXPRESSION",
            help='Of one variable or more, such as "x**2 - 4*x + 6"; one that begins with a minus '
            "goes after --.",
        ),
    ],
    x0: Annotated[
        str | None,
        _option(
            _DESCENT,
            "Start, a number for each variable in alphabetical order: -1,2.",
            metavar="NUMBERS",
        ),
    ] = None,
    method: Annotated[
        str,
        _option(
            _DESCENT,
            "gd, momentum, nesterov, adam, adaptive, newton, or grid (needs --bounds).",
            metavar="NAME",
        ),
    ] = "gd",
    learning_rate: Annotated[
        str, _option(_DESCENT, "Learning rate, or auto.", metavar="NUMBER")
    ] = "auto",
    max_iter: Annotated[
        int, _option(_DESCENT, "Maximum number of iterations.", metavar="N", min=1)
    ] = 10_000,
    tol: Annotated[
        float,
        _option(
            _DESCENT, "Stop where no entry of the gradient is larger.", metavar="NUMBER", min=0
        ),
    ] = 1e-6,
    bounds: Annotated[
        list[str] | None,
        _option(
            _DESCENT,
            "Region of the grid, low,high; once, or once for each variable.",
            metavar="NUMBERS",
        ),
    ] = None,
    points: Annotated[
        int, _option(_DESCENT, "Points of the grid along each variable.", metavar="N", min=2)
    ] = 101,
    plot: Annotated[
        Path | None,
        _option(_OUTPUT, "Draw the path into this file, .png, .svg or .pdf.", metavar="FILE"),
    ] = None,
    rows: Annotated[
        int, _option(_OUTPUT, "Rows of the table, first and last; 0: all.", metavar="N", min=0)
    ] = 50,
    as_json: Annotated[bool, _option(_OUTPUT, _JSON_HELP, "--json")] = False,
):
    """Minimise a function, and print its iterations.

    Derivatives are exact. Known are + - * / **, parentheses, pi, e, sin, cos,
    tan, atan, sinh, cosh, tanh, exp, log, sqrt and abs.

    [bold]Examples[/]

    schuss minimize "x**2 - 4*x + 6" --x0 8 --learning-rate 0.1

    schuss minimize "(1-x)**2 + 100*(y-x**2)**2" --x0 -1,2 --method newton
    """
    import schuss
    from schuss.expressions import Expression, ExpressionError
    from schuss.report import DescentReport

    function = Expression(expression)
    n = len(function.variables)
    if not n:
        raise ExpressionError(f"{expression!r} has no variable; expected one such as x")
    start = None
    if x0 is not None:
        start = _numbers(x0, "--x0", n, function.variables)
    elif method != "grid":
        raise typer.BadParameter(
            f"missing; expected {_counted(n, function.variables)}",
            param_hint="'--x0'",
        )
    region = [_numbers(pair, "--bounds", 2, ("low", "high")) for pair in bounds or ()]
    if plot is not None:
        _check_plot(plot)
    exact = {} if function.polynomial is not None else {"jac": function.jac, "hess": function.hess}
    with _warnings_as_notes():
        result = schuss.minimize(
            function.polynomial if function.polynomial is not None else function,
            start[0] if start and n == 1 else start,
            method=method,
            learning_rate=_learning_rate(learning_rate),
            max_iter=max_iter,
            tol=tol,
            bounds=(region * n if len(region) == 1 else region) or None,
            n_points=points,
            **exact,
        )
    if plot is not None:
        _draw_descent(result, function, plot)
    report = DescentReport(
        expression=expression,
        variables=list(function.variables),
        method=method,
        learning_rate=result.learning_rate,
        x=result.x,
        fun=result.fun,
        jac=result.jac,
        nit=result.nit,
        nfev=result.nfev,
        njev=result.njev,
        success=result.success,
        status=result.status,
        stop_reason=result.stop_reason,
        message=result.message,
        derivatives="exact",
        path=result.path,
        path_fun=result.path_fun,
        path_step=result.path_step,
        n_shown=rows,
    )
    if as_json:
        _print_json(report.to_dict())
    else:
        console = _console()
        for table in report.tables(console.width):
            console.print(table)
    if result.stop_reason == "diverged":
        _note("error", result.message, "bold red")
        raise typer.Exit(BAD_INPUT)
    if not as_json:
        _console().print(result.message, soft_wrap=True)


@app.command()
def info(as_json: AsJSON = False):
    """Show version, backend, instruction set and threads."""
    from schuss import show_config

    with _warnings_as_notes():
        config = show_config()
    if as_json:
        _print_json(config)
        return
    from rich.box import ROUNDED
    from rich.table import Table

    table = Table(title="schuss info", box=ROUNDED, show_header=False, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for key, value in config.items():
        table.add_row(key, _shown(value))
    _console().print(table)


# ----- data ---------------------------------------------------------------------------


def _names(options):
    """Take ``a,b`` and repeated options apart; None where the option is not there."""
    if options is None:
        return None
    return [name.strip() for option in options for name in option.split(",") if name.strip()]


def _training_table(file, target, categorical, delimiter, quiet):
    """Return the table to learn from and the name of its target."""
    from schuss.tables import TableError, read_table

    if file is None:
        if not quiet:
            _note(
                "note",
                "no FILE given: learning from the breast cancer data that scikit-learn ships, "
                f"target {SAMPLE_TARGET}",
            )
        return _sample_table(), target or SAMPLE_TARGET
    labels = () if target is None else (target,)
    table = read_table(file, text=categorical or (), labels=labels, delimiter=delimiter)
    if target is None:
        raise TableError(
            f"{file}: which column is to be learnt? Name it with --target. "
            f"Columns: {', '.join(table.column_names)}"
        )
    return table, target


def _sample_table():
    import pyarrow as pa
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    columns = dict(zip(data.feature_names.tolist(), data.data.T, strict=True))
    return pa.table(columns | {SAMPLE_TARGET: data.target_names[data.target].tolist()})


def _split(table, target, source, test_size, seed):
    """Return the targets, the rows that have one, and a mask of those held out."""
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
                "in one row only; expected at least two, one to learn from and one to hold out. "
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


def _features(table, held_out, target, features, drop, categorical, max_levels):
    import numpy as np

    from schuss.tables import TablePreprocessor

    preprocessor = TablePreprocessor(target, features, drop, categorical, max_levels)
    X = preprocessor.fit_transform(table.take(np.flatnonzero(~held_out)))
    with warnings.catch_warnings():
        # A rare name that only rows held out have is to be expected.
        warnings.simplefilter("ignore", UserWarning)
        return preprocessor, X, preprocessor.transform(table.take(np.flatnonzero(held_out)))


@contextlib.contextmanager
def _naming(file):
    """Put the file's name before what a preprocessor, which knows no files, complains of."""
    from schuss.tables import TableError

    try:
        yield
    except TableError as error:
        raise TableError(f"{file}: {error}") from None


def _load_pipeline(path):
    """Return preprocessor and estimator of a model file."""
    from schuss.persistence import ModelFileError, load

    model = load(path)
    if not hasattr(model, "steps"):
        raise ModelFileError(
            f"{path}: a {type(model).__name__} without the preprocessing of a table; expected a "
            "model that schuss train saved. Use schuss.load in Python for this one"
        )
    return [step for _, step in model.steps]


def _read_for(preprocessor, file, delimiter, text=()):
    from schuss.tables import read_table

    return read_table(
        file,
        text=[*preprocessor.categorical_columns_, *text],
        numbers=preprocessor.numeric_columns_,
        delimiter=delimiter,
    )


def _known_targets(table, target, classes, file, delimiter):
    """Return the targets and their rows, all among the classes that were learnt."""
    import numpy as np

    from schuss.tables import TableError, locate, target_values

    values, rows = target_values(table, target, file)
    if classes is None:
        if values.dtype.kind == "U" or values.min() < 0 or values.max() > 1:
            raise TableError(
                f"{file}: the target {target!r} is not fractions within [0, 1], which this model "
                "has learnt"
            )
        return values.astype(np.float64), rows
    unknown = np.flatnonzero(~np.isin(values, classes))
    if len(unknown):
        first = unknown[0]
        raise TableError(
            f"{locate(file, rows[first], delimiter=delimiter)}: class {values[first].item()!r} of "
            f"the target {target!r} is not one that the model has learnt ("
            f"{', '.join(map(repr, classes.tolist()[:20]))}); {len(unknown):,} of {len(values):,} "
            "rows are of such classes. Leave them out, or train with rows of them"
        )
    return values, rows


@app.command()
def bench(
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write one self-contained page, .html. [dim]\\[default: no page][/]",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Half a minute: small problems, fewer rounds.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Leave out rounds where it would take longer. [dim]\\[default: 300][/]",
            show_default=False,
            min=1,
        ),
    ] = None,
    n_jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Threads at the most; -1: all. [dim]\\[default: all][/]",
            show_default=False,
        ),
    ] = None,
    as_json: AsJSON = False,
):
    """Time the kernels, and the peers that are installed, on this machine.

    Every library shows that it does the same work before it is timed, and they take
    turns. PyTorch, JAX, glum and others take part where they are installed:
    pip install "schuss\\[peers]". The exit code is 1 where one of them fails, or is
    refused for other work; the rest is timed all the same.

    [bold]Example[/]

    schuss bench --report report.html
    """
    from schuss.bench import page, suite
    from schuss.files import check_writable, write_whole

    if report:
        if report.suffix not in (".html", ".htm"):
            raise ValueError(f"--report {report}: expected a name that ends in .html")
        check_writable(report)
    content = suite.run(
        suite.PLANS["quick" if quick else "full"],
        n_jobs,
        suite.SECONDS if seconds is None else seconds,
        _tell_piece if _console(stderr=True).is_terminal else lambda *piece: None,
    )
    if report:
        with write_whole(report) as file:
            file.write(page.page(content).encode())
    if as_json:
        _print_json(content)
    else:
        for table in suite.tables(content):
            print(f"{table}\n")
        if report:
            _note("report", str(report), "bold green")
    failures = suite.failures(content)
    for name, task, note in failures:
        _note("warning", f"{name} on {task} {note}")
    if failures:
        raise typer.Exit(1)


def _tell_piece(done, total, name):
    _note(f"{done + 1} of {total}", name, "dim")


# ----- training -----------------------------------------------------------------------


def _learning_rate(text):
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}; expected a number, or auto", param_hint="'--learning-rate'"
        ) from None


def _numbers(text, option, count, names):
    """Take ``-1,2`` apart."""
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = None
    if numbers is None or len(numbers) != count:
        raise typer.BadParameter(
            f"{text!r}; expected {_counted(count, names)}", param_hint=f"'{option}'"
        )
    return numbers


def _counted(count, names):
    return f"{count} number{'s' * (count > 1)} for {', '.join(names)}"


def _estimator(is_classes, **parameters):
    from schuss import SigmoidClassifier, SigmoidRegressor

    # What is not given has the estimator's own default.
    given = {name: value for name, value in parameters.items() if value is not None}
    return (SigmoidClassifier if is_classes else SigmoidRegressor)(**given)


@contextlib.contextmanager
def _progress(max_iter, quiet):
    """Yield the callbacks that draw a line of progress, where somebody looks at it."""
    console = _console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("training"),
        BarColumn(),
        TextColumn("epoch {task.completed:,.0f} of at most {task.total:,.0f}"),
        TextColumn("cost {task.fields[cost]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("training", total=max_iter, cost="")

        def show(info):
            progress.update(task, completed=info.n_iter, cost=f"{info.loss:.6f}")

        yield [show]


def _circumstances(estimator, X, y):
    """Return what the estimator does not keep: the cost before the first step, and on what it ran.

    Mini-batches do not record that cost.
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


def _scores(estimator, X, y):
    from schuss.report import score_classes, score_fractions

    if hasattr(estimator, "classes_"):
        return score_classes(y, estimator.predict_proba(X), estimator.classes_)
    return score_fractions(y, estimator.predict(X))


# ----- output -------------------------------------------------------------------------


def _model_path(out, data, force):
    """Where to save, after a look at whether that will be possible."""
    from schuss.files import check_writable
    from schuss.persistence import is_model_file

    if out is None:
        stem = data.name
        while Path(stem).suffix in DATA_SUFFIXES:
            stem = Path(stem).stem
        out = Path(stem + MODEL_SUFFIX)
    check_writable(out)
    _refuse_same(out, data)
    is_replaced = descriptor(out) is None and out.is_file() and out.stat().st_size
    if is_replaced and not force and not is_model_file(out):
        raise FileExistsError(
            f"{out}: exists and is not a model of schuss; choose another --out, or --force"
        )
    return out


def _refuse_same(out, *inputs):
    for path in inputs:
        if out.is_file() and path.exists() and out.samefile(path):
            raise FileExistsError(
                f"--out {out}: the same file as {path}, which it would replace; choose another"
            )


def _check_plot(path):
    """Refuse now what could not be drawn later."""
    from importlib.util import find_spec

    from schuss.files import check_writable

    if path.suffix not in PLOT_SUFFIXES:
        raise ValueError(f"--plot {path}: expected a name that ends in {', '.join(PLOT_SUFFIXES)}")
    check_writable(path)
    if find_spec("matplotlib") is None:
        raise ImportError('--plot needs matplotlib: pip install "schuss[plot]"')


def _draw_descent(result, function, path):
    import matplotlib

    from schuss.files import write_whole

    # Without a window, wherever this runs.
    matplotlib.use("Agg")
    from schuss.plot import DescentDisplay

    display = DescentDisplay.from_result(result, function, variables=function.variables)
    with write_whole(path) as file:
        display.figure_.savefig(file, format=path.suffix[1:], dpi=150)


def _check_output_suffix(out):
    if descriptor(out) is not None or (out.exists() and not out.is_file()):
        return
    if out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out {out}: expected a name that ends in .csv or .parquet")


def _write_table(columns, out):
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from schuss.files import write_whole

    table = pa.table(columns)
    if out is None:
        sys.stdout.flush()
        _write_csv(table, sys.stdout.buffer)
    else:
        with write_whole(out) as file:
            if out.suffix == ".parquet":
                pa.parquet.write_table(table, file)
            else:
                _write_csv(table, file)


def _write_csv(table, file):
    import pyarrow as pa

    pa.csv.write_csv(table, file, pa.csv.WriteOptions(quoting_style="needed"))


def _print_report(report, as_json, quiet=False):
    if as_json:
        _print_json(report.to_dict())
    elif not quiet:
        _console().print(report.table())


def _print_json(values):
    """Print one JSON document; null stands for NaN and infinities, which JSON does not know."""
    # Escapes are understood whatever the encoding of the console or log.
    ascii_only = (sys.stdout.encoding or "utf-8").lower().replace("_", "-") != "utf-8"
    text = json.dumps(_finite(values), indent=2, ensure_ascii=ascii_only, default=str)
    sys.stdout.write(f"{text}\n")


def _finite(value):
    if hasattr(value, "tolist"):  # an array or a number of NumPy
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _console(**settings):
    from rich.console import Console

    # Names and labels stand as they are: `[a]` is no markup, `:b:` no emoji.
    return Console(highlight=False, markup=False, emoji=False, **settings)


def _note(kind, text, style="bold yellow"):
    from rich.text import Text

    line = Text.assemble(("schuss: ", "bold"), (f"{kind}: ", style), text)
    _console(stderr=True).print(line, soft_wrap=True)


@contextlib.contextmanager
def _warnings_as_notes(quiet=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if quiet else "default")
        warnings.showwarning = lambda message, *_: _note("warning", _message(message))
        yield


def _message(error):
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _shown(value):
    if isinstance(value, dict):
        return "\n".join(f"{key}: {item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
