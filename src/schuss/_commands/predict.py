"""``schuss predict`` and ``schuss evaluate``: a saved model on the rows of a table."""

from pathlib import Path
from typing import Annotated, Any

from schuss._commands.options import (
    DATA,
    OUTPUT,
    AsJSON,
    DataFile,
    Decimal,
    Delimiter,
    Encoding,
    ModelFile,
    SkipBadRows,
    option,
    output_file,
)
from schuss._commands.output import (
    check_output,
    check_suffix,
    is_plain_file,
    print_json,
    print_report,
    warnings_as_notes,
    write_table,
)
from schuss.files import descriptor


def predict(
    model: ModelFile,
    file: DataFile,
    out: Annotated[Path | None, option(
        OUTPUT, "Table to write, .csv or .parquet; -: stdout.", "FILE", default="CSV to stdout",
        parser=output_file,
    )] = None,
    proba: Annotated[bool, option(OUTPUT, "Write the probability of each class, too.")] = True,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    decimal: Decimal = None,
    skip_bad_rows: SkipBadRows = False,
    as_json: AsJSON = False,
) -> None:  # fmt: skip
    """Apply a model to the rows of a table.

    Columns are matched by name, in any order; others are ignored.

    [bold]Example[/]

    schuss predict late.schuss.safetensors tomorrow.csv --out predictions.csv
    """
    if out and descriptor(out) == 1:
        if as_json:
            raise ValueError(f"--out {out}: JSON is printed there, too; choose another")
        out = None
    if out:
        if is_plain_file(out):
            check_suffix("--out", out, (".csv", ".parquet"))
        check_output(out, file, model)
    preprocessor, estimator = _load_pipeline(model)
    reading = delimiter, encoding, decimal, skip_bad_rows
    table = _read_table(preprocessor, file, reading)
    X = _transform(preprocessor, table, file)
    columns = {"prediction": estimator.predict(X)}
    classes = getattr(estimator, "classes_", None)
    if proba and classes is not None:
        for label, column in zip(classes, estimator.predict_proba(X).T, strict=True):
            columns[f"probability_{label}"] = column
    if out or not as_json:
        write_table(columns, out)
    if as_json:
        print_json({"model": str(model), "file": str(file), "rows": X.shape[0], **columns})


def evaluate(
    model: ModelFile,
    file: DataFile,
    target: Annotated[str | None, option(
        DATA, "Target column.", "COLUMN", default="the one that the model was trained on",
    )] = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    decimal: Decimal = None,
    skip_bad_rows: SkipBadRows = False,
    as_json: AsJSON = False,
) -> None:  # fmt: skip
    """Score a model on the rows of a table that has the target.

    [bold]Example[/]

    schuss evaluate late.schuss.safetensors january.csv
    """
    from schuss.report import EvaluationReport, score

    preprocessor, estimator = _load_pipeline(model)
    target = target or preprocessor.target
    classes = getattr(estimator, "classes_", None)
    text = [target] if classes is not None and classes.dtype.kind in "UO" else []
    reading = delimiter, encoding, decimal, skip_bad_rows
    table = _read_table(preprocessor, file, reading, text)
    values, rows = _known_targets(table, target, classes, file, reading)
    X = _transform(preprocessor, table.take(rows), file)
    report = EvaluationReport(
        model=str(model),
        file=str(file),
        target=target,
        classes=None if classes is None else classes.tolist(),
        rows_without_target=table.num_rows - len(rows),
        scores=score(estimator, X, values),
    )
    print_report(report, as_json)


def _load_pipeline(path: Path) -> list[Any]:
    """Preprocessor and estimator of a model file."""
    from schuss.persistence import ModelFileError, load

    model: Any = load(path)
    if not hasattr(model, "steps"):
        raise ModelFileError(
            f"{path}: a {type(model).__name__} without the preprocessing of a table; expected a "
            "model saved by schuss train. Use schuss.load in Python for this one"
        )
    return [step for _, step in model.steps]


def _read_table(preprocessor, file, reading, text=()):
    from schuss.tables import Reading, read_table

    with warnings_as_notes():
        return read_table(
            file,
            text=[*preprocessor.categorical_columns_, *text],
            numbers=preprocessor.numeric_columns_,
            reading=Reading(*reading),
        )


def _transform(preprocessor, table, file):
    from schuss.tables import prefix_errors

    with prefix_errors(file), warnings_as_notes():
        return preprocessor.transform(table)


def _known_targets(table, target, classes, file, reading):
    """The targets and their rows, all of classes that the model knows."""
    import numpy as np

    from schuss.tables import Reading, TableError, locate, target_values

    values, rows = target_values(table, target, file)
    if classes is None:
        if values.dtype.kind == "U" or values.min() < 0 or values.max() > 1:
            raise TableError(
                f"{file}: the target {target!r} does not hold fractions in [0, 1], which this "
                "model was trained on"
            )
        return values.astype(np.float64), rows
    unknown = np.flatnonzero(~np.isin(values, classes))
    if len(unknown):
        first = unknown[0]
        raise TableError(
            f"{locate(file, rows[first], Reading(*reading))}: class {values[first].item()!r} of "
            f"the target {target!r} is unknown to the model, which was trained on "
            f"{', '.join(map(repr, classes.tolist()[:20]))}; {len(unknown):,} of {len(values):,} "
            "rows have unknown classes. Leave them out, or train on them"
        )
    return values, rows
