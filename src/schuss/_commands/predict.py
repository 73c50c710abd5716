"""``schuss predict`` and ``schuss evaluate``: a saved model on the rows of a table."""

from pathlib import Path
from typing import Annotated, Any

from schuss._commands.options import (
    DATA,
    OUTPUT,
    AsJSON,
    DataFile,
    DataFiles,
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
    files: DataFiles,
    out: Annotated[Path | None, option(
        OUTPUT, "Table to write, .csv or .parquet; -: stdout.", "FILE", default="CSV to stdout",
        parser=output_file,
    )] = None,
    proba: Annotated[bool, option(OUTPUT, "Probability of each class, a column each.")] = True,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    decimal: Decimal = None,
    skip_bad_rows: SkipBadRows = False,
    as_json: AsJSON = False,
) -> None:  # fmt: skip
    """Apply a model to the rows of a table, or to pictures.

    Columns are matched by name, in any order; others are ignored. MODEL may also be a file in
    ONNX whose name ends in .onnx.

    [bold]Examples[/]

    schuss predict late.schuss.safetensors tomorrow.csv --out predictions.csv

    schuss predict pictures.schuss.safetensors photo.jpg another.png
    """
    if out and descriptor(out) == 1:
        if as_json:
            raise ValueError(f"--out {out}: JSON is printed there, too; choose another")
        out = None
    if out:
        if is_plain_file(out):
            check_suffix("--out", out, (".csv", ".parquet"))
        check_output(out, *files, model)
    preprocessor, estimator = _load_pipeline(model)
    columns: dict[str, Any] = {}
    if _takes_pictures(preprocessor):
        pictures = _find_pictures(files)
        X = preprocessor.transform(pictures)
        columns["file"] = [str(path) for path in pictures]
    elif len(files) > 1:
        raise ValueError(f"FILE: {len(files)} files; expected one table for this model")
    else:
        reading = delimiter, encoding, decimal, skip_bad_rows
        table = _read_table(preprocessor, files[0], reading)
        X = _transform(preprocessor, table, files[0])
    columns["prediction"] = estimator.predict(X)
    classes = getattr(estimator, "classes_", None)
    if proba and classes is not None:
        for label, column in zip(classes, estimator.predict_proba(X).T, strict=True):
            columns[f"probability_{label}"] = column
    if out or not as_json:
        write_table(columns, out)
    if as_json:
        of_file = {} if "file" in columns else {"file": str(files[0])}
        print_json({"model": str(model), **of_file, "rows": X.shape[0], **columns})


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
    """Score a model on the rows of a table that has the target, or on folders of pictures.

    [bold]Example[/]

    schuss evaluate late.schuss.safetensors january.csv
    """
    from schuss.report import EvaluationReport, score

    preprocessor, estimator = _load_pipeline(model)
    classes = getattr(estimator, "classes_", None)
    if _takes_pictures(preprocessor):
        from schuss.images import labelled_pictures

        if not file.is_dir():
            raise ValueError(f"{file}: no folder; expected a sub-folder of pictures for each class")
        paths, values, _ = labelled_pictures(file, least=1)
        _refuse_unknown(values, classes, "the folders' names", lambda k: paths[k])
        target, n_rows = "folder", len(values)
        X = preprocessor.transform(paths)
    else:
        target = target or preprocessor.target
        text = [target] if classes is not None and classes.dtype.kind in "UO" else []
        reading = delimiter, encoding, decimal, skip_bad_rows
        table = _read_table(preprocessor, file, reading, text)
        values, rows = _known_targets(table, target, classes, file, reading)
        n_rows = table.num_rows
        X = _transform(preprocessor, table.take(rows), file)
    report = EvaluationReport(
        model=str(model),
        file=str(file),
        target=target,
        classes=None if classes is None else classes.tolist(),
        rows_without_target=n_rows - len(values),
        scores=score(estimator, X, values),
    )
    print_report(report, as_json)


def _load_pipeline(path: Path) -> list[Any]:
    """Preprocessor and estimator of a model file."""
    from schuss.persistence import ModelFileError, load

    if path.suffix == ".onnx":
        from schuss.export import read_onnx

        return list(read_onnx(path))
    model: Any = load(path)
    if not hasattr(model, "steps"):
        raise ModelFileError(
            f"{path}: a {type(model).__name__} without the preprocessing of a table; expected a "
            "model saved by schuss train. Use schuss.load in Python for this one"
        )
    return [step for _, step in model.steps]


def _takes_pictures(preprocessor):
    return type(preprocessor).__name__ == "Images"


def _find_pictures(files):
    """The pictures that are named, and those in folders that are."""
    from schuss.images import ImageError, find_pictures

    pictures: list[Path] = []
    for path in files:
        found = find_pictures(path)[0] if path.is_dir() else [path]
        if not found:
            raise ImageError(f"{path}: a folder without pictures")
        pictures += found
    return pictures


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
    _refuse_unknown(
        values,
        classes,
        f"the target {target!r}",
        lambda k: locate(file, int(rows[k]), Reading(*reading)),
    )
    return values, rows


def _refuse_unknown(values, classes, what, where):
    import numpy as np

    from schuss.columns import TableError

    unknown = np.flatnonzero(~np.isin(values, classes))
    if len(unknown):
        first = unknown[0]
        raise TableError(
            f"{where(first)}: class {values[first].item()!r} of {what} is unknown to the model, "
            f"which was trained on {', '.join(map(repr, classes.tolist()[:20]))}; "
            f"{len(unknown):,} of {len(values):,} rows have unknown classes. Leave them out, or "
            "train on them"
        )
